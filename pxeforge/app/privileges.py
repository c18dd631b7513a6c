"""Least privilege: once its sockets are open, a process gives up its capabilities, all but what it names.

It stays uid 0 only to reach its own files (the data directory is root's, mode 0700); without capabilities uid 0 can
neither open low ports, nor change the network, nor reach files of others, nor load modules.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from typing import Final

CAP_NET_BIND_SERVICE: Final = 10  # ports below 1024, and nothing else
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522  # capget(2)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_capabilities(keep: Iterable[int] = ()) -> None:
    """Gives up every capability but `keep` of this thread and of all threads it starts; nothing brings them back.

    Call it before other threads are started. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
        _check(-1)
    header, kept = _Header(_CAPABILITY_VERSION_3, 0), (_Data * 2)()
    _check(libc.capget(ctypes.byref(header), kept))  # what it never had cannot be kept
    for word, data in enumerate(kept):
        wanted = sum(1 << number % 32 for number in keep if number // 32 == word)
        data.effective = data.permitted = data.permitted & wanted
        data.inheritable = 0
    _check(libc.capset(ctypes.byref(header), kept))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities cannot be given up: {os.strerror(number)}")

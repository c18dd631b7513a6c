"""One power action at a time on a host, whichever process does it; and few at a time in each process.

BMCs are slow, and the pages have few threads: at most VISITS of them wait for BMCs. What is ordered for many hosts is
done beside them, IN_ORDERS hosts at a time, so that a single host can be switched meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pxeforge.services.context import Context
from pxeforge.services.power_driver import Deadline, PowerFault
from pxeforge.services.problems import Conflict, TooMany

AT_A_TIME: Final = 8  # BMCs that are spoken with
IN_ORDERS: Final = 6  # of these, for hosts of orders
VISITS: Final = 4  # requests that wait for BMCs, each with one host or many
_slots = threading.BoundedSemaphore(AT_A_TIME)
_in_orders = threading.BoundedSemaphore(IN_ORDERS)
_visits = threading.BoundedSemaphore(VISITS)
_VISIT_WAIT_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.1
_ORDERS: Final = 1 << 60  # where the places of orders begin, behind those of hosts


@contextmanager
def visit() -> Iterator[None]:
    """For as long as a request is about power; raises TooMany."""
    if not _visits.acquire(timeout=_VISIT_WAIT_S):
        raise TooMany(f"{VISITS} people ask BMCs for something just now, which takes long: try again in a moment")
    try:
        yield
    finally:
        _visits.release()


@contextmanager
def turn_in_order() -> Iterator[None]:
    """For one host of an order, which waits as long as it takes."""
    with _in_orders:
        yield


@contextmanager
def turn(ctx: Context, host_id: str, label: str, deadline: Deadline, *, wait_s: float = 0.0) -> Iterator[None]:
    """Raises Conflict while something is under way on this host, TooMany when too much is on others."""
    with _host_lock(ctx, host_id, label, wait_s), _slot(deadline):
        yield


@contextmanager
def _slot(deadline: Deadline) -> Iterator[None]:
    try:
        free = _slots.acquire(timeout=deadline.left_s())
    except PowerFault:
        free = False
    if not free:
        raise TooMany(f"{AT_A_TIME} power actions are under way and take long: try again in a minute")
    try:
        yield
    finally:
        _slots.release()


def claim_order(ctx: Context, order_id: str) -> int | None:
    """A descriptor that is open as long as somebody works on the order: the kernel closes it with its owner.

    None: somebody works on it.
    """
    descriptor = _lock_file(ctx)
    if _locked(descriptor, _ORDERS + int(order_id, 16)):
        return descriptor
    os.close(descriptor)
    return None


def _lock_file(ctx: Context) -> int:
    return os.open(ctx.data_dir / "power.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _host_lock(ctx: Context, host_id: str, label: str, wait_s: float) -> Iterator[None]:
    """A lock on one byte of a file, at the place that the host's id names: the kernel drops it with its owner."""
    descriptor = _lock_file(ctx)
    end = time.monotonic() + wait_s
    try:
        while not _locked(descriptor, int(host_id, 16)):
            if time.monotonic() >= end:
                raise Conflict(f"a power action on {label} is under way: wait until it has ended")
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, place: int) -> bool:
    # struct flock: type, whence, start, length, pid. Of the open file, not of the process (fcntl(2), F_OFD_SETLK).
    wish = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wish)
    except (BlockingIOError, PermissionError):
        return False
    return True

"""Makes QEMU's network boot ROM, which is iPXE, look like a plain PXE ROM: what it says of itself is taken out.

QEMU hands every frame of the machine to us (filter-redirector) and takes back what we make of it. Only the ROM's own
DHCP messages are changed, until it asks for its boot file: what it starts then speaks for itself.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_OPTIONS_AT: Final = 240  # in a DHCP message, behind its magic cookie
_TELLING: Final = frozenset({77, 175})  # user class, iPXE's own options
_DHCP_SERVER, _TFTP = 67, 69
_PAD, _END = 0, 255
_IPV4, _UDP = b"\x08\x00", 17
_READ_REQUEST: Final = b"\0\x01"


class Disguise:
    """What is done to one frame after another."""

    def __init__(self) -> None:
        self.is_over = False  # the ROM has asked for its boot file

    def worn(self, frame: bytes) -> bytes:
        """The frame as it goes on; anything but a DHCP message of the ROM unchanged."""
        payload_at = _udp_payload(frame)
        if self.is_over or payload_at is None:
            return frame
        port, payload = int.from_bytes(frame[payload_at - 6 : payload_at - 4], "big"), frame[payload_at:]
        if port == _TFTP and payload.startswith(_READ_REQUEST):
            self.is_over = True
        if port != _DHCP_SERVER:
            return frame
        # A checksum of 0 means that there is none (RFC 768).
        return frame[: payload_at - 2] + b"\0\0" + _without_telling(payload)


def _udp_payload(frame: bytes) -> int | None:
    """Where the payload of an IPv4 UDP datagram starts; None for any other frame."""
    if len(frame) < 42 or frame[12:14] != _IPV4 or frame[23] != _UDP:
        return None
    start = 14 + (frame[14] & 15) * 4 + 8
    return start if start <= len(frame) else None


def _without_telling(message: bytes) -> bytes:
    """The DHCP message with padding in the place of the options that tell of iPXE."""
    found, at = bytearray(message), _OPTIONS_AT
    while at + 1 < len(found) and found[at] != _END:
        if found[at] == _PAD:
            at += 1
            continue
        after = at + 2 + found[at + 1]
        if found[at] in _TELLING:
            found[at:after] = bytes(min(after, len(found)) - at)
        at = after
    return bytes(found)


def qemu_words(netdev: str, stem: Path) -> list[str]:
    """What QEMU is told so that the frames of its `netdev` come to us; `stem`: of the sockets' names."""
    chardevs = [
        word for name in ("out", "in")
        for word in ("-chardev", f"socket,id=rom-{name},path={str(_path(stem, name)).replace(',', ',,')}")
    ]  # fmt: skip
    redirector = f"filter-redirector,id=rom,netdev={netdev},queue=rx,outdev=rom-out,indev=rom-in"
    return [*chardevs, "-object", redirector]


@contextmanager
def disguised(stem: Path) -> Iterator[Disguise]:
    """Listens for QEMU, which is started within."""
    disguise = Disguise()
    with _listener(_path(stem, "out")) as frames, _listener(_path(stem, "in")) as back:
        worker = threading.Thread(target=_work, args=(disguise, frames, back), daemon=True)
        worker.start()
        yield disguise


def _path(stem: Path, name: str) -> Path:
    return stem.with_suffix(f".rom-{name}")


def _listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


def _work(disguise: Disguise, frames: socket.socket, back: socket.socket) -> None:
    """QEMU writes each frame behind its length (four bytes); ends with the machine."""
    try:
        source, target = frames.accept()[0], back.accept()[0]
        with source, target, source.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                frame = disguise.worn(stream.read(struct.unpack(">I", head)[0]))
                target.sendall(struct.pack(">I", len(frame)) + frame)
    except OSError:
        return  # the machine is off

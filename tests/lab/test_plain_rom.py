"""The disguise of QEMU's ROM: what it takes out, what it leaves alone, and when it ends."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.boot import BootRequest
from pxeforge.lab.plain_rom import Disguise, disguised, qemu_words
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Op, Option

DISCOVER = DhcpMessage(
    op=Op.REQUEST, xid=7, chaddr=bytes.fromhex("525400123456"), options={
        Option.MESSAGE_TYPE: bytes((MessageType.DISCOVER,)), Option.ARCHITECTURE: b"\0\0", Option.USER_CLASS: b"iPXE",
        Option.VENDOR_CLASS: b"PXEClient:Arch:00000:UNDI:002001", Option.IPXE: b"\xb1\x05\x01\x1a\xf4\x10\x00",
    },
)  # fmt: skip


def frame(port: int, payload: bytes) -> bytes:
    udp = struct.pack(">HHHH", 68, port, 8 + len(payload), 0xBEEF) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    return b"\xff" * 6 + bytes(6) + b"\x08\x00" + ip + udp


def heard(data: bytes) -> BootRequest:
    request = classify(DhcpMessage.parse(data[42:]))
    assert isinstance(request, BootRequest)
    return request


def test_the_rom_no_longer_says_that_it_is_ipxe_and_the_rest_stays() -> None:
    asked = frame(67, DISCOVER.encode())
    worn = Disguise().worn(asked)
    assert heard(asked).is_ipxe
    assert not heard(worn).is_ipxe
    assert len(worn) == len(asked)
    left = DhcpMessage.parse(worn[42:]).options
    assert left == {key: value for key, value in DISCOVER.options.items() if key not in (77, 175)}


def test_what_is_started_speaks_for_itself() -> None:
    disguise = Disguise()
    asked, request = frame(67, DISCOVER.encode()), frame(69, b"\0\x01undionly.kpxe\0octet\0")
    assert disguise.worn(request) == request
    assert disguise.is_over
    assert disguise.worn(asked) == asked


@given(st.binary(max_size=600))
def test_any_other_frame_passes_unchanged(data: bytes) -> None:
    assert len(Disguise().worn(data)) == len(data)
    assert Disguise().worn(frame(4011, data)) == frame(4011, data)
    assert len(Disguise().worn(frame(67, data))) == len(frame(67, data))


def test_frames_go_through_as_qemu_sends_them(tmp_path: Path) -> None:
    stem = tmp_path / "host1.img"
    assert f"path={tmp_path}/host1.rom-out" in " ".join(qemu_words("nic", stem))
    asked = frame(67, DISCOVER.encode())
    with disguised(stem), socket.socket(socket.AF_UNIX) as out, socket.socket(socket.AF_UNIX) as back:
        out.connect(str(tmp_path / "host1.rom-out"))
        back.connect(str(tmp_path / "host1.rom-in"))
        back.settimeout(5)
        out.sendall(2 * (struct.pack(">I", len(asked)) + asked))
        with back.makefile("rb") as stream:
            for _ in range(2):
                (length,) = struct.unpack(">I", stream.read(4))
                assert not heard(stream.read(length)).is_ipxe

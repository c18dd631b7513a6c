"""The names that boot loaders try one after the other, as each of them does: every miss is a quick no."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from tests.conftest import PEER

DASHED = "52-54-00-12-34-56"
ADDRESS = "C0000232"  # 192.0.2.50


@pytest.fixture
def desk(ctx: Context, armed: dict[str, Any]) -> Desk:
    return Desk(ctx)


def test_pxelinux_finds_its_menu_by_mac_and_nothing_by_any_other_name(desk: Desk) -> None:
    uuid = "b8945908-d6a6-41a9-611d-74a6ab80b83d"
    names = [uuid, *(ADDRESS[:length] for length in range(8, 0, -1)), "default"]
    assert all(desk.tftp_open(f"pxelinux.cfg/{name}", PEER) is None for name in names)
    menu = desk.tftp_open(f"pxelinux.cfg/01-{DASHED}", PEER)
    assert isinstance(menu, bytes)
    assert b"APPEND" in menu.upper()


def test_grub_finds_its_menu_by_mac_and_nothing_by_its_address(desk: Desk) -> None:
    assert isinstance(desk.tftp_open(f"grub/grub.cfg-01-{DASHED}", PEER), bytes)
    names = [f"grub/grub.cfg-{ADDRESS[:length]}" for length in range(8, 0, -1)]
    assert all(desk.tftp_open(name, PEER) is None for name in names)


@pytest.mark.parametrize(
    "name", ["revocations.efi", "mmx64.efi", f"boot/{DASHED}/revocations.efi", "shim_certificate.efi"]
)
def test_what_shim_may_ask_for_and_nobody_has_is_not_found(desk: Desk, name: str) -> None:
    assert desk.tftp_open(name, PEER) is None

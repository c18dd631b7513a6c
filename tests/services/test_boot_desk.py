"""What the wire asks, answered from a real database."""

from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.boot import Boot, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.services import events, hosts
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from tests.conftest import MAC, PEER, Clock, write_image

HOST = MacAddress.parse(MAC)


@pytest.fixture
def desk(ctx: Context) -> Desk:
    return Desk(ctx)


def seen(desk: Desk, *, server_mode: bool = False) -> Boot:
    request = BootRequest(
        mac=HOST, firmware=Firmware.BIOS, interface="br0", uuid="11111111-2222-3333-4444-555555555555"
    )
    return desk.dhcp_seen(request, message_type="DISCOVER", server_mode=server_mode).boot


def messages(ctx: Context) -> list[str]:
    return [event["message"] for event in events.timeline(ctx, hosts.show(ctx, MAC)["id"])]


def test_a_new_machine_is_discovered_and_left_alone(ctx: Context, desk: Desk) -> None:
    assert seen(desk) is Boot.LOCAL
    host = hosts.show(ctx, MAC)
    assert host["state"] == "discovered"
    assert host["firmware"] == "bios"
    assert host["uuid"] == "11111111-2222-3333-4444-555555555555"
    assert any("silence" in message for message in messages(ctx))


def test_in_server_mode_the_timeline_says_local_boot(ctx: Context, desk: Desk) -> None:
    seen(desk, server_mode=True)
    assert any("local (unknown host" in message for message in messages(ctx))


def test_firmware_that_repeats_itself_fills_no_timeline(ctx: Context, desk: Desk, clock: Clock) -> None:
    for _ in range(20):
        seen(desk)
    known = len(messages(ctx))
    seen(desk)
    assert len(messages(ctx)) == known
    clock.now += 61
    seen(desk)
    assert len(messages(ctx)) == known + 1


def test_an_armed_host_is_offered_its_installer(desk: Desk, armed: dict[str, Any]) -> None:
    assert seen(desk) is Boot.INSTALL


def test_after_the_install_the_same_host_boots_its_disk(
    ctx: Context, desk: Desk, registered: dict[str, Any], clock: Clock
) -> None:
    clock.now += 30
    assert seen(desk, server_mode=True) is Boot.LOCAL
    assert any("no second install" in message for message in messages(ctx))


def test_a_lease_ties_an_address_to_its_host(ctx: Context, desk: Desk) -> None:
    seen(desk)
    desk.dhcp_leased(HOST, PEER)
    assert hosts.show(ctx, MAC)["address"] == PEER


def test_a_plain_dhcp_client_is_no_host(ctx: Context, desk: Desk) -> None:
    desk.dhcp_leased(HOST, PEER)
    assert hosts.list_hosts(ctx) == []


def test_the_menu_by_mac_is_rendered_and_other_names_are_not_found(desk: Desk, armed: dict[str, Any]) -> None:
    menu = desk.tftp_open(f"pxelinux.cfg/01-{HOST.dashed}", PEER)
    assert isinstance(menu, bytes)
    assert b"APPEND" in menu.upper()
    for name in ("pxelinux.cfg/C0000232", "pxelinux.cfg/default", "pxelinux.cfg/01-nonsense", "nothing", "images/x"):
        assert desk.tftp_open(name, PEER) is None


def test_loaders_and_image_files_come_from_the_image(ctx: Context, desk: Desk, armed: dict[str, Any]) -> None:
    loader = desk.tftp_open("pxelinux.0", PEER)
    assert isinstance(loader, Path)
    assert loader.read_bytes() == b"pxelinux"
    kernel = desk.tftp_open("images/debian-13/20250803/linux", PEER)
    assert isinstance(kernel, Path)


@pytest.mark.parametrize(
    "name",
    ["images/debian-13/20250803/image.json", "images/../secret.key", "images/debian-13/../../secret.key",
     "images/debian-13/20250803/../../../secret.key", "images/.incoming/x/linux", "../secret.key"],
)  # fmt: skip
def test_nothing_but_the_files_of_an_image_is_served(desk: Desk, armed: dict[str, Any], name: str) -> None:
    assert desk.tftp_open(name, PEER) is None


def test_the_loader_of_the_armed_image_wins_over_a_newer_one(ctx: Context, desk: Desk, armed: dict[str, Any]) -> None:
    desk.dhcp_leased(HOST, PEER)
    folder = write_image(ctx.data_dir, "20990101")
    assert (folder / "loaders" / "pxelinux.0").is_file()
    assert "20250803" in str(desk.tftp_open("pxelinux.0", PEER))
    assert "20990101" in str(desk.tftp_open("pxelinux.0", "192.0.2.99"))


def test_installer_lines_go_to_a_file_and_milestones_to_the_timeline(ctx: Context, desk: Desk) -> None:
    seen(desk)
    desk.dhcp_leased(HOST, PEER)
    for text in ("Menu item 'partman-base' selected", "some detail"):
        desk.installer_said(SyslogLine(peer_ip=PEER, priority=30, tag="main-menu", message=text, received_at=1.0))
    desk.installer_said(SyslogLine(peer_ip="192.0.2.77", priority=30, tag="x", message="stranger", received_at=1.0))
    log = ctx.data_dir / "logs" / hosts.show(ctx, MAC)["id"] / "installer.log"
    assert log.read_text().count("\n") == 2
    assert messages(ctx)[-1] == "d-i: partman-base"


def test_a_size_probe_is_no_transfer(ctx: Context, desk: Desk) -> None:
    seen(desk)
    desk.dhcp_leased(HOST, PEER)
    before = len(messages(ctx))
    desk.tftp_closed("pxelinux.0", PEER, sent=0, duration_s=0.0, problem=None)
    assert len(messages(ctx)) == before
    desk.tftp_closed("pxelinux.0", PEER, sent=42, duration_s=0.1, problem=None)
    assert "42 bytes" in messages(ctx)[-1]

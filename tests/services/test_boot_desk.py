"""What the wire asks, answered from a real database."""

import dataclasses
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.boot import Boot, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.dialect import Dialect, DialectBook
from pxeforge.protocol.dhcp.lease import Lease, LeaseState
from pxeforge.protocol.syslog import SyslogLine
from pxeforge.render.environment import make_environment
from pxeforge.services import arming, events, hosts
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases
from pxeforge.services.problems import Problem
from tests.conftest import MAC, PEER, Clock, write_image

pytestmark = pytest.mark.both_databases
HOST = MacAddress.parse(MAC)


@pytest.fixture
def desk(ctx: Context) -> Desk:
    return Desk(ctx)


def seen(desk: Desk, *, server_mode: bool = False) -> Boot:
    request = BootRequest(
        mac=HOST, firmware=Firmware.BIOS, interface="br0", uuid="11111111-2222-3333-4444-555555555555"
    )
    return desk.dhcp_seen(request, message_type="DISCOVER", server_mode=server_mode).boot


def leased(ctx: Context, address: str, mac: MacAddress = HOST) -> None:
    lease = Lease(
        mac=mac, client_id=b"", address=IPv4Address(address), expires_at=ctx.clock() + 3600, state=LeaseState.BOUND
    )
    StoredLeases(ctx).save([lease])


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
    leased(ctx, PEER)
    assert hosts.show(ctx, MAC)["address"] == PEER


def test_a_plain_dhcp_client_is_no_host(ctx: Context, desk: Desk) -> None:
    leased(ctx, PEER)
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
    leased(ctx, PEER)
    folder = write_image(ctx.data_dir, "20990101")
    assert (folder / "loaders" / "pxelinux.0").is_file()
    assert "20250803" in str(desk.tftp_open("pxelinux.0", PEER))
    assert "20990101" in str(desk.tftp_open("pxelinux.0", "192.0.2.99"))


def test_installer_lines_go_to_a_file_and_milestones_to_the_timeline(ctx: Context, desk: Desk) -> None:
    seen(desk)
    leased(ctx, PEER)
    assert hosts.show(ctx, MAC)["address"] == PEER
    for text in ("Menu item 'partman-base' selected", "some detail"):
        desk.installer_said(SyslogLine(peer_ip=PEER, priority=30, tag="main-menu", message=text, received_at=1.0))
    desk.installer_said(SyslogLine(peer_ip="192.0.2.77", priority=30, tag="x", message="stranger", received_at=1.0))
    log = ctx.data_dir / "logs" / hosts.show(ctx, MAC)["id"] / "installer.log"
    assert log.read_text().count("\n") == 2
    assert messages(ctx)[-1] == "d-i: partman-base"


def test_in_proxy_mode_a_transfer_finds_its_host_by_the_mac_behind_the_address(ctx: Context) -> None:
    watchful = Desk(dataclasses.replace(ctx, neighbour=lambda address: HOST if address == PEER else None))
    seen(watchful)
    watchful.tftp_closed("pxelinux.0", PEER, sent=42, duration_s=0.1, problem=None)
    watchful.tftp_closed("pxelinux.0", "192.0.2.77", sent=42, duration_s=0.1, problem=None)
    assert [message for message in messages(ctx) if "pxelinux.0" in message] == [
        f"pxelinux.0 to {PEER}: 42 bytes in 0.1 s"
    ]


def test_a_size_probe_is_no_transfer(ctx: Context, desk: Desk) -> None:
    seen(desk)
    leased(ctx, PEER)
    before = len(messages(ctx))
    desk.tftp_closed("pxelinux.0", PEER, sent=0, duration_s=0.0, problem=None)
    assert len(messages(ctx)) == before
    desk.tftp_closed("pxelinux.0", PEER, sent=42, duration_s=0.1, problem=None)
    assert "42 bytes" in messages(ctx)[-1]


def test_a_leased_address_leaves_the_host_that_had_it_before(ctx: Context, desk: Desk) -> None:
    hosts.add(ctx, macs=["52:54:00:00:00:01"], name="old", who="test")
    hosts.add(ctx, macs=[MAC], name="new", who="test")
    leased(ctx, "192.0.2.7", MacAddress.parse("52:54:00:00:00:01"))
    leased(ctx, "192.0.2.7")
    assert hosts.show(ctx, "old")["nics"][0]["address"] is None
    assert hosts.show(ctx, "new")["nics"][0]["address"] == "192.0.2.7"


def test_a_flood_of_made_up_addresses_does_not_fill_the_database(
    ctx: Context, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pxeforge.services.boot_desk._MAX_STRANGERS", 3)
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    for number in range(6):
        mac = MacAddress.parse(f"52:54:00:00:00:0{number}")
        desk.dhcp_seen(BootRequest(mac=mac, firmware=Firmware.BIOS), message_type="DISCOVER", server_mode=False)
    seen(desk)
    assert len(hosts.list_hosts(ctx, state="discovered")) == 3
    assert any("silence" in message for message in messages(ctx))


def test_grub_is_sent_to_the_menu_of_its_own_mac(desk: Desk, armed: dict[str, Any]) -> None:
    for name in ("debian-installer/amd64/grub/grub.cfg", "grub/grub.cfg"):
        shared = desk.tftp_open(name, PEER)
        assert isinstance(shared, bytes)
        assert b"set boot_root=tftp,192.0.2.1\nsource ($boot_root)/boot/$net_default_mac/grub.cfg" in shared
    for name in (f"boot/{MAC}/grub.cfg", f"grub/grub.cfg-01-{HOST.dashed}"):
        menu = desk.tftp_open(name, PEER)
        assert isinstance(menu, bytes)
        assert f"'BOOTIF=01-{HOST.dashed}'".encode() in menu


def test_a_loader_is_found_below_the_mac_of_a_host(ctx: Context, desk: Desk, armed: dict[str, Any]) -> None:
    for name in (f"boot/{HOST.dashed}/pxelinux.0", f"boot/{MAC}/pxelinux.0"):
        found = desk.tftp_open(name, PEER)
        assert isinstance(found, Path)
        assert found.read_bytes() == b"pxelinux"
    for name in (f"boot/{MAC}/revocations.efi", "boot/nonsense/pxelinux.0", f"boot/{MAC}/../image.json", "boot/x"):
        assert desk.tftp_open(name, PEER) is None


def test_the_files_of_grub_come_from_the_image(ctx: Context, desk: Desk, armed: dict[str, Any]) -> None:
    assert desk.tftp_open("debian-installer/amd64/grub/x86_64-efi/command.lst", PEER) is None
    files = {"loaders/bootnetx64.efi": b"shim", "loaders/grub/x86_64-efi/command.lst": b"list"}
    image = write_image(ctx.data_dir, "20990101", files)
    assert desk.tftp_open("debian-installer/amd64/grub/x86_64-efi/command.lst", "192.0.2.99") == (
        image / "loaders/grub/x86_64-efi/command.lst"
    )


def test_uefi_gets_the_newest_loaders_whatever_it_installs(ctx: Context, desk: Desk, profile: str) -> None:
    files = {"loaders/bootnetx64.efi": b"shim", "loaders/grubx64.efi": b"grub", "loaders/grub/x86_64-efi/fs.lst": b"l"}
    write_image(ctx.data_dir, "20250803", files)
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm(ctx, "n1", profile=profile, who="test")
    leased(ctx, PEER)
    write_image(ctx.data_dir, "20990101", files)
    write_image(ctx.data_dir, "20990102")  # without loaders for UEFI
    own = f"boot/{HOST.dashed}"
    for name in (f"{own}/bootnetx64.efi", f"{own}/grubx64.efi", "debian-installer/amd64/grub/x86_64-efi/fs.lst"):
        assert "20990101" in str(desk.tftp_open(name, PEER))
    assert "20250803" in str(desk.tftp_open("pxelinux.0", PEER))


def test_autoexec_is_the_menu_of_a_known_host_and_not_found_for_a_stranger(desk: Desk, armed: dict[str, Any]) -> None:
    script = desk.tftp_open(f"boot/{HOST.dashed}/autoexec.ipxe", PEER)
    assert isinstance(script, bytes)
    assert script.startswith(b"#!ipxe")
    assert b"kernel http://" in script
    assert desk.tftp_open("boot/52-54-00-99-99-99/autoexec.ipxe", PEER) is None
    assert desk.tftp_open("autoexec.ipxe", PEER) is None


def test_ipxe_comes_from_the_server_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pxeforge.services.loaders.IPXE_DIR", tmp_path)
    assert desk.tftp_open(f"boot/{HOST.dashed}/snponly.efi", PEER) is None
    (tmp_path / "snponly.efi").write_bytes(b"ipxe")
    (tmp_path / "secret").write_bytes(b"other")
    assert desk.tftp_open(f"boot/{HOST.dashed}/snponly.efi", PEER) == tmp_path / "snponly.efi"
    assert desk.tftp_open(f"boot/{HOST.dashed}/secret", PEER) is None


def test_a_file_transfer_by_mac_tells_that_the_dialect_was_the_right_one(ctx: Context) -> None:
    book = DialectBook()
    desk = Desk(ctx, book)
    for n in range(1, 9):
        assert book.discovered(HOST, Firmware.BIOS, n, 60.0 * n) is Dialect.DIRECT
        desk.tftp_open(f"boot/{HOST.dashed}/nothing" if n % 2 else f"pxelinux.cfg/01-{HOST.dashed}", PEER)


def break_template(ctx: Context, name: str) -> None:
    """After arming, which would have refused it."""
    folder = ctx.operator_dir / "boot_templates"
    folder.mkdir(parents=True)
    (folder / name).write_text("# mine\n{{ no_such_word }}\n")
    make_environment.cache_clear()  # it looks at a file's date once a second


@pytest.mark.parametrize(
    ("template", "name"),
    [("pxelinux.cfg.j2", f"pxelinux.cfg/01-{HOST.dashed}"), ("grub-start.cfg.j2", "grub/grub.cfg")],
)
def test_a_broken_template_of_the_operator_is_refused_by_file_and_line(
    ctx: Context, desk: Desk, armed: dict[str, Any], template: str, name: str
) -> None:
    break_template(ctx, template)
    with pytest.raises(Problem, match=rf"boot_templates/{template}:2: 'no_such_word' is undefined"):
        desk.tftp_open(name, PEER)


def test_a_menu_that_cannot_be_made_is_told_once_in_the_hosts_timeline(
    ctx: Context, desk: Desk, armed: dict[str, Any]
) -> None:
    break_template(ctx, "pxelinux.cfg.j2")
    for _ in range(3):
        with pytest.raises(Problem):
            desk.tftp_open(f"pxelinux.cfg/01-{HOST.dashed}", PEER)
    told = [event for event in events.timeline(ctx, hosts.show(ctx, MAC)["id"]) if event["kind"] == "menu_failed"]
    assert [event["source"] for event in told] == ["tftp"]
    assert f"no pxelinux menu for {PEER}: boot_templates/pxelinux.cfg.j2:2: 'no_such_word'" in told[0]["message"]
    assert hosts.show(ctx, MAC)["state"] == "armed"

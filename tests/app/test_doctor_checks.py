"""Every judgement of the doctor, on facts made by hand: no root, no network, no clock."""

from __future__ import annotations

import datetime
import errno
import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from pxeforge.app.certificate import ensure_certificate
from pxeforge.app.doctor import data_checks, network_checks, outside_checks, privilege_checks, self_test, wire_checks
from pxeforge.app.doctor.data_checks import DatabaseState, ImageState
from pxeforge.app.doctor.finding import Finding, Level
from pxeforge.app.doctor.links import Link, LinkAddress, link_of
from pxeforge.app.doctor.network_checks import Dnsmasq, dnsmasq_of
from pxeforge.app.doctor.privilege_checks import WantedPort
from pxeforge.app.doctor.processes import HeldPort, Process, capabilities_in, family_of, held_ports_in, serving_pid
from pxeforge.app.doctor.self_test import Fetched, Loader
from pxeforge.app.doctor.wire_checks import Wire
from pxeforge.servers.pxe_probe import Guise, SeenAnswer
from pxeforge.services import loaders
from pxeforge.store.database import Database
from pxeforge.store.location import in_file
from pxeforge.store.revisions import known_revisions
from tests.conftest import write_image
from tests.services.fake_repository import serve_repository

OK, NOTE, WARNING, ERROR = Level.OK, Level.NOTE, Level.WARNING, Level.ERROR
US, SITE, RIVAL = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.254"), IPv4Address("10.0.0.66")
HOME = LinkAddress(address=IPv4Interface("10.0.0.1/24"))
LINK = Link(name="eth0", index=2, addresses=(HOME,))
DHCP = WantedPort(purpose="DHCP", protocol="udp", port=67, interface="eth0")
WEB = WantedPort(purpose="boot plane", protocol="tcp", port=8080, setting="boot_port")
NOW = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)


def levels(findings: Iterable[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


# ---------------------------------------------------------------------------------------------- rights and ports


def capabilities(effective: int, **facts: object) -> list[Finding]:
    defaults: dict[str, object] = {"first_free_port": 1024, "mode": "proxy", "tied_needs_raw": False}
    return privilege_checks.check_capabilities(effective, [DHCP, WEB], **(defaults | facts))  # type: ignore[arg-type]


def test_root_has_enough_rights() -> None:
    assert levels(capabilities((1 << 41) - 1)) == [OK]


def test_low_ports_need_a_right_and_are_named() -> None:
    finding = only(capabilities(1 << 13))
    assert finding.level is ERROR
    assert "CAP_NET_BIND_SERVICE is missing" in finding.seen
    assert "UDP 67 (DHCP)" in finding.seen
    assert "8080" not in finding.seen
    assert levels(capabilities(1 << 13, first_free_port=0)) == [OK]


def test_without_raw_sockets_only_old_kernels_cannot_serve() -> None:
    assert levels(capabilities(1 << 10)) == [WARNING]
    assert levels(capabilities(1 << 10, tied_needs_raw=True)) == [ERROR]
    assert levels(capabilities(1 << 10, mode="off")) == [OK]


def test_the_bits_come_from_the_status_file() -> None:
    assert capabilities_in("Name:\tx\nCapPrm:\t00\nCapEff:\t0000000000002400\n") == 0x2400
    assert capabilities_in("") == 0


def test_a_held_port_names_its_holder_and_what_to_change() -> None:
    holder = Process(pid=7, name="dnsmasq")
    held = [HeldPort(protocol="udp", address="0.0.0.0", port=67, holders=(holder,))]
    finding = only(privilege_checks.check_ports([DHCP], {DHCP: errno.EADDRINUSE}, held, frozenset()))
    assert (finding.level, finding.interface) == (ERROR, "eth0")
    assert "UDP 67 (DHCP) is held by dnsmasq (pid 7)" in finding.seen
    assert "--dhcp off" in finding.advice
    unseen = only(privilege_checks.check_ports([WEB], {WEB: errno.EADDRINUSE}, held, frozenset()))
    assert "only root can see" in unseen.seen
    assert "boot_port" in unseen.advice


def test_the_ports_of_the_server_that_runs_here_are_no_conflict() -> None:
    held = [HeldPort(protocol="udp", address="0.0.0.0", port=67, holders=(Process(pid=7, name="python3"),))]
    found = privilege_checks.check_ports([DHCP, WEB], {DHCP: errno.EADDRINUSE}, held, frozenset({7}))
    assert levels(found) == [OK, OK]
    assert "held by the pxeforge that runs here: UDP 67" in found[0].seen


def test_a_holder_on_another_interface_is_no_conflict_where_the_port_could_be_opened() -> None:
    held = [HeldPort(protocol="udp", address="0.0.0.0", port=67, holders=(Process(pid=7, name="dnsmasq"),))]
    assert levels(privilege_checks.check_ports([DHCP], {}, held, frozenset())) == [OK]


def test_the_kernels_table_of_ports_is_read() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "  10: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n"
        "  11: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100\n"
    )
    assert held_ports_in(text, "tcp") == [HeldPort(protocol="tcp", address="127.0.0.1", port=8080, inode=4711)]
    assert len(held_ports_in(text, "udp")) == 2
    six = text.replace("0100007F:1F90 00000000:0000", "00000000000000000000000001000000:1F90 0:0")
    assert held_ports_in(six, "tcp")[0].address == "::1"


def test_the_holder_of_the_lock_is_told_by_the_kernels_table(tmp_path: Path) -> None:
    lock = tmp_path / "serve.lock"
    assert serving_pid(lock, tmp_path) is None
    lock.touch()
    inode = lock.stat().st_ino
    (tmp_path / "locks").write_text(
        f"1: POSIX  ADVISORY  READ 11 fe:00:{inode} 128 128\n2: FLOCK  ADVISORY  WRITE 42 fe:00:{inode} 0 EOF\n"
        f"2: -> FLOCK  ADVISORY  WRITE 43 fe:00:{inode} 0 EOF\n"
    )
    assert serving_pid(lock, tmp_path) == 42
    (tmp_path / "locks").write_text(f"2: FLOCK  ADVISORY  WRITE 42 fe:00:{inode}1 0 EOF\n")
    assert serving_pid(lock, tmp_path) is None


def test_a_family_is_a_process_with_all_its_descendants() -> None:
    processes = [Process(pid=pid, parent=parent) for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 1))]
    assert family_of(2, processes) == {2, 3, 4}
    assert family_of(None, processes) == frozenset()


# ---------------------------------------------------------------------------------------------- interface


def test_an_interface_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    assert "eth0 (10.0.0.1/24)" in only(network_checks.check_interfaces([], [LINK])).advice
    wrong = only(network_checks.check_interfaces(["eth9"], [LINK]))
    assert (wrong.level, "eth0" in wrong.advice) == (ERROR, True)
    assert levels(network_checks.check_interfaces(["eth0"], [LINK])) == [OK]


@pytest.mark.parametrize(
    ("link", "level", "said"),
    [
        (LINK, OK, "MTU 1500"),
        (replace(LINK, is_up=False), ERROR, "ip link set eth0 up"),
        (replace(LINK, has_carrier=False), WARNING, "no cable"),
        (replace(LINK, has_carrier=False, kind="bridge"), WARNING, "no port of the bridge"),
        (replace(LINK, mtu=1400), NOTE, "MTU is 1400"),
        (replace(LINK, mtu=9000), OK, "MTU 9000"),
    ],
)
def test_a_link_is_judged(link: Link, level: Level, said: str) -> None:
    finding = only(network_checks.check_link(link))
    assert finding.level is level
    assert said in finding.seen + finding.advice


def test_a_vlan_link_is_read_from_the_kernels_message() -> None:
    """Made by the message's own encoder: not every kernel has VLANs."""
    details = {"attrs": [("IFLA_VLAN_ID", 12)]}
    info = {"attrs": [("IFLA_INFO_KIND", "vlan"), ("IFLA_INFO_DATA", details)]}
    attributes = [("IFLA_IFNAME", "eth0.12"), ("IFLA_MTU", 1496), ("IFLA_LINK", 2), ("IFLA_CARRIER", 1)]
    sent = ifinfmsg()
    sent["index"], sent["flags"], sent["attrs"] = 5, 1, [*attributes, ("IFLA_LINKINFO", info)]
    sent.encode()
    heard = ifinfmsg(sent.data)
    heard.decode()
    assert link_of(heard, {2: "eth0", 5: "eth0.12"}, []) == Link(
        name="eth0.12", index=5, kind="vlan", mtu=1496, parent="eth0", vlan=12
    )


def test_the_address_must_be_there_and_stay() -> None:
    assert levels(network_checks.check_address(LINK)) == [OK]
    assert levels(network_checks.check_address(replace(LINK, addresses=()))) == [ERROR]
    leased = replace(HOME, is_permanent=False)
    assert "leased" in only(network_checks.check_address(replace(LINK, addresses=(leased,)))).seen
    second = LinkAddress(address=IPv4Interface("10.1.0.1/24"))
    assert levels(network_checks.check_address(replace(LINK, addresses=(HOME, second)))) == [NOTE]


def test_spanning_tree_with_a_delay_breaks_netboot_also_on_the_bridge_of_a_port() -> None:
    bridge = replace(LINK, name="br0", kind="bridge", stp=True, forward_delay_s=15.0)
    finding = only(network_checks.check_topology(bridge, [bridge]))
    assert (finding.level, finding.data["deaf_s"]) == (WARNING, 30)
    quiet = replace(bridge, forward_delay_s=0)
    assert levels(network_checks.check_topology(quiet, [quiet])) == [OK]
    off = replace(bridge, stp=False)
    assert levels(network_checks.check_topology(off, [off])) == [OK]
    port = replace(LINK, master="br0")
    found = network_checks.check_topology(port, [port, replace(bridge, addresses=())])
    assert levels(found) == [ERROR, WARNING]
    assert "--interface br0" in found[0].advice


def test_vlans_docker_bridges_and_twins_in_one_subnet_are_told() -> None:
    vlan = replace(LINK, name="eth0.12", kind="vlan", vlan=12, parent="eth0")
    assert "VLAN 12 on eth0" in only(network_checks.check_topology(vlan, [vlan])).seen
    docker = replace(LINK, name="br-0123456789ab", kind="bridge")
    assert "Docker" in only(network_checks.check_topology(docker, [docker])).seen
    twin = replace(LINK, name="eth1", addresses=(LinkAddress(address=IPv4Interface("10.0.0.2/24")),))
    assert "eth1" in only(network_checks.check_topology(LINK, [LINK, twin])).seen


@pytest.mark.parametrize(
    ("first", "last", "level"),
    [("10.0.0.50", "10.0.0.60", OK), ("10.0.1.50", "10.0.1.60", ERROR), ("10.0.0.50", "10.0.1.60", ERROR),
     ("10.0.0.1", "10.0.0.9", ERROR)],
)  # fmt: skip
def test_the_range_lies_in_the_subnet_and_leaves_us_out(first: str, last: str, level: Level) -> None:
    assert levels(network_checks.check_range(LINK, IPv4Address(first), IPv4Address(last))) == [level]


# ---------------------------------------------------------------------------------------------- neighbours

LIBVIRT = "/var/lib/libvirt/dnsmasq/default.conf"


def neighbours(
    *dnsmasqs: Dnsmasq, mode: str = "proxy", networkd: str = "", is_container: bool = False
) -> list[Finding]:
    return network_checks.check_neighbours(LINK, dnsmasqs, mode=mode, networkd=networkd, is_container=is_container)


def test_libvirts_dnsmasq_is_told_by_its_file() -> None:
    process = Process(pid=9, name="dnsmasq", args=("/usr/sbin/dnsmasq", f"--conf-file={LIBVIRT}"))
    text = "strict-order\ninterface=eth0\ndhcp-range=192.168.122.2,192.168.122.254,255.255.255.0\n"
    found = dnsmasq_of(process, {LIBVIRT: text}.__getitem__)
    assert found == Dnsmasq(
        pid=9, owner="of libvirt's network default", interfaces=frozenset({"eth0"}), serves_dhcp=True
    )
    finding = only(neighbours(found))
    assert finding.level is ERROR
    assert "virsh net-edit" in finding.advice
    assert levels(neighbours(found, mode="off")) == [NOTE]


def test_libvirt_on_its_own_bridge_is_no_trouble() -> None:
    other = Dnsmasq(pid=9, owner="of libvirt's network x", interfaces=frozenset({"virbr0"}), serves_dhcp=True)
    assert levels(neighbours(other)) == [OK]
    assert levels(neighbours(replace(other, interfaces=frozenset(), serves_dhcp=False))) == [OK]


def test_networkmanagers_shared_connection_is_told_by_its_arguments() -> None:
    words = ("dnsmasq", "--conf-file=/dev/null", "--dhcp-range=10.42.0.10,10.42.0.254",
             "--pid-file=/run/nm-dnsmasq-eth0.pid")  # fmt: skip
    found = dnsmasq_of(Process(pid=9, name="dnsmasq", args=words), lambda _: "")
    assert found is not None
    assert "NetworkManager" in only(neighbours(found)).seen
    assert dnsmasq_of(Process(pid=9, name="cat", args=words), lambda _: "") is None


def test_an_operators_dnsmasq_without_interface_serves_everywhere() -> None:
    process = Process(pid=9, name="dnsmasq", args=("dnsmasq", "--dhcp-range=10.0.0.50,10.0.0.90"))
    found = dnsmasq_of(process, lambda _: "")
    assert found is not None
    assert levels(neighbours(found)) == [ERROR]


def test_networkds_server_and_a_containers_network_are_told() -> None:
    assert "systemd-networkd" in only(neighbours(networkd="[Network]\nDHCPServer=yes\n")).seen
    assert levels(neighbours(networkd="[Network]\nDHCPServer=no\n#DHCPServer=yes\n")) == [OK]
    assert "--network host" in only(neighbours(is_container=True)).advice


# ---------------------------------------------------------------------------------------------- wire


def answer(server: IPv4Address = SITE, guise: Guise = Guise.BIOS, **fields: object) -> SeenAnswer:
    facts: dict[str, object] = {
        "guise": guise, "port": 67, "server": server, "source": server, "address": None, "next_server": None,
        "file": "", "boot_file": "", "server_name": "", "vendor_class": "", "vendor": b"", "control": None,
    }  # fmt: skip
    return SeenAnswer(**(facts | fields))  # type: ignore[arg-type]


def lease(server: IPv4Address = SITE, **fields: object) -> SeenAnswer:
    return answer(server, **({"address": IPv4Address("10.0.0.50")} | fields))


def pxe(server: IPv4Address = RIVAL, **fields: object) -> SeenAnswer:
    return answer(server, **({"vendor_class": "PXEClient", "file": "boot.0", "next_server": server} | fields))


def wire(*answers: SeenAnswer, mode: str = "proxy", **facts: object) -> Wire:
    base = Wire(interface="eth0", mode=mode, answers=answers, own=frozenset({US}), home=US)
    return replace(base, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "level"), [("proxy", ERROR), ("off", ERROR), ("server", OK)])
def test_a_silent_network_suits_server_mode_only(mode: str, level: Level) -> None:
    finding = only(wire_checks.check_dhcp_offers(wire(mode=mode)))
    assert finding.level is level
    if mode == "proxy":
        assert "hosts would get no address" in finding.seen
        assert "start your DHCP server or use --dhcp server" in finding.advice


@pytest.mark.parametrize(("mode", "level"), [("proxy", OK), ("off", OK), ("server", ERROR)])
def test_the_sites_dhcp_server_suits_every_mode_but_server_mode(mode: str, level: Level) -> None:
    finding = only(wire_checks.check_dhcp_offers(wire(lease(), lease(guise=Guise.UEFI), mode=mode)))
    assert finding.level is level
    assert "10.0.0.254 offers 10.0.0.50" in finding.seen
    assert finding.data["guises"] == ["bios", "uefi-x64"]
    forced = only(wire_checks.check_dhcp_offers(wire(lease(), mode="server", force=True)))
    assert forced.level is WARNING


def test_our_own_server_is_known_when_it_runs_and_is_a_stranger_when_it_does_not() -> None:
    assert levels(wire_checks.check_dhcp_offers(wire(lease(US), mode="server", is_serving=True))) == [OK]
    assert levels(wire_checks.check_dhcp_offers(wire(lease(US), mode="server"))) == [ERROR]
    assert levels(wire_checks.check_dhcp_offers(wire(mode="server", is_serving=True))) == [WARNING]


def test_two_dhcp_servers_are_each_listed_and_then_compared() -> None:
    found = wire_checks.check_dhcp_offers(wire(lease(), lease(RIVAL)))
    assert levels(found) == [OK, OK, WARNING]
    assert "10.0.0.254, 10.0.0.66" in found[-1].seen


def test_a_relay_is_named() -> None:
    relayed = lease(source=IPv4Address("10.0.0.253"))
    assert "relayed by 10.0.0.253" in only(wire_checks.check_dhcp_offers(wire(relayed))).seen


def test_a_foreign_pxe_service_would_fight_ours() -> None:
    finding = only(wire_checks.check_boot_offers(wire(lease(), pxe(), pxe(port=4011, address=None))))
    assert finding.level is ERROR
    assert "bios on port 67 gets boot.0 from 10.0.0.66" in finding.seen
    assert [offer["port"] for offer in finding.data["offers"]] == [67, 4011]
    assert levels(wire_checks.check_boot_offers(wire(pxe(), mode="off"))) == [NOTE]
    assert levels(wire_checks.check_boot_offers(wire(pxe(US), is_serving=True))) == [OK]


def test_two_pxe_services_are_compared_and_a_menu_is_shown() -> None:
    found = wire_checks.check_boot_offers(wire(pxe(US), pxe(file="", menu=((1, "Windows"),)), is_serving=True))
    assert levels(found) == [OK, ERROR, ERROR]
    assert "menu Windows" in found[1].seen
    assert "10.0.0.1, 10.0.0.66" in found[2].seen


@pytest.mark.parametrize(
    ("next_server", "mode", "level"),
    [(SITE, "proxy", WARNING), (None, "proxy", WARNING), (US, "proxy", NOTE), (US, "off", OK), (SITE, "off", WARNING),
     (SITE, "server", WARNING)],
)  # fmt: skip
def test_a_dhcp_server_that_names_a_boot_file_is_judged_by_where_it_leads(
    next_server: IPv4Address | None, mode: str, level: Level
) -> None:
    finding = only(wire_checks.check_boot_offers(wire(lease(file="x.0", next_server=next_server), mode=mode)))
    assert finding.level is level
    assert "x.0" in finding.seen


def test_a_next_server_without_a_file_is_told_unless_it_is_the_dhcp_server_itself() -> None:
    assert "nobody else" in only(wire_checks.check_boot_offers(wire(lease(next_server=SITE)))).seen
    assert levels(wire_checks.check_boot_offers(wire(lease(next_server=US)))) == [OK]
    assert levels(wire_checks.check_boot_offers(wire(lease(next_server=RIVAL)))) == [NOTE]


def test_with_dhcp_off_somebody_must_name_our_loader() -> None:
    finding = only(wire_checks.check_boot_offers(wire(lease(), mode="off")))
    assert finding.level is WARNING
    assert "next-server 10.0.0.1" in finding.advice
    assert levels(wire_checks.check_boot_offers(wire(lease(next_server=RIVAL), mode="off"))) == [NOTE, WARNING]


def test_a_header_and_an_option_that_disagree_are_both_shown() -> None:
    finding = only(wire_checks.check_boot_offers(wire(lease(file="a.0", boot_file="b.efi"))))
    assert "b.efi" in finding.seen
    assert "the header says a.0" in finding.seen


# ---------------------------------------------------------------------------------------------- data directory


def test_the_data_directory_is_there_writable_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert levels(data_checks.check_data_dir(folder)) == [NOTE]
    folder.mkdir(mode=0o755)
    assert "chmod 0700" in only(data_checks.check_data_dir(folder)).advice
    folder.chmod(0o700)
    assert levels(data_checks.check_data_dir(folder)) == [OK]
    (folder / "file").touch()
    assert levels(data_checks.check_data_dir(folder / "file")) == [ERROR]


@pytest.mark.parametrize(("free", "level"), [(2 << 30, OK), ((2 << 30) - 1, WARNING), (1 << 20, ERROR)])
def test_two_gibibytes_are_wanted(free: int, level: Level) -> None:
    assert levels(data_checks.check_disk(Path("/data"), free)) == [level]


def test_a_key_that_is_missing_beside_a_database_is_an_error(tmp_path: Path) -> None:
    key = tmp_path / "secret.key"
    assert levels(data_checks.check_key(key, has_database=False)) == [NOTE]
    assert "restore secret.key" in only(data_checks.check_key(key, has_database=True)).advice
    key.write_bytes(b"short")
    assert levels(data_checks.check_key(key, has_database=True)) == [ERROR]
    key.write_bytes(b"k" * 44 + b"\n")
    key.chmod(0o644)
    assert "0644" in only(data_checks.check_key(key, has_database=True)).seen
    key.chmod(0o600)
    assert levels(data_checks.check_key(key, has_database=True)) == [OK]


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (DatabaseState(is_present=False), NOTE),
        (DatabaseState(is_present=True, revision="0002"), OK),
        (DatabaseState(is_present=True, revision="0001"), NOTE),
        (DatabaseState(is_present=True), NOTE),
        (DatabaseState(is_present=True, revision="0009"), ERROR),
        (DatabaseState(is_present=True, problem="file is not a database"), ERROR),
    ],
)
def test_a_database_of_another_release_is_told(state: DatabaseState, level: Level) -> None:
    assert levels(data_checks.check_database(state, ("0002", "0001"))) == [level]


def test_a_real_database_is_read_without_being_changed(tmp_path: Path) -> None:
    path = tmp_path / "pxeforge.db"
    assert not data_checks.read_database(in_file(path)).is_present
    database = Database(path)
    database.upgrade()
    database.close()
    before = hashlib.sha256(path.read_bytes()).digest()
    state = data_checks.read_database(in_file(path))
    assert levels(data_checks.check_database(state, known_revisions())) == [OK]
    assert hashlib.sha256(path.read_bytes()).digest() == before
    path.write_bytes(b"no database at all" * 100)
    assert "not a database" in data_checks.read_database(in_file(path)).problem
    path.unlink()
    sqlite3.connect(path).close()
    assert data_checks.read_database(in_file(path)) == DatabaseState(is_present=True)


SYSTEM = frozenset({"linux", "initrd.gz"})
WHOLE = frozenset({"linux", "initrd.gz", *(f"loaders/{n}" for n in ("pxelinux.0", "ldlinux.c32"))}) | frozenset(
    {"loaders/bootnetx64.efi", "loaders/grubx64.efi"}
)


@pytest.mark.parametrize(
    ("images", "level", "said"),
    [
        ((), WARNING, "pxeforge image import debian-13"),
        ((ImageState(name="debian-13/1", files=WHOLE),), OK, "whole"),
        ((ImageState(name="memtest/7", files=frozenset({"memtest.bin", "memtest.efi"})),), OK, "whole"),
        ((ImageState(name="memtest/7", files=frozenset({"memtest.bin"})),), ERROR, "no memtest.efi"),
        ((ImageState(name="debian-13-arm64/1", files=WHOLE),), ERROR, "no loaders/bootnetaa64.efi"),
        ((ImageState(name="debian-13/1", files=WHOLE - {"linux"}),), ERROR, "no linux"),
        ((ImageState(name="debian-13/1", files=WHOLE - {"loaders/ldlinux.c32"}),), WARNING, "BIOS hosts cannot boot"),
        ((ImageState(name="debian-13/1", files=WHOLE - {"loaders/grubx64.efi"}),), WARNING, "UEFI hosts cannot boot"),
        ((ImageState(name="debian-13/1", files=WHOLE, wrong=("linux",)),), ERROR, "damaged: linux"),
        ((ImageState(name="debian-13/1", problem="unreadable"),), ERROR, "unreadable"),
        ((ImageState(name="rocky-9/1", files=SYSTEM, distribution="rocky"),), OK, "whole"),
        ((ImageState(name="rocky-9/1", files=frozenset({"linux"}), distribution="rocky"),), ERROR, "no initrd.gz"),
        ((ImageState(name="r/1", files=SYSTEM, distribution="rocky", is_verified=False),), WARNING, "nobody vouches"),
    ],
)
def test_an_image_is_whole_and_boots_every_firmware(images: tuple[ImageState, ...], level: Level, said: str) -> None:
    finding = only(data_checks.check_images(images))
    assert finding.level is level
    assert said in finding.seen + finding.advice


def test_a_file_that_shrank_and_a_damaged_manifest_are_found_on_disk(tmp_path: Path) -> None:
    folder = write_image(tmp_path)
    assert data_checks.read_images(tmp_path)[0].wrong == ()
    (folder / "linux").write_bytes(b"k")
    (folder / "initrd.gz").unlink()
    assert data_checks.read_images(tmp_path)[0].wrong == ("initrd.gz", "linux")
    (folder / "image.json").write_text("{")
    assert "holds no readable image" in data_checks.read_images(tmp_path)[0].problem


def test_a_profile_needs_its_image_and_somebody_who_can_log_in() -> None:
    good = {"name": "p", "image": "debian-13", "parameters": {"root_password_hash": "$6$x"}}
    assert levels(data_checks.check_profiles([good], ["debian-13"])) == [OK]
    assert levels(data_checks.check_profiles([], [])) == [NOTE]
    assert "debian-13, which is not here" in only(data_checks.check_profiles([good], [])).seen
    locked = good | {"parameters": {"accounts": []}}
    finding = only(data_checks.check_profiles([locked], ["debian-13"]))
    assert finding.level is WARNING
    assert "lets nobody log in" in finding.seen


# ---------------------------------------------------------------------------------------------- around


@pytest.mark.parametrize(
    ("year", "synchronised", "level"),
    [(2026, True, OK), (2026, False, WARNING), (2026, None, NOTE), (1970, True, ERROR), (2106, True, ERROR)],
)
def test_the_clock_is_sane_and_kept(year: int, synchronised: bool | None, level: Level) -> None:
    assert levels(outside_checks.check_clock(NOW.replace(year=year), synchronised)) == [level]


def test_the_kernel_tells_whether_the_clock_is_kept() -> None:
    assert outside_checks.clock_is_synchronised() in (True, False, None)


def test_a_mirror_is_judged_by_every_suite() -> None:
    assert levels(outside_checks.check_mirror(None, {})) == [WARNING]
    assert levels(outside_checks.check_mirror("http://m/debian", None)) == [OK]
    assert levels(outside_checks.check_mirror("http://m/debian", {"trixie": ""})) == [OK]
    found = outside_checks.check_mirror("http://m/debian", {"trixie": "", "sid": "answers 404"})
    assert [(f.level, f.seen) for f in found] == [(WARNING, "http://m/debian/dists/sid/InRelease: answers 404")]


def test_a_mirror_behind_a_proxy_is_asked_through_it() -> None:
    with serve_repository() as (url, repository):
        repository.put("/debian/dists/trixie/InRelease", b"release")
        assert outside_checks.ask_mirror("http://mirror.invalid/debian", ["trixie"], url) == {"trixie": ""}
        assert repository.proxied == 1


def test_a_mirror_that_is_not_there_is_told() -> None:
    assert outside_checks.ask_mirror("http://127.0.0.1:9/debian", ["trixie"]) == {
        "trixie": "no answer (ConnectionError)"
    }


def test_the_certificate_names_the_boot_address_and_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "tls" / "server.crt"
    assert levels(outside_checks.check_certificate(outside_checks.read_certificate(path), "10.0.0.1", NOW)) == [NOTE]
    path.parent.mkdir()
    ensure_certificate(tmp_path, ["10.0.0.1"], NOW)
    certificate = outside_checks.read_certificate(path)
    assert levels(outside_checks.check_certificate(certificate, "10.0.0.1", NOW)) == [OK]
    assert levels(outside_checks.check_certificate(certificate, "10.0.0.2", NOW)) == [WARNING]
    assert (
        "set the clock"
        in only(outside_checks.check_certificate(certificate, "10.0.0.1", NOW.replace(year=2020))).advice
    )
    assert levels(outside_checks.check_certificate(certificate, "10.0.0.1", NOW.replace(year=2040))) == [ERROR]


# ---------------------------------------------------------------------------------------------- self-test

LOADER = Loader(name="pxelinux.0", digests=frozenset({"aa"}))


@pytest.mark.parametrize(
    ("loader", "fetched", "level"),
    [
        (None, None, NOTE),
        (LOADER, None, NOTE),
        (LOADER, Fetched(what="TFTP", problem="timed out"), ERROR),
        (LOADER, Fetched(what="TFTP", size=2, sha256="bb"), ERROR),
        (LOADER, Fetched(what="TFTP", size=2, sha256="aa"), OK),
    ],
)
def test_the_loader_must_come_as_it_was_imported(loader: Loader | None, fetched: Fetched | None, level: Level) -> None:
    assert levels(self_test.check_tftp(loader, fetched)) == [level]


def test_the_boot_plane_must_answer() -> None:
    assert levels(self_test.check_http(None)) == [NOTE]
    assert levels(self_test.check_http(Fetched(what="http://x/healthz"))) == [OK]
    assert levels(self_test.check_http(self_test.fetch_health("127.0.0.1", 9))) == [ERROR]


def test_a_tftp_server_that_is_not_there_is_told_in_time() -> None:
    assert self_test.fetch_tftp("127.0.0.1", 9, "pxelinux.0").problem


def test_a_row_has_the_stable_keys() -> None:
    row = only(wire_checks.check_dhcp_offers(wire(lease()))).row()
    assert set(row) == {"check", "level", "interface", "seen", "advice", "data"}
    assert (row["level"], row["interface"]) == ("ok", "eth0")


@given(
    st.lists(st.lists(st.sampled_from(["0:", "0100007F:0043", "0A", "07", "x", "17", "-1"]), max_size=14), max_size=4)
)
def test_a_cut_line_of_the_kernels_table_is_left_out(lines: list[list[str]]) -> None:
    text = "\n".join(["head", *(" ".join(words[:9]) for words in lines)])
    assert held_ports_in(text, "udp") == []


def test_a_missing_ipxe_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "IPXE_DIR", tmp_path)
    finding = only(data_checks.check_loaders(tmp_path))
    assert (finding.level, "apt install ipxe" in finding.advice) == (WARNING, True)
    assert "UEFI HTTP Boot" in finding.seen
    (tmp_path / "snponly.efi").write_bytes(b"x")
    assert "UEFI HTTP Boot" not in only(data_checks.check_loaders(tmp_path)).seen
    (tmp_path / "undionly.kpxe").write_bytes(b"x")
    assert levels(data_checks.check_loaders(tmp_path)) == [OK]

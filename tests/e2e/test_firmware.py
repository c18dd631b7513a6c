"""Real firmware, from power-on to its own kernel: the cells of the firmware matrix that every change must keep green.

Two columns, beside dnsmasq and in server mode, each with one lab and two machines at a time; some machines run on
until they have fetched their answers. `make matrix` runs all cells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from pxeforge.domain.firmware import Firmware
from pxeforge.lab import qmp
from pxeforge.lab.journey import PROFILE, Journey
from pxeforge.lab.matrix import COLUMNS, ROWS, Outcome
from pxeforge.lab.matrix_run import SPARE, Matrix, Ran
from pxeforge.lab.qemu import Machine
from pxeforge.lab.session import Lab
from pxeforge.lab.word_disk import make_word_disk
from tests.e2e.conftest import CACHE, ROOT

NAMES = ("ipxe", "pxelinux", "undionly", "ovmf", "ovmf-http", "secure-boot", "secure-http")
UNTIL: Mapping[str, Mapping[str, str]] = {
    "server": {"secure-boot": "answers_fetched", "ovmf-http": "answers_fetched", "secure-http": "answers_fetched"},
    "dnsmasq": {"ovmf": "answers_fetched", "ovmf-http": "answers_fetched", "pxelinux": "early"},
}
BEGAN = time.monotonic()
pytestmark = [
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.geteuid() != 0, reason="a virtual rack needs root (network namespaces)"),
    pytest.mark.skipif(not Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists(), reason="the package ovmf is missing"),
    pytest.mark.skipif(not Path("/usr/lib/ipxe/snponly.efi").exists(), reason="the package ipxe is missing"),
]


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:7.1f} s] {text}", flush=True)


@dataclass(frozen=True)
class Booted:
    """A column's lab, and a way to its cells; all of them are run when the first one is asked for."""

    lab: Lab
    cells: Callable[[], Mapping[str, Ran]]

    def ran(self, row: str) -> Ran:
        """The cell, which must be green."""
        ran = self.cells()[row]
        assert ran.cell.outcome is Outcome.GREEN, f"{ran.cell.words()}\n{ran.seen.console[-800:]}"
        return ran

    def sent(self, row: str, source: str | None = None) -> str:
        return "\n".join(self.ran(row).seen.told(source))


def booted(name: str) -> Iterator[Booted]:
    column = next(column for column in COLUMNS if column.name == name)
    rows = [row for row in ROWS if row.name in NAMES]
    matrix = Matrix(folder=ROOT / "firmware", cache=CACHE, say=say, jobs=2, until=UNTIL[name], images=["memtest"])
    with matrix.lab(column, rows) as lab:
        yield Booted(lab, cache(lambda: {ran.cell.row: ran for ran in matrix.run_column(lab, column, rows)}))


@pytest.fixture(scope="module")
def proxy() -> Iterator[Booted]:
    yield from booted("dnsmasq")


@pytest.fixture(scope="module")
def server() -> Iterator[Booted]:
    yield from booted("server")


class TestBesideDnsmasq:
    def test_an_unknown_machine_meets_silence_and_is_discovered(self, proxy: Booted) -> None:
        journey = Journey(proxy.lab, say, number=SPARE)
        try:
            journey.discover()
        finally:
            journey.machine.power_off()
        events = proxy.lab.timeline(journey.mac)
        assert any("silence" in event["message"] for event in events)
        assert not any(event["kind"] in ("leased", "menu_fetched", "dhcp_answered") for event in events)

    @pytest.mark.parametrize("row", NAMES)
    def test_a_machine_fetches_its_own_menu_and_starts_its_kernel(self, proxy: Booted, row: str) -> None:
        assert not proxy.ran(row).seen.has("leased")

    def test_pxelinux_and_the_installer_come_by_tftp(self, proxy: Booted) -> None:
        events = proxy.ran("pxelinux").seen.events
        sent = [event["message"] for event in events if event["kind"] == "tftp_sent"]
        for name in ("pxelinux.0", "ldlinux.c32", "linux", "initrd.gz"):
            assert any(name in message for message in sent), f"{name} was not sent by TFTP: {sent}"
        assert any(event["kind"] == "menu_fetched" and event["source"] == "tftp" for event in events)

    def test_shim_and_grub_find_their_files_here(self, proxy: Booted) -> None:
        said = proxy.sent("ovmf")
        assert "to be continued on port 4011" in said
        assert "grub menu fetched" in said

    def test_http_boot_installs_by_ipxe(self, proxy: Booted) -> None:
        assert "proxy OFFER, boot URL http://" in proxy.sent("ovmf-http")
        assert "ipxe menu fetched" in proxy.sent("ovmf-http", "http")

    def test_leases_came_from_the_sites_server_only(self, proxy: Booted) -> None:
        proxy.cells()
        assert "DHCPACK" in (proxy.lab.folder / "site-dhcp.log").read_text()
        for row in NAMES:
            assert not any(event["kind"] == "leased" for event in proxy.lab.timeline(row))
        assert proxy.lab.json("profile", "show", PROFILE)["image"] == PROFILE


class TestServerMode:
    @pytest.mark.parametrize("row", NAMES)
    def test_a_machine_fetches_its_own_menu_and_starts_its_kernel(self, server: Booted, row: str) -> None:
        assert server.ran(row).seen.kernel_runs
        assert any(event["kind"] == "leased" for event in server.lab.timeline(row))

    def test_secure_boot_installs_by_shim_and_grub(self, server: Booted) -> None:
        sent = server.sent("secure-boot", "tftp")
        for name in ("bootnetx64.efi", "grubx64.efi"):
            assert name in sent
        for name in ("linux", "initrd.gz"):
            assert f"{name} fetched" in server.sent("secure-boot", "http")
        assert "grub menu fetched" in sent
        assert "secureboot: Secure boot enabled" in server.ran("secure-boot").seen.console

    def test_http_boot_with_secure_boot_installs_by_shim_and_grub(self, server: Booted) -> None:
        said = server.sent("secure-http")
        assert "/bootnetx64.efi" in said
        assert "grub menu fetched" in said
        assert "linux fetched" in server.sent("secure-http", "http")
        sent = server.sent("secure-http", "tftp")
        assert "boot/" not in sent
        assert "images/" not in sent
        assert "secureboot: Secure boot enabled" in server.ran("secure-http").seen.console

    def test_http_boot_installs_by_ipxe(self, server: Booted) -> None:
        assert "ipxe menu fetched" in server.sent("ovmf-http", "http")
        assert "linux fetched" in server.sent("ovmf-http", "http")
        assert "boot/" not in server.sent("ovmf-http", "tftp")


WORD = "this is the local disk"
MENU = ("--menu", "--profile", PROFILE, "--timeout", "5s")
TEXT_AT, TEXT_BYTES = 0xB8000, 80 * 25 * 2  # a PC's screen in text mode: a character and its colours
BLUE = (0, 0, 170)  # what memtest86+ fills its screen with


@dataclass(frozen=True)
class Other:
    """A machine of the server's lab that starts something else than an installer."""

    lab: Lab
    machine: Machine

    def arm(self, loader: str, *words: str) -> None:
        mac = str(self.machine.mac)
        if self.lab.host(mac) is None:
            self.lab.pxeforge("host", "add", "--mac", mac, "--name", "other")
        self.lab.pxeforge("host", "disarm", "other", check=False)
        self.lab.pxeforge("host", "set", "other", "--loader", loader)
        if words:
            self.lab.pxeforge("host", "arm", "other", *words)

    def wait(self, happened: Callable[[], bool], limit_s: float = 120.0) -> None:
        """A busy computer may take longer."""
        began = time.monotonic()
        while not happened():
            patience = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
            passed_s = time.monotonic() - began
            assert self.machine.is_running
            assert passed_s < limit_s * patience, f"not after {passed_s:.0f} s: {self.machine.console_text()[-800:]}"
            time.sleep(0.5)

    def says(self, text: str) -> bool:
        return text in self.machine.console_text()


@pytest.fixture
def other(server: Booted, request: pytest.FixtureRequest) -> Iterator[Other]:
    """`firmware` and, for some, `plain_rom` are parameters of the test."""
    given = request.node.callspec.params
    server.cells()  # two machines at a time are enough
    machine = server.lab.machine(SPARE, fresh_disk=True, firmware=given["firmware"])
    machine.plain_rom = given.get("plain_rom", False)
    try:
        yield Other(server.lab, machine)
    finally:
        machine.power_off()
        server.lab.pxeforge("host", "disarm", "other", check=False)


@pytest.mark.by_hand
class TestLocalDisk:
    @pytest.mark.parametrize("firmware", [Firmware.BIOS])
    def test_a_host_that_is_not_armed_boots_its_disk(self, other: Other, firmware: Firmware) -> None:
        make_word_disk(other.machine.disk, WORD)
        other.arm("ipxe")
        other.machine.start()
        other.wait(lambda: other.says(WORD))
        assert not any(event["kind"] == "menu_fetched" for event in other.lab.timeline("other"))

    @pytest.mark.parametrize(
        ("firmware", "plain_rom", "loader"),
        [
            (Firmware.BIOS, False, "ipxe"),
            (Firmware.BIOS, True, "ipxe"),
            (Firmware.BIOS, False, "pxelinux"),
            (Firmware.UEFI_X64, False, "ipxe"),
            (Firmware.UEFI_X64, False, "grub"),
        ],
    )
    def test_a_menu_where_nobody_chooses_boots_the_disk(
        self, other: Other, firmware: Firmware, plain_rom: bool, loader: str
    ) -> None:
        make_word_disk(other.machine.disk, WORD)
        other.arm(loader, *MENU)
        known = len(other.lab.timeline("other"))
        other.machine.start()
        other.wait(lambda: other.says(WORD))
        menus = [event["message"] for event in other.lab.timeline("other")[known:] if event["kind"] == "menu_fetched"]
        assert menus[0].startswith(f"{loader} menu")


@pytest.mark.by_hand
class TestPrograms:
    @pytest.mark.parametrize(("firmware", "loader"), [(Firmware.BIOS, "ipxe")])
    def test_the_memory_test_shows_its_screen_on_bios(self, other: Other, firmware: Firmware, loader: str) -> None:
        other.machine.extra_args = ("-device", "VGA")
        other.arm(loader, "--boot", "memtest")
        other.machine.start()
        other.wait(lambda: "Memtest86+" in text_screen(other.machine))

    @pytest.mark.parametrize(("firmware", "loader"), [(Firmware.UEFI_X64, "ipxe")])
    def test_the_memory_test_shows_its_screen_on_uefi(self, other: Other, firmware: Firmware, loader: str) -> None:
        other.machine.extra_args = ("-device", "VGA")
        other.arm(loader, "--boot", "memtest")
        other.machine.start()
        other.wait(lambda: share_of(BLUE, other.machine) > 0.4)

    @pytest.mark.parametrize("firmware", [Firmware.BIOS])
    def test_the_rescue_system_comes_up_at_the_serial_console(self, other: Other, firmware: Firmware) -> None:
        other.arm("auto", "--boot", "rescue", "--profile", PROFILE)
        other.machine.start()
        other.wait(lambda: other.says("Loading additional components"), 300.0)
        assert "rescue/enable=true" in other.machine.console_text()


def text_screen(machine: Machine) -> str:
    path = machine.disk.with_suffix(".screen")
    where = {"val": TEXT_AT, "size": TEXT_BYTES, "filename": str(path)}
    qmp.execute(machine.control, "pmemsave", where)
    return path.read_bytes()[::2].decode("cp437")


def share_of(colour: tuple[int, int, int], machine: Machine) -> float:
    """How much of the screen has exactly this colour."""
    path = machine.disk.with_suffix(".ppm")
    qmp.execute(machine.control, "screendump", {"filename": str(path)})
    *_, pixels = path.read_bytes().split(b"\n", 3)  # P6, width and height, 255
    found = sum(pixels[at : at + 3] == bytes(colour) for at in range(0, len(pixels), 3))
    return found * 3 / max(len(pixels), 1)

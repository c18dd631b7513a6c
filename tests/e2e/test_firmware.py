"""UEFI firmware as PCs have it (OVMF), from power-on to the answers: every boot file is fetched, d-i's kernel runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.firmware import Firmware
from pxeforge.lab.journey import HOST, PROFILE, Journey
from pxeforge.lab.session import Lab
from tests.e2e.conftest import LabMaker

LIMIT_S = 300  # on a busy machine; alone it takes a minute and a half
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists(), reason="the package ovmf is missing"),
]
needs_ipxe = pytest.mark.skipif(not Path("/usr/lib/ipxe/snponly.efi").exists(), reason="the package ipxe is missing")


@dataclass(frozen=True)
class Rack:
    """A lab whose host is known, named and has a profile."""

    lab: Lab
    journey: Journey

    def boots_into_the_installer(self, firmware: Firmware, loader: str, *, secure_boot: bool = False) -> Boot:
        """Arms the host, powers it on and waits for its answers; the machine is off again at the end."""
        self.lab.pxeforge("host", "set", HOST, "--loader", loader)
        self.lab.pxeforge("host", "arm", HOST, "--profile", PROFILE)
        machine = replace(self.lab.machine(1, fresh_disk=True), firmware=firmware, secure_boot=secure_boot)
        began, known = time.monotonic(), len(self.lab.timeline(HOST))
        try:
            machine.start()
            while not (boot := Boot(self.lab.timeline(HOST)[known:], machine.console_text())).has_answers:
                assert machine.is_running, machine.console_text()[-800:]
                assert time.monotonic() - began < LIMIT_S, f"{boot.messages} {machine.console_text()[-800:]}"
                time.sleep(2)
        finally:
            machine.power_off()
            self.lab.pxeforge("host", "disarm", HOST)
        print(f"{firmware.value}, {loader}: answers after {time.monotonic() - began:.0f} s", *boot.messages, sep="\n  ")
        return boot


@dataclass(frozen=True)
class Boot:
    """What one boot left in the timeline and on the console."""

    events: list[dict[str, Any]]
    console: str

    @property
    def messages(self) -> list[str]:
        return [str(event["message"]) for event in self.events]

    @property
    def has_answers(self) -> bool:
        return any(event["kind"] == "answers_fetched" for event in self.events)

    def sent(self, source: str) -> str:
        return "\n".join(str(event["message"]) for event in self.events if event["source"] == source)


def rack_of(lab: Lab) -> Rack:
    lab.pxeforge("host", "add", "--mac", str(lab.machine(1, fresh_disk=True).mac), "--name", HOST)
    journey = Journey(lab, lambda _: None)
    journey.arm()
    lab.pxeforge("host", "disarm", HOST)
    return Rack(lab, journey)


@pytest.fixture(scope="module")
def server(make_lab: LabMaker) -> Rack:
    return rack_of(make_lab("firmware-server"))


@pytest.fixture(scope="module")
def proxy(make_lab: LabMaker) -> Rack:
    return rack_of(make_lab("firmware-proxy", beside="dnsmasq"))


def test_secure_boot_installs_by_shim_and_grub(server: Rack) -> None:
    boot = server.boots_into_the_installer(Firmware.UEFI_X64, "auto", secure_boot=True)
    sent = boot.sent("tftp")
    for name in ("bootnetx64.efi", "grubx64.efi", "/linux", "/initrd.gz"):
        assert name in sent
    assert "grub menu fetched" in sent
    assert "secureboot: Secure boot enabled" in boot.console


@needs_ipxe
def test_http_boot_installs_by_ipxe(server: Rack) -> None:
    boot = server.boots_into_the_installer(Firmware.HTTP_X64, "auto")
    assert "ipxe menu fetched" in boot.sent("http")
    assert "linux fetched" in boot.sent("http")
    assert "boot/" not in boot.sent("tftp")


def test_beside_dnsmasq_shim_and_grub_find_their_files_here(proxy: Rack) -> None:
    boot = proxy.boots_into_the_installer(Firmware.UEFI_X64, "auto")
    said = "\n".join(boot.messages)
    assert "to be continued on port 4011" in said
    assert "grub menu fetched" in said
    assert not any(event["kind"] == "leased" for event in boot.events)


@needs_ipxe
def test_beside_dnsmasq_http_boot_installs_by_ipxe(proxy: Rack) -> None:
    boot = proxy.boots_into_the_installer(Firmware.HTTP_X64, "auto")
    assert "proxy OFFER, boot URL http://" in "\n".join(boot.messages)
    assert "ipxe menu fetched" in boot.sent("http")

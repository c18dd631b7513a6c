"""Beside a site's own DHCP server: silence until armed, then the whole boot by PXELINUX over TFTP."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pxeforge.lab.journey import HOST, PROFILE, Journey
from tests.e2e.conftest import LabMaker

BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:7.1f} s] {text}", flush=True)


@pytest.fixture(scope="module")
def journey(make_lab: LabMaker) -> Iterator[Journey]:
    one = Journey(make_lab("proxy", beside="dnsmasq"), say)
    yield one
    one.machine.power_off()


@pytest.mark.timeout(2400)
class TestBesideDnsmasq:
    """In this order."""

    def test_1_an_unknown_machine_meets_silence_and_is_discovered(self, journey: Journey) -> None:
        journey.discover()
        events = journey.lab.timeline(journey.mac)
        assert any("silence" in event["message"] for event in events)
        assert not any(event["kind"] in ("leased", "menu_fetched", "dhcp_answered") for event in events)

    def test_2_the_armed_machine_boots_the_installer_by_pxelinux(self, journey: Journey) -> None:
        journey.arm()
        journey.lab.pxeforge("host", "set", HOST, "--loader", "pxelinux")
        journey.machine.start()
        journey.wait_for("early", 900, "the installer did not fetch its first script")
        events = journey.lab.timeline(HOST)
        sent = [event["message"] for event in events if event["kind"] == "tftp_sent"]
        for name in ("pxelinux.0", "ldlinux.c32", "linux", "initrd.gz"):
            assert any(name in message for message in sent), f"{name} was not sent by TFTP: {sent}"
        assert any(event["kind"] == "menu_fetched" and event["source"] == "tftp" for event in events)
        say("\n".join(sent))

    def test_3_leases_came_from_the_sites_server_only(self, journey: Journey) -> None:
        log = (journey.lab.folder / "site-dhcp.log").read_text()
        assert "DHCPACK" in log
        assert not any(event["kind"] == "leased" for event in journey.lab.timeline(HOST))
        assert journey.lab.json("profile", "show", PROFILE)["image"] == PROFILE

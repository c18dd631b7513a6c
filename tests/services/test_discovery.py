"""Hosts that report their hardware from memory: whom it is offered, its token, and what the report changes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.boot import Boot, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import arming, discovery, events, hosts, rules, wire_menus
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden, NotFound
from tests.conftest import MAC, PEER, Clock, write_image

STRANGER = MacAddress.parse("3c:ec:ef:00:00:01")
FACTS: dict[str, Any] = {
    "vendor": "Dell Inc.", "product": "R640", "serial": "ABC123", "uuid": "4c4c4544-0042-4d10-8051-b3c04f4e4a32",
    "ram_bytes": 64_000_000_000, "nics": [{"name": "eth0", "mac": str(STRANGER), "physical": True}],
    "disks": [{"name": "sda", "size_bytes": 480_000_000_000, "rotational": False, "serial": "S"}],
    "neighbours": [{"nic": "eth0", "system": "leaf1", "port": "Ethernet1/12"}],
}  # fmt: skip


@pytest.fixture
def here(ctx: Context) -> Context:
    """A server that lets unknown hosts report, with the image."""
    write_image(ctx.data_dir, version="6.12.1-1+d1", more={"kernel": b"k", "initrd.img": b"i"}, name="discovery")
    return dataclasses.replace(ctx, unknown_hosts="discover")


def boots(ctx: Context, mac: MacAddress = STRANGER, firmware: Firmware = Firmware.UEFI_X64) -> Boot:
    request = BootRequest(mac=mac, firmware=firmware, interface="eth0")
    decision = Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=False)
    with ctx.database.read():
        pass  # what was posted is there
    return decision.boot


def token_in(menu: str) -> str:
    found = re.search(r"pxeforge\.url=http://192\.0\.2\.1:8080/discovery/([0-9a-f]{32}) ", menu)
    assert found is not None, menu
    return found[1]


def fetch(ctx: Context, mac: MacAddress = STRANGER) -> str:
    return wire_menus.menu(ctx, mac, MenuKind.IPXE, peer=PEER)


def test_an_unknown_host_reports_once_and_boots_its_disk_from_then_on(here: Context, clock: Clock) -> None:
    assert boots(here) is Boot.DISCOVER
    menu = fetch(here)
    assert "images/discovery/6.12.1-1+d1/kernel" in menu
    assert token_in(fetch(here)) == token_in(menu)
    assert discovery.report(here, token_in(menu), FACTS, peer=PEER) == "poweroff"
    host = hosts.show(here, str(STRANGER))
    assert (host["state"], host["serial"], host["facts"]["neighbours"][0]["system"]) == (
        "discovered",
        "ABC123",
        "leaf1",
    )
    clock.now += 3600
    assert boots(here) is Boot.LOCAL
    assert "pxeforge.url" not in fetch(here)
    with pytest.raises(Forbidden, match="it was used already"):
        discovery.report(here, token_in(menu), FACTS, peer=PEER)


def test_without_the_setting_or_the_image_an_unknown_host_boots_its_disk(ctx: Context, here: Context) -> None:
    assert boots(ctx) is Boot.LOCAL
    assert "pxeforge.url" not in fetch(ctx)
    assert boots(dataclasses.replace(here, data_dir=here.data_dir / "none")) is Boot.LOCAL


def test_silence_is_for_strangers_only(ctx: Context) -> None:
    silent = dataclasses.replace(ctx, unknown_hosts="silence")
    assert boots(silent) is Boot.SILENCE
    hosts.add(ctx, macs=[str(STRANGER)], name="n1", who="ann")
    assert boots(silent) is Boot.LOCAL


def test_a_host_that_never_reports_is_sent_to_its_disk_after_three_tries(here: Context, clock: Clock) -> None:
    for _ in range(3):
        assert boots(here) is Boot.DISCOVER
        fetch(here)
        clock.now += 1200
    assert boots(here) is Boot.LOCAL
    clock.now += 90_000
    assert boots(here) is Boot.DISCOVER


def test_a_known_host_and_one_on_another_processor_are_left_alone(here: Context) -> None:
    hosts.add(here, macs=[MAC], name="n1", who="ann")
    assert boots(here, MacAddress.parse(MAC)) is Boot.LOCAL
    assert "pxeforge.url" not in fetch(here, MacAddress.parse(MAC))
    assert boots(here, MacAddress.parse("3c:ec:ef:00:00:09"), Firmware.UEFI_IA32) is Boot.LOCAL


def test_a_token_ends_after_its_time_and_others_are_unknown(here: Context, clock: Clock) -> None:
    boots(here)
    token = token_in(fetch(here))
    with pytest.raises(Forbidden, match="not known here"):
        discovery.report(here, "0" * 32, FACTS, peer=PEER)
    clock.now += discovery.TOKEN_S + 1
    with pytest.raises(Forbidden, match="its time is over"):
        discovery.report(here, token, FACTS, peer=PEER)
    assert hosts.show(here, str(STRANGER))["facts"] == {}


def test_a_host_is_armed_to_report_and_what_is_handed_out_once_is_not_again(here: Context, clock: Clock) -> None:
    hosts.add(here, macs=[str(STRANGER)], name="n1", who="ann")
    arming.arm_program(here, "n1", boot="discover", who="ann")
    assert boots(here) is Boot.INSTALL
    token = token_in(fetch(here))
    from pxeforge.services import expiry

    clock.now += 300
    expiry.expire(here)
    assert hosts.show(here, "n1")["state"] == "rescue"  # it runs from memory; nothing more is handed out
    assert "pxeforge.url" not in fetch(here)
    assert discovery.report(here, token, FACTS, peer=PEER) == "poweroff"
    assert hosts.show(here, "n1")["state"] == "known"
    assert hosts.show(here, "n1")["facts"]["product"] == "R640"


def test_a_report_that_comes_at_once_ends_the_arming(here: Context) -> None:
    hosts.add(here, macs=[str(STRANGER)], name="n1", who="ann")
    arming.arm_program(here, "n1", boot="discover", who="ann")
    discovery.report(here, token_in(fetch(here)), FACTS, peer=PEER)
    host = hosts.show(here, "n1")
    assert (host["state"], host["armed_until"], host["attempt"]["outcome"]) == ("known", None, "reported")


def test_a_host_cannot_be_armed_to_report_without_the_image(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    with pytest.raises(NotFound, match="pxeforge image import discovery"):
        arming.arm_program(ctx, "n1", boot="discover", who="ann")


def test_a_report_takes_hardware_only(here: Context, registered: dict[str, Any], tokens: Callable[[str], str]) -> None:
    arming.arm_program(here, "n1", boot="discover", who="ann")
    token = token_in(fetch(here, MacAddress.parse(MAC)))
    lies = {"ssh_host_keys": [{"type": "ssh-ed25519", "key": "EVIL"}], "hostname": "evil", "ram_bytes": 5, "nics": []}
    discovery.report(here, token, lies, peer=PEER)
    facts = hosts.show(here, "n1")["facts"]
    assert facts["ssh_host_keys"] == [{"type": "ssh-ed25519", "key": "AAAA"}]
    assert (facts["hostname"], facts["ram_bytes"]) == ("n1", 5)


def test_a_report_leads_by_rules_to_a_named_tagged_racked_host_with_roles(here: Context) -> None:
    rules.add(
        here, "leaf1", when={"switch": "leaf1", "switch_port": "Ethernet1/*"},
        gives={"rack": "r1", "unit": "{port_number}", "name": "node{n:03}", "tags": ["dell"], "roles": ["base"]},
        who="ann",
    )  # fmt: skip
    boots(here)
    discovery.report(here, token_in(fetch(here)), FACTS, peer=PEER)
    rules.apply_marked(here)
    host = hosts.show(here, "node001")
    assert (host["state"], host["tags"], host["roles"]) == ("known", ["dell"], ["base"])
    assert host["settings"]["rack"] == {"name": "r1", "unit": 12, "height": 1}
    kinds = [event["kind"] for event in events.timeline(here, host["id"])]
    assert kinds.index("discovered") < kinds.index("hardware_reported") < kinds.index("adopt")


def test_somebody_else_on_our_wire_gets_no_token(here: Context) -> None:
    boots(here)
    other = dataclasses.replace(here, neighbour=lambda _address: MacAddress.parse("02:00:00:00:00:66"))
    assert "pxeforge.url" not in wire_menus.menu(other, STRANGER, MenuKind.IPXE, peer="192.0.2.66")


def test_old_tokens_are_dropped_and_used_ones_kept(here: Context, clock: Clock) -> None:
    boots(here)
    token = token_in(fetch(here))
    clock.now += 200_000
    discovery.prune(here)
    with pytest.raises(Forbidden, match="not known here"):
        discovery.report(here, token, FACTS, peer=PEER)
    boots(here)
    discovery.report(here, token_in(fetch(here)), FACTS, peer=PEER)
    clock.now += 400_000
    discovery.prune(here)
    assert boots(here) is Boot.LOCAL

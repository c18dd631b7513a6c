"""A rescue system ends: by its operator, by a netboot, by the agent, by its time."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import agents, arming, events, expiry, hosts, rescue, wire_menus
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict
from tests.conftest import MAC, PEER, Clock

NIC = MacAddress.parse(MAC)


def last(ctx: Context) -> dict[str, Any]:
    return events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def hand_out(ctx: Context, clock: Clock, profile: str) -> None:
    arming.arm_program(ctx, "n1", boot="rescue", profile=profile, who="ann")
    wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)
    clock.now += 121
    expiry.expire(ctx)


@pytest.fixture
def in_rescue(ctx: Context, clock: Clock, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    hand_out(ctx, clock, profile)
    assert state(ctx) == "rescue"


@pytest.mark.usefixtures("in_rescue")
def test_the_operator_ends_it(ctx: Context) -> None:
    assert rescue.end(ctx, "n1", who="ann")["state"] == "known"
    assert (last(ctx)["who"], last(ctx)["data"]["from"], last(ctx)["data"]["to"]) == ("ann", "rescue", "known")
    with pytest.raises(Conflict, match="known cannot take rescue_over"):
        rescue.end(ctx, "n1", who="ann")


@pytest.mark.usefixtures("in_rescue")
def test_a_netboot_ends_it_once_and_is_local(ctx: Context) -> None:
    request = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, vendor_class="PXEClient", interface="br0")
    for _ in range(2):
        assert Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=False).boot.value == "local"
    assert state(ctx) == "known"
    told = [event for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"]) if event["kind"] == "rescue_over"]
    assert [(event["source"], event["data"]["to"]) for event in told] == [("dhcp", "known")]


@pytest.mark.usefixtures("registered")
def test_the_agent_of_the_installed_system_ends_it(ctx: Context, clock: Clock, profile: str) -> None:
    hand_out(ctx, clock, profile)
    host = hosts.show(ctx, "n1")
    agents.hello(ctx, host["id"], version="1", boot_id="b2", facts={}, clock=None, peer=PEER)
    assert state(ctx) == "known"
    assert (last(ctx)["source"], last(ctx)["kind"]) == ("agent", "rescue_over")


@pytest.mark.usefixtures("in_rescue")
def test_the_host_can_be_armed_out_of_it(ctx: Context, profile: str) -> None:
    assert arming.arm(ctx, "n1", profile=profile, who="ann")["state"] == "armed"

"""What a retired host can and cannot do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import agents, arming, deploys, events, hosts, retirement, role_catalogue, wire_menus
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Forbidden, Problem
from tests.conftest import MAC, PEER, Clock

NIC = MacAddress.parse(MAC)


def test_it_is_told_by_whom_and_why(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    retirement.retire(ctx, "n1", who="bob", why="sold")
    event = events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]
    assert (event["kind"], event["who"], event["message"]) == ("retire", "bob", "retired by bob: sold")
    assert event["data"] == {"from": "known", "to": "retired"}


def test_nobody_arms_it_and_its_netboots_are_local(ctx: Context, profile: str) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="ann")
    retirement.retire(ctx, "n1", who="ann")
    with pytest.raises(Conflict, match="retired cannot take arm"):
        arming.arm(ctx, "n1", profile=profile, who="ann")
    request = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, vendor_class="PXEClient", interface="br0")
    decision = Desk(ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=False)
    assert (decision.boot.value, "retired" in decision.reason) == ("local", True)
    assert "images/" not in wire_menus.menu(ctx, NIC, MenuKind.IPXE, peer=PEER)


def test_its_agent_is_turned_away_until_it_comes_back(ctx: Context, registered: dict[str, Any], clock: Clock) -> None:
    assert agents.authenticate(ctx, registered["agent_token"])
    retirement.retire(ctx, "n1", who="ann")
    clock.now += 60
    with pytest.raises(Forbidden, match="retired"):
        agents.authenticate(ctx, registered["agent_token"])
    assert retirement.revive(ctx, "n1", who="ann")["state"] == "known"
    assert agents.authenticate(ctx, registered["agent_token"])


@pytest.mark.usefixtures("registered")
def test_nothing_is_deployed_to_it(ctx: Context) -> None:
    known = [role["name"] for role in role_catalogue.known_roles(ctx)]
    hosts.assign(ctx, ["n1"], known[:1], who="ann", known_roles=known)
    retirement.retire(ctx, "n1", who="ann")
    with pytest.raises(Problem, match="n1 has roles but is retired"):
        deploys.deploy(ctx, who="ann")


def test_what_is_under_way_is_not_retired(ctx: Context, armed: dict[str, Any]) -> None:
    assert json.dumps(armed["state"]) == '"armed"'
    with pytest.raises(Conflict, match="armed cannot take retire"):
        retirement.retire(ctx, "n1", who="ann")

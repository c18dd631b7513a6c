"""What took too long is ended."""

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    arming,
    events,
    expiry,
    hosts,
    registration,
    wire_answers,
    wire_menus,
)
from pxeforge.services.budgets import DEFAULT_BUDGETS
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden
from tests.conftest import FACTS, MAC, PEER, Clock

Tokens = Callable[[str], str]
HOST = MacAddress.parse(MAC)


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def kinds(ctx: Context) -> list[str]:
    return [event["kind"] for event in events.timeline(ctx, hosts.show(ctx, "n1")["id"])]


def test_arming_lasts_as_long_as_was_said(ctx: Context, armed: dict[str, Any], clock: Clock) -> None:
    clock.now += arming.ARMED_FOR_S + 1
    assert "kernel" not in wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)
    expiry.expire(ctx)
    assert state(ctx) == "known"
    assert "gave_up" in kinds(ctx)


def test_an_install_that_never_calls_back_fails_with_a_diagnosis(ctx: Context, tokens: Tokens, clock: Clock) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += DEFAULT_BUDGETS["install"] + 1
    expiry.expire(ctx)
    assert state(ctx) == "failed"
    assert "late_command never called" in events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"]
    with pytest.raises(Forbidden, match="gave up"):
        registration.register(ctx, tokens("installer"), FACTS, peer=PEER)

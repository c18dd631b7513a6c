"""Answers under a token: fetched, read again, and what that changes."""

from collections.abc import Callable

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    events,
    hosts,
    install_tokens,
    wire_answers,
    wire_menus,
)
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden
from tests.conftest import MAC, PEER, Clock

Tokens = Callable[[str], str]
HOST = MacAddress.parse(MAC)


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_the_answers_name_the_host_and_disarm_it(ctx: Context, tokens: Tokens) -> None:
    text = wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    assert "d-i netcfg/hostname string n1" in text
    assert tokens("installer") in text
    assert state(ctx) == "installing"
    assert "kernel" not in wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)


def test_the_answers_may_be_read_again_for_a_short_while_only(ctx: Context, tokens: Tokens, clock: Clock) -> None:
    first = wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    clock.now += install_tokens.ANSWERS_GRACE_S - 1
    assert wire_answers.answers(ctx, tokens("answers"), peer=PEER) == first
    clock.now += 2
    with pytest.raises(Forbidden, match="fetched before"):
        wire_answers.answers(ctx, tokens("answers"), peer=PEER)


def test_a_head_request_begins_nothing(ctx: Context, tokens: Callable[[str], str]) -> None:
    before = len(events.timeline(ctx, hosts.show(ctx, "n1")["id"]))
    assert tokens("answers") in wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER, head=True)
    assert wire_answers.answers(ctx, tokens("answers"), peer=PEER, head=True)
    assert hosts.show(ctx, "n1")["state"] == "armed"
    assert len(events.timeline(ctx, hosts.show(ctx, "n1")["id"])) == before

"""What a token opens, and when no more."""

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.services import (
    arming,
    hosts,
    install_ends,
    registration,
    wire_answers,
)
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden
from tests.conftest import FACTS, PEER
from tests.database_views import all_that_is_in

Tokens = Callable[[str], str]


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_a_made_up_token_opens_nothing(ctx: Context, armed: dict[str, Any]) -> None:
    for ask in (wire_answers.answers, wire_answers.early, wire_answers.disks, wire_answers.late):
        with pytest.raises(Forbidden, match="not known"):
            ask(ctx, "0" * 32, peer=PEER)


def test_a_token_opens_only_what_it_is_for(ctx: Context, tokens: Tokens) -> None:
    with pytest.raises(Forbidden):
        wire_answers.answers(ctx, tokens("installer"), peer=PEER)
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    with pytest.raises(Forbidden):
        wire_answers.late(ctx, tokens("answers"), peer=PEER)


def test_the_installer_token_opens_nothing_before_the_answers(ctx: Context, tokens: Tokens) -> None:
    with pytest.raises(Forbidden, match="the host is armed"):
        registration.register(ctx, tokens("installer"), FACTS, peer=PEER)


def test_the_clear_tokens_are_not_in_the_database(ctx: Context, tokens: Tokens) -> None:
    dump = all_that_is_in(ctx.database)
    assert tokens("answers").encode() not in dump
    assert tokens("installer").encode() not in dump


def test_disarming_kills_the_tokens(ctx: Context, tokens: Tokens) -> None:
    answers = tokens("answers")
    install_ends.disarm(ctx, "n1", who="test")
    assert state(ctx) == "known"
    with pytest.raises(Forbidden, match="disarmed"):
        wire_answers.answers(ctx, answers, peer=PEER)


def test_arming_again_kills_the_tokens_of_before(ctx: Context, tokens: Tokens, profile: str) -> None:
    answers = tokens("answers")
    arming.arm(ctx, "n1", profile=profile, who="test")
    with pytest.raises(Forbidden, match="superseded"):
        wire_answers.answers(ctx, answers, peer=PEER)

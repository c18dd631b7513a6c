"""Registration: facts in, a credential out, once."""

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.services import (
    agents,
    arming,
    events,
    hosts,
    registration,
    wire_answers,
)
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden, Problem
from tests.conftest import FACTS, PEER

Tokens = Callable[[str], str]


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_registration_stores_facts_disarms_and_gives_a_credential(ctx: Context, registered: dict[str, Any]) -> None:
    host = hosts.show(ctx, "n1")
    assert host["state"] == "registered"
    assert host["armed_until"] is None
    assert host["uuid"] == FACTS["uuid"]
    assert host["facts"]["ssh_host_keys"] == FACTS["ssh_host_keys"]
    assert registered["agent_url"] == "https://192.0.2.1:8442"
    assert registered["certificate_pem"].startswith("-----BEGIN")
    assert len(registered["agent_token"]) >= 32


def test_a_second_registration_is_refused_and_logged(ctx: Context, registered: dict[str, Any], tokens: Tokens) -> None:
    with pytest.raises(Forbidden, match="used already"):
        registration.register(ctx, tokens("installer"), FACTS, peer="192.0.2.66")
    last = events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]
    assert last["kind"] == "token_refused"
    assert "192.0.2.66" in last["message"]


def test_bad_facts_are_refused_and_the_token_stays_good(ctx: Context, tokens: Tokens) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    with pytest.raises(Problem, match=r"disks\.0\.size_bytes"):
        registration.register(
            ctx, tokens("installer"), {**FACTS, "disks": [{"name": "x", "size_bytes": -1}]}, peer=PEER
        )
    assert registration.register(ctx, tokens("installer"), FACTS, peer=PEER)["host_name"] == "n1"


def test_a_new_install_ends_the_old_agents_credential(
    ctx: Context, registered: dict[str, Any], tokens: Callable[[str], str]
) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    again = registration.register(ctx, tokens("installer"), FACTS, peer=PEER)
    assert agents.authenticate(ctx, again["agent_token"]) == registered["host_id"]
    with pytest.raises(Forbidden):
        agents.authenticate(ctx, registered["agent_token"])


def test_an_answer_lost_on_the_way_is_given_again_to_the_same_host_only(
    ctx: Context, tokens: Callable[[str], str]
) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    token, nonce = tokens("installer"), {"registration_nonce": "ab" * 32}
    first = registration.register(ctx, token, {**FACTS, **nonce}, peer=PEER)
    assert registration.register(ctx, token, {**FACTS, **nonce}, peer=PEER) == first
    for stranger in ({}, {"registration_nonce": "cd" * 32}, {"registration_nonce": ""}):
        with pytest.raises(Forbidden, match="used already"):
            registration.register(ctx, token, {**FACTS, **stranger}, peer=PEER)
    assert "registration_nonce" not in hosts.show(ctx, "n1")["facts"]
    assert agents.authenticate(ctx, first["agent_token"]) == first["host_id"]  # its agent is here: never again
    with pytest.raises(Forbidden, match="used already"):
        registration.register(ctx, token, {**FACTS, **nonce}, peer=PEER)

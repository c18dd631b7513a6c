"""What an agent's greeting may say, and what a stranger's may not."""

from typing import Any

import pytest

from pxeforge.services import agents, events, hosts, retirement
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden
from tests.conftest import PEER, Clock

pytestmark = pytest.mark.both_databases


def greet(ctx: Context, host_id: str, facts: dict[str, Any], boot_id: str = "b1") -> dict[str, Any]:
    return agents.hello(ctx, host_id, version="1", boot_id=boot_id, facts=facts, clock=None, peer=PEER)


def test_odd_facts_do_not_cost_us_the_host(ctx: Context, registered: dict[str, Any]) -> None:
    before = hosts.show(ctx, "n1")["facts"]
    for _ in range(2):
        assert greet(ctx, registered["host_id"], {"nics": [{"name": "x" * 99, "mac": "?"}]})["poll_s"] > 0
    assert hosts.show(ctx, "n1")["facts"] == before
    kinds = [event["kind"] for event in events.timeline(ctx, registered["host_id"])]
    assert kinds.count("facts_refused") == 1


def test_a_long_boot_id_is_the_same_boot(ctx: Context, registered: dict[str, Any]) -> None:
    for _ in range(3):
        greet(ctx, registered["host_id"], {}, boot_id="b" * 200)
    kinds = [event["kind"] for event in events.timeline(ctx, registered["host_id"])]
    assert kinds.count("agent_connected") == 1


def test_a_host_that_was_forgotten_is_refused(ctx: Context, registered: dict[str, Any], clock: Clock) -> None:
    hosts.forget(ctx, "n1", who="test")
    with pytest.raises(Forbidden):
        greet(ctx, registered["host_id"], {})
    with pytest.raises(Forbidden):
        agents.authenticate(ctx, registered["agent_token"])


def test_what_was_heard_of_an_agent_is_written_every_ten_seconds(
    ctx: Context, registered: dict[str, Any], clock: Clock
) -> None:
    def seen() -> tuple[float, float]:
        told = hosts.show(ctx, "n1")
        return told["seen_at"], told["agent_seen_at"]

    def heard() -> None:
        assert agents.authenticate(ctx, registered["agent_token"]) == registered["host_id"]

    heard()
    first = clock.now
    assert seen() == (first, first)
    clock.now += 9
    heard()
    assert seen() == (first, first)
    clock.now += 2
    heard()
    assert seen() == (clock.now, clock.now)
    clock.now -= 3600  # the computer's clock was wrong
    heard()
    assert seen() == (clock.now, clock.now)


def test_the_agent_of_a_retired_host_is_refused_at_once(ctx: Context, registered: dict[str, Any]) -> None:
    agents.authenticate(ctx, registered["agent_token"])
    retirement.retire(ctx, "n1", who="ann")
    with pytest.raises(Forbidden, match="revive"):
        agents.authenticate(ctx, registered["agent_token"])

"""Power of many hosts: ordered at once, done beside the request a few at a time, told as it is done."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import audit, hosts, power, power_orders, power_turns
from pxeforge.services.acting import Actor, acts
from pxeforge.services.context import Context
from pxeforge.services.events import timeline
from pxeforge.services.housekeeping import Housekeeping
from pxeforge.services.problems import NotFound, Problem, TooMany
from pxeforge.store.tables import PowerOrder, PowerOrderHost
from tests.conftest import MAC, Clock

from .fake_bmc import RESET, Asked, FakeBmc, machine, serving
from .test_power import add_host, set_state

pytestmark = pytest.mark.both_databases


@pytest.fixture
def bmc(ctx: Context, tmp_path: Path) -> Iterator[FakeBmc]:
    """The BMC of the host n1, which is on."""
    ctx.operator_dir.mkdir(exist_ok=True)
    (ctx.operator_dir / "power.toml").write_text('networks = ["127.0.0.0/8"]\n')
    with serving(FakeBmc(machine(PowerState="On")), tmp_path / "bmc") as one:
        add_host(ctx, one, "n1", MAC)
        yield one


def more(ctx: Context, bmc: FakeBmc, count: int) -> list[str]:
    """Names of that many hosts, n1 among them."""
    for number in range(2, count + 1):
        add_host(ctx, bmc, f"n{number}", f"52:54:00:00:01:{number:02x}")
    return [f"n{number}" for number in range(1, count + 1)]


def ended(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    """The order when it has ended, and nobody works on it any more."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = power_orders.show(ctx, order["id"])
        claim = power_turns.claim_order(ctx, order["id"])
        if claim is not None:
            os.close(claim)
            if found["ended_at"] is not None:
                return found
        time.sleep(0.02)
    raise AssertionError(f"still under way: {found}")


def told(ctx: Context, name: str) -> list[tuple[str, str]]:
    rows = timeline(ctx, hosts.show(ctx, name)["id"])
    return [(row["kind"], row["message"]) for row in rows if row["kind"].startswith("power_")][1:]


@pytest.fixture
def slow(bmc: FakeBmc) -> Iterator[threading.Event]:
    """BMCs that switch nothing before this is set."""
    go = threading.Event()
    bmc.answers["POST", RESET] = lambda _asked: go.wait(30) and None  # type: ignore[assignment,return-value]
    yield go
    go.set()


def test_who_orders_does_not_wait_and_each_host_tells_what_became_of_it(
    ctx: Context, bmc: FakeBmc, slow: threading.Event
) -> None:
    names = more(ctx, bmc, 3)
    acts(Actor(who="eve", role=UserRole.OPERATOR, via="session", address="192.0.2.9"))
    try:
        order = power_orders.order(ctx, [*names, "ghost", MAC, "n1"], "cycle", who="eve")
    finally:
        acts(None)
    assert [row["host"] for row in order["hosts"]] == [*names, "ghost"]
    assert [row["progress"] for row in order["hosts"]] == ["waiting"] * 3 + ["failed"]
    assert "no host is known as 'ghost'" in order["hosts"][-1]["error"]
    assert order["ended_at"] is None
    slow.set()
    done = ended(ctx, order)
    assert [row["progress"] for row in done["hosts"]] == ["done"] * 3 + ["failed"]
    assert [row["state"] for row in done["hosts"]] == ["on"] * 3 + ["unknown"]
    assert done["hosts"][0]["message"] == "n1 was switched off and on again"
    for name in names:
        assert [kind for kind, _ in told(ctx, name)] == ["power_asked", "power_done"]
    asked = audit.entries(ctx, audit.Filter(kind="power_asked"))
    assert {(row["who"], row["via"], row["address"]) for row in asked} == {("eve", "session", "192.0.2.9")}


def test_six_hosts_of_orders_are_switched_at_a_time_and_a_single_one_meanwhile(ctx: Context, bmc: FakeBmc) -> None:
    names = more(ctx, bmc, 2 * power_turns.IN_ORDERS + 1)
    lock, go = threading.Lock(), threading.Event()
    now, most = 0, 0

    def counted(_asked: Asked) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        go.wait(30)
        with lock:
            now -= 1

    bmc.answers["POST", RESET] = counted  # type: ignore[assignment]
    orders = [power_orders.order(ctx, some, "cycle", who="eve") for some in (names[1:7], names[7:])]
    end = time.monotonic() + 30
    while most < power_turns.IN_ORDERS and time.monotonic() < end:
        time.sleep(0.01)
    assert most == power_turns.IN_ORDERS
    del bmc.answers["POST", RESET]
    assert power.act(ctx, "n1", "cycle", who="ann")["ok"]
    bmc.answers["POST", RESET] = counted  # type: ignore[assignment]
    go.set()
    for order in orders:
        assert {row["progress"] for row in ended(ctx, order)["hosts"]} == {"done"}
    assert most == power_turns.IN_ORDERS


def test_what_fails_is_told_per_host_and_keeps_no_other_from_being_done(ctx: Context, bmc: FakeBmc) -> None:
    hosts.add(ctx, macs=["52:54:00:00:00:22"], name="bare", who="test")
    more(ctx, bmc, 2)
    set_state(ctx, "installing")
    order = power_orders.order(ctx, ["n1", "bare", "n2"], "off", who="eve")
    assert [row["progress"] for row in order["hosts"]] == ["failed", "failed", "waiting"]
    assert "n1 is installing, which this would break off" in order["hosts"][0]["error"]
    assert "bare has no power settings" in order["hosts"][1]["error"]
    assert ended(ctx, order)["hosts"][2]["message"] == "n2 was switched off"
    bmc.answers["POST", RESET] = lambda _asked: (500, {}, b"")
    bmc.system["PowerState"] = "On"
    [one] = ended(ctx, power_orders.order(ctx, ["n2"], "off", who="eve"))["hosts"]
    assert (one["progress"], one["error"]) == ("failed", "the BMC 127.0.0.1 refuses to ForceOff (500)")
    assert told(ctx, "n2")[-1][0] == "power_failed"


def test_a_host_that_cannot_be_switched_when_its_turn_comes_has_it_in_its_timeline(
    ctx: Context, bmc: FakeBmc, slow: threading.Event
) -> None:
    first = threading.Thread(target=power.act, args=(ctx, "n1", "cycle"), kwargs={"who": "ann"})
    first.start()
    end = time.monotonic() + 20
    while not told(ctx, "n1") and time.monotonic() < end:
        time.sleep(0.01)
    [one] = ended(ctx, power_orders.order(ctx, ["n1"], "off", who="eve"))["hosts"]
    slow.set()
    first.join()
    assert (one["progress"], "a power action on n1 is under way" in one["error"]) == ("failed", True)
    messages = [message for kind, message in told(ctx, "n1") if kind == "power_failed"]
    assert messages == [f"power off ordered by eve was not done: {one['error']}"]


def test_an_order_of_hosts_that_cannot_be_switched_at_all_has_ended(ctx: Context) -> None:
    order = power_orders.order(ctx, ["ghost"], "on", who="eve")
    assert (order["ended_at"], order["hosts"][0]["progress"]) == (ctx.clock(), "failed")


def test_what_is_no_order_is_refused(ctx: Context, bmc: FakeBmc, monkeypatch: pytest.MonkeyPatch) -> None:
    for names, action, soft in (
        ([], "on", False), (["n1"] * 2 + [f"m{n}" for n in range(200)], "on", False), (["n1"], "explode", False),
        (["n1"], "on", True),
    ):  # fmt: skip
        with pytest.raises(Problem):
            power_orders.order(ctx, names, action, who="eve", soft=soft)
    with pytest.raises(NotFound, match="kept for a day"):
        power_orders.show(ctx, "0" * 12)
    monkeypatch.setattr(power_orders, "_places", threading.BoundedSemaphore(1))
    for _ in range(3):  # each gives its place back
        ended(ctx, power_orders.order(ctx, ["n1"], "on", who="eve"))
        power_orders.order(ctx, ["ghost"], "on", who="eve")
    power_orders._places.acquire()
    with pytest.raises(TooMany, match="wait until one has ended"):
        power_orders.order(ctx, ["n1"], "on", who="eve")


def test_an_order_that_is_worked_on_is_left_alone(ctx: Context, bmc: FakeBmc, slow: threading.Event) -> None:
    order = power_orders.order(ctx, ["n1"], "cycle", who="eve")
    assert power_orders.give_up(ctx) == 0
    slow.set()
    assert ended(ctx, order)["hosts"][0]["progress"] == "done"
    assert power_orders.give_up(ctx) == 0


def test_an_order_whose_process_has_ended_is_told_to_be_broken_off(ctx: Context, bmc: FakeBmc) -> None:
    ids = [hosts.show(ctx, name)["id"] for name in more(ctx, bmc, 3)]
    with ctx.database.write() as session:  # as a killed process leaves it
        session.add(
            PowerOrder(
                id="0" * 12, action="off", soft=False, force=False, who="eve", created_at=ctx.clock(),
                hosts=[
                    PowerOrderHost(id=f"{number:012}", position=number, host_id=host_id, host=f"n{number + 1}",
                                   progress=progress, state="unknown")
                    for number, (host_id, progress) in enumerate(zip(ids, ("done", "underway", "waiting"), strict=True))
                ],
            )
        )  # fmt: skip
    claim = power_turns.claim_order(ctx, "0" * 12)
    assert claim is not None
    Housekeeping(ctx).tick()  # somebody works on it
    assert power_orders.show(ctx, "0" * 12)["ended_at"] is None
    os.close(claim)
    Housekeeping(ctx).tick()
    found = power_orders.show(ctx, "0" * 12)
    assert [row["progress"] for row in found["hosts"]] == ["done", "broken-off", "broken-off"]
    assert found["ended_at"] is not None
    kind, message = told(ctx, "n2")[-1]
    assert kind == "power_broken_off"
    assert message.startswith("power off ordered by eve was broken off: the server ended meanwhile: look what came of")
    assert told(ctx, "n3")[-1][1].endswith("the server ended before its turn came: order it again")
    before = [told(ctx, name) for name in ("n1", "n2", "n3")]
    assert before[0] == []
    Housekeeping(ctx).tick()
    assert [told(ctx, name) for name in ("n1", "n2", "n3")] == before


def test_orders_are_kept_for_a_day(ctx: Context, bmc: FakeBmc, clock: Clock) -> None:
    order = ended(ctx, power_orders.order(ctx, ["n1"], "on", who="eve"))
    clock.now += power_orders.KEPT_S - 1
    Housekeeping(ctx).tidy()
    assert power_orders.show(ctx, order["id"])["hosts"] == order["hosts"]
    clock.now += 2
    Housekeeping(ctx).tidy()
    with pytest.raises(NotFound):
        power_orders.show(ctx, order["id"])

"""Power of hosts as operators ask for it: whose power may be switched, how many at a time, and what is told of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.services import arming, audit, hosts, power, power_record, power_turns
from pxeforge.services.context import Context
from pxeforge.services.events import timeline
from pxeforge.services.power_driver import Deadline, PowerFault
from pxeforge.services.power_turns import turn
from pxeforge.services.problems import Conflict, NotFound, Problem, TooMany
from tests.conftest import MAC

from .fake_bmc import PASSWORD, RESET, SYSTEM, USER, Asked, FakeBmc, machine, serving


@pytest.fixture
def bmc(ctx: Context, tmp_path: Path) -> Iterator[FakeBmc]:
    """The BMC of the host n1, which is on."""
    ctx.operator_dir.mkdir(exist_ok=True)
    (ctx.operator_dir / "power.toml").write_text('networks = ["127.0.0.0/8"]\n')
    with serving(FakeBmc(machine(PowerState="On")), tmp_path / "bmc") as one:
        add_host(ctx, one, "n1", MAC)
        yield one


def add_host(ctx: Context, bmc: FakeBmc, name: str, mac: str) -> None:
    hosts.add(ctx, macs=[mac], name=name, who="test")
    settings = {
        "driver": "redfish", "address": "127.0.0.1", "port": bmc.port, "user": USER, "fingerprint": bmc.fingerprint,
        "system": SYSTEM,
    }  # fmt: skip
    power.set_power(ctx, name, settings, password=PASSWORD, who="root")


def set_state(ctx: Context, state: str) -> None:
    with ctx.database.write() as session:
        hosts.find(session, "n1").state = state


def last_events(ctx: Context) -> list[tuple[str, str | None, str]]:
    rows = timeline(ctx, hosts.show(ctx, "n1")["id"])
    return [(row["kind"], row["who"], row["message"]) for row in rows][-2:]


@pytest.mark.parametrize("state", ["installing", "configuring", "wiping"])
def test_a_host_that_is_worked_on_is_left_alone_unless_it_is_forced(ctx: Context, bmc: FakeBmc, state: str) -> None:
    set_state(ctx, state)
    assert state in power.describe(ctx, "n1")["refused"]
    for action in ("off", "cycle", "pxe"):
        with pytest.raises(Conflict, match=f"n1 is {state}, which this would break off: wait, or say --force"):
            power.act(ctx, "n1", action, who="eve")
    assert bmc.asked == []
    assert power.act(ctx, "n1", "on", who="eve")["ok"]
    assert power.act(ctx, "n1", "off", who="eve", force=True)["state"] == "off"
    assert last_events(ctx) == [
        ("power_asked", "eve", "power off in spite of its state asked by eve (redfish)"),
        ("power_done", None, "n1 was switched off"),
    ]


def test_a_refused_action_is_no_event(ctx: Context, bmc: FakeBmc) -> None:
    set_state(ctx, "installing")
    before = audit.entries(ctx, audit.Filter())
    with pytest.raises(Conflict):
        power.act(ctx, "n1", "off", who="eve")
    assert audit.entries(ctx, audit.Filter()) == before


def test_an_armed_host_is_booted_without_a_warning(ctx: Context, bmc: FakeBmc, profile: str) -> None:
    assert "not armed" in power.act(ctx, "n1", "pxe", who="eve")["note"]
    arming.arm(ctx, "n1", profile=profile, who="eve")
    assert power.act(ctx, "n1", "pxe", who="eve")["note"] is None
    assert bmc.seen("POST")[-1] == {"ResetType": "ForceRestart"}


def test_eight_bmcs_are_spoken_with_at_a_time_and_never_more(ctx: Context, bmc: FakeBmc) -> None:
    names = [f"m{number}" for number in range(2 * power_turns.AT_A_TIME)]
    for number, name in enumerate(names):
        add_host(ctx, bmc, name, f"52:54:00:00:01:{number:02x}")
    lock, together = threading.Lock(), threading.Barrier(power_turns.AT_A_TIME)
    now: set[str] = set()
    most = []

    def counted(asked: Asked) -> None:
        with lock:
            now.add(asked.headers["x-auth-token"])
            most.append(len(now))
        together.wait(20)  # breaks when not all of them come
        with lock:
            now.discard(asked.headers["x-auth-token"])

    bmc.answers["GET", SYSTEM] = counted  # type: ignore[assignment]
    assert all(row["state"] == "on" for row in power.statuses(ctx, names))
    assert max(most) == power_turns.AT_A_TIME


def test_a_host_is_switched_by_one_at_a_time(ctx: Context, bmc: FakeBmc) -> None:
    reached, go = threading.Event(), threading.Event()

    def slow(_asked: Asked) -> None:
        reached.set()
        go.wait(20)

    bmc.answers["POST", RESET] = slow  # type: ignore[assignment]
    first = threading.Thread(target=power.act, args=(ctx, "n1", "cycle"), kwargs={"who": "eve"})
    first.start()
    assert reached.wait(20)
    with pytest.raises(Conflict, match="a power action on n1 is under way"):
        power.act(ctx, "n1", "off", who="mallory")
    go.set()
    first.join()
    assert bmc.seen("POST") == [{"ResetType": "ForceRestart"}]
    assert power.act(ctx, "n1", "off", who="mallory")["ok"]


def test_another_process_is_kept_out_too_and_other_hosts_are_not(ctx: Context) -> None:
    with turn(ctx, "00000000000a", "n1", Deadline(5)):
        with turn(ctx, "00000000000b", "n2", Deadline(5)):
            pass
        # Another opening of the file, as another process has it.
        with pytest.raises(Conflict), turn(ctx, "00000000000a", "n1", Deadline(5)):
            pass
    with turn(ctx, "00000000000a", "n1", Deadline(5)):
        pass


def test_who_finds_every_place_taken_is_told_to_come_again(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_turns, "_slots", threading.BoundedSemaphore(1))
    with (
        turn(ctx, "00000000000a", "n1", Deadline(5)),
        pytest.raises(TooMany, match="try again in a minute"),
        turn(ctx, "00000000000b", "n2", Deadline(0.05)),
    ):
        pass


def test_those_who_wait_for_bmcs_leave_room_for_others(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_turns, "_VISIT_WAIT_S", 0.01)
    with contextlib.ExitStack() as all_of_them:
        for _visitor in range(power_turns.VISITS):
            all_of_them.enter_context(power_turns.visit())
        for work in (
            lambda: power.status(ctx, "n1"),
            lambda: power.statuses(ctx, ["n1"]),
            lambda: power.act(ctx, "n1", "on", who="eve"),
        ):
            with pytest.raises(TooMany, match="try again in a moment"):
                work()
    with pytest.raises(NotFound):
        power.status(ctx, "n1")


def test_a_look_is_told_again_for_a_moment_but_not_past_an_action(ctx: Context, bmc: FakeBmc) -> None:
    assert power.status(ctx, "n1")["state"] == "on"
    asked = len(bmc.asked)
    bmc.system["PowerState"] = "Off"
    assert power.status(ctx, "n1")["state"] == "on"
    assert len(bmc.asked) == asked
    power.act(ctx, "n1", "off", who="eve")
    assert power.status(ctx, "n1")["state"] == "off"


def test_what_a_bmc_does_not_say_is_unknown(ctx: Context, bmc: FakeBmc) -> None:
    bmc.system["PowerState"] = None
    found = power.status(ctx, "n1")
    assert (found["state"], found["note"], found["error"]) == ("unknown", "the BMC itself does not say", None)


def test_many_are_looked_at_and_each_says_its_own(ctx: Context, bmc: FakeBmc) -> None:
    hosts.add(ctx, macs=["52:54:00:00:00:02"], name="n2", who="test")
    hosts.add(ctx, macs=["52:54:00:00:00:03"], name="n3", who="test")
    power.set_power(ctx, "n3", {"driver": "wake-on-lan"}, password=None, who="root")
    one, two, three, four = power.statuses(ctx, ["n1", "n2", "n3", "n4"])
    assert (one["state"], one["error"]) == ("on", None)
    assert "n2 has no power settings: `pxeforge power set n2" in two["error"]
    assert (three["state"], three["note"], three["error"]) == ("unknown", "its power driver cannot ask", None)
    assert "no host is known as 'n4'" in four["error"]


def test_a_failure_is_in_the_timeline_and_what_is_wrong_asked_is_not(ctx: Context, bmc: FakeBmc) -> None:
    bmc.answers["POST", RESET] = lambda _asked: (500, {}, b"")
    with pytest.raises(PowerFault):
        power.act(ctx, "n1", "off", who="eve")
    kind, _who, message = last_events(ctx)[-1]
    assert (kind, message) == (
        "power_failed", "power off failed: the BMC 127.0.0.1 refuses to ForceOff (500)"
    )  # fmt: skip
    for action, soft in (("status", False), ("explode", False), ("on", True)):
        with pytest.raises(Problem):
            power.act(ctx, "n1", action, who="eve", soft=soft)
    hosts.add(ctx, macs=["52:54:00:00:00:02"], name="n2", who="test")
    with pytest.raises(NotFound, match="n2 has no power settings"):
        power.act(ctx, "n2", "on", who="eve")
    with pytest.raises(Problem, match="name 1 to 200 hosts"):
        power.statuses(ctx, [])


def test_a_bmc_that_moved_where_none_may_be_is_not_asked(ctx: Context, bmc: FakeBmc) -> None:
    (ctx.operator_dir / "power.toml").write_text('networks = ["10.9.0.0/24"]\n')
    with pytest.raises(Problem, match=r"127\.0\.0\.1 is in none of the networks"):
        power.act(ctx, "n1", "on", who="eve")
    assert bmc.asked == []


def test_a_password_that_is_lost_is_asked_for(ctx: Context, bmc: FakeBmc) -> None:
    with ctx.database.write() as session:
        power_record.forget(session, hosts.find(session, "n1").id)
    assert "`pxeforge power set n1 …` sets it" in power.status(ctx, "n1")["error"]
    assert bmc.asked == []

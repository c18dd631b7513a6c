"""Many hosts armed, disarmed and retired, all or none."""

from __future__ import annotations

import pytest

from pxeforge.services import bulk_actions, events, hosts
from pxeforge.services.bulk_actions import Order
from pxeforge.services.bulk_edits import BadEdits
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem

pytestmark = pytest.mark.both_databases


@pytest.fixture
def rack(ctx: Context, profile: str) -> str:
    """n1, n2 and n3, known; n1 and n2 are tagged rack1."""
    for number in (1, 2, 3):
        tags = ["rack1"] if number < 3 else []
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", tags=tags, who="ann")
    return profile


def states(ctx: Context) -> list[str]:
    return [hosts.show(ctx, f"n{number}")["state"] for number in (1, 2, 3)]


def test_a_selection_and_names_are_armed_together_each_once(ctx: Context, rack: str) -> None:
    armed = bulk_actions.arm(ctx, ["n3", "n1"], Order(profile=rack), who="ann", where="tag=rack1")
    assert sorted(host["name"] for host in armed) == ["n1", "n2", "n3"]
    assert states(ctx) == ["armed"] * 3
    assert all(host["installs"] == [rack] for host in armed)
    assert events.recent(ctx, limit=3)[0]["message"].startswith(f"armed for {rack}")


def test_one_host_that_refuses_keeps_all_from_being_armed_and_each_reason_is_told(ctx: Context, rack: str) -> None:
    bulk_actions.retire(ctx, ["n2"], who="ann")
    with pytest.raises(BadEdits, match=r"n2: .*retired") as refused:
        bulk_actions.arm(ctx, ["n1", "n2", "n3"], Order(profile=rack), who="ann")
    assert "nothing was changed" in str(refused.value)
    assert states(ctx) == ["known", "retired", "known"]
    assert hosts.show(ctx, "n1")["attempt"] is None


def test_each_host_is_armed_for_what_it_is_meant_for(ctx: Context, rack: str) -> None:
    hosts.change(ctx, "n1", who="ann", settings={"profile": rack})
    with pytest.raises(BadEdits, match="n2: arming needs a profile"):
        bulk_actions.arm(ctx, ["n1", "n2"], Order(), who="ann")
    [armed] = bulk_actions.arm(ctx, ["n1"], Order(), who="ann")
    assert armed["installs"] == [rack]


def test_a_dry_run_says_the_same_and_arms_nothing(ctx: Context, rack: str) -> None:
    newest = events.recent(ctx, limit=1)
    would = bulk_actions.arm(ctx, [], Order(profile=rack), who="ann", where="tag=rack1", dry_run=True)
    assert [host["state"] for host in would] == ["armed", "armed"]
    assert states(ctx) == ["known"] * 3
    assert events.recent(ctx, limit=1) == newest


def test_programs_and_menus_are_armed_like_installs(ctx: Context, rack: str) -> None:
    menu = bulk_actions.arm(ctx, ["n1", "n2"], Order(profiles=[rack], timeout_s=60), who="ann")
    assert [host["installs"] for host in menu] == [[rack], [rack]]
    rescue = bulk_actions.arm(ctx, ["n1"], Order(boot="rescue", profile=rack), who="ann")
    assert rescue[0]["installs"] == []
    with pytest.raises(Problem, match=r"^'windows' cannot be booted"):  # of one host: its own refusal
        bulk_actions.arm(ctx, ["n1"], Order(boot="windows"), who="ann")


def test_many_are_disarmed_and_retired_together(ctx: Context, rack: str) -> None:
    bulk_actions.arm(ctx, ["n1", "n2"], Order(profile=rack), who="ann")
    with pytest.raises(BadEdits, match="n3: "):  # it is not armed
        bulk_actions.disarm(ctx, ["n1", "n3"], who="ann")
    assert states(ctx) == ["armed", "armed", "known"]
    assert len(bulk_actions.disarm(ctx, [], who="ann", where="tag=rack1")) == 2
    assert states(ctx) == ["known"] * 3
    bulk_actions.retire(ctx, [], who="ann", where="tag=rack1", why="sold")
    assert states(ctx) == ["retired", "retired", "known"]


def test_whoever_names_nobody_or_too_many_is_told(
    ctx: Context, rack: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    with pytest.raises(NotFound, match=r"^no host is known as 'ghost'"):
        bulk_actions.arm(ctx, ["ghost"], Order(profile=rack), who="ann")
    with pytest.raises(BadEdits, match="ghost: no host is known"):
        bulk_actions.arm(ctx, ["ghost", "n1"], Order(profile=rack), who="ann")
    with pytest.raises(Problem, match="say which hosts"):
        bulk_actions.disarm(ctx, [], who="ann")
    with pytest.raises(NotFound, match="no host fits"):
        bulk_actions.disarm(ctx, [], who="ann", where="tag=none")
    monkeypatch.setattr(bulk_actions, "MOST_HOSTS", 2)
    with pytest.raises(Problem, match="3 hosts are too many"):
        bulk_actions.arm(ctx, ["n1", "n2", "n3"], Order(profile=rack), who="ann")

"""Many hosts changed at once, selected by what they are, all or none; racks hold one host per unit."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.services import audit, bulk_edits, host_csv, hosts, racks
from pxeforge.services.context import Context
from pxeforge.services.host_subjects import read_where
from pxeforge.services.problems import Conflict, NotFound, Problem

ROLES = ("base", "web")


@pytest.fixture
def three(ctx: Context) -> None:
    for number in (1, 2, 3):
        hosts.add(
            ctx, macs=[f"52:54:00:00:00:0{number}"], name=f"n{number}", tags=["odd"] if number % 2 else [], who="ann"
        )  # fmt: skip


def settings(ctx: Context, name: str) -> dict[str, Any]:
    found: dict[str, Any] = hosts.show(ctx, name)["settings"]
    return found


def test_hosts_are_selected_and_changed_and_each_change_is_audited(ctx: Context, three: None) -> None:
    done = bulk_edits.apply(
        ctx, [], {"add_tags": ["x"], "add_roles": ["web"], "settings": {"disk": "first"}}, "ann",
        where="tag=odd state=known", known_roles=ROLES,
    )  # fmt: skip
    assert (done["matched"], done["changed"]) == (2, 2)
    assert done["hosts"][0]["changes"]["tags"] == [["odd"], ["odd", "x"]]
    assert hosts.show(ctx, "n2")["tags"] == []
    assert hosts.show(ctx, "n3")["roles"] == ["web"]
    kinds = [one["kind"] for one in audit.entries(ctx, audit.Filter(host="n3"), limit=2)]
    assert sorted(kinds) == ["assigned", "changed"]


def test_one_host_that_refuses_and_nothing_is_changed(ctx: Context, three: None) -> None:
    with pytest.raises(bulk_edits.BadEdits) as refused:
        bulk_edits.apply(ctx, ["n1", "n2", "n3"], {"rack": {"name": "r1", "unit": 4}}, "ann")
    assert [host for host, _ in refused.value.wrong] == ["n2", "n3"]
    assert "n2: n1 stands at r1 unit 4 (height 1): choose another unit than 4" in str(refused.value)
    assert all(settings(ctx, f"n{number}") == {} for number in (1, 2, 3))
    with pytest.raises(bulk_edits.BadEdits, match="n9: no host is known as 'n9'"):
        bulk_edits.apply(ctx, ["n1", "n9"], {"add_tags": ["x"]}, "ann")


def test_a_dry_run_tells_and_changes_nothing(ctx: Context, three: None) -> None:
    done = bulk_edits.apply(ctx, ["n1"], {"tags": ["new"]}, "ann", dry_run=True)
    assert (done["changed"], done["hosts"][0]["changes"]) == (1, {"tags": [["odd"], ["new"]]})
    assert hosts.show(ctx, "n1")["tags"] == ["odd"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "say what to change"),
        ({"colour": "red"}, "unknown change 'colour'"),
        ({"tags": "x"}, "tags must be a list of texts"),
        ({"tags": ["x"], "add_tags": ["y"]}, "tags sets them exactly"),
        ({"add_roles": ["nothing"]}, "there is no role 'nothing'"),
        ({"add_tags": ["a b"]}, "is not a tag"),
        ({"settings": {"colour": 1}}, "unknown host setting 'colour'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ctx: Context, three: None, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem) as refused:
        bulk_edits.apply(ctx, ["n1"], changes, "ann", known_roles=ROLES)
    assert said in str(refused.value)


@pytest.mark.parametrize("where", ["", "state", "colour=red", "memory>=lots", "'open"])
def test_a_selection_that_means_nothing_is_refused(where: str) -> None:
    with pytest.raises(Problem):
        read_where(where)


def test_a_selection_that_fits_nobody_is_told(ctx: Context, three: None) -> None:
    with pytest.raises(NotFound, match="no host fits 'name=x\\*'"):
        bulk_edits.apply(ctx, [], {"add_tags": ["x"]}, "ann", where="name=x*")


def test_commas_are_one_or_the_other_and_words_must_all_hold(ctx: Context, three: None) -> None:
    def fits(where: str) -> int:
        matched: int = bulk_edits.apply(ctx, [], {"add_tags": ["x"]}, "ann", where=where, dry_run=True)["matched"]
        return matched

    assert fits("name=n1,n2") == 2
    assert fits("name=n1,n2 tag=odd") == 1
    assert fits("tag=!odd") == 1
    assert fits("mac=52:54:00") == 3


def test_a_rack_shows_who_stands_where_and_refuses_two_in_one_unit(ctx: Context, three: None) -> None:
    hosts.change(ctx, "n1", settings={"rack": {"name": "r10", "unit": 4, "height": 2}}, who="ann")
    hosts.change(ctx, "n2", settings={"rack": {"name": "r2"}}, who="ann")
    with pytest.raises(Conflict, match="n1 stands at r10 unit 4"):
        hosts.change(ctx, "n3", settings={"rack": {"name": "r10", "unit": 5}}, who="ann")
    hosts.change(ctx, "n3", settings={"rack": {"name": "r10", "unit": 6}}, who="ann")
    two, ten = racks.rack_view(ctx)
    assert (two["rack"], ten["rack"], ten["height"]) == ("r2", "r10", 42)
    assert [one["host"] for one in two["unplaced"]] == ["n2"]
    assert [(one["unit"], one["height"], one["host"], one["state"]) for one in ten["units"]] == [
        (4, 2, "n1", "known"), (6, 1, "n3", "known"),
    ]  # fmt: skip
    with pytest.raises(Conflict, match="above 5"):
        racks.set_rack(ctx, "r10", height=5, who="ann")
    hosts.change(ctx, "n2", settings={"rack": None}, who="ann")
    assert [one["rack"] for one in racks.rack_view(ctx)] == ["r10"]


@pytest.mark.parametrize(
    "position",
    [5, {}, {"name": ""}, {"name": "a b"}, {"name": "r", "unit": 0}, {"name": "r", "unit": "4"}, {"name": "r", "x": 1},
     {"name": "r", "unit": True}, {"name": "r", "unit": 42, "height": 2}],
)  # fmt: skip
def test_a_position_that_is_none_is_refused(ctx: Context, three: None, position: Any) -> None:
    with pytest.raises(Problem):
        hosts.change(ctx, "n1", settings={"rack": position or {"unit": 1}}, who="ann")


def test_racks_and_profiles_go_through_tables_and_every_bad_line_is_told(ctx: Context, three: None) -> None:
    table = b"mac,rack,unit,height,profile\n52:54:00:00:00:01,r1,4,2,debian-13\n52:54:00:00:00:02,r1,7,,\n"
    rows = host_csv.read_table(table)
    host_csv.import_table(ctx, rows, known_roles=ROLES, who="ann")
    assert settings(ctx, "n1") == {"rack": {"name": "r1", "unit": 4, "height": 2}, "profile": "debian-13"}
    out = host_csv.write_table(hosts.list_hosts(ctx))
    assert "52:54:00:00:00:01,n1,odd,,,,auto,,r1,4,2,debian-13\n" in out
    again = host_csv.import_table(ctx, host_csv.read_table(out.encode()), known_roles=ROLES, who="ann")
    assert {row["action"] for row in again} == {"none"}
    bad = b"mac,rack,unit\n52:54:00:00:00:01,-,\n52:54:00:00:00:02,r1,x\n52:54:00:00:00:03,,3\n"
    with pytest.raises(host_csv.BadTable) as refused:
        host_csv.import_table(ctx, host_csv.read_table(bad), known_roles=ROLES, who="ann")
    assert refused.value.wrong == (
        (3, "'x' in column unit is no whole number"),
        (4, "unit and height need a rack: name it in the column rack"),
    )
    assert settings(ctx, "n1")["rack"]["unit"] == 4

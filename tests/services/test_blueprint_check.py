"""Blueprints that are sent to be checked."""

from __future__ import annotations

import pytest

from pxeforge.services import blueprint_check
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from tests.services.small_roles import give_roles

BASE = "name: base-cloud\nsummary: s\nhosts:\n  - {match: {name: n1}, roles: [tdatabase]}\n"


@pytest.fixture
def site(ctx: Context) -> Context:
    give_roles(ctx)
    return ctx


def test_a_good_blueprint_has_no_findings_and_is_kept_nowhere(site: Context) -> None:
    assert blueprint_check.check(site, "mine.yaml", BASE, {}) == []
    assert not (site.operator_dir / "blueprints").exists()


def test_everything_wrong_is_told_with_file_line_and_remedy(site: Context) -> None:
    wrong = BASE.replace("tdatabase", "tdatabse") + "variables: {nothing_such: 1}\n"
    found = blueprint_check.check(site, "a/mine.yaml", wrong, {})
    assert [(one["file"], one["line"]) for one in found] == [("a/mine.yaml", 4), ("a/mine.yaml", 5)]
    assert "tdatabse" in found[0]["message"]
    assert all(one["fix"] for one in found)


def test_what_it_extends_may_lie_beside_it_and_is_named_as_it_is_there(site: Context) -> None:
    mine = "name: mine\nsummary: s\nextends: base-cloud\n"
    [lacking] = blueprint_check.check(site, "a/mine.yaml", mine, {})
    assert "no blueprint base-cloud" in lacking["message"]
    assert blueprint_check.check(site, "a/mine.yaml", mine, {"base-cloud": BASE}) == []
    [found] = blueprint_check.check(site, "a/mine.yaml", mine, {"base-cloud": BASE.replace("tdatabase", "ghost")})
    assert (found["file"], found["line"]) == ("a/base-cloud.yaml", 4)


def test_a_name_that_leads_elsewhere_is_refused(site: Context) -> None:
    with pytest.raises(Problem, match="no name of a blueprint"):
        blueprint_check.check(site, "mine.yaml", BASE, {"../x": BASE})

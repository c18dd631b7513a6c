"""Time budgets: the defaults, the server's over them, the profile's on top."""

from __future__ import annotations

from typing import Any

import pytest

from pxeforge.app.settings import BadSettings, load_settings
from pxeforge.services import budgets, profiles
from pxeforge.services.answers import check_parameters
from pxeforge.services.budgets import BUDGET_WORDS, DEFAULT_BUDGETS, effective
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem


def test_a_profile_wins_over_the_server_and_the_server_over_the_defaults() -> None:
    found = effective({"step": 100.0, "menu": 90.0}, {"budgets": {"menu": 50.0}})
    assert (found["step"], found["menu"], found["agent"]) == (100, 50, DEFAULT_BUDGETS["agent"])
    assert set(found) == set(DEFAULT_BUDGETS) == set(BUDGET_WORDS)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"stepp": 60}, "no time budget 'stepp': known are netboot"),
        ({"step": 0}, "10 to 2592000 seconds"),
        ({"step": -5}, "10 to 2592000 seconds"),
        ({"step": "60"}, "10 to 2592000 seconds"),
        ({"step": True}, "10 to 2592000 seconds"),
        ({"step": float("nan")}, "10 to 2592000 seconds"),
    ],
)
def test_what_is_no_budget_is_refused_wherever_it_is_set(wish: dict[str, Any], why: str) -> None:
    with pytest.raises(Problem, match=why):
        budgets.check(wish)
    with pytest.raises(Problem, match=why):
        check_parameters({"budgets": wish})


def test_settings_take_them_and_name_what_cannot_be() -> None:
    good = load_settings({}, environment={"PXEFORGE_BUDGETS": '{"step": 60}'})
    assert good.budgets == {"step": 60.0}
    with pytest.raises(BadSettings, match=r"budgets.*no time budget 'x'"):
        load_settings({}, environment={"PXEFORGE_BUDGETS": '{"x": 60}'})


def test_a_profile_keeps_them(ctx: Context, profile: str) -> None:
    profiles.change(ctx, profile, parameters={"budgets": {"install": 20000}}, who="ann")
    with ctx.database.read() as session:
        assert profiles.get(session, profile).parameters["budgets"] == {"install": 20000}

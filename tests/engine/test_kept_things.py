from __future__ import annotations

from typing import Any

import pytest

from pxeforge.engine.kept_things import wanted_by, without


def step(kind: str, **params: Any) -> dict[str, Any]:
    return {"name": kind, "type": kind, "params": params}


KEPT = wanted_by(
    [
        step("packages", names=["switch", "client"], state="present"),
        step("packages", names=["old"], state="absent"),
        step("file", path="/etc/shared", content="x", state="file"),
        step("file", path="/etc/gone", state="absent"),
        step("unit", name="apache2", running=True, enabled=True),
        step("unit", name="stopped", running=False),
        step("command", shell="true"),
    ]
)


def test_packages_that_a_role_which_stays_installs_are_not_taken_away() -> None:
    left = without(step("packages", names=["agent", "switch", "old"], state="absent"), KEPT)
    assert left is not None
    assert left["params"] == {"names": ["agent", "old"], "state": "absent"}
    assert without(step("packages", names=["client"], state="absent"), KEPT) is None


@pytest.mark.parametrize(
    "shared",
    [step("file", path="/etc/shared", state="absent"), step("unit", name="apache2", running=False, enabled=False)],
)
def test_files_and_units_of_a_role_that_stays_are_left_alone(shared: dict[str, Any]) -> None:
    assert without(shared, KEPT) is None


@pytest.mark.parametrize(
    "own",
    [
        step("packages", names=["agent"], state="absent"),
        step("packages", names=["client"], state="present"),
        step("file", path="/etc/gone", state="absent"),
        step("file", path="/etc/shared", content="y", state="file"),
        step("unit", name="stopped", running=False),
        step("unit", name="apache2", running=True, enabled=None),
        step("command", shell="rm -r /var/lib/own"),
    ],
)
def test_everything_else_is_done_as_it_is_written(own: dict[str, Any]) -> None:
    assert without(own, KEPT) is own

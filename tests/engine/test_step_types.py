from __future__ import annotations

import json
import re

import pytest
import yaml
from pydantic import ValidationError

from pxeforge.agent.task import STEPS
from pxeforge.engine.step_examples import STEP_EXAMPLES
from pxeforge.engine.step_types import STEP_TYPES, checked_params


@pytest.mark.parametrize("name", sorted(STEP_TYPES))
def test_the_agent_knows_every_type_with_the_same_parameters(name: str) -> None:
    # A template becomes content, a file the playbook itself, when the plan is compiled.
    resolved = {"template", *({"file"} if name == "ansible" else ())}
    assert set(STEP_TYPES[name].model_fields) - resolved == STEPS[name].parameters


def test_the_agent_knows_no_other_types() -> None:
    assert set(STEPS) == set(STEP_TYPES)


def test_defaults_are_filled_in_and_values_are_json() -> None:
    assert checked_params("packages", {"names": ["a-a"]})["max_age_s"] == 86400
    assert checked_params("ini", {"path": "/x", "settings": {"a": {"b": 4, "c": True}}})["settings"] == {
        "a": {"b": "4", "c": "true"}
    }


@pytest.mark.parametrize(
    ("step_type", "params", "reason"),
    [
        ("file", {"path": "x", "content": ""}, "pattern"),
        ("file", {"path": "/x"}, "either content or template"),
        ("file", {"path": "/x", "content": "", "state": "absent"}, "absent path neither"),
        ("line", {"path": "/x", "match": "("}, "no regular expression"),
        ("line", {"path": "/x", "match": "x"}, "needs `line`"),
        ("unit", {"name": "x"}, "running or enabled"),
        ("unit", {"name": "x", "enabled": True, "restart_on": ["y"]}, "running: true"),
        ("command", {"shell": "true"}, "give a guard"),
        ("command", {"shell": "true", "argv": ["true"], "always": True}, "either argv or shell"),
        ("sql", {"user": "x"}, "needs a password"),
        ("sql", {"database": "x`; DROP"}, "pattern"),
        ("wait", {}, "exactly one of"),
        ("probe", {"shell": "true"}, "what the answer must be"),
        ("probe", {"shell": "true", "expect": "", "host": "x"}, "belong to sql"),
        ("hostname", {"name": "DB_1"}, "pattern"),
        ("sysctl", {"name": "x", "settings": {"../etc": "1"}}, "pattern"),
        ("packages", {"names": ["--force"]}, "pattern"),
    ],
)
def test_wrong_parameters_are_refused(step_type: str, params: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        checked_params(step_type, params)


@pytest.mark.parametrize("name", sorted(STEP_TYPES))
def test_every_type_has_an_example_that_its_parameters_allow(name: str) -> None:
    example = yaml.safe_load(STEP_EXAMPLES[name])
    assert list(example) == [name]
    text = json.dumps(example[name])
    filled = json.loads(re.sub(r"\{\{.*?\}\}", "filled-in", text))
    checked_params(name, filled)


@pytest.mark.parametrize("name", sorted(STEP_TYPES))
def test_every_type_says_what_it_does(name: str) -> None:
    assert STEP_TYPES[name].__doc__

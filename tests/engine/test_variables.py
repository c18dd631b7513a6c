from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pxeforge.engine.variables import RawVariable


@pytest.mark.parametrize(
    ("raw", "good", "bad", "expected"),
    [
        ({"default": "a"}, "b", 5, "it must be of type string, not 5: write it in quotes"),
        ({"type": "int", "default": 1}, 0, True, "it must be of type int, not True"),
        ({"choices": ["vxlan", "gre"]}, "gre", "vxlam", "it must be one of vxlan, gre, not 'vxlam'"),
        ({"choices": ["", "a"]}, "", "b", "it must be one of '', a, not 'b'"),
        ({"type": "int", "choices": [1, 3]}, 3, 2, "it must be one of 1, 3, not 2"),
        ({"pattern": "|[0-9]+:[0-9]+", "help": "like 1:9"}, "1:9", "1-9", "it must be text that fits |[0-9]+:[0-9]+"),
        ({"pattern": "a", "help": "like a"}, "a", "a\n", r"not 'a\n' (like a)"),
        ({"type": "int", "min": 1, "max": 9}, 9, 10, "it must be a number from 1 to 9, not 10"),
        ({"type": "int", "min": 1}, 1, 0, "it must be 1 or more, not 0"),
        ({"type": "int", "max": 9}, 9, 10, "it must be 9 or less, not 10"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_allowed_is_told_with_those_that_are(
    raw: dict[str, Any], good: object, bad: object, expected: str
) -> None:
    variable = RawVariable.model_validate(raw).variable("x")
    variable.check(good)
    with pytest.raises(ValueError, match="it must be") as caught:
        variable.check(bad)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"secret": True, "choices": ["a"]}, "a secret is a generated string: remove its type, default and limits"),
        ({"type": "int", "pattern": "a"}, "pattern and names belong to strings"),
        ({"type": "list", "names": "nic"}, "pattern and names belong to strings"),
        ({"min": 1}, "min and max belong to numbers: write `type: int`"),
        ({"type": "list", "choices": ["a"]}, "choices are values of a string or a number"),
        ({"choices": []}, "choices are values of a string or a number"),
        ({"type": "int", "choices": ["a"]}, "it must be of type int, not 'a'"),
        ({"pattern": "("}, "pattern is no regular expression"),
        ({"default": "c", "choices": ["a", "b"]}, "it must be one of a, b, not 'c'"),
    ],
)
def test_limits_that_make_no_sense_are_told(raw: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RawVariable.model_validate(raw)
    assert expected in str(caught.value)


def test_a_default_that_is_a_template_is_checked_once_it_has_a_value() -> None:
    RawVariable.model_validate({"default": "{{ host.name }}", "choices": ["a"]})


def test_what_is_allowed_is_told_in_words() -> None:
    assert RawVariable(names="nic").variable("x").allowed == "the name of a NIC of the host, or nothing"
    assert RawVariable(type="list").variable("x").allowed == ""

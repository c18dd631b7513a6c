"""The form of a profile follows the table of parameters, and gives back what was there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.answers import DEFAULTS, check_parameters
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.profile_form import PREFIX, as_text, fields, parse_yaml, read
from tests.conftest import ACCOUNT

HASH = "$6$saltsalt$" + "a" * 86
PARAMETERS = {
    "accounts": [{**ACCOUNT, "password_hash": HASH}],
    "packages": ["openssh-server", "lvm2"],
    "late_snippets": [
        {"name": "motd", "text": "#!/bin/sh\necho 'a: b' > $TARGET/etc/motd\n"},
        {"name": "odd", "text": "  one\ntwo \n\n"},
    ],
    "wipe": ["S1", "0123"],
    "light": True,
    "disk": "serial=S1",
    "console": "ttyS0,115200n8",
}


def form(ctx: Context, parameters: dict[str, object]) -> dict[str, str]:
    return {f"{PREFIX}{one.key}": one.text for one in fields(ctx, parameters)}


def test_there_is_a_field_with_words_for_every_parameter(ctx: Context) -> None:
    found = fields(ctx, {})
    assert [one.key for one in found] == list(DEFAULTS)
    assert all(one.words for one in found)
    assert not any(one.is_set for one in found)


def test_a_form_that_nobody_touched_changes_nothing(ctx: Context) -> None:
    check_parameters(PARAMETERS)
    entered = read(ctx, form(ctx, PARAMETERS), PARAMETERS)
    assert (entered.values, entered.unset, entered.errors) == ({}, [], {})


def test_a_hash_is_not_in_the_form_and_survives_it(ctx: Context) -> None:
    sent = form(ctx, PARAMETERS)
    assert HASH not in str(sent)
    sent[f"{PREFIX}accounts"] = sent[f"{PREFIX}accounts"].replace("name: ops", "name: admin")
    entered = read(ctx, sent, PARAMETERS)
    assert entered.values["accounts"][0]["name"] == "admin"
    assert entered.values["accounts"][0]["password_hash"] == HASH


def test_an_emptied_field_is_the_default_again(ctx: Context) -> None:
    entered = read(ctx, {**form(ctx, PARAMETERS), f"{PREFIX}disk": " "}, PARAMETERS)
    assert (entered.values, entered.unset) == ({}, ["disk"])


def test_a_field_that_was_not_sent_is_left_alone(ctx: Context) -> None:
    entered = read(ctx, {f"{PREFIX}timezone": "Europe/Vienna"}, PARAMETERS)
    assert (entered.values, entered.unset) == ({"timezone": "Europe/Vienna"}, [])


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("light", "true", True),
        ("light", "false", False),
        ("wipe", "true", True),
        ("wipe", "[S1]", ["S1"]),
        ("packages", '["a1", "b2"]', ["a1", "b2"]),
        ("packages", "- a1\r\n- b2\r\n", ["a1", "b2"]),
        ("filesystem", "xfs", "xfs"),
        ("timezone", "UTC", "UTC"),
    ],
)
def test_values_are_read_as_their_kind(ctx: Context, key: str, text: str, value: object) -> None:
    entered = read(ctx, {f"{PREFIX}{key}": text}, {})
    assert entered.errors == {}
    assert entered.values == {key: value}


@pytest.mark.parametrize(
    ("sent", "where", "said"),
    [
        ({"disk": "nonsense"}, {"disk"}, "unknown disk rule"),
        ({"packages": "[a"}, {"packages"}, "line 1"),
        ({"packages": "yes please"}, {"packages"}, "must be a list"),
        ({"light": "perhaps"}, {"light"}, "must be true or false"),
        ({"root_password_hash": "secret123"}, {"root_password_hash"}, "must be a hash"),
        ({"accounts": "[{name: ops, password_hash: (hidden 12345678)}]"}, {"accounts"}, "write the whole value"),
        ({"disk": "nonsense", "timezone": "no zone!"}, {"disk", "timezone"}, ""),
        ({"accounts": "&a [*a]"}, {"accounts"}, "aliases"),
        ({"accounts": "2020-01-01"}, {"accounts"}, "quote it"),
    ],
)
def test_an_error_stands_at_its_field(ctx: Context, sent: dict[str, str], where: set[str], said: str) -> None:
    entered = read(ctx, {f"{PREFIX}{key}": text for key, text in sent.items()}, {})
    assert set(entered.errors) == where
    assert said in " ".join(entered.errors.values())
    shown = {one.key: one for one in fields(ctx, {}, entered)}
    for key, text in sent.items():
        assert shown[key].text == text
    assert {key for key, one in shown.items() if one.error} == where


def test_a_password_in_plain_text_is_not_repeated_in_its_error(ctx: Context) -> None:
    entered = read(ctx, {f"{PREFIX}root_password_hash": "secret123"}, {})
    assert "secret123" not in " ".join(entered.errors.values())


WORDS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner),
    max_leaves=8,
)


@given(st.lists(VALUES, min_size=1, max_size=4) | st.dictionaries(st.text("abc", min_size=1), VALUES, min_size=1))
def test_what_a_field_shows_reads_as_the_value(value: object) -> None:
    assert parse_yaml(as_text(value, "yaml")) == value


def test_a_script_keeps_its_last_line_whole(ctx: Context) -> None:
    snippets = "- name: a\n  text: |\n    echo a\n"
    entered = read(ctx, {f"{PREFIX}late_snippets": snippets}, {})
    assert entered.values["late_snippets"][0]["text"] == "echo a\n"


@given(st.text(max_size=60))
def test_whatever_is_typed_is_a_value_or_one_sentence(text: str) -> None:
    try:
        json.dumps(parse_yaml(text))
    except Problem as problem:
        told = str(problem)
    else:
        return
    assert told

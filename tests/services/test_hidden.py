"""Secrets do not stand on screens, and come back from a form as what they were."""

from __future__ import annotations

import pytest

from pxeforge.services.context import Context
from pxeforge.services.hidden import hide, hide_text, reveal
from pxeforge.services.problems import Problem

HASH, OTHER = "$6$saltsalt$" + "a" * 86, "$y$j9T$abcdefgh$" + "b" * 43
PARAMETERS = {
    "accounts": [{"name": "ops", "password_hash": HASH, "ssh_keys": ["ssh-ed25519 AAAA ops"]}],
    "root_password_hash": OTHER,
    "luks": {"passphrase": "correct horse"},
    "disk": "first",
}


def test_hashes_and_passphrases_are_hidden_and_nothing_else(ctx: Context) -> None:
    shown = hide(ctx, PARAMETERS)
    told = str(shown)
    for secret in (HASH, OTHER, "correct horse"):
        assert secret not in told
    assert shown["accounts"][0]["name"] == "ops"
    assert shown["accounts"][0]["ssh_keys"] == ["ssh-ed25519 AAAA ops"]
    assert shown["disk"] == "first"


def test_equal_secrets_have_equal_marks(ctx: Context) -> None:
    assert hide(ctx, HASH) == hide(ctx, HASH) != hide(ctx, OTHER)


def test_what_comes_back_is_what_was_hidden(ctx: Context) -> None:
    assert reveal(ctx, hide(ctx, PARAMETERS), PARAMETERS) == PARAMETERS


def test_a_mark_that_stands_for_nothing_known_is_refused(ctx: Context) -> None:
    with pytest.raises(Problem, match="write the whole value"):
        reveal(ctx, [{"password_hash": "(hidden 00000000)"}], PARAMETERS)


def test_a_text_keeps_its_lines_and_loses_its_secrets(ctx: Context) -> None:
    text = f"d-i passwd/root-password-crypted password {HASH}\nrootpw --iscrypted {OTHER}\nkey correct horse end\n"
    shown = hide_text(ctx, text, PARAMETERS)
    assert shown.count("\n") == 3
    assert shown.count("(hidden ") == 3
    assert shown.endswith("end\n")


def test_a_hash_that_no_parameter_holds_is_hidden_too(ctx: Context) -> None:
    assert HASH not in hide_text(ctx, f"extra {HASH}", {})

"""Accounts: hashes only, and a plain password is neither taken nor repeated."""

from __future__ import annotations

import pytest

from pxeforge.render.accounts import Account
from pxeforge.render.values import AnswersProblem

HASH = "$6$saltsalt$" + "x" * 86
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ ops"


def test_an_account_is_read_from_its_parameters() -> None:
    account = Account.parse(
        {"name": "ops", "password_hash": HASH, "ssh_keys": [KEY], "sudo": True, "groups": ["adm"]}
    )  # fmt: skip
    assert account == Account(name="ops", password_hash=HASH, ssh_keys=(KEY,), sudo=True, groups=("adm",))


@pytest.mark.parametrize(
    "entry",
    [
        "ops",
        {},
        {"name": "ops", "password": "hunter2"},
        {"name": "ops", "password_hash": "hunter2"},
        {"name": "ops", "password_hash": ["hunter2"]},
        {"name": "ops", "sudo": "hunter2"},
        {"name": "ops", "ssh_keys": KEY},
        {"name": "ops", "groups": ["a b"]},
        {"name": "ops", "groups": ["adm", "adm"]},
    ],
)
def test_these_are_no_accounts_and_no_password_is_repeated(entry: object) -> None:
    with pytest.raises(AnswersProblem) as caught:
        Account.parse(entry)
    assert "hunter2" not in str(caught.value)

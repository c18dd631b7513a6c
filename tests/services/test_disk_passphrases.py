"""The passphrase of an encrypted disk: made when the host is armed, given to its installer only."""

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.services import arming, hosts, install_ends, install_tokens, previews, profiles, secrets, wire_answers
from pxeforge.services.context import Context
from pxeforge.services.disk_passphrases import HIDDEN, name_of
from pxeforge.services.problems import Problem
from tests.conftest import PEER

Tokens = Callable[[str], str]


@pytest.fixture
def encrypted(ctx: Context, profile: str) -> str:
    profiles.change(ctx, profile, parameters={"layout": "luks"}, who="test")
    hosts.add(ctx, macs=["52:54:00:12:34:56"], name="n1", who="test")
    arming.arm(ctx, "n1", profile=profile, who="test")
    return name_of(hosts.show(ctx, "n1")["id"])


def secret(ctx: Context, name: str) -> str:
    return str(secrets.show(ctx, name, who="test")["value"])


def token(ctx: Context, purpose: str) -> str:
    return install_tokens.token_of(ctx, hosts.show(ctx, "n1")["attempt"]["id"], purpose)


def test_only_the_disk_script_of_the_running_install_holds_it(ctx: Context, encrypted: str) -> None:
    clear = secret(ctx, encrypted)
    assert len(clear) >= 32
    answers = wire_answers.answers(ctx, token(ctx, "answers"), peer=PEER)
    assert clear not in answers
    assert "d-i partman-auto/method string crypto\n" in answers
    for script in (wire_answers.early, wire_answers.late):
        assert clear not in script(ctx, token(ctx, "installer"), peer=PEER)
    assert f"tell_secret partman-crypto/passphrase {clear}\n" in wire_answers.disks(
        ctx, token(ctx, "installer"), peer=PEER
    )


def test_a_preview_does_not_show_it(ctx: Context, encrypted: str) -> None:
    shown = previews.preview(ctx, "n1", what="disks")
    assert secret(ctx, encrypted) not in shown
    assert f"tell_secret partman-crypto/passphrase {HIDDEN}\n" in shown


def test_a_second_install_takes_the_same_one(ctx: Context, encrypted: str) -> None:
    before = secret(ctx, encrypted)
    install_ends.disarm(ctx, "n1", who="test")
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    assert secret(ctx, encrypted) == before


def test_a_host_that_was_armed_before_the_layout_changed_says_what_to_do(ctx: Context, armed: dict[str, Any]) -> None:
    hosts.change(ctx, "n1", settings={"parameters": {"layout": "luks"}}, who="test")
    with pytest.raises(Problem, match="disarm the host and arm it again"):
        wire_answers.answers(ctx, token(ctx, "answers"), peer=PEER)


def test_hosts_without_encrypted_disks_have_none(ctx: Context, armed: dict[str, Any]) -> None:
    assert secrets.list_secrets(ctx) == []

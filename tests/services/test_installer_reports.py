"""What the installer tells of itself."""

from collections.abc import Callable

from pxeforge.services import (
    events,
    hosts,
    installer_reports,
    registration,
    wire_answers,
)
from pxeforge.services.context import Context
from tests.conftest import FACTS, PEER

Tokens = Callable[[str], str]


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_the_disk_guard_ends_the_install_with_its_reason(ctx: Context, tokens: Tokens) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    installer_reports.failed(ctx, tokens("installer"), "disks", "no disk matches the rule serial=X", peer=PEER)
    assert state(ctx) == "failed"
    assert "no disk matches the rule" in events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"]


def test_a_late_failure_is_told_and_does_not_stop_the_registration(ctx: Context, tokens: Tokens) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    installer_reports.failed(ctx, tokens("installer"), "late", "snippet x ended with 1", peer=PEER)
    assert state(ctx) == "installing"
    registration.register(ctx, tokens("installer"), FACTS, peer=PEER)
    assert state(ctx) == "registered"

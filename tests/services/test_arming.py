"""Arming, and when it is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    arming,
    hosts,
    profiles,
    wire_answers,
    wire_menus,
)
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from tests.conftest import ACCOUNT, MAC, PEER, write_image

Tokens = Callable[[str], str]
HOST = MacAddress.parse(MAC)


def state(ctx: Context) -> str:
    return str(hosts.show(ctx, "n1")["state"])


def test_a_running_install_is_not_armed_over(ctx: Context, tokens: Tokens, profile: str) -> None:
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    with pytest.raises(Conflict, match="installing cannot take arm"):
        arming.arm(ctx, "n1", profile=profile, who="test")


def test_an_image_update_leaves_an_armed_host_alone(ctx: Context, armed: dict[str, Any]) -> None:
    write_image(ctx.data_dir, "20990101")
    assert "debian-13/20250803/linux" in wire_menus.menu(ctx, HOST, MenuKind.IPXE, peer=PEER)


class TestArmingIsRefused:
    """And nothing is changed by the try."""

    @pytest.fixture(autouse=True)
    def _host(self, ctx: Context) -> None:
        hosts.add(ctx, macs=[MAC], name="n1", who="test")

    def refused(self, ctx: Context, profile: str) -> str:
        with pytest.raises(Problem) as caught:
            arming.arm(ctx, "n1", profile=profile, who="test")
        assert state(ctx) == "known"
        assert hosts.show(ctx, "n1")["attempt"] is None
        return str(caught.value)

    def test_for_an_unknown_profile(self, ctx: Context) -> None:
        assert "there is no profile 'nope'" in self.refused(ctx, "nope")

    def test_without_an_image(self, ctx: Context) -> None:
        profiles.create(ctx, "p", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
        assert "run `pxeforge image import debian-13` first" in self.refused(ctx, "p")

    def test_when_nobody_could_log_in(self, ctx: Context) -> None:
        write_image(ctx.data_dir)
        profiles.create(ctx, "p", image="debian-13", parameters={}, who="test")
        assert "lets nobody log in" in self.refused(ctx, "p")

    def test_for_a_template_error_with_file_and_line(self, ctx: Context, profile: str) -> None:
        folder = ctx.operator_dir / "preseed"
        folder.mkdir(parents=True)
        (folder / "mine.cfg.j2").write_text("d-i time/zone string UTC\nd-i x/y string {{ disk_ruel }}\n")
        profiles.change(ctx, profile, parameters={}, template="mine.cfg.j2", who="test")
        assert "preseed/mine.cfg.j2:2: 'disk_ruel' is undefined" in self.refused(ctx, profile)

    def test_for_answers_that_the_linter_rejects(self, ctx: Context, profile: str) -> None:
        folder = ctx.operator_dir / "preseed"
        folder.mkdir(parents=True)
        (folder / "mine.cfg.j2").write_text("d-i passwd/user-password password secret\n")
        profiles.change(ctx, profile, parameters={}, template="mine.cfg.j2", who="test")
        said = self.refused(ctx, profile)
        assert "answers:1: error" in said
        assert "[from preseed/mine.cfg.j2:1]" in said
        assert "secret" not in said

    @pytest.mark.parametrize("for_s", [0, -5, 59, 8 * 86400])
    def test_for_a_time_that_makes_no_sense(self, ctx: Context, profile: str, for_s: float) -> None:
        with pytest.raises(Problem, match="a minute to a week"):
            arming.arm(ctx, "n1", profile=profile, for_s=for_s, who="test")

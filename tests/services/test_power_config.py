"""`power.toml`: what it may say, and what is said about its mistakes."""

from __future__ import annotations

import pytest

from pxeforge.domain.power import PowerAbility
from pxeforge.services import power_config
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem


def write(ctx: Context, text: str) -> None:
    ctx.operator_dir.mkdir(exist_ok=True)
    (ctx.operator_dir / "power.toml").write_text(text)


def test_without_the_file_nothing_is_limited_and_there_are_no_commands(ctx: Context) -> None:
    assert power_config.load(ctx) == power_config.PowerConfig()


def test_networks_and_commands_are_read(ctx: Context) -> None:
    write(ctx, 'networks = ["10.9.0.0/24", "fd00:9::/64"]\n[commands.pdu]\non = ["/bin/pdu", "{outlet}", "on"]\n')
    config = power_config.load(ctx)
    assert [str(one) for one in config.networks or ()] == ["10.9.0.0/24", "fd00:9::/64"]
    argv = config.commands["pdu"][PowerAbility.ON]
    assert power_config.places(argv) == ["outlet"]
    assert power_config.filled(argv, {"outlet": "{outlet}"}) == ["/bin/pdu", "{outlet}", "on"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("networks = 7", "must be a list"),
        ("networks = [7]", "must be a list"),
        ('networks = ["10.9.0.1/24"]', "has host bits set"),
        ("nets = []", "unknown key 'nets'"),
        ("[commands", "cannot be read"),
        ("commands = 7", "must be tables"),
        ("[commands.PDU]\non = ['/bin/x']", "a command's name"),
        ("[commands.pdu]", "must say how to switch"),
        ("[commands.pdu]\nreset = ['/bin/x']", "unknown key 'reset'"),
        ("[commands.pdu]\non = '/bin/x on'", "list of words"),
        ("[commands.pdu]\non = ['pdu']", "whole path"),
        ("[commands.pdu]\non = ['/bin/{x}']", "whole path"),
        ("[commands.pdu]\non = ['/bin/x', '{}']", "no place for a value"),
    ],
)
def test_a_mistake_is_told_with_the_name_of_the_file(ctx: Context, text: str, problem: str) -> None:
    write(ctx, text)
    with pytest.raises(Problem, match=r"power\.toml.*" + problem):
        power_config.load(ctx)

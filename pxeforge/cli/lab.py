"""`pxeforge lab …`: virtual racks on this computer."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json

_FOLDER = Path(".lab")


@click.group()
def lab() -> None:
    """Virtual racks: real firmware in QEMU, in a network namespace of their own (needs root)."""


def folder_option(command: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path),
        default=_FOLDER,
        show_default=True,
        help="Where the lab lives.",
    )(command)


def _fail(problem: Exception) -> None:
    click.echo(f"pxeforge: {problem}", err=True)
    sys.exit(1)


@lab.command()
@click.option("--hosts", type=click.IntRange(1, 200), default=1, show_default=True, help="How many machines.")
@click.option("--beside", type=click.Choice(["none", "dnsmasq"]), default="none", help="The site's DHCP server.")
@click.option("--admin-port", type=int, default=8443, show_default=True, help="Port of the web page on this computer.")
@folder_option
def up(hosts: int, beside: str, admin_port: int, folder: Path) -> None:
    """Bring a rack up: DHCP by pxeforge (or by a dnsmasq beside it), mirror relay, image, server."""
    from pxeforge.lab.session import Lab, LabProblem

    try:
        found = Lab.up(folder.resolve(), cache=_cache(folder), hosts=hosts, beside=beside, admin_port=admin_port)
    except LabProblem as problem:
        _fail(problem)
        return
    _tell(found.facts)


@lab.command()
@json_option
@folder_option
def status(as_json: bool, folder: Path) -> None:
    """Say where the lab is."""
    from pxeforge.lab.session import Lab, LabProblem

    try:
        found = Lab.attached(folder.resolve())
    except LabProblem as problem:
        _fail(problem)
        return
    if as_json:
        show_json(found.facts)
    else:
        _tell(found.facts)


@lab.command()
@click.argument("number", type=int, default=1)
@folder_option
def console(number: int, folder: Path) -> None:
    """Print what machine NUMBER has written to its serial console."""
    path = folder / f"host{number}.console"
    if not path.exists():
        raise click.UsageError(f"machine {number} was never started: there is no {path}")
    say(path.read_text(errors="replace"))


@lab.command()
@folder_option
def down(folder: Path) -> None:
    """End everything the lab started."""
    from pxeforge.lab.session import Lab, LabProblem

    try:
        Lab.attached(folder.resolve()).down()
    except LabProblem as problem:
        _fail(problem)
    say("the lab is down")


@lab.command()
@click.option("--admin-port", type=int, default=8443, show_default=True, help="Port of the web page on this computer.")
@folder_option
def show(admin_port: int, folder: Path) -> None:
    """Show the whole way: power-on, install, registration, roles, deploy, verify; then leave the page open."""
    from pxeforge.lab.journey import Journey, JourneyFailed
    from pxeforge.lab.session import Lab, LabProblem

    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - began:7.1f} s] {text}")

    try:
        found = Lab.up(folder.resolve(), cache=_cache(folder), admin_port=admin_port)
        _tell(found.facts)
        Journey(found, tell).run()
    except (LabProblem, JourneyFailed) as problem:
        _fail(problem)
        return
    _tell(found.facts)
    say("The machine runs on. `pxeforge lab down` (or make lab-down) ends everything.")


def _cache(folder: Path) -> Path:
    """Downloads outlive a lab: QEMU and packages of the mirror."""
    return folder.resolve() / "cache"


def _tell(facts: dict[str, object]) -> None:
    say(f"web page   {facts['admin_url']}  user {facts['admin_user']}  password {facts['admin_password']}")
    say(f"command    pxeforge --data-dir {facts['data_dir']} host list")
    say(f"namespace  {facts['namespace']}")


COMMANDS = (lab,)

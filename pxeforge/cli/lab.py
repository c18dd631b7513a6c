"""`pxeforge lab …`: virtual racks on this computer."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TypeVar

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json

_FOLDER = Path(".lab")
Named = TypeVar("Named")


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
@click.option(
    "--beside",
    type=click.Choice(["none", "dnsmasq", "kea", "isc-dhcpd"]),
    default="none",
    show_default=True,
    help="The site's DHCP server.",
)
@click.option("--behind-relay", is_flag=True, help="The machines are in a network behind a router and a DHCP relay.")
@click.option("--admin-port", type=int, default=8443, show_default=True, help="Port of the web page on this computer.")
@folder_option
def up(hosts: int, beside: str, behind_relay: bool, admin_port: int, folder: Path) -> None:
    """Bring a rack up: DHCP by pxeforge (or by another server beside it), mirror relay, image, server."""
    from pxeforge.lab.session import Lab, LabProblem

    try:
        found = Lab.up(
            folder.resolve(), cache=_cache(folder), hosts=hosts, beside=beside, admin_port=admin_port,
            behind_relay=behind_relay,
        )  # fmt: skip
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


@lab.command()
@click.option("--only", "rows", multiple=True, metavar="ROW", help="Only this row (repeatable); see --list.")
@click.option("--column", "columns", multiple=True, metavar="COLUMN", help="Only this column (repeatable).")
@click.option("--jobs", type=click.IntRange(1, 16), default=1, show_default=True, help="Machines at a time.")
@click.option("--into", type=click.Path(path_type=Path, exists=True), help="Page whose table is replaced (Markdown).")
@click.option("--list", "show_names", is_flag=True, help="Name rows and columns and run nothing.")
@json_option
@folder_option
def matrix(
    rows: tuple[str, ...], columns: tuple[str, ...], jobs: int, into: Path | None, show_names: bool, as_json: bool,
    folder: Path,
) -> None:  # fmt: skip
    """Boot real firmware in every neighbourhood: who fetches its own menu, and whose kernel starts, and how soon.

    Results of earlier runs in the same folder stay in the table until their cell is run again. Exit code 1: a cell
    failed.
    """
    from pxeforge.lab import matrix as facts
    from pxeforge.lab import matrix_page as page
    from pxeforge.lab.matrix_run import Matrix

    chosen_rows = _chosen("row", rows, {row.name: row for row in facts.ROWS})
    chosen_columns = _chosen("column", columns, {column.name: column for column in facts.COLUMNS})
    if show_names:
        say("\n".join(f"row     {row.name:14}{row.title}" for row in chosen_rows))
        say("\n".join(f"column  {column.name:14}{column.title}" for column in chosen_columns))
        return
    labs = folder.resolve() / "matrix"
    run = Matrix(folder=labs, cache=_cache(folder), say=lambda text: click.echo(text, err=True), jobs=jobs)
    cells = []
    for cell in run.run(chosen_columns, chosen_rows):
        cells.append(cell)
        everything, versions = page.merged(labs, [cell], page.versions_in_use(_cache(folder), labs))
    table = page.markdown(everything, versions)
    if into is not None:
        page.replace_table(into, table)
    if as_json:
        show_json([page.as_json(cell) for cell in cells])
    else:
        say(table)
    if any(cell.outcome is facts.Outcome.RED for cell in cells):
        _fail(RuntimeError(f"a cell failed: consoles and timelines are in {labs / 'logs'}"))


def _chosen(what: str, names: tuple[str, ...], known: dict[str, Named]) -> list[Named]:
    """The named ones in their order, or all."""
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no {what} {name!r}: choose one of {', '.join(known)}")
    return [one for name, one in known.items() if not names or name in names]


def _cache(folder: Path) -> Path:
    """Downloads outlive a lab: QEMU and packages of the mirror."""
    return folder.resolve() / "cache"


def _tell(facts: dict[str, object]) -> None:
    login = f"user {facts['admin_user']}  password {facts['admin_password']} (for the first login)"
    say(f"web page   {facts['admin_url']}  {login}")
    say(f"command    pxeforge --data-dir {facts['data_dir']} host list")
    say(f"namespace  {facts['namespace']}")


COMMANDS = (lab,)

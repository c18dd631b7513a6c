"""`pxeforge lab …`: virtual racks on this computer."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json
from pxeforge.cli.transport import Refusal

if TYPE_CHECKING:
    from pxeforge.lab.qemu import Machine
    from pxeforge.lab.session import Lab

_FOLDER = Path(".lab")
FIRMWARES = ("bios", "uefi", "secureboot", "uefi-http", "arm64")  # as in lab/machine_firmware.py, which is loaded late
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
    "--firmware", type=click.Choice(FIRMWARES), help=f"What the machines netboot by.  [default: {FIRMWARES[0]}]"
)  # fmt: skip
@click.option(
    "--driver", type=click.Choice(["qemu", "nspawn"]), default="qemu", show_default=True,
    help="qemu: empty machines that netboot; nspawn: Debian systems on this computer's own kernel, registered already.",
)  # fmt: skip
@click.option(
    "--beside", type=click.Choice(["none", "dnsmasq", "kea", "isc-dhcpd"]),
    help="The site's DHCP server.  [default: none]",
)  # fmt: skip
@click.option("--behind-relay", is_flag=True, help="The machines are in a network behind a router and a DHCP relay.")
@click.option("--admin-port", type=int, help="Port of the web page on this computer.  [default: 8443; nspawn: any]")
@folder_option
def up(
    hosts: int, firmware: str | None, driver: str, beside: str | None, behind_relay: bool, admin_port: int | None,
    folder: Path,
) -> None:  # fmt: skip
    """Bring a rack up: DHCP by pxeforge (or by another server beside it), mirror relay, image, server.

    Its machines are off: `pxeforge lab on` switches one on. With --driver nspawn there are running systems with an
    agent, called n1, n2 …, to deploy on.
    """
    if driver == "nspawn":
        given = {"--firmware": firmware, "--beside": beside, "--behind-relay": behind_relay, "--admin-port": admin_port}
        wrong = ", ".join(name for name, value in given.items() if value)
        if wrong:
            raise click.UsageError(f"systems of systemd-nspawn have no firmware and do not netboot: leave {wrong} away")
        return _systems_up(folder, hosts)
    from pxeforge.lab.machine_firmware import MachineFirmware
    from pxeforge.lab.session import Lab, LabProblem

    if _systems(folder) is not None:
        raise Refusal(f"systems of systemd-nspawn are up in {folder}: `pxeforge lab down` ends them")
    chosen = MachineFirmware(firmware or FIRMWARES[0])
    try:
        found = Lab.up(
            folder.resolve(), cache=_cache(folder), hosts=hosts, beside=beside or "none",
            admin_port=8443 if admin_port is None else admin_port, behind_relay=behind_relay, firmware=chosen,
            images=chosen.images,
        )  # fmt: skip
    except LabProblem as problem:
        return _fail(problem)
    return _tell(found.facts)


def _systems_up(folder: Path, hosts: int) -> None:
    from pxeforge.lab import cloud
    from pxeforge.lab.keeper import STATUS

    if (folder / STATUS).exists():
        raise Refusal(f"a lab of machines is up in {folder}: `pxeforge lab down` ends it")
    names = ",".join(f"n{number}" for number in range(1, hosts + 1))
    try:
        _tell(cloud.up(folder.resolve(), [f"--hosts={names}", f"--cache={_cache(folder)}", "--name=pxeforge-lab"]))
    except cloud.CloudProblem as problem:
        _fail(problem)


def _systems(folder: Path) -> dict[str, Any] | None:
    """What is told of the systems of systemd-nspawn in this folder; None where there are none."""
    from pxeforge.lab import cloud

    return cloud.attached(folder) if (folder / cloud.STATUS).exists() else None


@lab.command()
@json_option
@folder_option
def status(as_json: bool, folder: Path) -> None:
    """Say where the lab is."""
    facts = _systems(folder) or _attached(folder).facts
    return show_json(facts) if as_json else _tell(facts)


def _attached(folder: Path) -> Lab:
    from pxeforge.lab.session import Lab, LabProblem

    try:
        return Lab.attached(folder.resolve())
    except LabProblem as problem:
        raise Refusal(str(problem)) from None


def _machine(folder: Path, number: int) -> Machine:
    """Machine `number` of the lab; raises UsageError, Refusal."""
    from pxeforge.lab.newer_qemu import QemuMissing
    from pxeforge.lab.qemu import MachineError

    found = _attached(folder)
    known = [host["number"] for host in found.facts["hosts"]]
    if number not in known:
        raise click.UsageError(f"the lab has machines 1 to {max(known)}: there is no machine {number}")
    try:
        return found.machine(number)
    except (MachineError, QemuMissing) as problem:
        raise Refusal(str(problem)) from None


@lab.command("on")
@click.argument("number", type=int, default=1)
@folder_option
def switch_on(number: int, folder: Path) -> None:
    """Switch machine NUMBER on: it netboots."""
    from pxeforge.lab import qmp
    from pxeforge.lab.qemu import MachineError

    machine = _machine(folder, number)
    try:
        qmp.execute(machine.control, "query-status")
    except qmp.QmpError:
        try:
            machine.start()
        except MachineError as problem:
            return _fail(problem)
        return say(f"machine {number} ({machine.mac}) is on: `pxeforge lab console {number}` shows what it says")
    return say(f"machine {number} is on already")


@lab.command("off")
@click.argument("number", type=int, default=1)
@folder_option
def switch_off(number: int, folder: Path) -> None:
    """Pull the plug of machine NUMBER."""
    from pxeforge.lab import qmp

    try:
        qmp.execute(_machine(folder, number).control, "quit")
    except qmp.QmpError:
        return say(f"machine {number} is off already")
    return say(f"machine {number} is off")


@lab.command()
@click.argument("host", default="1")
@folder_option
def console(host: str, folder: Path) -> None:
    """Print what machine HOST (its number, or the name of a system) has written to its console."""
    systems = _systems(folder)
    if systems is not None:
        name = host if host in systems["hosts"] else f"n{host}"
        if name not in systems["hosts"]:
            raise click.UsageError(f"there is no system {host!r}: choose one of {', '.join(systems['hosts'])}")
        path = Path(systems["hosts"][name]["console"])
    else:
        path = folder / f"host{host}.console"
    if not path.exists():
        raise click.UsageError(f"machine {host} was never started: there is no {path}")
    say(path.read_text(errors="replace"))


@lab.command()
@folder_option
def down(folder: Path) -> None:
    """End everything the lab started."""
    from pxeforge.lab import cloud
    from pxeforge.lab.session import LabProblem

    try:
        if _systems(folder) is not None:
            cloud.down(folder)
        else:
            _attached(folder).down()
    except (LabProblem, cloud.CloudProblem) as problem:
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


def _tell(facts: Mapping[str, Any]) -> None:
    login = f"user {facts['admin_user']}  password {facts['admin_password']} (for the first login)"
    say(f"web page   {facts['admin_url']}  {login}")
    say(f"command    pxeforge --data-dir {facts['data_dir']} host list")
    say(f"namespace  {facts['namespace']}")


COMMANDS = (lab,)

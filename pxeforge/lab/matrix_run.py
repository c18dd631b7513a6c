"""Runs cells of the firmware matrix: one lab per column, a machine per row, powered off as soon as its kernel runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pxeforge.domain.boot import LoaderChoice
from pxeforge.lab.keeper import IMAGE
from pxeforge.lab.matrix import KERNEL, ROWS, Cell, Column, Outcome, Row, Seen, lacking, outcome_of_failure
from pxeforge.lab.mirror import NoMirror
from pxeforge.lab.newer_qemu import QemuMissing, find_qemu
from pxeforge.lab.qemu import Machine, MachineError, flash_files, processor_of
from pxeforge.lab.session import Lab, LabProblem, is_worlds_fault
from pxeforge.lab.site_dhcp import PROGRAMS, Brand, path_of
from pxeforge.services import install_tokens
from pxeforge.services.image_catalogue import CATALOGUE

SPARE: Final = len(ROWS) + 1
SEED: Final = "seed"
_LOOK_S = 0.5
_SILENCE_S = 150.0  # a machine that neither fetches nor writes anything for so long has stopped
_BUSY = 3.0  # processes for each processor: what takes too long then is the computer's fault
_MOST_PATIENCE = 4.0  # times
# A key nobody has the other half of: nothing is installed.
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyGZRyPyQjKZBTCzBVBDa0wN7GVrCrDDQqZ8pPXk5mv lab"


class _WorldsFault(Exception):
    """The computer and not pxeforge spoiled a run: it deserves another one."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A cell with what its machine left behind; nothing where it was not run."""

    cell: Cell
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """How the cells are run. `until`: per row, how far its machine runs when the kernel is not enough."""

    folder: Path  # labs, and `logs/` with the console and timeline of each cell
    cache: Path
    say: Callable[[str], None]
    jobs: int = 1
    images: Sequence[str] = ()  # besides the installers of the rows
    until: Mapping[str, str] | None = None

    def run(self, columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[Cell]:
        """Column by column, on images that are imported for this run."""
        shutil.rmtree(self.folder / SEED, ignore_errors=True)
        for column in columns:
            reasons = {row.name: why for row in rows if (why := why_not(row, column, self.cache)) is not None}
            for row in rows:
                if row.name in reasons:
                    yield self._told(
                        Cell(row=row.name, column=column.name, outcome=Outcome.NOT_RUN, reason=reasons[row.name])
                    )
            able = [row for row in rows if row.name not in reasons]
            if not able:
                continue
            try:
                with self.lab(column, able) as lab:
                    yield from (ran.cell for ran in self.run_column(lab, column, able))
            except LabProblem as problem:
                for row in able:
                    yield self._told(
                        Cell(row=row.name, column=column.name, outcome=Outcome.RED, reason=f"no lab: {problem}")
                    )

    @contextlib.contextmanager
    def lab(self, column: Column, rows: Sequence[Row]) -> Iterator[Lab]:
        """The column's lab, brought up once more (saying so) when the world was at fault; raises LabProblem.

        It has a machine per row and a spare one, whose number is SPARE.
        """
        folder = self.folder / column.name
        Lab.clear(folder)
        images = sorted({*self.images, *(name for row in rows if (name := image_for(row.arch)) is not None)})
        for last in (False, True):
            try:
                lab = Lab.up(
                    folder, cache=self.cache, hosts=SPARE, beside=column.beside, admin_port=0,
                    name=f"pxf-matrix-{column.name}", behind_relay=column.behind_relay, images=images, installs=False,
                    seed=self.folder / SEED / "-".join(images),
                )  # fmt: skip
            except LabProblem as problem:
                if last or not is_worlds_fault(problem):
                    raise
                self.say(f"{column.title}: once more, the mirror or this computer was at fault: {problem}")
                continue
            break
        try:
            yield lab
        finally:
            lab.down()

    def run_column(self, lab: Lab, column: Column, rows: Sequence[Row]) -> Iterator[Ran]:
        """Every row in a lab that is up, `jobs` machines at a time, in the order of the rows."""
        stop = threading.Event()
        for arch in sorted({row.arch for row in rows}):
            _prepare_profile(lab, next(row for row in rows if row.arch == arch))
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                yield from pool.map(lambda row: self._run(lab, column, row, stop), rows)
            finally:
                stop.set()

    def _run(self, lab: Lab, column: Column, row: Row, stop: threading.Event) -> Ran:
        note = ""
        for last in (False, True):
            attempt = _Attempt(lab, column, row, (self.until or {}).get(row.name, KERNEL), stop)
            try:
                cell = replace(attempt.run(), note=note)
            except LabProblem as problem:
                outcome, why = outcome_of_failure(row, column, str(problem))
                cell = Cell(row=row.name, column=column.name, outcome=outcome, reason=why, note=note)
            except _WorldsFault as fault:
                if last:
                    cell = Cell(row=row.name, column=column.name, outcome=Outcome.NOT_RUN, reason=str(fault))
                else:
                    note = f"second run, for the computer was at fault: {fault}"
                    self.say(f"{column.title}, {row.title}: {note}")
                    continue
            break
        self._keep(cell, attempt)
        self._told(cell)
        return Ran(cell, attempt.seen())

    def _keep(self, cell: Cell, attempt: _Attempt) -> None:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        seen = attempt.seen()
        (logs / f"{cell.column}-{cell.row}.console").write_text(seen.console)
        (logs / f"{cell.column}-{cell.row}.json").write_text(json.dumps(list(seen.events), indent=1, default=str))

    def _told(self, cell: Cell) -> Cell:
        self.say(f"{cell.column} × {cell.row}: {cell.words()}")
        return cell


class _Attempt:
    """One power-on of one machine."""

    def __init__(self, lab: Lab, column: Column, row: Row, until: str, stop: threading.Event) -> None:
        self._lab, self._column, self._row, self._until, self._stop = lab, column, row, until, stop
        number = ROWS.index(row) + 1
        self._machine: Machine = lab.machine(
            number, fresh_disk=True, firmware=row.firmware, secure_boot=row.secure_boot
        )
        self._machine.plain_rom = row.plain_rom
        self._known = 0  # events of its timeline before power-on
        # Behind the kernel's start nothing may be heard for long: the installer probes the hardware.
        self._limit_s = row.limit_s if until == KERNEL else 2 * row.limit_s
        self._silence_s = _SILENCE_S if until == KERNEL else self._limit_s

    def run(self) -> Cell:
        """Arms the host, powers it on and looks on; raises _WorldsFault. The machine is off again at the end."""
        lab, row, mac = self._lab, self._row, str(self._machine.mac)
        if lab.host(mac) is None:
            lab.pxeforge("host", "add", "--mac", mac, "--name", row.name)
        lab.pxeforge("host", "set", row.name, "--loader", row.loader)
        lab.pxeforge("host", "arm", row.name, "--profile", str(image_for(row.arch)))
        host = lab.host(row.name)
        assert host is not None
        token = install_tokens.token_of(lab.context, host["attempt"]["id"], "answers")
        self._known = len(lab.timeline(row.name))
        try:
            self._machine.start()
            return self._watch(token)
        except MachineError as error:
            raise _WorldsFault(str(error)) from error
        finally:
            self._machine.power_off()
            lab.pxeforge("host", "disarm", row.name, check=False)

    def seen(self) -> Seen:
        return Seen(events=self._lab.timeline(self._row.name)[self._known :], console=self._machine.console_text())

    def _watch(self, token: str) -> Cell:
        began, kernel_s = time.time(), None
        last, size = began, -1
        while True:
            seen, now = self.seen(), time.time()
            if seen.kernel_runs and kernel_s is None:
                kernel_s = now - began
            why = lacking(self._row, self._column, seen, token, self._until)
            menu_s = seen.menu_at - began if seen.menu_at is not None else None
            if why is None:
                return self._cell(Outcome.GREEN, "", menu_s, kernel_s)
            if len(seen.events) + len(seen.console) != size:
                last, size = now, len(seen.events) + len(seen.console)
            over = self._over(now - began, now - last)
            if over is not None:
                outcome, reason = outcome_of_failure(self._row, self._column, f"{why} ({over}); {_last_words(seen)}")
                return self._cell(outcome, reason, menu_s, kernel_s)
            self._stop.wait(_LOOK_S)

    def _over(self, passed_s: float, silent_s: float) -> str | None:
        """Why it is given up; raises _WorldsFault where that says nothing about pxeforge."""
        if self._stop.is_set():
            return "stopped"
        if not self._machine.is_running:
            raise _WorldsFault("QEMU ended by itself")
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        patience = min(max(1.0, load), _MOST_PATIENCE)  # a busy computer may take longer
        if passed_s < self._limit_s * patience and silent_s < self._silence_s * patience:
            return None
        if load > _BUSY:
            raise _WorldsFault(f"no end after {passed_s:.0f} s with {load:.0f} processes for each processor")
        return f"after {passed_s:.0f} s, the last {silent_s:.0f} s in silence"

    def _cell(self, outcome: Outcome, reason: str, menu_s: float | None, kernel_s: float | None) -> Cell:
        return Cell(
            row=self._row.name, column=self._column.name, outcome=outcome, reason=reason,
            menu_s=None if menu_s is None else round(menu_s, 1),
            kernel_s=None if kernel_s is None else round(kernel_s, 1),
        )  # fmt: skip


def why_not(row: Row, column: Column, cache: Path) -> str | None:
    """Why a cell cannot be run on this computer; None when it can."""
    if image_for(row.arch) is None:
        return f"no {row.arch} image in the catalogue"
    if row.loader not in {choice.value for choice in LoaderChoice}:
        return f"there is no boot loader {row.loader}"
    missing = [path for path in flash_files(row.firmware, secure_boot=row.secure_boot) if not path.is_file()]
    if missing:
        return f"no firmware: {missing[0]} is missing"
    if column.is_proxy and path_of(Brand(column.beside)) is None:
        return f"the package {PROGRAMS[Brand(column.beside)].package} is missing"
    try:
        find_qemu(cache, processor_of(row.firmware))
    except (QemuMissing, NoMirror) as problem:
        return str(problem)
    return None


def image_for(arch: str) -> str | None:
    """The installer of the lab's suite for a processor."""
    wanted = (CATALOGUE[IMAGE].suite, arch, True)
    found = (name for name, one in CATALOGUE.items() if (one.suite, one.arch, one.is_installer) == wanted)
    return next(found, None)


def _prepare_profile(lab: Lab, row: Row) -> None:
    lab.pxeforge(
        "profile", "set", str(image_for(row.arch)), "light=true", f"console={row.console}",
        f"kernel_args={' '.join(['mitigations=off', *lab.facts['installer_args']])}",
        f"accounts=[{{name: ops, ssh_keys: ['{_KEY}'], sudo: true}}]",
    )  # fmt: skip


def _last_words(seen: Seen) -> str:
    """The end of timeline and console, short: all of it is in the log folder."""
    told = "; ".join(seen.told()[-2:]) or "nothing in the timeline"
    console = " ".join(line.strip() for line in seen.console.splitlines()[-3:] if line.strip())
    return f"timeline: {told[-200:]}; console: {''.join(c for c in console if c.isprintable())[-120:]}"

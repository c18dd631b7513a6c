"""Boots counted and timed from the timelines: one thread follows the events as they are written.

The wire does nothing for it. What was counted, and how far, lies in one file and outlives the process.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.protocol.prometheus import OTHER, Histogram
from pxeforge.render.menus import MenuKind
from pxeforge.services.context import Context
from pxeforge.services.tallies import FOLDER
from pxeforge.store.tables import Event, Host

LOADERS: Final = frozenset(kind.name.lower() for kind in MenuKind)
FIRMWARES: Final = frozenset(firmware.value for firmware in Firmware)
STAGES: Final = (
    "dhcp_to_menu", "menu_to_kernel", "kernel_to_answers", "answers_to_installed", "installed_to_registered",
    "answers_to_registered", "dhcp_to_registered", "registered_to_agent", "configuring", "wiping",
)  # fmt: skip
BOUNDS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200)
_ENDS: Final = {
    Signal.REGISTER.value: "registered",
    Signal.SERVED.value: "served",
    Signal.NOT_CHOSEN.value: "not_chosen",
    Signal.WIPED.value: "wiped",
    Signal.GAVE_UP.value: "gave_up",
    Signal.DISARM.value: "disarmed",
}
OUTCOMES: Final = frozenset(_ENDS.values())
_UNDER_WAY: Final = frozenset(
    state.value for state in (HostState.BOOTING, HostState.INSTALLING, HostState.INSTALLED, HostState.WIPING)
)
_RUN_ENDS: Final = frozenset({Signal.RUN_SUCCEEDED.value, Signal.RUN_FAILED.value})
# Kinds of events that tell of something gone wrong; giving up is told apart by what it waited for.
_ERRORS: Final = frozenset({
    "menu_failed", "menu_refused", "token_refused", "tftp_failed", "late_failed", "netboot_after_install",
    "login_failed", "facts_refused", "conflict", "lease_lost", "task_failed",
})  # fmt: skip
_INSTALL_FAILED: Final = "install_failed"
_TIME_OVER: Final = "time_over_"
REASONS: Final = _ERRORS | {_INSTALL_FAILED, *(f"{_TIME_OVER}{state.value}" for state in HostState)}
_RUNNING: Final = frozenset({HostState.INSTALLING.value, HostState.WIPING.value})
_KERNEL_BY_HTTP, _KERNEL_BY_TFTP = "linux fetched ", "/linux to "
_FOLLOWED: Final = (
    "netboot", "image_fetched", "tftp_sent", "agent_connected", Signal.MENU_FETCHED.value,
    Signal.ANSWERS_FETCHED.value, Signal.FINISHED.value, Signal.WIPE_BEGUN.value, Signal.RUN_STARTED.value, *_RUN_ENDS,
    *_ENDS, *_ERRORS,
)  # fmt: skip
_NEW_BOOT_S: Final = 300  # a netboot so long after the one before begins a boot of its own
_MOST_AT_ONCE: Final = 500  # events; what is read at once stays with the process as memory
_LOOK_BACK: Final = 20_000  # events: what was under way when the process before ended
_MOST_HOSTS: Final = 20_000


class _Row(NamedTuple):
    id: int
    host_id: str | None
    at: float
    source: str
    kind: str
    message: str
    data: dict[str, Any]
    firmware: str | None


@dataclass(slots=True)
class _Boot:
    """How far a host has come."""

    loader: str = OTHER
    dhcp_at: float | None = None
    menu_at: float | None = None
    kernel_at: float | None = None
    answers_at: float | None = None
    installed_at: float | None = None
    registered_at: float | None = None
    run_at: float | None = None


class Milestones:
    """follow() in one thread of one process, now and then; the sums may be read by others."""

    def __init__(self, ctx: Context) -> None:
        self._ctx, self._path = ctx, ctx.data_dir / FOLDER / "milestones.state"
        self._boots: dict[str, _Boot] = {}
        self.started: Counter[tuple[str, str]] = Counter()  # firmware, loader
        self.finished: Counter[tuple[str, str, str]] = Counter()  # firmware, loader, outcome
        self.errors: Counter[str] = Counter()  # reason
        self.stages = {name: Histogram(BOUNDS_S) for name in STAGES}
        self._last: int | None = None  # counted up to this event
        self._seen = 0  # the newest event when we looked the last time
        self._counting = True
        self._load()

    def follow(self) -> None:
        """Counts what was written before the last call.

        Of events that are numbered one after the other by several writers, a later one may be seen before an earlier
        one: whoever took a number by the last call has written by now.
        """
        with self._ctx.database.read() as session:
            newest = session.scalar(select(func.max(Event.id))) or 0
        if self._last is None or newest < self._last:  # the first start, or an older database was brought back
            self._last = self._seen = newest
            self._save()
            return
        before, until = self._last, min(self._seen, newest)
        while self._last < until:
            rows = self._rows(self._last, until)
            for row in rows:
                self._take(row)
            self._last = rows[-1].id if len(rows) == _MOST_AT_ONCE else until
        self._seen = newest
        if self._last != before:
            self._save()

    def _rows(self, after: int, until: int) -> Sequence[_Row]:
        with self._ctx.database.read() as session:
            return [_Row(*row) for row in session.execute(_events(after, until))]

    def _take(self, row: _Row) -> None:
        reason = _reason(row)
        if reason is not None and self._counting:
            self.errors[reason] += 1
        if row.host_id is None:
            return
        if row.kind in _ENDS:
            self._ended(row.host_id, row)
        elif row.kind not in _ERRORS:
            self._came_on(self._boot(row.host_id), row)

    def _boot(self, host_id: str) -> _Boot:
        if host_id not in self._boots:
            while len(self._boots) >= _MOST_HOSTS:
                del self._boots[next(iter(self._boots))]
            self._boots[host_id] = _Boot()
        return self._boots[host_id]

    def _came_on(self, boot: _Boot, row: _Row) -> None:
        if row.kind == "netboot":
            if row.data.get("decision") == "install" and row.at - (boot.dhcp_at or 0) > _NEW_BOOT_S:
                boot.dhcp_at = row.at
        elif row.kind == Signal.MENU_FETCHED.value:
            word = row.message.partition(" ")[0]
            boot.loader = word if word in LOADERS else OTHER
            if _state_before(row) not in _UNDER_WAY:
                self._lasted("dhcp_to_menu", boot.dhcp_at, row.at)
                self._count(self.started, (_firmware(row), boot.loader))
            boot.menu_at, boot.kernel_at = row.at, None
        elif row.kind in (Signal.ANSWERS_FETCHED.value, Signal.WIPE_BEGUN.value):
            if _state_before(row) not in _RUNNING:  # else the same answers are read once more
                self._lasted("kernel_to_answers", boot.kernel_at, row.at)
                boot.answers_at = row.at
        elif row.kind == Signal.FINISHED.value:
            self._lasted("answers_to_installed", boot.answers_at, row.at)
            boot.installed_at = row.at
        elif row.kind == "agent_connected":
            self._lasted("registered_to_agent", boot.registered_at, row.at)
            boot.registered_at = None
        elif row.kind == Signal.RUN_STARTED.value:
            boot.run_at = row.at if _state_before(row) != HostState.CONFIGURING.value else boot.run_at
        elif row.kind in _RUN_ENDS:
            self._lasted("configuring", boot.run_at, row.at)
            boot.run_at = None
        elif boot.menu_at is not None and boot.kernel_at is None and _is_kernel(row):
            self._lasted("menu_to_kernel", boot.menu_at, row.at)
            boot.kernel_at = row.at

    def _ended(self, host_id: str, row: _Row) -> None:
        boot = self._boots.pop(host_id, None) or _Boot()
        if _state_before(row) not in _UNDER_WAY:
            return
        outcome = _ENDS[row.kind]
        self._count(self.finished, (_firmware(row), boot.loader, outcome))
        if row.kind == Signal.REGISTER.value:
            self._lasted("answers_to_registered", boot.answers_at, row.at)
            self._lasted("dhcp_to_registered", boot.dhcp_at, row.at)
            self._lasted("installed_to_registered", boot.installed_at, row.at)
            self._boot(host_id).registered_at = row.at
        elif row.kind == Signal.WIPED.value:
            self._lasted("wiping", boot.answers_at, row.at)

    def _count(self, counter: Counter[Any], key: tuple[str, ...]) -> None:
        if self._counting:
            counter[key] += 1

    def _lasted(self, stage: str, began: float | None, ended: float) -> None:
        if began is not None and self._counting:
            self.stages[stage].add(max(0.0, ended - began))

    # ------------------------------------------------------------------ what outlives us

    def _save(self) -> None:
        """Raises OSError."""
        plain = {
            "last": self._last, "started": [[*key, n] for key, n in self.started.items()],
            "finished": [[*key, n] for key, n in self.finished.items()], "errors": dict(self.errors),
            "stages": {name: [one.counts, one.total] for name, one in self.stages.items()},
        }  # fmt: skip
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps(plain))
        aside.replace(self._path)

    def _load(self) -> None:
        """What cannot be read counts as never counted."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, IndexError):
            plain = json.loads(self._path.read_text())
            started = Counter({(firmware, loader): n for firmware, loader, n in plain["started"]})
            finished = Counter({(firmware, loader, end): n for firmware, loader, end, n in plain["finished"]})
            stages = {
                name: Histogram(BOUNDS_S, [int(count) for count in counts], float(total))
                for name, (counts, total) in plain["stages"].items()
                if name in STAGES and len(counts) == len(BOUNDS_S) + 1
            }
            self.errors, self._last = Counter(plain["errors"]), int(plain["last"])
            self.started, self.finished = started, finished
            self.stages.update(stages)
            self._seen = self._last
        if self._last is not None:
            self._counting = False
            for row in self._rows(self._last - _LOOK_BACK, self._last):
                self._take(row)
            self._counting = True


def _events(after: int, until: int) -> Select[Any]:
    columns = (Event.id, Event.host_id, Event.at, Event.source, Event.kind, Event.message, Event.data, Host.firmware)
    return (
        select(*columns).outerjoin(Host, Host.id == Event.host_id)
        .where(Event.id > after, Event.id <= until, Event.kind.in_(_FOLLOWED))
        .order_by(Event.id).limit(_MOST_AT_ONCE)
    )  # fmt: skip


def _reason(row: _Row) -> str | None:
    if row.kind in _ERRORS:
        return row.kind
    if row.kind != Signal.GAVE_UP.value:
        return None
    if row.source != "server":
        return _INSTALL_FAILED
    reason = f"{_TIME_OVER}{_state_before(row)}"
    return reason if reason in REASONS else OTHER


def _state_before(row: _Row) -> str:
    return str(row.data.get("from"))


def _firmware(row: _Row) -> str:
    return row.firmware if row.firmware in FIRMWARES and row.firmware else OTHER


def _is_kernel(row: _Row) -> bool:
    if row.kind == "image_fetched":
        return row.message.startswith(_KERNEL_BY_HTTP)
    return row.kind == "tftp_sent" and _KERNEL_BY_TFTP in row.message

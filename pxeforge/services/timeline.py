"""Stages of a host with their durations, told from its events: DHCP, TFTP, HTTP, installer, callbacks, agent, runs.

Events are taken in the order in which they were written, not by their clock: a clock that was set back would turn
durations around. What came before such a jump is moved to the clock of today.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import Event, Host

ARMED, NETBOOT, LOADER, MENU, KERNEL = "armed", "netboot", "loader", "menu", "kernel"
INSTALLER, INSTALLED, REGISTERED, CONFIGURING = "installer", "installed", "registered", "configuring"
RESCUE, WIPING = "rescue", "wiping"
# The stages in their order, and what the host does meanwhile. A step of the installer is a stage "installer: STEP".
STAGE_WORDS: Final = {
    ARMED: "waits for its netboot",
    NETBOOT: "has asked for an address and a boot file",
    LOADER: "has fetched its boot loader",
    MENU: "has fetched its menu",
    KERNEL: "starts the kernel of the installer",
    INSTALLER: "has fetched its answers and installs",
    INSTALLED: "installed; the new system registers",
    REGISTERED: "registered; boots its disk, until its agent connects",
    CONFIGURING: "a deploy works on it",
    RESCUE: "a rescue system or a memory test may be running",
    WIPING: "its disks are being erased",
}  # fmt: skip
MOST_EVENTS: Final = 5_000
_BEFORE_THE_MENU: Final = frozenset({ARMED, NETBOOT, LOADER})
_BEFORE_THE_INSTALLER: Final = _BEFORE_THE_MENU | {MENU, KERNEL}
# What a transition opens, by the state that it leads to.
_OPENS: Final = {
    HostState.ARMED.value: ARMED, HostState.INSTALLING.value: INSTALLER, HostState.INSTALLED.value: INSTALLED,
    HostState.REGISTERED.value: REGISTERED, HostState.CONFIGURING.value: CONFIGURING, HostState.RESCUE.value: RESCUE,
    HostState.WIPING.value: WIPING,
}  # fmt: skip
_FOLLOWED: Final = (
    "netboot", "tftp_sent", "loader_fetched", "image_fetched", "installer_step", "late", "agent_connected",
    *(signal.value for signal in Signal),
)  # fmt: skip


@dataclass(slots=True)
class _Stage:
    stage: str
    began_at: float
    attempt: int
    note: str
    ended_at: float | None = None
    failed: bool = False

    def view(self) -> dict[str, Any]:
        state = "failed" if self.failed else "running" if self.ended_at is None else "done"
        return {
            "stage": self.stage, "began_at": self.began_at, "ended_at": self.ended_at, "state": state,
            "note": self.note, "attempt": self.attempt,
        }  # fmt: skip


def stages_of(ctx: Context, host_name: str, *, attempts: int = 1) -> list[dict[str, Any]]:
    """What the host did since it was armed last, oldest first; `attempts`: how many armings to tell of.

    Each stage has `stage`, `began_at`, `ended_at` (unix seconds; None: it lasts), `state` (done, running or failed),
    `note` and `attempt` (1: the first arming that is told). Raises NotFound.
    """
    with ctx.database.read() as session:
        host: Host = hosts.find(session, host_name)
        armings = session.scalars(
            select(Event.id).where(Event.host_id == host.id, Event.kind == Signal.ARM.value)
            .order_by(Event.id.desc()).limit(max(1, attempts))
        ).all()  # fmt: skip
        rows = session.scalars(
            select(Event)
            .where(Event.host_id == host.id, Event.id >= (armings[-1] if armings else 0), Event.kind.in_(_FOLLOWED))
            .order_by(Event.id.desc()).limit(MOST_EVENTS)
        ).all()  # fmt: skip
    return [stage.view() for stage in stages(rows[::-1], ctx.clock())]


def stages(events: Sequence[Event], now: float) -> list[_Stage]:
    """The stages that events of one host, in the order in which they were written, tell of."""
    track = _Track()
    for event, at in zip(events, monotonic([event.at for event in events], now), strict=True):
        track.take(event, at)
    return track.stages


def monotonic(times: Sequence[float], now: float) -> list[float]:
    """The times by the clock of today: none is later than the next one, the last one not later than `now`."""
    after, shift = now, 0.0
    moved: list[float] = []
    for at in reversed(times):
        if at + shift > after:
            shift = after - at
        after = min(after, at + shift)  # rounding
        moved.append(after)
    return moved[::-1]


class _Track:
    """Follows one host; `stages` are told so far, the last one may be open."""

    def __init__(self) -> None:
        self.stages: list[_Stage] = []
        self._attempt = 0

    @property
    def _now_in(self) -> str | None:
        open_ = self.stages and self.stages[-1].ended_at is None
        return self.stages[-1].stage if open_ else None

    def take(self, event: Event, at: float) -> None:
        after = str(event.data.get("to") or "")
        if after:
            self._moved(event, after, at)
        elif event.kind == "netboot":
            self._netbooted(event, at)
        elif event.kind == "agent_connected":
            if self._now_in in (REGISTERED, RESCUE):
                self._close(at, event.message)
        elif event.kind in ("installer_step", "late"):
            if (self._now_in or "").startswith(INSTALLER):
                self._open(f"{INSTALLER}: {step_of(event)}", at, "")
        elif is_kernel(event) and self._now_in in (*_BEFORE_THE_MENU, MENU):
            self._open(KERNEL, at, event.message)
        elif is_loader(event) and self._now_in in (ARMED, NETBOOT):
            self._open(LOADER, at, event.message)

    def _moved(self, event: Event, after: str, at: float) -> None:
        """A transition: it opens the stage of its state, or ends the last one."""
        if event.kind == Signal.ARM.value:
            self._attempt += 1
        if event.kind == Signal.MENU_FETCHED.value:
            self._open(MENU, at, event.message)
        elif event.data.get("from") == after and event.kind != Signal.ARM.value:
            return  # an installer that reads its answers again
        elif after in _OPENS:
            self._open(_OPENS[after], at, event.message)
        else:
            self._close(at, event.message, failed=after == HostState.FAILED.value)

    def _netbooted(self, event: Event, at: float) -> None:
        if event.data.get("decision") != "install":
            return
        if self._now_in == ARMED or (self._now_in in (MENU, KERNEL) and not by_ipxe(event.message)):
            again = self._now_in != ARMED
            self._open(NETBOOT, at, ("booted again: " if again else "") + event.message)

    def _open(self, stage: str, at: float, note: str) -> None:
        self._close(at)
        self.stages.append(_Stage(stage, at, max(1, self._attempt), note))

    def _close(self, at: float, note: str = "", *, failed: bool = False) -> None:
        if not self.stages or self.stages[-1].ended_at is not None:
            return
        last = self.stages[-1]
        last.ended_at, last.failed, last.note = at, failed, note or last.note


def step_of(event: Event) -> str:
    """What the installer is at, as it calls it."""
    return "late script" if event.kind == "late" else event.message.removeprefix("d-i: ")


def by_ipxe(netboot: str) -> bool:
    """Whether iPXE asked, by the message of a netboot: mostly the loader that the firmware has just fetched."""
    return netboot.partition(" on ")[0].endswith("by iPXE")


def is_loader(event: Event) -> bool:
    by_tftp = event.kind == "tftp_sent" and not event.message.startswith("images/")
    return by_tftp or event.kind == "loader_fetched"


def is_kernel(event: Event) -> bool:
    if event.kind == "image_fetched":
        return event.message.startswith("linux fetched ")
    return event.kind == "tftp_sent" and "/linux to " in event.message

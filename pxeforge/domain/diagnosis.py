"""Where a host hangs: named diagnoses, each with the remedy, found from what was last heard of the host.

Pure: the trail of a host and the time are arguments.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pxeforge.domain.lifecycle import HostState


class DiagnosisName(enum.StrEnum):
    """Every diagnosis there is."""

    NEVER_SEEN = "never_seen"
    NEVER_BOOTED = "never_booted"
    NOT_OFFERED = "not_offered"
    OFFER_NOT_TAKEN = "offer_not_taken"
    MENU_NEVER_ASKED = "menu_never_asked"
    KERNEL_NEVER_FETCHED = "kernel_never_fetched"
    ANSWERS_NEVER_ASKED = "answers_never_asked"
    START_LOOP = "start_loop"
    INSTALLER_SILENT = "installer_silent"
    INSTALLER_STOPPED = "installer_stopped"
    LATE_NEVER_CALLED = "late_never_called"
    INSTALLER_GAVE_UP = "installer_gave_up"
    NEVER_REGISTERED = "never_registered"
    BOOT_LOOP = "boot_loop"
    AGENT_SILENT = "agent_silent"
    RUN_FAILED = "run_failed"


_N = DiagnosisName
# What the operator reads: the sentence (with {…} filled in) and what helps.
WORDS: Final[Mapping[DiagnosisName, tuple[str, str]]] = {
    _N.NEVER_SEEN: (
        "armed, but never seen on the wire",
        "Switch it on. Then check the boot order (network first), the cable, the VLAN of its port, and that the MAC "
        "address is that of the NIC which netboots; behind a router, that its relay sends DHCP to us.",
    ),
    _N.NEVER_BOOTED: (
        "did not boot while it was armed, and its time is over: {message}",
        "Mend what the sentence names: the boot order (network first), the cable, the VLAN of its port, the MAC "
        "address; `pxeforge doctor` looks for other DHCP servers. Then arm the host again.",
    ),
    _N.NOT_OFFERED: (
        "netboots while it is armed and gets nothing: {message}",
        "The reason stands in the sentence; `pxeforge host explain HOST` shows the whole decision.",
    ),
    _N.OFFER_NOT_TAKEN: (
        "no DHCP answer taken: it was offered a boot file and fetched none (another server may have answered)",
        "Run `pxeforge doctor`: it looks for other DHCP and PXE servers. Check that port 69/udp reaches us, and the "
        "port's spanning tree (portfast).",
    ),
    _N.MENU_NEVER_ASKED: (
        "boot loader fetched, menu never asked",
        "Look at the host's screen: the loader has no network (try another one: `pxeforge host set HOST --loader …`), "
        "or Secure Boot refused it. Check that our HTTP port reaches the host.",
    ),
    _N.KERNEL_NEVER_FETCHED: (
        "menu fetched, kernel never",
        "Look at the host's screen for the loader's error; verify the image (`pxeforge image verify`), and try another "
        "loader (`pxeforge host set HOST --loader …`).",
    ),
    _N.ANSWERS_NEVER_ASKED: (
        "kernel fetched, answers never asked",
        "The kernel does not start, or its network does not come up: the image may lack the NIC's driver or firmware "
        "(another image), or too little memory; look at the host's screen or set a console in the profile.",
    ),
    _N.START_LOOP: (
        "starts again and again before its installer (last reached: {reached}): boot loop",
        "Look at the host's screen: after the kernel it mostly panics (another image, or kernel arguments in the "
        "profile), before that its loader fails (`pxeforge host set HOST --loader …`). A watchdog, a BMC or a failing "
        "power supply may reset it too.",
    ),
    _N.INSTALLER_SILENT: (
        "answers fetched, installer silent",
        "It may wait for an answer at its screen: `pxeforge lint PROFILE`. If it works but says nothing, port 514/udp "
        "does not reach us.",
    ),
    _N.INSTALLER_STOPPED: (
        "installer stopped at {step}",
        "Look at its last lines (the host's page, or logs/HOST/installer.log) and at its screen: mostly a question "
        "that the answers leave open, a disk, or the package mirror.",
    ),
    _N.LATE_NEVER_CALLED: (
        "late_command never called: the installer has ended without it",
        "Check that the profile's template still includes late_command (`pxeforge render HOST answers`), and the "
        "installer's last lines for its error.",
    ),
    _N.INSTALLER_GAVE_UP: (
        "the installer gave up: {message}",
        "The reason stands in the sentence; mend it and arm the host again.",
    ),
    _N.NEVER_REGISTERED: (
        "installed but never registered",
        "Read /var/log/pxeforge-late.log of the new system: mostly it has no python3, or does not reach our HTTP port.",
    ),
    _N.BOOT_LOOP: (
        "netboots again and again after its install: boot loop",
        "Its disk does not boot: look at the screen. Set the firmware to boot the install disk after the network, "
        "check UEFI against BIOS, and on which disk the boot loader is.",
    ),
    _N.AGENT_SILENT: (
        "agent silent",
        "Is the host up and does it reach our agent port? On the host: `systemctl status pxeforge-agent`.",
    ),
    _N.RUN_FAILED: (
        "its last deploy failed: {message}",
        "`pxeforge run show` tells the failed step; mend it, then `pxeforge run resume`.",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """One event: its id, its time (unix seconds, by the clock of today) and what it says."""

    id: int
    at: float
    message: str


@dataclass(slots=True)
class Trail:
    """What was heard of a host since it was armed last: the newest event of each kind."""

    state: HostState
    armed_until: float | None = None
    starts_unattended: bool = True  # False: somebody chooses at the console, or nobody calls back
    agent_seen_at: float | None = None  # None: it has no agent, or that never connected
    has_agent: bool = False
    armed: Mark | None = None
    netboot: Mark | None = None  # any, whatever it was told
    offered: Mark | None = None  # the first one that was offered a boot file, since it took one or was sent away
    local: Mark | None = None  # one that was sent to its disk
    loader: Mark | None = None
    menu: Mark | None = None
    kernel: Mark | None = None
    answers: Mark | None = None
    word: Mark | None = None  # the last one of the installer
    step: Mark | None = None
    late: Mark | None = None
    finished: Mark | None = None
    registered: Mark | None = None
    agent: Mark | None = None
    ended: Mark | None = None  # given up or failed
    ended_by_server: bool = False
    failed_in: HostState | None = None  # what the host was when it failed
    starts: list[Mark] = field(default_factory=list)  # netboots with the offer; each but the first after it took one
    boots_after: list[Mark] = field(default_factory=list)  # netboots since its end of the install, or the agent's start


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A diagnosis and the events that it rests on."""

    name: DiagnosisName
    sentence: str
    evidence: tuple[Mark, ...]

    @property
    def remedy(self) -> str:
        return WORDS[self.name][1]


Budgets = Mapping[str, float]
LOOP_BOOTS: Final = 3
_LAST_STEP: Final = "finish-install"  # of debian-installer: late_command is run in it, right at its beginning


def diagnose(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    """What holds the host up now; None: nothing, or it still has time."""
    look = _BY_STATE.get(trail.state)
    return look(trail, now, budgets) if look else None


def _late(mark: Mark | None, now: float, seconds: float) -> bool:
    return mark is not None and now - mark.at > seconds


def _is_after(mark: Mark | None, earlier: Mark | None) -> bool:
    """Whether there is a `mark`, and it came after the earlier one."""
    return mark is not None and (earlier is None or mark.id > earlier.id)


def _found(name: DiagnosisName, *evidence: Mark | None, **words: str) -> Found:
    marks = tuple(mark for mark in evidence if mark is not None)
    return Found(name=name, sentence=WORDS[name][0].format(**words), evidence=marks)


def _armed(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    if trail.netboot is None:
        return _found(_N.NEVER_SEEN, trail.armed) if _late(trail.armed, now, budgets["netboot"]) else None
    if not _is_after(trail.offered, trail.local) and trail.local is not None:
        return _found(_N.NOT_OFFERED, trail.local, message=trail.local.message)
    if len(trail.starts) >= LOOP_BOOTS:
        return _start_loop(trail)
    if _is_after(trail.loader, trail.offered):
        return _found(_N.MENU_NEVER_ASKED, trail.loader) if _late(trail.loader, now, budgets["menu"]) else None
    return _found(_N.OFFER_NOT_TAKEN, trail.offered) if _late(trail.offered, now, budgets["loader"]) else None


def _booting(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    if not trail.starts_unattended:
        return None
    if len(trail.starts) >= LOOP_BOOTS:
        return _start_loop(trail)
    if _is_after(trail.kernel, trail.menu):
        return _found(_N.ANSWERS_NEVER_ASKED, trail.kernel) if _late(trail.kernel, now, budgets["answers"]) else None
    return _found(_N.KERNEL_NEVER_FETCHED, trail.menu) if _late(trail.menu, now, budgets["kernel"]) else None


def _start_loop(trail: Trail) -> Found:
    reached = "kernel" if trail.kernel else "menu" if trail.menu else "boot loader"
    last = trail.kernel or trail.menu or trail.loader
    return _found(_N.START_LOOP, *trail.starts[-LOOP_BOOTS:], last, reached=reached)


def _installing(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    if _netboots_without_late(trail):
        return _found(_N.LATE_NEVER_CALLED, trail.word or trail.answers, trail.local)
    if trail.word is None:
        return _found(_N.INSTALLER_SILENT, trail.answers) if _late(trail.answers, now, budgets["installer"]) else None
    return _stopped(trail) if _late(trail.word, now, budgets["step"]) else None


def _netboots_without_late(trail: Trail) -> bool:
    """The firmware asks again, so the installer runs no more, and late_command was never heard of."""
    return _is_after(trail.local, trail.word or trail.answers) and not _is_after(trail.late, trail.answers)


def _stopped(trail: Trail) -> Found:
    if trail.step is not None and trail.step.message == _LAST_STEP and not _is_after(trail.late, trail.answers):
        return _found(_N.LATE_NEVER_CALLED, trail.step)
    last = trail.late if _is_after(trail.late, trail.step) else trail.step
    words = "its late script" if last is not None and last is trail.late else last.message if last else "its start"
    return _found(_N.INSTALLER_STOPPED, last, trail.word if trail.word is not last else None, step=words)


def _installed(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    if len(trail.boots_after) >= LOOP_BOOTS:
        return _boot_loop(trail)
    late = _late(trail.finished, now, budgets["registration"])
    return _found(_N.NEVER_REGISTERED, trail.finished) if late else None


def _boot_loop(trail: Trail) -> Found:
    return _found(_N.BOOT_LOOP, *trail.boots_after[-LOOP_BOOTS:])


def _in_use(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    if len(trail.boots_after) >= LOOP_BOOTS:
        return _boot_loop(trail)
    if not trail.has_agent:
        return None
    since = trail.agent_seen_at or (trail.registered.at if trail.registered else None)
    if since is not None and now - since > budgets["agent"]:
        return _found(_N.AGENT_SILENT, trail.agent or trail.registered)
    return None


def _failed(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    """Why it failed: what held it up when its time was over, or what it said itself."""
    del now, budgets
    if trail.ended is None:
        return None
    if trail.failed_in is HostState.CONFIGURING:
        return _found(_N.RUN_FAILED, trail.ended, message=trail.ended.message)
    if not trail.ended_by_server:
        return _found(_N.INSTALLER_GAVE_UP, trail.ended, message=trail.ended.message)
    if trail.failed_in is HostState.BOOTING:
        if len(trail.starts) >= LOOP_BOOTS:
            return _start_loop(trail)
        is_kernel = _is_after(trail.kernel, trail.menu)
        return _found(*(_N.ANSWERS_NEVER_ASKED, trail.kernel) if is_kernel else (_N.KERNEL_NEVER_FETCHED, trail.menu))
    if trail.failed_in is HostState.INSTALLED:
        if len(trail.boots_after) >= LOOP_BOOTS:
            return _boot_loop(trail)
        return _found(_N.NEVER_REGISTERED, trail.finished, trail.ended)
    if _netboots_without_late(trail):
        return _found(_N.LATE_NEVER_CALLED, trail.word or trail.answers, trail.local)
    if trail.word is None:
        return _found(_N.INSTALLER_SILENT, trail.answers, trail.ended)
    return _stopped(trail)


def _known(trail: Trail, now: float, budgets: Budgets) -> Found | None:
    """Armed in vain: that stays until it is armed again, or it would be forgotten overnight."""
    del now, budgets
    if trail.ended is None or not trail.ended_by_server or trail.failed_in is not HostState.ARMED:
        return None
    held_up = _armed(trail, math.inf, defaultdict(float))
    if held_up is None:
        return _found(_N.NEVER_BOOTED, trail.ended, message=trail.ended.message)
    return _found(_N.NEVER_BOOTED, *held_up.evidence, trail.ended, message=held_up.sentence)


_BY_STATE: Final[Mapping[HostState, Callable[[Trail, float, Budgets], Found | None]]] = {
    HostState.KNOWN: _known,
    HostState.ARMED: _armed,
    HostState.BOOTING: _booting,
    HostState.INSTALLING: _installing,
    HostState.WIPING: _installing,
    HostState.INSTALLED: _installed,
    HostState.REGISTERED: _in_use,
    HostState.CONFIGURING: _in_use,
    HostState.READY: _in_use,
    HostState.FAILED: _failed,
}

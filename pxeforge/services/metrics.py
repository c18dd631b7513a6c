"""What /metrics says: the counters of all processes added up, and what database, cache, disk and kernel know."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import pxeforge
from pxeforge.domain.lifecycle import HostState
from pxeforge.protocol.dhcp.lease import LeaseState
from pxeforge.protocol.prometheus import Sheet
from pxeforge.services import check_results, diagnosis, drift, tallies
from pxeforge.services.cache_counters import read_counters
from pxeforge.services.context import Context
from pxeforge.services.metric_table import CACHE, COUNTED_TWICE, COUNTS, LEVELS, METRICS
from pxeforge.services.milestones import Milestones
from pxeforge.services.readiness import Readiness
from pxeforge.services.remembered import Remembered
from pxeforge.store.tables import AgentCredential, DhcpLease, Host, Run, RunTask

HELPER: Final = "tftp"  # the process that sends files for the one that listens
_CONNECTED_S: Final = 30.0  # agents ask every two seconds
_REMEMBERED_S: Final = 1.0
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """From any thread. `processes`: the children of `serve` by name, `supervisor`: its pid."""

    def __init__(
        self, ctx: Context, readiness: Readiness, *, milestones: Milestones | None = None,
        processes: Sequence[str] = (), supervisor: int | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._ctx, self._readiness, self._milestones = ctx, readiness, milestones
        self._processes, self._supervisor, self._clock = processes, supervisor, clock
        self._lock = threading.Lock()
        self._known: tuple[float, str] | None = None

    def text(self) -> str:
        """The exposition; what was made is good for a second."""
        with self._lock:
            if self._known is None or self._clock() - self._known[0] >= _REMEMBERED_S:
                self._known = (self._clock(), self._made())
            return self._known[1]

    def _made(self) -> str:
        sheet = Sheet(METRICS)
        sheet.add("pxeforge_build_info", 1, version=pxeforge.__version__)
        sheet.add("pxeforge_ready", int(self._readiness.is_ready()))
        if self._milestones is not None:
            _tell_milestones(sheet, self._milestones)
        self._tell_processes(sheet)
        with self._ctx.database.read() as session:
            _tell_database(sheet, session, self._ctx.clock())
            sheet.add("pxeforge_drifted_steps", drift.count(session, self._ctx))
            self._tell_leases(sheet, session)
        _tell_files(sheet, self._ctx)
        for name, value in read_counters(self._ctx.data_dir / "cache" / ".counters").items():
            if name in CACHE:
                metric, labels = CACHE[name]
                sheet.add(metric, value, **labels)
        return sheet.text()

    def _tell_processes(self, sheet: Sheet) -> None:
        told = tallies.read_all(self._ctx.data_dir / tallies.FOLDER)
        for one in told:
            _tell_counts(sheet, one)
            if one.process not in self._processes:
                continue  # one of a start with more of them; what it counted stays counted
            sheet.add("pxeforge_process_up", int(one.alive), process=one.process)
            sheet.add("pxeforge_process_starts_total", one.starts, process=one.process)
            if one.alive:
                _tell_process(sheet, one.process, one.pid)
        for missing in set(self._processes) - {one.process for one in told}:
            sheet.add("pxeforge_process_up", 0, process=missing)
        if self._supervisor is not None:
            _tell_process(sheet, "supervisor", self._supervisor)

    def _tell_leases(self, sheet: Sheet, session: Session) -> None:
        try:
            subnets = self._ctx.subnets() if self._ctx.dhcp == "server" else ()
        except Exception:
            return  # an interface is away: what is lent there is not known
        if not subnets:
            return
        query = select(DhcpLease.address).where(
            DhcpLease.state == LeaseState.BOUND.value, DhcpLease.expires_at > self._ctx.clock()
        )
        lent = [IPv4Address(address) for address in session.scalars(query)]
        for subnet in subnets:
            name = str(subnet.network)
            sheet.add("pxeforge_leases", sum(address in subnet.network for address in lent), subnet=name)
            sheet.add("pxeforge_lease_addresses", subnet.size, subnet=name)


def _tell_milestones(sheet: Sheet, milestones: Milestones) -> None:
    for (firmware, loader), count in dict(milestones.started).items():
        sheet.add("pxeforge_boots_started_total", count, firmware=firmware, loader=loader)
    for (firmware, loader, outcome), count in dict(milestones.finished).items():
        sheet.add("pxeforge_boots_finished_total", count, firmware=firmware, loader=loader, outcome=outcome)
    for reason, count in dict(milestones.errors).items():
        sheet.add("pxeforge_errors_total", count, reason=reason)
    for stage, histogram in milestones.stages.items():
        sheet.add_histogram("pxeforge_boot_stage_seconds", histogram, stage=stage)


def _tell_counts(sheet: Sheet, told: tallies.Told) -> None:
    for name, value in told.counts.items():
        if name in COUNTS and not (told.process == HELPER and name in COUNTED_TWICE):
            metric, labels = COUNTS[name]
            sheet.add(metric, value, **labels)
    for name, value in told.levels.items():
        if name in LEVELS:
            metric, labels = LEVELS[name]
            sheet.add(metric, value, **labels)


def _tell_process(sheet: Sheet, name: str, pid: int) -> None:
    with contextlib.suppress(OSError, IndexError, ValueError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s, resident = (int(words[11]) + int(words[12])) / _TICKS_S, int(words[21]) * _PAGE
        sheet.add("pxeforge_process_cpu_seconds_total", cpu_s, process=name)
        sheet.add("pxeforge_process_resident_bytes", resident, process=name)


def _tell_database(sheet: Sheet, session: Session, now: float) -> None:
    """Never a name or another word of a host: only how many there are of which kind."""
    for state, count in session.execute(select(Host.state, func.count()).group_by(Host.state)):
        sheet.add("pxeforge_hosts", count, state=state)
    waiting = (Host.state.in_((HostState.ARMED.value, HostState.BOOTING.value)), Host.armed_until > now)
    armed = session.scalar(select(func.count()).select_from(Host).where(*waiting))
    sheet.add("pxeforge_hosts_armed", armed or 0)
    for name, count in diagnosis.counts(session).items():
        sheet.add("pxeforge_diagnoses", count, diagnosis=name)
    for state, count in session.execute(select(Run.state, func.count()).group_by(Run.state)):
        sheet.add("pxeforge_runs", count, state=state)
    for state, count in session.execute(select(RunTask.state, func.count()).group_by(RunTask.state)):
        sheet.add("pxeforge_tasks", count, state=state)
    for state, count in check_results.counts(session).items():
        sheet.add("pxeforge_services", count, state=state)
    of_agents = select(func.count()).select_from(AgentCredential)
    connected = session.scalar(of_agents.where(AgentCredential.seen_at > now - _CONNECTED_S)) or 0
    sheet.add("pxeforge_agents", connected, connected="yes")
    sheet.add("pxeforge_agents", (session.scalar(of_agents) or 0) - connected, connected="no")


def _tell_files(sheet: Sheet, ctx: Context) -> None:
    for file, size in ctx.database.sizes().items():
        sheet.add("pxeforge_database_bytes", size, file=file)
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(ctx.data_dir)
        sheet.add("pxeforge_disk_free_bytes", disk.free)
        sheet.add("pxeforge_disk_size_bytes", disk.total)
    with contextlib.suppress(OSError, ValueError):
        sheet.add("pxeforge_certificate_expiry_timestamp_seconds", _expiry(ctx.data_dir / "tls" / "server.crt"))


def _read_expiry(certificate: Path) -> float:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()


_expiry = Remembered(_read_expiry)

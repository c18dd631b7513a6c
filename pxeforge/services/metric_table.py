"""Everything that /metrics tells: names, meanings, labels, and which counter it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pxeforge.domain.diagnosis import DiagnosisName
from pxeforge.domain.lifecycle import HostState
from pxeforge.engine.graph import TaskState
from pxeforge.protocol.prometheus import OTHER, Kind, Metric
from pxeforge.services import check_results
from pxeforge.services.milestones import BOUNDS_S, FIRMWARES, LOADERS, OUTCOMES, REASONS, STAGES

DIAGNOSES: Final = frozenset(name.value for name in DiagnosisName)
RUN_STATES: Final = frozenset({"running", "succeeded", "failed", "cancelled"})
LOG_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
CLASSES: Final = {str(number): f"{number}xx" for number in range(1, 6)}
_PLANES: Final = ("boot", "agent", "admin", "socket", "metrics")
# How the servers name what they count, and what it is here. A test looks for names that are missing.
_TFTP_ENDS: Final = ("complete", "probed", "aborted", "timed_out", "failed", "replaced")
_TFTP_DROPS: Final = ("flood", "malformed", "stray", "refused", "unanswerable", "busy", "strangers", "unsent")
_DHCP_ENDS: Final = {
    "answered": "answered", "ignored": "ignored", "malformed": "malformed", "flooding": "flood", "failed": "failed",
    "no address": "no_address", "unsaved": "not_stored", "unsent": "unsent", "in use": "address_in_use",
}  # fmt: skip
_CACHE_ENDS: Final = {
    "hits": "hit", "joined": "joined", "misses": "miss", "missing": "missing", "not_found": "not_found",
    "failed": "failed", "passed": "passed",
}  # fmt: skip


def _counter(name: str, words: str, **labels: frozenset[str] | None) -> Metric:
    return Metric(name=f"pxeforge_{name}", kind=Kind.COUNTER, words=words, labels=labels)


def _gauge(name: str, words: str, **labels: frozenset[str] | None) -> Metric:
    return Metric(name=f"pxeforge_{name}", kind=Kind.GAUGE, words=words, labels=labels)


METRICS: Final = (
    _gauge("build_info", "1; the release that runs", version=None),
    _gauge("ready", "1 when all that /readyz asks for is well, else 0"),
    # boots, from the timelines
    _counter("boots_started_total", "armed hosts that fetched their menu", firmware=FIRMWARES, loader=LOADERS),
    _counter(
        "boots_finished_total", "boots that came to an end: registered, served (a rescue system or memory test was "
        "handed out), not_chosen (from a menu), wiped, gave_up, disarmed",
        firmware=FIRMWARES, loader=LOADERS, outcome=OUTCOMES,
    ),
    Metric(
        name="pxeforge_boot_stage_seconds", kind=Kind.HISTOGRAM, labels={"stage": frozenset(STAGES)}, bounds=BOUNDS_S,
        words="how long the stages of boots and installs took",
    ),
    _counter(
        "errors_total", "what went wrong with hosts, as their timelines tell; time_over_STATE: nothing came any more "
        "in that state", reason=REASONS,
    ),
    # the wire
    _counter("dhcp_received_total", "DHCP messages that came in"),
    _counter("dhcp_messages_total", "DHCP messages by what became of them", outcome=frozenset(_DHCP_ENDS.values())),
    _counter("tftp_requests_total", "TFTP requests"),
    _counter("tftp_transfers_total", "TFTP transfers that ended, by how", outcome=frozenset(_TFTP_ENDS)),
    _counter("tftp_dropped_total", "TFTP packets and requests that got no file, by why", reason=frozenset(_TFTP_DROPS)),
    _counter("tftp_waited_total", "times that a TFTP transfer waited for room in its socket"),
    _counter("tftp_sent_bytes_total", "bytes of files that TFTP clients acknowledged"),
    _gauge("tftp_transfers", "TFTP transfers under way"),
    _counter("syslog_lines_total", "lines of installers", outcome=frozenset({"received", "flood"})),
    # HTTP
    _counter("http_responses_total", "HTTP answers", plane=frozenset(_PLANES), code=frozenset(CLASSES.values())),
    _counter("http_sent_bytes_total", "bytes that the boot plane sent"),
    _counter("http_broken_total", "answers of the boot plane whose receivers left before the end"),
    _gauge("http_connections", "open connections of the boot plane"),
    _gauge("http_sending", "large files that the boot plane sends now"),
    _gauge("http_waiting", "clients of the boot plane that wait for their turn with a large file"),
    # what the database knows
    _gauge("hosts", "hosts by state", state=frozenset(state.value for state in HostState)),
    _gauge("diagnoses", "hosts that something holds up, by the name of their diagnosis", diagnosis=DIAGNOSES),
    _gauge("hosts_armed", "hosts whose next netboot is not their own disk"),
    _gauge("leases", "addresses lent now, by subnet (server mode)", subnet=None),
    _gauge("lease_addresses", "addresses of the range of a subnet (server mode)", subnet=None),
    _gauge("runs", "runs by state", state=RUN_STATES),
    _gauge("tasks", "tasks of all runs by state", state=frozenset(state.value for state in TaskState)),
    _gauge(
        "services", "roles on hosts that were verified, by what their checks last said",
        state=frozenset(check_results.STATES),
    ),
    _gauge("drifted_steps", "steps that differed from the last deploy when the timer looked"),
    _gauge("agents", "hosts with an agent", connected=frozenset({"yes", "no"})),
    _gauge("database_bytes", "size of the database file and of its write-ahead log", file=frozenset({"main", "wal"})),
    _gauge("database_changes_waiting", "changes that wait to be written, over all processes"),
    _counter("database_changes_dropped_total", "lines of timelines that were dropped because the database was slow"),
    # packages
    _counter(
        "package_cache_requests_total", "requests for packages and indexes, by what answered them",
        result=frozenset(_CACHE_ENDS.values()),
    ),
    _counter("package_cache_stale_total", "hits that could not be checked: offline, or upstream was away"),
    _counter("package_cache_served_bytes_total", "bytes that hosts got from the package cache"),
    _counter("package_cache_upstream_requests_total", "requests to package mirrors"),
    _counter("package_cache_upstream_bytes_total", "bytes that came from package mirrors"),
    _counter("package_cache_upstream_broken_total", "times that a package mirror broke off"),
    _counter("package_cache_evicted_files_total", "files that made room for others"),
    _gauge("package_cache_bytes", "bytes on the disk"),
    # the server itself
    _gauge("process_up", "1 while the process runs", process=None),
    _counter("process_starts_total", "times that the process was started", process=None),
    _gauge("process_resident_bytes", "memory in use (RSS)", process=None),
    _counter("process_cpu_seconds_total", "processor time, of user and system", process=None),
    _counter("log_lines_total", "lines of the log", level=LOG_LEVELS),
    _gauge("certificate_expiry_timestamp_seconds", "when the server's certificate ends, in unix seconds"),
    _gauge("disk_free_bytes", "free space where the data directory is"),
    _gauge("disk_size_bytes", "size of that file system"),
)  # fmt: skip

Place = tuple[str, Mapping[str, str]]  # a metric and its labels

# `server.counter` of a process's tally
COUNTS: Final[Mapping[str, Place]] = {
    "dhcp.received": ("pxeforge_dhcp_received_total", {}),
    **{f"dhcp.{name}": ("pxeforge_dhcp_messages_total", {"outcome": end}) for name, end in _DHCP_ENDS.items()},
    "tftp.requests": ("pxeforge_tftp_requests_total", {}),
    "tftp.bytes": ("pxeforge_tftp_sent_bytes_total", {}),
    "tftp.waited_for_room": ("pxeforge_tftp_waited_total", {}),
    **{f"tftp.{name}": ("pxeforge_tftp_transfers_total", {"outcome": name}) for name in _TFTP_ENDS},
    **{f"tftp.{name}": ("pxeforge_tftp_dropped_total", {"reason": name}) for name in _TFTP_DROPS},
    **{f"syslog.{name}": ("pxeforge_syslog_lines_total", {"outcome": name}) for name in ("received", "flood")},
    "boot.bytes": ("pxeforge_http_sent_bytes_total", {}),
    "boot.broken": ("pxeforge_http_broken_total", {}),
    **{
        f"{plane}.{digit}": ("pxeforge_http_responses_total", {"plane": plane, "code": code})
        for plane in _PLANES
        for digit, code in CLASSES.items()
    },
    "database.dropped": ("pxeforge_database_changes_dropped_total", {}),
    **{f"log.{level}": ("pxeforge_log_lines_total", {"level": level}) for level in sorted(LOG_LEVELS)},
}
# Counted by who listens and again by who serves: the second time it is none.
COUNTED_TWICE: Final = frozenset({"tftp.requests"})
NOT_TOLD: Final = frozenset({"tftp.handed_over"})
LEVELS: Final[Mapping[str, Place]] = {
    "boot.connections": ("pxeforge_http_connections", {}),
    "boot.sending": ("pxeforge_http_sending", {}),
    "boot.waiting": ("pxeforge_http_waiting", {}),
    "tftp.transfers": ("pxeforge_tftp_transfers", {}),
    "database.waiting": ("pxeforge_database_changes_waiting", {}),
}
# of services/cache_counters.py
CACHE: Final[Mapping[str, Place]] = {
    **{name: ("pxeforge_package_cache_requests_total", {"result": end}) for name, end in _CACHE_ENDS.items()},
    "stale": ("pxeforge_package_cache_stale_total", {}),
    "served_bytes": ("pxeforge_package_cache_served_bytes_total", {}),
    "upstream_requests": ("pxeforge_package_cache_upstream_requests_total", {}),
    "upstream_bytes": ("pxeforge_package_cache_upstream_bytes_total", {}),
    "broken": ("pxeforge_package_cache_upstream_broken_total", {}),
    "evicted_files": ("pxeforge_package_cache_evicted_files_total", {}),
    "used_bytes": ("pxeforge_package_cache_bytes", {}),
}


def label_words(metric: Metric) -> str:
    """The labels with the values they may have, for people."""
    told = []
    for name, values in metric.labels.items():
        known = sorted(values | {OTHER}) if values is not None else ["of the server itself and its settings"]
        told.append(f"{name}: {', '.join(known)}")
    return "; ".join(told)

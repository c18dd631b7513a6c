"""What must hold whenever everything stands still: read from the database and the folder of a server that runs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.store.revisions import faults_of, open_read_only
from tests.soak.model import Promise

_MOST_TOLD: Final = 10
_LATE_S: Final = 30.0  # upkeep looks every five seconds
_ASIDE: Final = re.compile(r"\.[^/]+\.[0-9a-f]{8}|[^/]+\.new|[^/]+\.part|[^/]+\.tmp")
_UNDER_WAY: Final = ("armed", "booting", "installing")


class Checks:
    """`database` is the path of the running server's; each check gives a sentence for everything that is wrong."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir, self._path = data_dir, data_dir / "pxeforge.db"

    def everything(self, promises: Iterable[Promise], now: float) -> list[str]:
        found = [f"the database is damaged: {fault}" for fault in faults_of(self._path)]
        with closing(open_read_only(self._path)) as database:
            found += _lives(database)
            found += _armings(database, now)
            found += _runs(database)
            found += _leases(database, now)
            found += _kept(database, promises)
        return found + self.half_files()

    def half_files(self) -> list[str]:
        """Files that somebody began to write and that nobody will end, and files that cannot be read."""
        found = []
        for path in self._data_dir.rglob("*"):
            if not path.is_file():
                continue
            inside = path.relative_to(self._data_dir)
            if _ASIDE.fullmatch(path.name):
                found.append(f"{inside} was left behind half-written")
            elif path.suffix in (".json", ".state"):
                try:
                    json.loads(path.read_text())
                except ValueError:
                    found.append(f"{inside} is not whole: {path.read_bytes()[:80]!r}")
                except FileNotFoundError:
                    continue
        return found[:_MOST_TOLD]


def _lives(database: sqlite3.Connection) -> list[str]:
    """Each host's transitions follow one another as the table says, from its first one to the state it is in."""
    found, states = list[str](), dict[str, str]()
    moves = database.execute(
        """SELECT id, host_id, kind, data ->> 'from', data ->> 'to' FROM events
           WHERE host_id IS NOT NULL AND data ->> 'to' IS NOT NULL AND data ->> 'from' IS NOT NULL ORDER BY id"""
    )
    armed, installs = Counter[str](), Counter[str]()
    for event, host_id, kind, before, after in moves:
        try:
            meant = NEXT.get((HostState(before), Signal(kind)))
        except ValueError:
            continue  # what a rename or another table calls from and to
        if meant is None or meant.value != after:
            found.append(f"event {event}: {kind} took host {host_id} from {before} to {after}")
        if states.get(host_id, HostState.DISCOVERED.value) != before:
            found.append(f"event {event}: host {host_id} went on from {before}, but it was {states.get(host_id)}")
        states[host_id] = after
        armed[host_id] += kind == Signal.ARM.value
        installs[host_id] += after == HostState.INSTALLING.value and before != after
        if installs[host_id] > armed[host_id]:
            found.append(
                f"event {event}: host {host_id} installs the {installs[host_id]}. time, armed {armed[host_id]}"
            )
    for host_id, state in database.execute("SELECT id, state FROM hosts"):
        if states.get(host_id, HostState.DISCOVERED.value) != state:
            found.append(f"host {host_id} is {state}, and its timeline ends with {states.get(host_id)}")
    return found[:_MOST_TOLD]


def _armings(database: sqlite3.Connection, now: float) -> list[str]:
    found = []
    rows = database.execute(
        """SELECT h.id, h.state, h.armed_until, h.attempt_id,
                  (SELECT group_concat(a.id) FROM attempts a WHERE a.host_id = h.id AND a.outcome IS NULL)
           FROM hosts h"""
    )
    for host_id, state, until, attempt, still_open in rows:
        if state in _UNDER_WAY:
            if still_open != attempt:
                found.append(f"host {host_id} is {state} with attempt {attempt}, and open are {still_open}")
            if until is None:
                found.append(f"host {host_id} is {state} without an end")
        elif still_open is not None and state not in ("rescue", "wiping"):
            found.append(f"host {host_id} is {state}, and its attempts {still_open} are still open")
        if until is not None and until < now - _LATE_S:
            found.append(f"host {host_id} is {state} {now - until:.0f} s after its time was over")
    twice = database.execute(
        "SELECT attempt_id, purpose, count(*) FROM tokens GROUP BY attempt_id, purpose HAVING count(*) > 1"
    )
    found += [f"attempt {attempt} has {count} tokens for {purpose}" for attempt, purpose, count in twice]
    return found[:_MOST_TOLD]


def _runs(database: sqlite3.Connection) -> list[str]:
    found = []
    running = [row[0] for row in database.execute("SELECT id FROM runs WHERE state = 'running'")]
    if len(running) > 1:
        found.append(f"these runs go on at once: {', '.join(running)}")
    busy = {
        row[0]
        for row in database.execute(
            "SELECT host_id FROM run_tasks t JOIN runs r ON r.id = t.run_id WHERE r.state = 'running'"
        )
    }
    for host_id, state in database.execute("SELECT id, state FROM hosts WHERE state = 'configuring'"):
        if host_id not in busy:
            found.append(f"host {host_id} is {state}, and no run works on it")
    ended = database.execute(
        """SELECT r.id, r.state, count(*) FROM runs r JOIN run_tasks t ON t.run_id = r.id
           WHERE r.state <> 'running' AND t.state IN ('pending', 'running') GROUP BY r.id"""
    )
    found += [f"run {run} is {state} with {count} tasks that nobody will end" for run, state, count in ended]
    held = database.execute(
        "SELECT host_id, count(*) FROM run_tasks WHERE state = 'running' GROUP BY host_id HAVING count(*) > 1"
    )
    found += [f"host {host_id} has {count} tasks in hand" for host_id, count in held]
    return found[:_MOST_TOLD]


def _leases(database: sqlite3.Connection, now: float) -> list[str]:
    by_mac: dict[str, list[str]] = defaultdict(list)
    for address, mac in database.execute(
        "SELECT address, mac FROM leases WHERE state = 'bound' AND expires_at > ?", [now]
    ):
        by_mac[mac].append(address)
    found = [f"{mac} holds {', '.join(held)} at once" for mac, held in by_mac.items() if len(held) > 1]
    nics = database.execute(
        "SELECT address, count(*) FROM nics WHERE address IS NOT NULL GROUP BY address HAVING count(*) > 1"
    )
    found += [f"{count} NICs have the address {address}" for address, count in nics]
    return found[:_MOST_TOLD]


def _kept(database: sqlite3.Connection, promises: Iterable[Promise]) -> list[str]:
    """Every acknowledged change is in the timeline, as often as it was acknowledged."""
    counted, said = Counter[tuple[str, str]](), defaultdict[tuple[str, str], list[str]](list)
    for host_id, kind, message, data in database.execute(
        "SELECT host_id, kind, message, data FROM events WHERE host_id IS NOT NULL"
    ):
        counted[host_id, kind] += 1
        if kind == "changed":
            said[host_id, kind].append(f"{message} {data}")
    found, wanted = list[str](), Counter[tuple[str, str]]()
    for promise in promises:
        key = promise.host_id, promise.kind
        if promise.needle:
            if not any(promise.needle in text for text in said[key]):
                found.append(f"host {promise.host_id} was told {promise.kind} {promise.needle}: there is no such event")
        else:
            wanted[key] += 1
    for key, count in wanted.items():
        if counted[key] < count:
            found.append(f"host {key[0]} was told {key[1]} {count} times, its timeline knows {counted[key]}")
    return found[:_MOST_TOLD]


def summary(broken: Iterable[str]) -> Any:
    """How often each kind of thing went wrong, numbers and identities aside."""
    return Counter(re.sub(r"[0-9a-f]{12}|[0-9a-f:]{17}|\d+", "#", line.partition(": ")[2]) for line in broken)

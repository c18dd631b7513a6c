"""A data directory with a year in it: thousands of hosts in every state, each with hundreds of events; made in bulk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert

from bench.fleet import mac_of
from bench.scene import write_files
from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.domain.lifecycle import HostState
from pxeforge.services import profiles
from pxeforge.services.context import Context
from pxeforge.store.tables import AgentCredential, Assignment, Attempt, Host, Nic

YEAR_S: Final = 365 * 86400.0
ROLES: Final = ("mariadb", "rabbitmq", "keystone", "nova-compute")
RACKS: Final = 250
_STRIDE: Final = 7919  # a prime: neighbours in time are not neighbours in the table of hosts
_SHARES: Final = {"ready": 80, "registered": 5, "failed": 3, "known": 5, "discovered": 4, "armed": 2, "installing": 1}
# One install and what follows, as a timeline has it: source, kind, message, data, who.
_LIFE: Final[tuple[tuple[str, str, str, dict[str, Any], str | None], ...]] = (
    ("operator", "arm", "armed for bench by ops for 120 min", {"from": "known", "to": "armed"}, "ops"),
    ("dhcp", "netboot", "DISCOVER by uefi_x64 on br0: boot file (armed)", {"decision": "install"}, None),
    ("dhcp", "dhcp_answered", "OFFER: ipxe.efi from 10.64.0.1", {}, None),
    ("tftp", "tftp_sent", "loaders/ipxe.efi to 10.64.1.1: 1048576 bytes in 0.4 s", {}, None),
    ("http", "menu_fetched", "ipxe menu fetched by 10.64.1.1", {"from": "armed", "to": "booting"}, None),
    ("http", "image_fetched", "linux fetched by 10.64.1.1", {}, None),
    ("http", "answers_fetched", "answers fetched; the host is disarmed", {"from": "booting", "to": "installing"}, None),
    ("installer", "early", "early script fetched by 10.64.1.1", {}, None),
    ("installer", "installer_step", "d-i: netcfg", {}, None),
    ("installer", "installer_step", "d-i: partman-base", {}, None),
    ("installer", "installer_step", "d-i: bootstrap-base", {}, None),
    ("installer", "installer_step", "d-i: pkgsel", {}, None),
    ("installer", "installer_step", "d-i: grub-installer", {}, None),
    ("installer", "register", "registered from 10.64.1.1", {"from": "installing", "to": "registered"}, None),
    ("engine", "run_started", "deploy began", {"from": "registered", "to": "configuring"}, None),
    ("agent", "task_done", "mariadb: packages changed", {}, None),
    ("engine", "run_succeeded", "deploy succeeded", {"from": "configuring", "to": "ready"}, None),
    ("operator", "changed", "tags changed", {"before": {"tags": []}, "after": {"tags": ["prod"]}}, "ops"),
    ("dhcp", "netboot", "DISCOVER by uefi_x64 on br0: silence (ready)", {"decision": "local"}, None),
    ("dhcp", "leased", "leased 10.64.1.1", {}, None),
)


def id_of(number: int) -> str:
    return f"{number:012x}"


def name_of(number: int) -> str:
    return f"node-{number:05d}"


def has_name(number: int) -> bool:
    """Hosts that were seen only have none yet."""
    return _state(number) != HostState.DISCOVERED.value


def make_year(folder: Path, hosts: int, events_each: int) -> None:
    """`hosts` hosts and `events_each` events for each, spread over the year that ends now."""
    write_files(folder, {"linux": 80_000, "initrd.gz": 20_000})
    ctx = open_context(Settings.model_validate({"data_dir": folder}), upgrade=True)
    try:
        account = {"name": "ops", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ bench"], "sudo": True}
        profiles.create(ctx, "bench", image="bench", parameters={"accounts": [account]}, who="bench")
        _add_hosts(ctx, hosts)
        now = ctx.clock()
    finally:
        ctx.database.close()
    _add_events(folder / "pxeforge.db", hosts, hosts * events_each, now)


def _add_hosts(ctx: Context, count: int) -> None:
    now = ctx.clock()
    numbers = range(count)
    with ctx.database.write() as session:
        session.execute(insert(Host), [_host(number, count, now) for number in numbers])
        session.execute(insert(Nic), [nic for number in numbers for nic in _nics(number)])
        session.execute(insert(Attempt), [_attempt(number, now) for number in numbers])
        session.execute(insert(Assignment), [role for number in numbers for role in _roles(number, now)])
        agents = [number for number in numbers if _state(number) in ("ready", "registered")]
        session.execute(insert(AgentCredential), [_agent(number, now) for number in agents])


def _state(number: int) -> str:
    share = number * _STRIDE % 100
    for state, percent in _SHARES.items():
        if share < percent:
            return state
        share -= percent
    raise AssertionError("the shares are a hundred")


def _host(number: int, count: int, now: float) -> dict[str, Any]:
    state = HostState(_state(number))
    is_stranger, is_armed = state is HostState.DISCOVERED, state in (HostState.ARMED, HostState.INSTALLING)
    born = now - YEAR_S + number * YEAR_S / count
    rack = {"name": f"r{number % RACKS:03d}", "unit": number // RACKS % 42 + 1, "height": 1}
    return {
        "id": id_of(number), "name": None if is_stranger else name_of(number), "state": state.value,
        "uuid": f"{number:08x}-0000-4000-8000-{number:012x}", "serial": f"SN{number:07d}", "firmware": "uefi_x64",
        "loader": "auto", "tags": [] if is_stranger else [f"rack-{number % RACKS}", "prod" if number % 3 else "test"],
        "settings": {} if is_stranger else {"rack": rack}, "facts": {} if is_stranger else _facts(number),
        "address": _address(number), "armed_until": now + 86400 if is_armed else None,
        "attempt_id": id_of(number), "created_at": born, "seen_at": now - number % 86400,
        "registered_at": None if is_stranger else born + 900,
    }  # fmt: skip


def _facts(number: int) -> dict[str, Any]:
    """As large as a server of today reports."""
    disks = [
        {"name": f"nvme{disk}n1", "size_bytes": 3_840_755_982_336, "model": "SAMSUNG MZQL23T8HCLS-00A07",
         "serial": f"S64HNE0{number:06d}{disk}", "rotational": False, "by_id": [f"nvme-SAMSUNG_{number:06d}{disk}"]}
        for disk in range(8)
    ]  # fmt: skip
    nics = [{"name": f"eno{port + 1}", "mac": mac, "addresses": []} for port, mac in enumerate(_macs(number))]
    keys = [{"type": kind, "public_key": f"{kind} {'A' * 68}"} for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256")]
    return {
        "hostname": name_of(number), "vendor": "Dell Inc.", "product": "PowerEdge R650", "ram_bytes": 549_755_813_888,
        "serial": f"SN{number:07d}", "cpu": {"model": "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", "count": 128},
        "disks": disks, "nics": nics, "ssh_host_keys": keys,
    }  # fmt: skip


def _macs(number: int) -> tuple[str, str]:
    first = mac_of(number)
    return first, f"52:54:03{first[8:]}"


def _address(number: int) -> str:
    return f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _nics(number: int) -> list[dict[str, Any]]:
    first, second = _macs(number)
    return [
        {"mac": first, "host_id": id_of(number), "name": "eno1", "address": _address(number)},
        {"mac": second, "host_id": id_of(number), "name": "eno2", "address": None},
    ]


def _attempt(number: int, now: float) -> dict[str, Any]:
    is_open = _state(number) in ("armed", "installing")
    return {
        "id": id_of(number), "host_id": id_of(number), "profile": "bench", "image": "bench/1", "parameters": {},
        "armed_at": now - 1000, "armed_by": "ops", "expires_at": now + 86400,
        "outcome": None if is_open else "registered",
    }  # fmt: skip


def _roles(number: int, now: float) -> Iterator[dict[str, Any]]:
    if _state(number) == "ready":
        yield {
            "host_id": id_of(number), "role": ROLES[number % len(ROLES)], "assigned_at": now - 500, "assigned_by": "ops"
        }  # fmt: skip


def _agent(number: int, now: float) -> dict[str, Any]:
    return {
        "host_id": id_of(number), "digest": f"{number:064x}", "issued_at": now - 800, "seen_at": now - number % 60,
        "version": "0.1.0", "clock_skew_s": 0.01,
    }  # fmt: skip


def _add_events(path: Path, hosts: int, count: int, now: float) -> None:
    """In one statement, in the order of time, the hosts in turn; indexes are made afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in ("synchronous=OFF", "cache_size=-200000", "temp_store=MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        indexes = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL"
        ).fetchall()
        database.execute("BEGIN IMMEDIATE")
        for name, _ in indexes:
            database.execute(f"DROP INDEX {name}")
        database.execute("CREATE TEMP TABLE life (step INTEGER PRIMARY KEY, source, kind, message, data, who)")
        database.executemany(
            "INSERT INTO life VALUES (?, ?, ?, ?, ?, ?)",
            [(step, *words[:3], json.dumps(words[3]), words[4]) for step, words in enumerate(_LIFE)],
        )
        database.execute(
            """INSERT INTO events (host_id, at, source, kind, message, data, who, via)
               WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)
               SELECT printf('%012x', i * :stride % :hosts), :began + i * :gap, source, kind, message, data, who,
                      CASE WHEN who IS NULL THEN NULL ELSE 'session' END
               FROM n JOIN life ON step = i / :hosts % :steps""",
            {
                "count": count, "hosts": hosts, "stride": _STRIDE, "steps": len(_LIFE),
                "began": now - YEAR_S, "gap": YEAR_S / max(1, count),
            },
        )  # fmt: skip
        for _, statement in indexes:
            database.execute(statement)
        database.execute(
            """UPDATE attempts SET since_event = coalesce(
               (SELECT id - 1 FROM events e WHERE e.host_id = attempts.host_id AND e.kind = 'arm'
                ORDER BY e.id DESC LIMIT 1), 0)"""
        )
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

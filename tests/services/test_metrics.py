"""What /metrics says is readable, complete, and never holds a word that a host chose."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import os
import shutil
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import pxeforge.servers
from pxeforge.app.certificate import ensure_certificate
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import Lease, LeaseState
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.protocol.prometheus import OTHER
from pxeforge.protocol.tftp.transfer import Outcome
from pxeforge.render.menus import MenuKind
from pxeforge.services import arming, facts, hosts, installer_reports, wire_answers, wire_menus
from pxeforge.services.cache_counters import NAMES, CacheCounters
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases
from pxeforge.services.metric_table import CACHE, COUNTS, METRICS, NOT_TOLD
from pxeforge.services.metrics import Metrics
from pxeforge.services.milestones import Milestones
from pxeforge.services.readiness import Readiness
from pxeforge.services.tallies import FOLDER, Tally
from pxeforge.store.tables import Host
from tests.conftest import FACTS, MAC, PEER, Clock

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def told(ctx: Context, **words: Any) -> Samples:
    text = Metrics(ctx, Readiness(ctx), milestones=Milestones(ctx), **words).text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"pxeforge_{name}", frozenset(labels.items())]


def test_the_counters_of_all_processes_are_added_up(ctx: Context) -> None:
    for bytes_sent in (5, 6):
        Tally(ctx.data_dir / FOLDER, "boot").tell({"boot.bytes": bytes_sent, "boot.2": 1}, {"boot.waiting": 2})
    Tally(ctx.data_dir / FOLDER, "wire").tell({"tftp.requests": 3, "tftp.complete": 1, "tftp.bytes": 7}, {})
    Tally(ctx.data_dir / FOLDER, "tftp").tell({"tftp.requests": 2, "tftp.complete": 2, "tftp.bytes": 8}, {})
    samples = told(ctx, processes=["boot-0", "boot-1", "wire", "tftp", "agent"], supervisor=os.getpid())
    assert value(samples, "http_sent_bytes_total") == 11
    assert value(samples, "http_responses_total", plane="boot", code="2xx") == 2
    assert value(samples, "http_waiting") == 4
    assert value(samples, "tftp_requests_total") == 3, "the helper's are those that wire handed to it"
    assert value(samples, "tftp_transfers_total", outcome="complete") == 3
    assert value(samples, "tftp_sent_bytes_total") == 15
    assert value(samples, "process_up", process="boot-1") == 1
    assert value(samples, "process_up", process="agent") == 0
    assert value(samples, "process_resident_bytes", process="supervisor") > 1 << 20
    assert value(samples, "process_cpu_seconds_total", process="wire") > 0


def test_a_process_that_is_no_more_wanted_keeps_what_it_counted_but_is_not_missed(ctx: Context) -> None:
    tallies = [Tally(ctx.data_dir / FOLDER, "boot") for _ in range(2)]
    for tally in tallies:
        tally.tell({"boot.bytes": 4}, {})
    samples = told(ctx, processes=["boot-0"])
    assert value(samples, "http_sent_bytes_total") == 8
    assert ("pxeforge_process_up", frozenset({("process", "boot-1")})) not in samples


def test_what_the_database_knows_is_counted_by_state(
    ctx: Context, clock: Clock, registered: dict[str, Any], profile: str
) -> None:
    hosts.add(ctx, macs=["52:54:00:00:00:09"], name="n2", who="test")
    arming.arm(ctx, "n2", profile=profile, who="test")
    samples = told(ctx)
    assert value(samples, "hosts", state="registered") == 1
    assert value(samples, "hosts", state="armed") == 1
    assert value(samples, "hosts", state="ready") == 0
    assert value(samples, "hosts_armed") == 1
    assert value(samples, "agents", connected="no") == 1
    assert value(samples, "database_bytes", file="main") > 0
    clock.now += 8 * 86400
    assert value(told(ctx), "hosts_armed") == 0


def test_leases_are_counted_by_subnet_while_they_last(ctx: Context, clock: Clock) -> None:
    subnets = [
        Subnet(network=IPv4Network(f"10.0.{n}.0/24"), first=IPv4Address(f"10.0.{n}.5"), last=IPv4Address(f"10.0.{n}.9"))
        for n in (1, 2)
    ]
    ctx = dataclasses.replace(ctx, dhcp="server", subnets=lambda: subnets)
    leases = [
        Lease(
            mac=MacAddress.parse(f"52:54:00:00:00:0{n}"), client_id=b"", address=IPv4Address(f"10.0.1.{n}"),
            expires_at=clock.now + 60, state=state,
        )
        for n, state in ((5, LeaseState.BOUND), (6, LeaseState.BOUND), (7, LeaseState.RELEASED))
    ]  # fmt: skip
    StoredLeases(ctx).save(leases)
    samples = told(ctx)
    assert value(samples, "leases", subnet="10.0.1.0/24") == 2
    assert value(samples, "leases", subnet="10.0.2.0/24") == 0
    assert value(samples, "lease_addresses", subnet="10.0.1.0/24") == 5
    clock.now += 61
    assert value(told(ctx), "leases", subnet="10.0.1.0/24") == 0


def test_an_interface_that_is_away_costs_its_leases_only(ctx: Context) -> None:
    def away() -> list[Subnet]:
        raise RuntimeError("no such interface")

    samples = told(dataclasses.replace(ctx, dhcp="server", subnets=away))
    assert value(samples, "hosts", state="armed") == 0
    assert not [name for name, _ in samples if name == "pxeforge_leases"]


def test_cache_disk_and_certificate_are_told(ctx: Context) -> None:
    CacheCounters(ctx.data_dir / "cache" / ".counters").add(hits=4, served_bytes=100, used_bytes=9)
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    (ctx.data_dir / "tls" / "server.crt").unlink()
    ensure_certificate(ctx.data_dir, ["192.0.2.1"], now)
    samples = told(ctx)
    assert value(samples, "package_cache_requests_total", result="hit") == 4
    assert value(samples, "package_cache_served_bytes_total") == 100
    assert value(samples, "package_cache_bytes") == 9
    assert value(samples, "disk_size_bytes") == shutil.disk_usage(ctx.data_dir).total
    assert value(samples, "certificate_expiry_timestamp_seconds") == now.timestamp() + 3650 * 86400


def test_a_certificate_that_cannot_be_read_is_left_out(ctx: Context) -> None:
    assert not [name for name, _ in told(ctx) if "certificate" in name]


def test_boots_and_errors_come_from_the_timelines(ctx: Context, tokens: Callable[[str], str]) -> None:
    milestones = Milestones(ctx)
    milestones.follow()
    wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer=PEER)
    wire_answers.answers(ctx, tokens("answers"), peer=PEER)
    installer_reports.failed(ctx, tokens("installer"), "disks", "no disk", peer=PEER)
    milestones.follow()
    milestones.follow()
    text = Metrics(ctx, Readiness(ctx), milestones=milestones).text()
    assert 'pxeforge_boots_started_total{firmware="other",loader="ipxe"} 1' in text
    assert 'pxeforge_boots_finished_total{firmware="other",loader="ipxe",outcome="gave_up"} 1' in text
    assert 'pxeforge_errors_total{reason="install_failed"} 1' in text


NASTY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=16)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NASTY, min_size=4, max_size=4))
def test_nothing_that_a_host_says_of_itself_makes_a_series(ctx: Context, words: list[str]) -> None:
    before = set(told(ctx))
    state, firmware, serial, name = words
    with ctx.database.write() as session:
        session.add(Host(id=os.urandom(4).hex(), state=state, firmware=firmware, serial=serial, created_at=1.0))
    Tally(ctx.data_dir / FOLDER, "wire").tell({f"tftp.{name}": 1, f"{name}.bytes": 1}, {name: 1})
    grown = set(told(ctx)) - before
    assert grown <= {("pxeforge_hosts", frozenset({("state", OTHER)}))}


def test_a_registered_host_with_hostile_facts_leaves_no_trace_of_them(ctx: Context, registered: dict[str, Any]) -> None:
    evil = 'evil"} 1\npxeforge_ready 0'
    with ctx.database.write() as session:
        facts.merge_facts(session, ctx, hosts.find(session, "n1"), {**FACTS, "hostname": evil, "serial": evil})
    assert "evil" not in Metrics(ctx, Readiness(ctx), milestones=Milestones(ctx)).text()


def test_whoever_asks_often_gets_what_was_made_within_the_last_second(ctx: Context) -> None:
    now = [5.0]
    metrics = Metrics(ctx, Readiness(ctx), clock=lambda: now[0])
    before = metrics.text()
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    assert metrics.text() == before
    now[0] += 1
    assert 'pxeforge_hosts{state="known"} 1' in metrics.text()


def counted_by(module: str) -> set[str]:
    """The names that a server's code counts under."""
    tree = ast.parse((Path(pxeforge.servers.__file__).parent / module).read_text())
    return {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute) and node.value.attr == "counters"
        and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("server", "module"), [("dhcp", "dhcp.py"), ("tftp", "tftp.py"), ("syslog", "syslog.py"), ("boot", "http.py")]
)
def test_every_counter_of_a_server_is_told_or_left_out_on_purpose(server: str, module: str) -> None:
    names = {f"{server}.{name}" for name in counted_by(module)}
    assert len(names) > 1
    assert names <= COUNTS.keys() | NOT_TOLD


def test_every_end_of_a_tftp_transfer_is_told() -> None:
    assert {f"tftp.{outcome.name.lower()}" for outcome in Outcome} <= COUNTS.keys()


def test_every_counter_of_the_package_cache_that_is_told_exists() -> None:
    assert CACHE.keys() <= set(NAMES)


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in METRICS:
        assert metric.name.startswith("pxeforge_")
        assert metric.name.endswith("_total") == (metric.kind.value == "counter")
        assert metric.words
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert HostState.ARMED.value in next(m for m in METRICS if m.name == "pxeforge_hosts").labels["state"]  # type: ignore[operator]

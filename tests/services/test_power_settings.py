"""How a host's power is reached: what may be set, and where the password is and is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.services import audit, hosts, identity, power, power_record, secrets
from pxeforge.services.context import Context
from pxeforge.services.events import timeline
from pxeforge.services.problems import NotFound, Problem
from tests.conftest import MAC

PASSWORD = "s3cret-BMC"
REDFISH = {"driver": "redfish", "address": "10.9.0.17", "user": "ops"}
IPMI = {"driver": "ipmi", "address": "10.9.0.17", "user": "ops"}


@pytest.fixture
def host(ctx: Context) -> str:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    return "n1"


def put(ctx: Context, given: dict[str, Any], password: str | None = None) -> dict[str, Any]:
    return power.set_power(ctx, "n1", given, password=password, who="root")


def test_the_password_is_encrypted_and_stands_nowhere_else(ctx: Context, host: str) -> None:
    found = put(ctx, {**REDFISH, "fingerprint": ":".join(["AB"] * 32)}, PASSWORD)
    assert found["settings"] == {**REDFISH, "fingerprint": "ab" * 32}
    assert (found["has_password"], "pxe" in found["can"]) == (True, True)
    shown = [found, hosts.show(ctx, host), secrets.list_secrets(ctx), audit.entries(ctx, audit.Filter())]
    shown += [timeline(ctx, found["id"]), hosts.list_hosts(ctx)]
    assert PASSWORD not in json.dumps(shown)
    ctx.database.engine.dispose()
    assert all(PASSWORD.encode() not in path.read_bytes() for path in ctx.data_dir.glob("pxeforge.db*"))
    assert secrets.show(ctx, power_record.secret_name(found["id"]), who="root")["value"] == PASSWORD


def test_the_password_stays_until_it_would_go_to_somebody_else(ctx: Context, host: str) -> None:
    with pytest.raises(Problem, match="redfish needs the BMC's password"):
        put(ctx, REDFISH)
    put(ctx, REDFISH, PASSWORD)
    assert put(ctx, {**REDFISH, "port": 8443})["has_password"]
    for other in ({**REDFISH, "address": "10.9.0.18"}, {**REDFISH, "user": "eve"}, IPMI):
        with pytest.raises(Problem, match="anew when its address or user changes"):
            put(ctx, other)
    assert power.describe(ctx, host)["settings"] == {**REDFISH, "port": 8443}
    assert power.describe(ctx, host)["has_password"]
    assert put(ctx, {"driver": "wake-on-lan"})["has_password"] is False


def test_whoever_is_forgotten_leaves_no_password(ctx: Context, host: str) -> None:
    put(ctx, REDFISH, PASSWORD)
    power.clear_power(ctx, host, who="root")
    assert secrets.list_secrets(ctx) == []
    assert "power" not in hosts.show(ctx, host)["settings"]
    with pytest.raises(NotFound, match="n1 has no power settings"):
        power.clear_power(ctx, host, who="root")
    put(ctx, REDFISH, PASSWORD)
    hosts.forget(ctx, host, who="root")
    assert secrets.list_secrets(ctx) == []


def test_a_host_that_was_two_keeps_its_bmc(ctx: Context, host: str) -> None:
    put(ctx, REDFISH, PASSWORD)
    hosts.add(ctx, macs=["52:54:00:00:00:02"], name="n2", who="test")
    identity.merge(ctx, "n2", "n1", who="eve")
    found = power.describe(ctx, "n2")
    assert (found["settings"], found["has_password"]) == (REDFISH, True)
    hosts.add(ctx, macs=["52:54:00:00:00:03"], name="n3", who="test")
    power.set_power(ctx, "n3", IPMI, password="other", who="root")
    identity.merge(ctx, "n2", "n3", who="eve")
    assert power.describe(ctx, "n2")["settings"] == REDFISH
    [left] = secrets.list_secrets(ctx)
    assert secrets.show(ctx, left["name"], who="root")["value"] == PASSWORD


def test_a_discovered_host_is_vouched_for_by_its_bmc(ctx: Context) -> None:
    ctx.database.change(lambda change: hosts.discover(change, MacAddress.parse(MAC), ctx.clock()))
    power.set_power(ctx, MAC, {"driver": "wake-on-lan"}, password=None, who="root")
    assert hosts.show(ctx, MAC)["state"] == "known"


def test_settings_of_other_kinds_leave_power_alone_and_cannot_set_it(ctx: Context, host: str) -> None:
    put(ctx, REDFISH, PASSWORD)
    hosts.change(ctx, host, settings={"disk": "serial=X"}, who="eve")
    assert hosts.show(ctx, host)["settings"]["power"] == REDFISH
    with pytest.raises(Problem, match="unknown host setting 'power'"):
        hosts.change(ctx, host, settings={"power": {**REDFISH, "address": "10.9.0.99"}}, who="eve")


def test_who_set_what_is_in_the_audit_log(ctx: Context, host: str) -> None:
    put(ctx, REDFISH, PASSWORD)
    put(ctx, {**REDFISH, "port": 8443})
    newest, before = audit.entries(ctx, audit.Filter(kind="power_set"))
    assert newest["who"] == "root"
    assert newest["data"] == {"before": {"power": REDFISH}, "after": {"power": {**REDFISH, "port": 8443}}}
    assert before["message"] == "power is reached by redfish, its password was set"


@pytest.mark.parametrize(
    ("given", "password", "problem"),
    [
        ({"driver": "telnet"}, None, "no power driver"),
        ({"driver": ["redfish"]}, None, "no power driver"),
        ({"driver": "redfish", "user": "ops"}, PASSWORD, "redfish needs address"),
        ({**REDFISH, "address": "127.0.0.1"}, PASSWORD, "cannot be a BMC"),
        ({**REDFISH, "address": 7}, PASSWORD, "must be a text"),
        ({**REDFISH, "port": 0}, PASSWORD, "port is a number"),
        ({**REDFISH, "port": True}, PASSWORD, "port is a number"),
        ({**REDFISH, "user": "a:b"}, PASSWORD, "no colon"),
        ({**REDFISH, "fingerprint": "abc"}, PASSWORD, "64 hex digits"),
        ({**REDFISH, "fingerprint": "0" * 64, "ca": "x.pem"}, PASSWORD, "exclude each other"),
        ({**REDFISH, "ca": "../../etc/passwd"}, PASSWORD, "power-ca"),
        ({**REDFISH, "ca": ".."}, PASSWORD, "power-ca"),
        ({**REDFISH, "system": "/etc/../x"}, PASSWORD, "system is the name"),
        ({**REDFISH, "login": "telnet"}, PASSWORD, "login is one of"),
        ({**REDFISH, "privilege": "OPERATOR"}, PASSWORD, "privilege means nothing to redfish"),
        ({**REDFISH, "password": "x"}, PASSWORD, "password means nothing to redfish"),
        (REDFISH, "", "1 to 256 bytes"),
        (REDFISH, "a\nb", "control characters"),
        (IPMI, "x" * 21, "1 to 20 bytes"),
        ({**IPMI, "user": "-x"}, PASSWORD, "up to 16 printable"),
        ({**IPMI, "cipher": True}, PASSWORD, "cipher is one of 3, 17"),
        ({**IPMI, "netboot": "http"}, PASSWORD, "netboot is one of pxe, always"),
        ({"driver": "wake-on-lan", "mac": "x"}, None, "MAC address"),
        ({"driver": "wake-on-lan", "address": "fd00::1"}, None, "IPv4 broadcast address"),
        ({"driver": "wake-on-lan"}, PASSWORD, "has no password"),
        ({"driver": "command", "command": "pdu"}, None, r"power\.toml has none"),
        ({"driver": "command", "command": ["pdu"]}, None, "must be a text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_kept(
    ctx: Context, host: str, given: dict[str, Any], password: str | None, problem: str
) -> None:
    with pytest.raises(Problem, match=problem):
        put(ctx, given, password)
    assert power.describe(ctx, host)["driver"] is None
    assert secrets.list_secrets(ctx) == []

"""Hosts with a system of their own: a command that registers them once."""

from __future__ import annotations

import datetime
import re
import subprocess
from pathlib import Path

import pytest

from pxeforge.app.certificate import ensure_certificate
from pxeforge.services import arming, enrolment, events, hosts, install_ends, registration
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from tests.conftest import FACTS, PEER, Clock

HOST = "n1"


@pytest.fixture
def ctx(ctx: Context) -> Context:
    """With a real certificate, whose digest the command names."""
    (ctx.data_dir / "tls" / "server.crt").unlink()
    ensure_certificate(ctx.data_dir, ["192.0.2.1"], datetime.datetime.now(datetime.UTC))
    return ctx


@pytest.fixture
def known(ctx: Context) -> str:
    hosts.add(ctx, macs=["52:54:00:00:00:01"], name=HOST, who="test")
    return HOST


def token_in(command: str) -> str:
    found = re.search(r"/installer/([0-9a-f]{32})/register", command)
    assert found is not None
    return found[1]


def test_the_command_registers_a_known_host_once(ctx: Context, known: str) -> None:
    made = enrolment.enrol(ctx, known, who="ops")
    token = token_in(made["command"])
    answer = registration.register(ctx, token, FACTS, peer=PEER)
    assert answer["host_name"] == known
    shown = hosts.show(ctx, known)
    assert (shown["state"], shown["address"]) == ("registered", PEER)
    with pytest.raises(Forbidden, match="used already"):
        registration.register(ctx, token, FACTS, peer=PEER)
    assert [event["kind"] for event in events.timeline(ctx, shown["id"])][-3:-1] == ["enrolment", "enrol"]


def test_a_new_command_ends_the_one_before(ctx: Context, known: str) -> None:
    first = token_in(enrolment.enrol(ctx, known, who="ops")["command"])
    second = token_in(enrolment.enrol(ctx, known, who="ops")["command"])
    with pytest.raises(Forbidden, match="replaced"):
        registration.register(ctx, first, FACTS, peer=PEER)
    assert registration.register(ctx, second, FACTS, peer=PEER)["host_name"] == known


def test_its_time_ends(ctx: Context, known: str, clock: Clock) -> None:
    token = token_in(enrolment.enrol(ctx, known, for_s=600, who="ops")["command"])
    clock.now += 601
    with pytest.raises(Forbidden, match="time is over"):
        registration.register(ctx, token, FACTS, peer=PEER)


def test_an_armed_host_is_not_enrolled_and_arming_ends_no_command(ctx: Context, armed: dict[str, object]) -> None:
    with pytest.raises(Conflict, match="is armed"):
        enrolment.enrol(ctx, HOST, who="ops")
    install_ends.disarm(ctx, HOST, who="ops")
    token = token_in(enrolment.enrol(ctx, HOST, who="ops")["command"])
    arming.arm(ctx, HOST, profile="debian-13", who="ops")
    with pytest.raises(Forbidden):
        registration.register(ctx, token, FACTS, peer=PEER)
    assert hosts.show(ctx, HOST)["state"] == "armed"


def test_the_token_opens_no_answers_and_no_scripts(ctx: Context, known: str) -> None:
    from pxeforge.services import wire_answers

    token = token_in(enrolment.enrol(ctx, known, who="ops")["command"])
    for ask in (wire_answers.answers, wire_answers.early, wire_answers.disks, wire_answers.late):
        with pytest.raises(Forbidden):
            ask(ctx, token, peer=PEER)


def test_what_makes_no_sense_is_refused(ctx: Context, known: str) -> None:
    with pytest.raises(NotFound):
        enrolment.enrol(ctx, "nobody", who="ops")
    for seconds in (1, 10**9):
        with pytest.raises(Problem, match="good for"):
            enrolment.enrol(ctx, known, for_s=seconds, who="ops")


def test_an_agent_with_another_digest_is_not_run(ctx: Context, known: str, tmp_path: Path) -> None:
    """The command as a shell runs it: what it fetches is altered on the way."""
    command = enrolment.enrol(ctx, known, who="ops")["command"]
    altered = tmp_path / "altered"
    altered.write_bytes(b"not the agent")
    here = command.replace("http://192.0.2.1:8080/agent/pxeforge-agent.pyz", altered.as_uri())
    assert here != command
    done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "wrong digest" in done.stderr


def test_a_certificate_that_cannot_be_read_is_named_and_nothing_is_changed(ctx: Context, known: str) -> None:
    (ctx.data_dir / "tls" / "server.crt").write_text("no certificate")
    before = events.timeline(ctx, hosts.show(ctx, known)["id"])
    with pytest.raises(Problem, match=r"server\.crt cannot be read"):
        enrolment.enrol(ctx, known, who="ops")
    assert events.timeline(ctx, hosts.show(ctx, known)["id"]) == before

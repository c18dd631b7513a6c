"""Whatever happens in whatever order, through the real services on a real database: the table of the lifecycle holds.

No state is skipped, nothing is armed twice, every transition has its event, and a crash before the commit changes
nothing.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from pxeforge.domain.boot import BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    agents,
    arming,
    diagnosis_watch,
    expiry,
    hosts,
    install_ends,
    installer_reports,
    profiles,
    registration,
    rescue,
    retirement,
    timeline,
    wipe_reports,
    wiping,
    wire_answers,
    wire_menus,
)
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.services.install_tokens import token_of
from pxeforge.services.problems import Problem
from pxeforge.store.database import Database
from pxeforge.store.tables import Attempt, Event, Host
from tests.conftest import ACCOUNT, FACTS, MAC, PEER, Clock, write_image

NIC = MacAddress.parse(MAC)
_FRESH: list[Path] = []
_SIGNALS = {signal.value for signal in Signal}
_WRITES = (HostState.INSTALLING.value, HostState.INSTALLED.value, HostState.WIPING.value)


class Crash(Exception):
    """The process dies inside a transaction."""


@pytest.fixture(autouse=True)
def fresh(fresh_database: Path) -> Iterator[None]:
    _FRESH[:] = [fresh_database]
    yield
    _FRESH.clear()


class Life(RuleBasedStateMachine):
    """One host, its operator, its installers of several attempts, its agent and time."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        for name in ("tls", "agent"):
            (self.folder / name).mkdir()
        (self.folder / "tls" / "server.crt").write_text("-----BEGIN CERTIFICATE-----\n")
        (self.folder / "agent" / "pxeforge-agent.pyz").write_bytes(b"agent")
        write_image(self.folder)
        shutil.copy(_FRESH[0], self.folder / "pxeforge.db")
        self.clock = Clock()
        self.ctx = Context(
            database=Database(self.folder / "pxeforge.db"), data_dir=self.folder, clock=self.clock,
            addresses=Addresses(boot_address="192.0.2.1"), master_key=load_master_key(self.folder),
        )  # fmt: skip
        profiles.create(self.ctx, "p", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="ann")
        hosts.add(self.ctx, macs=[MAC], name="n1", who="ann")
        self.attempts: list[str] = []  # every one that ever was

    def teardown(self) -> None:
        if hasattr(self, "ctx"):
            self.ctx.database.close()
            shutil.rmtree(self.folder)

    def _try(self, act: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """What is refused is refused with a sentence, and leaves the host as it was."""
        before = self._state()
        try:
            return act(self.ctx, *args, **more)
        except Problem:
            pass
        assert self._state() == before
        return None

    def _state(self) -> str:
        with self.ctx.database.read() as session:
            return str(session.scalars(select(Host.state)).one())

    def _armed(self, found: dict[str, Any] | None) -> None:
        if found is not None:
            with self.ctx.database.read() as session:
                self.attempts.append(str(hosts.find(session, "n1").attempt_id))

    # ------------------------------------------------------------------ operators

    @rule()
    def arm(self) -> None:
        self._armed(self._try(arming.arm, "n1", profile="p", who="ann"))

    @rule()
    def arm_rescue(self) -> None:
        self._armed(self._try(arming.arm_program, "n1", boot="rescue", profile="p", who="ann"))

    @rule(retires=st.booleans())
    def arm_wipe(self, retires: bool) -> None:
        wish = {"confirmed": "n1", "serials": ["S1"], "retire": retires, "profile": "p"}
        self._armed(self._try(wiping.arm_wipe, "n1", who="ann", **wish))

    @rule()
    def disarm(self) -> None:
        self._try(install_ends.disarm, "n1", who="bob")

    @rule()
    def end_rescue(self) -> None:
        self._try(rescue.end, "n1", who="bob")

    @rule(back=st.booleans())
    def retire(self, back: bool) -> None:
        self._try(retirement.revive if back else retirement.retire, "n1", who="bob")

    @rule(act=st.sampled_from([arming.arm, install_ends.disarm, retirement.retire]))
    def crash_in_between(self, act: Callable[..., Any]) -> None:
        before, events = self._state(), self._events()
        more = {"profile": "p"} if act is arming.arm else {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hosts, "view", _die)
            with pytest.raises((Crash, Problem)):
                act(self.ctx, "n1", who="ann", **more)
        assert (self._state(), self._events()) == (before, events)

    # ------------------------------------------------------------------ the host

    @rule()
    def netboot(self) -> None:
        request = BootRequest(mac=NIC, firmware=Firmware.UEFI_X64, vendor_class="PXEClient", interface="br0")
        state = self._state()
        decision = Desk(self.ctx).dhcp_seen(request, message_type="DISCOVER", server_mode=True)
        assert decision.boot.value == "local" or state in ("armed", "booting")

    @rule()
    def fetch_menu(self) -> None:
        state = self._state()
        text = wire_menus.menu(self.ctx, NIC, MenuKind.IPXE, peer=PEER)
        assert "/images/" not in text or state in ("armed", "booting")

    def _token(self, data: st.DataObject, purpose: str) -> str | None:
        if not self.attempts:
            return None
        return token_of(self.ctx, data.draw(st.sampled_from(self.attempts)), purpose)

    @rule(data=st.data())
    def fetch_answers(self, data: st.DataObject) -> None:
        token = self._token(data, "answers")
        if token:
            self._try(wire_answers.answers, token, peer=PEER)

    @rule(data=st.data(), what=st.sampled_from([wire_answers.early, wire_answers.disks, wire_answers.wipe]))
    def fetch_script(self, data: st.DataObject, what: Callable[..., str]) -> None:
        token = self._token(data, "installer")
        text = self._try(what, token, peer=PEER) if token else None
        if text is not None:
            assert self._state() in _WRITES  # nothing that writes to disks leaves in another state
            assert what is not wire_answers.wipe or self._state() == "wiping"

    @rule(data=st.data(), act=st.sampled_from([installer_reports.finished, installer_reports.progress,
                                               wipe_reports.wiped]))  # fmt: skip
    def report(self, data: st.DataObject, act: Callable[..., None]) -> None:
        token = self._token(data, "installer")
        if token:
            self._try(act, token, "said", peer=PEER)

    @rule(data=st.data(), stage=st.sampled_from(["late", "disks", "wipe"]))
    def fail(self, data: st.DataObject, stage: str) -> None:
        token = self._token(data, "installer")
        if token:
            self._try(installer_reports.failed, token, stage, "broke", peer=PEER)

    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        token = self._token(data, "installer")
        if token:
            self._try(registration.register, token, FACTS, peer=PEER)

    @rule(boot=st.integers(0, 3))
    def agent_starts(self, boot: int) -> None:
        with self.ctx.database.read() as session:
            host_id = hosts.find(session, "n1").id
        self._try(agents.hello, host_id, version="1", boot_id=str(boot), facts={}, clock=None, peer=PEER)

    # ------------------------------------------------------------------ time and the server

    @rule(seconds=st.sampled_from([1, 61, 130, 1000, 4000, 90_000, -50, -5000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds
        expiry.expire(self.ctx)
        diagnosis_watch.look(self.ctx)

    @rule()
    def restart(self) -> None:
        self.ctx.database.close()
        object.__setattr__(self.ctx, "database", Database(self.folder / "pxeforge.db"))

    # ------------------------------------------------------------------ what always holds

    def _events(self) -> list[tuple[str, str, str, str | None]]:
        """The transitions that were told: signal, from, to, who."""
        with self.ctx.database.read() as session:
            rows = session.scalars(select(Event).where(Event.kind.in_(_SIGNALS)).order_by(Event.id)).all()
        return [(row.kind, row.data["from"], row.data["to"], row.who) for row in rows if row.data.get("to")]

    @invariant()
    def every_transition_is_in_the_table_and_told_without_a_gap(self) -> None:
        told = self._events()
        for signal, before, after, _ in told:
            assert NEXT[HostState(before), Signal(signal)].value == after
        for (_, _, after, _), (_, before, _, _) in itertools.pairwise(told):
            assert after == before
        assert (told[-1][2] if told else "known") == self._state()

    @invariant()
    def what_people_do_is_told_with_their_name(self) -> None:
        for signal, *_, who in self._events():
            if signal in ("arm", "disarm", "adopt", "revive"):
                assert who in ("ann", "bob")

    @invariant()
    def one_attempt_at_most_is_open_and_only_while_it_may_be_used(self) -> None:
        with self.ctx.database.read() as session:
            host = session.scalars(select(Host)).one()
            open_ = session.scalars(select(Attempt).where(Attempt.outcome.is_(None))).all()
            assert len(open_) <= 1
            used = host.state in ("armed", "booting", *_WRITES)
            assert bool(open_) == used, (host.state, json.dumps([one.id for one in open_]))
            assert used is False or open_[0].id == host.attempt_id
            assert (host.armed_until is not None) == (used or host.state == "rescue")

    @invariant()
    def stages_follow_each_other(self) -> None:
        told = timeline.stages_of(self.ctx, "n1", attempts=3)
        for before, after in itertools.pairwise(told):
            assert before["began_at"] <= before["ended_at"] <= after["began_at"]


def _die(*_: Any, **__: Any) -> None:
    raise Crash


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

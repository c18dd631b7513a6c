"""Power of hosts: on, off, off and on again, the next boot from the network; and what is known of it."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.orm import Session

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.domain.power import PowerAbility, PowerAction, PowerState
from pxeforge.services import bmc_address, hosts, power_config, power_record, power_settings
from pxeforge.services.context import Context
from pxeforge.services.events import differing, record
from pxeforge.services.power_driver import Deadline, Driver, PowerFault, Target
from pxeforge.services.power_steps import Outcome, carry_out
from pxeforge.services.power_turns import AT_A_TIME, turn, visit
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.versions import NONE_YET, expect_power, version_of_power
from pxeforge.store.tables import Host, Secret

TIME_S: Final = 45.0  # one action on one host
MOST_HOSTS: Final = 200
_BUSY_STATES: Final = tuple(one.value for one in (HostState.INSTALLING, HostState.CONFIGURING, HostState.WIPING))
_FRESH_S: Final = 3.0  # so long a state is told again without asking: pages ask often, BMCs are slow
_PATIENCE_S: Final = 10.0  # how long a look waits for another one

_recent: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
_recent_lock = threading.Lock()


# ---------------------------------------------------------------------------------------------- looking


def describe(ctx: Context, text: str) -> dict[str, Any]:
    """What is known without asking anybody: how the host's power is reached and what can be done."""
    with ctx.database.read() as session:
        return _described(session, ctx, hosts.find(session, text))


def status(ctx: Context, text: str) -> dict[str, Any]:
    """Asks the BMC. `state` is "unknown" where it cannot be known; then `error` or `note` says why.

    Raises NotFound for a host without power settings, TooMany.
    """
    with visit():
        return _status(ctx, text)


def _status(ctx: Context, text: str) -> dict[str, Any]:
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        told, key = _described(session, ctx, host), (str(ctx.data_dir), host.id)
        _check_set(host)
    shown = {key: told[key] for key in ("host", "id", "driver", "address", "can")}
    with _recent_lock:
        at, known = _recent.get(key, (0.0, {}))
    if time.monotonic() - at < _FRESH_S and known["settings"] == told["settings"]:
        return {**shown, **known["told"]}
    found = _ask(ctx, host.id, told["host"])
    if found["error"] is None:
        with _recent_lock:
            if len(_recent) > 10_000:
                _recent.clear()
            _recent[key] = (time.monotonic(), {"told": found, "settings": told["settings"]})
    return {**shown, **found}


def statuses(ctx: Context, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The same of many hosts, in their order; one that cannot be looked at says so in `error`."""

    def one(text: str) -> dict[str, Any]:
        try:
            return _status(ctx, text)
        except Problem as problem:
            nothing: dict[str, Any] = {"id": None, "driver": None, "address": None, "can": [], "note": None}
            return {**nothing, "host": text, "state": "unknown", "error": str(problem), "asked_at": ctx.clock()}

    with visit():
        return _for_each(texts, one)


def _ask(ctx: Context, host_id: str, label: str) -> dict[str, Any]:
    deadline = Deadline(TIME_S)
    state, note, error = PowerState.UNKNOWN, None, None
    try:
        with (
            turn(ctx, host_id, label, deadline, wait_s=_PATIENCE_S),
            _opened(ctx, _target(ctx, host_id), deadline) as driver,
        ):
            if PowerAbility.STATUS in driver.can:
                state = driver.state()
                note = None if state is not PowerState.UNKNOWN else "the BMC itself does not say"
            else:
                note = "its power driver cannot ask"
    except Problem as problem:
        error = str(problem)
    return {"state": state.value, "note": note, "error": error, "asked_at": ctx.clock()}


# ---------------------------------------------------------------------------------------------- acting


def act(ctx: Context, text: str, action: str, *, who: str, force: bool = False, soft: bool = False) -> dict[str, Any]:
    """Does it now, and tells what came of it: {host, id, action, ok, state, message, note}.

    `soft`: the operating system is asked to shut down (only `off`). `force`: also where it ends an install or a run.
    What was asked, by whom, and what came of it are in the host's timeline. Raises Conflict, PowerFault, TooMany,
    Problem.
    """
    with visit():
        return act_in_turn(ctx, text, action, who=who, force=force, soft=soft)


Keep = Callable[[Session, dict[str, Any]], None]


def _keep_nothing(_session: Session, _told: dict[str, Any]) -> None:
    pass


def act_in_turn(
    ctx: Context, text: str, action: str, *, who: str, force: bool, soft: bool, keep: Keep = _keep_nothing
) -> dict[str, Any]:
    """The same for who waits apart from the pages. `keep` is told in the transactions of its events what became of it:
    {"progress": "underway"}, then "done" with state, message and note, or "failed" with error.
    """
    wanted = checked_action(action, soft)
    deadline = Deadline(TIME_S)
    with ctx.database.read() as session:
        host = hosts.find(session, text)
        host_id, label = host.id, host.label
    with turn(ctx, host_id, label, deadline):
        target, hint = _asked(ctx, host_id, wanted, who=who, force=force, soft=soft, keep=keep)
        _forget_recent(ctx, host_id)
        try:
            with _opened(ctx, target, deadline) as driver:
                always = target.settings.get("netboot") == "always"
                done = carry_out(driver, wanted, deadline, soft=soft, always_netboots=always)
        except Problem as problem:
            with ctx.database.write() as session:
                _tell(session, ctx, host_id, "power_failed", f"power {wanted.value} failed: {problem}")
                keep(session, {"progress": "failed", "error": str(problem)})
            raise
        finally:
            _forget_recent(ctx, host_id)
        note = "; ".join(part for part in (done.note, hint) if part) or None
        told = {"state": done.state.value, "message": f"{label} {done.message}", "note": note}
        with ctx.database.write() as session:
            _tell(session, ctx, host_id, "power_done", f"{label} {_said(done)}", {"state": done.state.value})
            keep(session, {"progress": "done", **told})
    return {"host": label, "id": host_id, "action": wanted.value, "ok": True, **told}


def check_may(session: Session, text: str, action: PowerAction, *, force: bool) -> tuple[str, str]:
    """Id and name of a host that can be switched just now, as far as is known here. Raises NotFound, Conflict."""
    host = hosts.find(session, text)
    _check_set(host)
    refusal = _refusal(host) if action.interrupts else None
    if refusal and not force:
        raise Conflict(refusal)
    return host.id, host.label


def checked_action(text: str, soft: bool) -> PowerAction:
    """Raises Problem."""
    try:
        action = PowerAction(text)
    except ValueError:
        raise Problem(f"{text!r} cannot be done: use one of {', '.join(PowerAction)}") from None
    if soft and action is not PowerAction.OFF:
        raise Problem("soft goes only with off: the operating system is asked to shut down")
    return action


def _asked(
    ctx: Context, host_id: str, action: PowerAction, *, who: str, force: bool, soft: bool, keep: Keep
) -> tuple[Target, str | None]:  # fmt: skip
    """Looks whether it may be done, and writes down that it is; in one transaction. Raises Problem."""
    with ctx.database.write() as session:
        host = _host(session, host_id)
        _check_set(host)
        refusal = _refusal(host) if action.interrupts else None
        if refusal and not force:
            raise Conflict(refusal)
        target = _target_of(session, ctx, host)
        how = (" softly" if soft else "") + (" in spite of its state" if refusal else "")
        record(
            session, ctx, host_id=host.id, source="operator", kind="power_asked", who=who,
            message=f"power {action.value}{how} asked by {who} ({target.driver})",
            data={"action": action.value, "soft": soft, "force": force, "state": host.state},
        )  # fmt: skip
        keep(session, {"progress": "underway"})
        netboots = action is PowerAction.PXE and host.state not in (HostState.ARMED.value, HostState.BOOTING.value)
        hint = "it is not armed: the network will tell it to boot its disk (`pxeforge host arm`)" if netboots else None
        return target, hint


def _refusal(host: Host) -> str | None:
    """Why its power should be left alone just now."""
    if host.state not in _BUSY_STATES:
        return None
    return f"{host.label} is {host.state}, which this would break off: wait, or say --force"


def _said(done: Outcome) -> str:
    return done.message + (f" ({done.note})" if done.note else "")


def _tell(
    session: Session, ctx: Context, host_id: str, kind: str, message: str, data: dict[str, Any] | None = None
) -> None:  # fmt: skip
    record(session, ctx, host_id=host_id, source="server", kind=kind, message=message, data=data)


def _forget_recent(ctx: Context, host_id: str) -> None:
    with _recent_lock:
        _recent.pop((str(ctx.data_dir), host_id), None)


def different(texts: Sequence[str]) -> list[str]:
    """Each once; raises Problem."""
    wanted = list(dict.fromkeys(texts))
    if not wanted or len(wanted) > MOST_HOSTS:
        raise Problem(f"name 1 to {MOST_HOSTS} hosts at once")
    return wanted


def _for_each(texts: Sequence[str], work: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = different(texts)
    with ThreadPoolExecutor(min(AT_A_TIME, len(wanted)), thread_name_prefix="power") as pool:
        # Each with a copy of who is acting: the audit log wants to know.
        started = [pool.submit(contextvars.copy_context().run, work, text) for text in wanted]
        return [one.result() for one in started]


# ---------------------------------------------------------------------------------------------- settings


def set_power(
    ctx: Context, text: str, given: Mapping[str, Any], *, password: str | None, who: str,
    expected_version: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """These settings instead of those before; nobody is asked yet. Without `password` the one before stays.

    It has to be given anew when driver or address change: it is never sent where who set it did not send it.
    """
    from pxeforge.services import secrets  # its library is 6 MB

    settings = power_settings.checked(ctx, given)
    driver = settings["driver"]
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        expect_power(session, host, _versions(session, host), expected_version)
        before, name = power_record.stored(host), power_record.secret_name(host.id)
        if password is not None:
            secrets.put(session, ctx, name, power_settings.check_password(driver, password))
        elif any(before.get(key) != settings.get(key) for key in ("driver", "address", "user", "command")):
            power_record.forget(session, host.id)
            session.flush()
        if power_settings.needs_password(driver) and session.get(Secret, name) is None:
            raise Problem(f"{driver} needs the BMC's password, and anew when its address or user changes: give it too")
        if host.state == HostState.DISCOVERED.value:
            hosts.move(session, ctx, host, Signal.ADOPT, who=who, message=f"adopted by {who}")
        host.settings = {**host.settings, power_record.KEY: settings}
        told = differing({"power": before}, {"power": settings})
        record(
            session, ctx, host_id=host.id, source="operator", kind="power_set", who=who,
            message=f"power is reached by {driver}{', its password was set' if password is not None else ''}",
            data=told,
        )  # fmt: skip
        session.flush()
        return _described(session, ctx, host)


def clear_power(ctx: Context, text: str, *, who: str, expected_version: str | None = None) -> dict[str, Any]:
    """The host's power settings and its password are forgotten; raises NotFound where there are none, Stale."""
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        _check_set(host)
        expect_power(session, host, _versions(session, host), expected_version)
        before = power_record.stored(host)
        power_record.forget(session, host.id)
        host.settings = {key: value for key, value in host.settings.items() if key != power_record.KEY}
        record(
            session, ctx, host_id=host.id, source="operator", kind="power_cleared", who=who,
            message="power settings and password forgotten", data={"before": {"power": before}, "after": {}},
        )  # fmt: skip
        session.flush()
        return _described(session, ctx, host)


def _described(session: Session, ctx: Context, host: Host) -> dict[str, Any]:
    settings = power_record.stored(host)
    return {
        "host": host.label, "id": host.id, "driver": settings.get("driver"),
        "address": settings.get("address"), "user": settings.get("user"), "can": _can(ctx, settings),
        "has_password": session.get(Secret, power_record.secret_name(host.id)) is not None,
        "refused": _refusal(host), "settings": settings, "version": _version(session, host),
    }  # fmt: skip


def _version(session: Session, host: Host) -> str:
    return version_of_power(host, power_record.stored(host), session.get(Secret, power_record.secret_name(host.id)))


def _versions(session: Session, host: Host) -> tuple[str, ...]:
    present = _version(session, host)
    return (present,) if power_record.stored(host) else (present, NONE_YET)


def _can(ctx: Context, settings: Mapping[str, Any]) -> list[str]:
    """What the driver can do as far as that is known without asking; a Redfish BMC may offer less."""
    driver = settings.get("driver")
    if driver in ("redfish", "ipmi"):
        able = set(PowerAbility)
    elif driver == "wake-on-lan":
        able = {PowerAbility.ON}
    elif driver == "command":
        able = _command_can(ctx, settings)
    else:
        able = set()
    if {PowerAbility.ON, PowerAbility.OFF} <= able:
        able.add(PowerAbility.CYCLE)
    if PowerAbility.ON in able and settings.get("netboot") == "always":
        able.add(PowerAbility.PXE)
    return sorted(able)


def _command_can(ctx: Context, settings: Mapping[str, Any]) -> set[PowerAbility]:
    try:
        return set(power_config.load(ctx).commands.get(settings["command"], ()))
    except Problem:
        return set()  # whoever uses it is told what is wrong in the file


# ---------------------------------------------------------------------------------------------- drivers


def _target(ctx: Context, host_id: str) -> Target:
    with ctx.database.read() as session:
        return _target_of(session, ctx, _host(session, host_id))


def _target_of(session: Session, ctx: Context, host: Host) -> Target:
    settings = power_record.stored(host)
    return Target(
        host_id=host.id, label=host.label, macs=host.macs, uefi=_uefi(host), driver=settings["driver"],
        settings=settings, password=_password(session, ctx, host),
    )  # fmt: skip


def _password(session: Session, ctx: Context, host: Host) -> str | None:
    from pxeforge.services import secrets

    try:
        return secrets.reveal(session, ctx, power_record.secret_name(host.id))
    except NotFound:
        if not power_settings.needs_password(power_record.stored(host)["driver"]):
            return None
        raise Problem(f"the BMC's password is not there: `pxeforge power set {host.label} …` sets it") from None


def _uefi(host: Host) -> bool | None:
    known = [one for one in Firmware if one.value == host.firmware]
    return known[0].is_uefi if known and known[0] is not Firmware.UNKNOWN else None


@contextmanager
def _opened(ctx: Context, target: Target, deadline: Deadline) -> Iterator[Driver]:
    """The host's driver, connected where it needs a connection. Raises PowerFault, Problem."""
    driver = _open(ctx, target, deadline)
    try:
        yield driver
    finally:
        driver.close()


def _open(ctx: Context, target: Target, deadline: Deadline) -> Driver:
    # The libraries of one driver are not for the others, nor for processes that use none.
    settings, config = target.settings, power_config.load(ctx)
    if target.driver == "redfish":
        from pxeforge.services.bmc_http import Place
        from pxeforge.services.power_redfish import Redfish

        address = bmc_address.resolve(settings["address"], config.networks)
        place = Place(
            name=settings["address"], address=address, port=settings.get("port", 443),
            fingerprint=settings.get("fingerprint"), ca=_ca(ctx, settings),
        )  # fmt: skip
        return Redfish(target, place, deadline)
    if target.driver == "ipmi":
        from pxeforge.services.power_ipmi import Ipmi

        return Ipmi(target, bmc_address.resolve(settings["address"], config.networks), deadline)
    if target.driver == "wake-on-lan":
        from pxeforge.services.power_wake import Wake

        wished = settings.get("address")
        return Wake(target, ctx.interfaces(), bmc_address.resolve(wished, config.networks) if wished else None)
    return _open_command(target, config, deadline)


def _open_command(target: Target, config: power_config.PowerConfig, deadline: Deadline) -> Driver:
    from pxeforge.services.power_command import Command

    name = target.settings["command"]
    if name not in config.commands:
        raise Problem(f"power.toml has no command {name} any more: write it there, or set another one")
    return Command(target, config.commands[name], deadline)


def _ca(ctx: Context, settings: Mapping[str, Any]) -> Any:
    if "ca" not in settings:
        return None
    path = ctx.operator_dir / "power-ca" / settings["ca"]
    if not path.is_file():
        raise PowerFault(f"{path} is not there: put the certificate of the BMCs' authority there (PEM)")
    return path


def _host(session: Session, host_id: str) -> Host:
    """By its id alone, which may look like somebody's MAC address."""
    host = session.get(Host, host_id)
    if host is None:
        raise NotFound("the host was forgotten meanwhile")
    return host


def _check_set(host: Host) -> None:
    if not power_record.stored(host):
        label = host.label
        raise NotFound(f"{label} has no power settings: `pxeforge power set {label} --driver redfish --address …`")

"""Power by Redfish (DMTF DSP0266, schema ComputerSystem): what to send is read from what the BMC says of itself."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services.bmc_http import BmcHttp, Place, Reply, check_path
from pxeforge.services.power_driver import Deadline, PowerFault, Target, quoted

_ROOT: Final = "/redfish/v1/"
_SESSIONS: Final = "/redfish/v1/SessionService/Sessions"
_SYSTEMS: Final = "/redfish/v1/Systems"
_MOST_SYSTEMS: Final = 64
# The first one that the BMC offers; the first of all where it offers none in words.
_ON: Final = ("On", "ForceOn", "PushPowerButton")
_OFF: Final = ("ForceOff",)
_SOFT_OFF: Final = ("GracefulShutdown", "PushPowerButton")
_RESTART: Final = ("ForceRestart", "PowerCycle")
# While it changes it still, or already, has power.
_STATES: Final = {
    "On": PowerState.ON, "PoweringOn": PowerState.ON, "PoweringOff": PowerState.ON, "Paused": PowerState.ON,
    "Off": PowerState.OFF,
}  # fmt: skip
_NO_SESSIONS: Final = (400, 404, 405, 500, 501)  # BMCs that know no sessions say so in many ways


class Redfish:
    """One login at one BMC, about one of its systems."""

    def __init__(self, target: Target, place: Place, deadline: Deadline) -> None:
        self._target, self._place = target, place
        self._session: str | None = None  # where it is ended
        self._http = BmcHttp(place, deadline)
        try:
            self._log_in()
            self._path = self._find_system()
            self._system, self._etag = self._read_system()
            self._offered = reset_types(self._system, self._action_info)
        except BaseException:
            self.close()
            raise

    @property
    def can(self) -> frozenset[PowerAbility]:
        offered, lacking = self._offered, set()
        if offered is not None and not set(_RESTART) & set(offered):
            lacking.add(PowerAbility.CYCLE)  # off and on then
        if offered is not None and not set(_SOFT_OFF) & set(offered):
            lacking.add(PowerAbility.SOFT_OFF)
        return frozenset(PowerAbility) - lacking

    def state(self) -> PowerState:
        self._system, self._etag = self._read_system()
        return power_state(self._system)

    def switch_on(self) -> None:
        self._reset(_ON)

    def switch_off(self, *, soft: bool) -> None:
        self._reset(_SOFT_OFF if soft else _OFF)

    def restart(self) -> None:
        self._reset(_RESTART)

    def netboot_once(self) -> None:
        wish = boot_wish(self._system, by_http=self._target.settings.get("netboot") == "http", uefi=self._target.uefi)
        reply, tag = self._patch(self._path, wish, self._etag), self._etag
        if reply.status == 412 and tag:  # some compare only strong tags, some none that they gave
            reply = self._patch(self._path, wish, tag.removeprefix("W/"))
        if reply.status in (412, 428):
            reply = self._patch(self._path, wish, "*")
        if reply.status == 400 and "BootSourceOverrideMode" in wish:
            del wish["BootSourceOverrideMode"]
            reply = self._patch(self._path, wish, self._etag)
        settings = settings_path(self._system)
        if reply.status in (404, 405) and settings is not None:
            pending = self._http.get(settings)
            reply = self._patch(settings, wish, pending.headers.get("ETag"))
        self._expect(reply, "set the next boot")

    def close(self) -> None:
        if self._session is not None:
            with contextlib.suppress(PowerFault):  # else it ends by itself
                self._http.send("DELETE", self._session)
            self._session = None
        self._http.close()

    # ------------------------------------------------------------------------------------------ login

    def _log_in(self) -> None:
        how = self._target.settings.get("login", "auto")
        if how == "basic" or not self._opened_session(must=how == "session"):
            name_and_password = f"{self._target.settings.get('user', '')}:{self._target.password or ''}"
            self._http.headers["Authorization"] = f"Basic {base64.b64encode(name_and_password.encode()).decode()}"

    def _opened_session(self, *, must: bool) -> bool:
        """False where the BMC has no sessions. Raises PowerFault for a wrong password: it is not tried twice."""
        body = {"UserName": self._target.settings.get("user", ""), "Password": self._target.password or ""}
        reply = self._http.send("POST", self._sessions_path(), body)
        token = reply.headers.get("X-Auth-Token", "")
        if reply.status in (200, 201) and token:
            self._http.headers["X-Auth-Token"] = token
            with contextlib.suppress(PowerFault):
                self._session = check_path(_own_path(reply.headers.get("Location", ""), self._place))
            return True
        if not must and (reply.status in _NO_SESSIONS or reply.status in (200, 201)):
            return False
        if not must and reply.status == 401 and "basic" in reply.headers.get("WWW-Authenticate", "").lower():
            return False  # this address asks for a login itself: it makes no sessions
        self._expect(reply, "log in")
        raise PowerFault(f"the BMC {self._place.name} opens no session: set --login basic")

    def _sessions_path(self) -> str:
        reply = self._http.get(_ROOT)
        if reply.status != 200:
            return _SESSIONS
        return link_of(_object(reply.body, "Links"), "Sessions") or _SESSIONS

    # ------------------------------------------------------------------------------------------ the system

    def _find_system(self) -> str:
        wanted = self._target.settings.get("system")
        if wanted is not None and wanted.startswith("/"):
            return check_path(wanted)
        reply = self._http.get(_SYSTEMS)
        self._expect(reply, "tell its systems")
        return chosen_system(reply.body, wanted, self._place.name)

    def _read_system(self) -> tuple[dict[str, Any], str | None]:
        reply = self._http.get(self._path)
        self._expect(reply, "tell of the system")
        return reply.body, reply.headers.get("ETag") or _text(reply.body.get("@odata.etag")) or None

    def _action_info(self, path: str) -> dict[str, Any]:
        reply = self._http.get(path)
        return reply.body if reply.status == 200 else {}

    def _reset(self, preferred: tuple[str, ...]) -> None:
        chosen = chosen_reset(self._offered, preferred)
        reply = self._http.send("POST", reset_path(self._system, self._path), {"ResetType": chosen})
        self._expect(reply, chosen)

    def _patch(self, path: str, wish: Mapping[str, Any], tag: str | None) -> Reply:
        headers = {"If-Match": tag} if tag and tag.isprintable() and tag.isascii() else {}
        return self._http.send("PATCH", path, {"Boot": dict(wish)}, headers)

    def _expect(self, reply: Reply, what: str) -> None:
        """Raises PowerFault with the BMC's own words unless it did (or, 202, will do) what it was told."""
        if 200 <= reply.status < 300:
            return
        where = f"the BMC {self._place.name}"
        if reply.status in (401, 403):
            raise PowerFault(f"{where} does not let this user {what} ({reply.status}): look at user, password and role")
        said = message_of(reply.body)
        raise PowerFault(f"{where} refuses to {what} ({reply.status}{': ' + said if said else ''})")


# ---------------------------------------------------------------------------------------------- what BMCs say
# Anything may stand anywhere: these take a BMC's words apart and raise nothing but PowerFault.


def power_state(system: Mapping[str, Any]) -> PowerState:
    return _STATES.get(_text(system.get("PowerState")), PowerState.UNKNOWN)


def chosen_system(systems: Mapping[str, Any], wanted: str | None, where: str) -> str:
    """The path of the one that is wanted, or of the only one; raises PowerFault."""
    members = systems.get("Members")
    paths = [link_of({"one": member}, "one") for member in members[:_MOST_SYSTEMS]] if isinstance(members, list) else []
    found = {path.rstrip("/").rsplit("/", 1)[-1]: path for path in paths if path}
    names = quoted(", ".join(found)) or "none"
    if wanted is not None:
        if wanted not in found:
            raise PowerFault(f"the BMC {where} has no system {wanted!r}: it has {names}")
        return found[wanted]
    if len(found) != 1:
        raise PowerFault(f"the BMC {where} has {len(found)} systems ({names}): say which one with --system")
    return next(iter(found.values()))


def reset_path(system: Mapping[str, Any], path: str) -> str:
    target = _text(_reset_action(system).get("target"))
    return check_path(target) if target else check_path(f"{path.rstrip('/')}/Actions/ComputerSystem.Reset")


def reset_types(system: Mapping[str, Any], action_info: Callable[[str], Mapping[str, Any]]) -> list[str] | None:
    """What the BMC offers; None where it does not say. `action_info`: reads the resource that tells it otherwise."""
    action = _reset_action(system)
    offered = _texts(action.get("ResetType@Redfish.AllowableValues"))
    if offered is None and (path := _text(action.get("@Redfish.ActionInfo"))):
        parameters = action_info(check_path(path)).get("Parameters")
        for one in parameters if isinstance(parameters, list) else []:
            if isinstance(one, dict) and one.get("Name") == "ResetType":
                offered = _texts(one.get("AllowableValues"))
    return offered


def chosen_reset(offered: list[str] | None, preferred: tuple[str, ...]) -> str:
    if offered is None:
        return preferred[0]
    for one in preferred:
        if one in offered:
            return one
    raise PowerFault(f"this BMC cannot do {preferred[0]}: it offers {quoted(', '.join(offered)) or 'nothing'}")


def boot_wish(system: Mapping[str, Any], *, by_http: bool, uefi: bool | None) -> dict[str, Any]:
    """What to set in the system's `Boot`; raises PowerFault where the BMC does not offer it."""
    boot = _object(system, "Boot")
    target = "UefiHttp" if by_http else "Pxe"
    offered = _texts(boot.get("BootSourceOverrideTarget@Redfish.AllowableValues"))
    if offered is not None and target not in offered:
        said = quoted(", ".join(offered)) or "nothing"
        raise PowerFault(f"this BMC does not offer {target} for the next boot, only {said}: set netboot otherwise")
    wish: dict[str, Any] = {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target}
    if "BootSourceOverrideMode" in boot and (by_http or uefi is not None):
        wish["BootSourceOverrideMode"] = "UEFI" if by_http or uefi else "Legacy"
    return wish


def settings_path(system: Mapping[str, Any]) -> str | None:
    """Where changes are to be sent instead (DSP0266, `@Redfish.Settings`)."""
    return link_of(_object(system, "@Redfish.Settings"), "SettingsObject")


def link_of(holder: Mapping[str, Any], name: str) -> str | None:
    """The path behind a link; raises PowerFault for one that leads elsewhere."""
    path = _text(_object(holder, name).get("@odata.id"))
    return check_path(path) if path else None


def message_of(body: Mapping[str, Any]) -> str:
    """What the BMC says went wrong, in one line; empty where it says nothing."""
    error = _object(body, "error")
    infos = error.get("@Message.ExtendedInfo")
    first = infos[0] if isinstance(infos, list) and infos else infos
    told = _text(first.get("Message")) if isinstance(first, dict) else ""
    return quoted(told or _text(error.get("message")))


def _reset_action(system: Mapping[str, Any]) -> dict[str, Any]:
    return _object(_object(system, "Actions"), "#ComputerSystem.Reset")


def _own_path(location: str, place: Place) -> str:
    """A Location without the scheme and host that some put before it."""
    for own in (place.url, f"https://{place.name}", f"https://{place.address}"):
        if location.startswith(f"{own}/"):
            return location[len(own) :]
    return location


def _object(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str] | None:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else None

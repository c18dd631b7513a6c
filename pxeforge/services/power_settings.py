"""How a host's power is reached: what each driver may be told, checked before services/power.py keeps it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import bmc_address, power_config
from pxeforge.services.context import Context
from pxeforge.services.power_command import VALUE
from pxeforge.services.power_config import PowerConfig
from pxeforge.services.problems import Problem

_PASSWORD_BYTES: Final = {"redfish": 256, "ipmi": 20, "command": 256}  # IPMI 2.0, 22.30
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_USER: Final = re.compile(r"[\x21-\x39\x3b-\x7e][\x20-\x39\x3b-\x7e]{0,63}")  # HTTP Basic ends it at a colon
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_TAKEN: Final = ("host", "mac", "address", "user")

Check = Callable[[Any, PowerConfig], Any]


def checked(ctx: Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are stored, each in its one spelling; raises Problem for whatever is wrong."""
    driver = given.get("driver")
    if not isinstance(driver, str) or driver not in DRIVERS:
        raise Problem(f"{driver!r} is no power driver: use one of {', '.join(DRIVERS)}")
    kind, config = DRIVERS[driver], power_config.load(ctx)
    own = {key: value for key, value in given.items() if key != "driver" and value is not None}
    if unknown := set(own) - set(kind.settings):
        raise Problem(f"{min(unknown)} means nothing to {driver}: it knows {', '.join(kind.settings)}")
    if missing := [key for key in kind.needs if key not in own]:
        raise Problem(f"{driver} needs {missing[0]}: see docs/power.md")
    if "fingerprint" in own and "ca" in own:
        raise Problem("fingerprint and ca exclude each other: the fingerprint alone is the stricter one")
    return {"driver": driver, **{key: kind.settings[key](value, config) for key, value in sorted(own.items())}}


def check_password(driver: str, password: str) -> str:
    """Raises Problem."""
    if driver not in _PASSWORD_BYTES:
        raise Problem(f"{driver} has no password: leave it out")
    if not password or not password.isprintable() or len(password.encode()) > _PASSWORD_BYTES[driver]:
        raise Problem(f"a password for {driver} has 1 to {_PASSWORD_BYTES[driver]} bytes and no control characters")
    return password


@dataclass(frozen=True, slots=True)
class _Kind:
    settings: Mapping[str, Check]
    needs: tuple[str, ...] = ()
    password: bool = False  # does not work without


def needs_password(driver: str) -> bool:
    return DRIVERS[driver].password


def _address(value: Any, config: PowerConfig) -> str:
    return bmc_address.check(_text("address", value), config.networks)


def _broadcast(value: Any, config: PowerConfig) -> str:
    address = bmc_address.check(_text("address", value), config.networks)
    if not re.fullmatch(r"[0-9.]+", address):
        raise Problem("address is the IPv4 broadcast address of the host's network, e.g. 10.20.0.255")
    return address


def _mac(value: Any, _config: PowerConfig) -> str:
    try:
        return str(MacAddress.parse(_text("mac", value)))
    except NotAMac as problem:
        raise Problem(str(problem)) from None


def _port(value: Any, _config: PowerConfig) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise Problem("port is a number from 1 to 65535")
    return value


def _user(value: Any, _config: PowerConfig) -> str:
    if not _USER.fullmatch(_text("user", value)):
        raise Problem("user has up to 64 printable ASCII characters and no colon")
    return str(value)


def _ipmi_user(value: Any, _config: PowerConfig) -> str:
    if not re.fullmatch(r"[\x21-\x2c\x2e-\x7e][\x21-\x7e]{0,15}", _text("user", value)):
        raise Problem("user has up to 16 printable ASCII characters without blanks (IPMI 2.0)")
    return str(value)


def _system(value: Any, _config: PowerConfig) -> str:
    if not re.fullmatch(r"(/redfish/)?[A-Za-z0-9_.:~+()-]+(/[A-Za-z0-9_.:~+()-]+)*", _text("system", value)) or (
        ".." in str(value) or len(value) > 200
    ):
        raise Problem("system is the name of one of the BMC's systems, e.g. System.Embedded.1, or its /redfish/… path")
    return str(value)


def _fingerprint(value: Any, _config: PowerConfig) -> str:
    plain = _text("fingerprint", value).strip().replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise Problem("fingerprint is the SHA-256 of the BMC's certificate: 64 hex digits, with or without colons")
    return plain


def _file(value: Any, _config: PowerConfig) -> str:
    if not _FILE.fullmatch(_text("ca", value)):
        raise Problem("ca is the name of a PEM file in the folder power-ca of the operator's folder, e.g. rack1.pem")
    return str(value)


def _command(value: Any, config: PowerConfig) -> str:
    if _text("command", value) not in config.commands:
        known = ", ".join(sorted(config.commands)) or "none"
        raise Problem(f"there is no power command {value!r}: power.toml has {known}")
    return str(value)


def _options(value: Any, _config: PowerConfig) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 20:
        raise Problem("options are texts by their names, e.g. outlet=7")
    for key, one in value.items():
        if not _OPTION.fullmatch(str(key)) or key in _TAKEN:
            raise Problem(f"{key!r} is no name for an option: use a-z 0-9 _, and none of {', '.join(_TAKEN)}")
        if not isinstance(one, str) or not VALUE.fullmatch(one):
            raise Problem(f"option {key} may hold letters, digits and _ . : / @ + , -, and begins with no -")
    return dict(sorted(value.items()))


def _one_of(name: str, *choices: Any) -> Check:
    def check(value: Any, _config: PowerConfig) -> Any:
        if value not in choices or isinstance(value, bool):
            raise Problem(f"{name} is one of {', '.join(map(str, choices))}")
        return value

    return check


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Problem(f"{name} must be a text")
    return value


DRIVERS: Final[Mapping[str, _Kind]] = {
    "redfish": _Kind(
        {
            "address": _address, "port": _port, "user": _user, "login": _one_of("login", "auto", "session", "basic"),
            "system": _system, "fingerprint": _fingerprint, "ca": _file,
            "netboot": _one_of("netboot", "pxe", "http", "always"),
        },
        needs=("address", "user"),
        password=True,
    ),
    "ipmi": _Kind(
        {
            "address": _address, "port": _port, "user": _ipmi_user,
            "privilege": _one_of("privilege", "OPERATOR", "ADMINISTRATOR"), "cipher": _one_of("cipher", 3, 17),
            "netboot": _one_of("netboot", "pxe", "always"),
        },
        needs=("address", "user"),
        password=True,
    ),
    "wake-on-lan": _Kind({"address": _broadcast, "mac": _mac, "netboot": _one_of("netboot", "pxe", "always")}),
    "command": _Kind(
        {
            "command": _command, "options": _options, "address": _address, "user": _user,
            "netboot": _one_of("netboot", "pxe", "always"),
        },
        needs=("command",),
    ),
}  # fmt: skip

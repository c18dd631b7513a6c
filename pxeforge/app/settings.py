"""Settings: flags over environment over pxeforge.toml over defaults; every mistake is one clear sentence."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from pxeforge.app.setting_values import (
    BadSettings,
    parse_mirror_url,
    parse_option,
    parse_proxy_url,
    parse_range,
    parse_route,
    split_listen,
)
from pxeforge.protocol.tftp.blksize import parse_rules
from pxeforge.services.budgets import check as check_budgets
from pxeforge.services.problems import Problem
from pxeforge.services.run_limits import check as check_limits
from pxeforge.store.location import Location, in_folder, parse

__all__ = ["BadSettings", "Settings", "SubnetSettings", "load_settings", "parse_option", "parse_range"]

DEFAULT_CONFIG = Path("/etc/pxeforge/pxeforge.toml")
_LISTS = {"interfaces", "dns", "ntp", "routes", "search", "tftp_blksize", "webhook_networks"}
_TABLES = {"subnets", "options", "mirrors", "budgets", "limits"}  # JSON in the environment
_MIRROR_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class _Lending(BaseModel):
    """What a subnet and the settings themselves say alike about addresses to lend."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("range", check_fields=False)
    @classmethod
    def _range(cls, value: str | None) -> str | None:
        if value is not None:
            parse_range(value)
        return value

    @field_validator("routes", check_fields=False)
    @classmethod
    def _routes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_route(text)
        return value

    @field_validator("options", check_fields=False)
    @classmethod
    def _options(cls, value: dict[str, str]) -> dict[str, str]:
        for code, text in value.items():
            parse_option(code, text)
        return value


class SubnetSettings(_Lending):
    """One table `[[subnets]]`. What is left out is as in the settings of the same name, but for router and routes."""

    network: ipaddress.IPv4Network = Field(description="ADDRESS/LENGTH of the whole network")
    range: str = Field(description="FIRST-LAST, addresses to lease")
    router: ipaddress.IPv4Address | None = Field(
        None, description="default: our own address; behind a relay it must be named"
    )
    dns: tuple[ipaddress.IPv4Address, ...] | None = Field(None, description="DNS servers")
    ntp: tuple[ipaddress.IPv4Address, ...] | None = Field(None, description="time servers")
    domain: str | None = Field(None, description="DNS domain of the hosts")
    search: tuple[str, ...] | None = Field(None, description="domains in which hosts look names up")
    lease_time_s: int | None = Field(None, ge=120, le=30 * 86400, description="how long an address is lent")
    mtu: int | None = Field(None, ge=576, le=65535, description="largest IP packet in bytes")
    routes: tuple[str, ...] = Field((), description="static routes, each 'DESTINATION/LENGTH via ROUTER'")
    options: dict[str, str] = Field({}, description="further DHCP options by number, as in the setting `options`")


class MirrorSettings(BaseModel):
    """One table `[mirrors.NAME]`: a package repository that is served at /mirror/NAME."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="its root: http://…, https://… or http+unix://…")
    proxy: str | None = Field(None, description="HTTP proxy on the way to it; default: `mirror_proxy`")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return parse_mirror_url(value)

    @field_validator("proxy")
    @classmethod
    def _proxy(cls, value: str | None) -> str | None:
        return value if value is None else parse_proxy_url(value)


class Settings(_Lending):
    """Everything `pxeforge serve` can be told. Ports are UDP/TCP numbers, times are seconds."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)  # what was set, and where

    data_dir: Path = Field(Path("/var/lib/pxeforge"), description="where everything is kept")
    operator_dir: Path = Field(Path("/etc/pxeforge"), description="your own templates and roles; they win")
    database: str | None = Field(
        None,
        repr=False,
        description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; default: a file in data_dir",
    )
    interfaces: tuple[str, ...] = Field((), description="network interfaces of the boot network")
    dhcp: Literal["proxy", "server", "off"] = Field("proxy", description="proxy: beside your DHCP server, no leases")
    range: str | None = Field(None, description="FIRST-LAST, addresses to lease in server mode")
    router: ipaddress.IPv4Address | None = Field(None, description="default: our own address")
    dns: tuple[ipaddress.IPv4Address, ...] = Field((), description="default: our own address")
    ntp: tuple[ipaddress.IPv4Address, ...] = Field((), description="time servers; default: none offered")
    domain: str | None = Field(None, description="DNS domain of the hosts")
    search: tuple[str, ...] = Field((), description="domains in which hosts look names up; default: none offered")
    lease_time_s: int = Field(3600, ge=120, le=30 * 86400)
    mtu: int | None = Field(None, ge=576, le=65535, description="largest IP packet in bytes; default: none offered")
    routes: tuple[str, ...] = Field((), description="static routes, each 'DESTINATION/LENGTH via ROUTER'")
    options: dict[str, str] = Field(
        {}, description="further DHCP options by number: text, `ip:ADDRESS,…` or `hex:BYTES`"
    )
    subnets: tuple[SubnetSettings, ...] = Field((), description="further subnets to lease addresses in, a table each")
    address_check: bool = Field(True, description="ask by ARP whether somebody uses an address before it is offered")
    unknown_hosts: Literal["silence", "local", "discover"] = Field(
        "local", description="hosts nobody vouched for: no answer, their own disk, or a report of their hardware"
    )
    discovery_end: Literal["poweroff", "reboot", "wait"] = Field(
        "poweroff", description="what a host does that has reported its hardware"
    )
    force: bool = Field(False, description="server mode although another DHCP server answers")
    budgets: dict[str, float] = Field(
        {}, description="how long each part of a host's way may take, in seconds by name: see below"
    )
    limits: dict[str, int] = Field(
        {},
        description="how many tasks of a run may use a resource at once by its name; mirror: 20 and join: 1 if not set",
    )
    verify_every_s: int = Field(
        0, ge=0, le=7 * 86400, description="the checks of all roles run by themselves so often, in seconds; 0: never"
    )
    drift_every_s: int = Field(
        0, ge=0, le=30 * 86400, description="a dry run of the last deploy tells so often what differs; 0: never"
    )
    prefetch_roles: bool = Field(
        True, description="packages of a role are fetched into the cache as soon as a host is given the role"
    )
    boot_port: int = Field(8080, ge=1, le=65535)
    boot_processes: int = Field(
        0, ge=0, le=32, description="processes of the HTTP boot plane; 0: as many as processors, four at most"
    )
    boot_downloads: int = Field(
        64, ge=1, le=4096, description="files from 4 MiB up that each of these processes sends at once; others wait"
    )
    agent_port: int = Field(8442, ge=1, le=65535)
    admin_listen: str = Field("127.0.0.1:8443", description="ADDRESS:PORT of the web page and API (TLS)")
    admin_certificate: Path | None = Field(
        None, description="PEM file with your own certificate of the web page and API, and its chain; default: ours"
    )
    admin_key: Path | None = Field(None, description="PEM file with the key of `admin_certificate`, without passphrase")
    metrics_listen: str | None = Field(
        None, description="ADDRESS:PORT of /metrics and /readyz for monitors, plain HTTP without login; default: none"
    )
    log_format: Literal["console", "json"] = Field("console", description="lines of the log: for people, or JSON")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    tftp_port: int = Field(69, ge=1, le=65535)
    tftp_blksize: tuple[str, ...] = Field((), description="largest TFTP blocks: BYTES, ADDRESS=BYTES or MAC=BYTES")
    syslog_port: int = Field(514, ge=1, le=65535)
    mirror: str | None = Field(None, description="upstream package mirror, e.g. the URL that apt uses (the default)")
    mirrors: dict[str, MirrorSettings] = Field({}, description="further package repositories, a table each")
    mirror_proxy: str | None = Field(None, description="HTTP proxy on the way to package mirrors; default: none")
    mirror_offline: bool = Field(False, description="ask no package mirror: serve what is in the cache")
    cache_max_bytes: int = Field(100 << 30, ge=1 << 20, description="most bytes that the package cache keeps")
    cache_reserve_bytes: int = Field(2 << 30, ge=0, description="bytes that the package cache leaves free")

    webhook_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = Field(
        (), description="networks that webhooks may go to although they are ours, link-local or the boot network"
    )

    @field_validator("data_dir", "operator_dir", "admin_certificate", "admin_key")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # Children run in /, and a unix socket's URL needs a whole path.
        return None if value is None else value.absolute()

    @field_validator("database")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        if value is not None:
            parse(value)
        return value

    @field_validator("tftp_blksize")
    @classmethod
    def _tftp_blksize(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_rules(value)
        return value

    @field_validator("mirror")
    @classmethod
    def _mirror(cls, value: str | None) -> str | None:
        return value if value is None else parse_mirror_url(value)

    @field_validator("mirror_proxy")
    @classmethod
    def _mirror_proxy(cls, value: str | None) -> str | None:
        return value if value is None else parse_proxy_url(value)

    @field_validator("budgets")
    @classmethod
    def _budgets(cls, value: dict[str, float]) -> dict[str, float]:
        try:
            return check_budgets(value)
        except Problem as problem:
            raise ValueError(str(problem)) from None

    @field_validator("limits")
    @classmethod
    def _limits(cls, value: dict[str, int]) -> dict[str, int]:
        try:
            return check_limits(value)
        except Problem as problem:
            raise ValueError(str(problem)) from None

    @field_validator("mirrors")
    @classmethod
    def _mirrors(cls, value: dict[str, MirrorSettings]) -> dict[str, MirrorSettings]:
        for name in value:
            if not _MIRROR_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be part of a URL: name a mirror with a-z, 0-9 and -")
        return value

    @field_validator("admin_listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        split_listen(value)
        return value

    @field_validator("metrics_listen")
    @classmethod
    def _metrics_listen(cls, value: str | None) -> str | None:
        if value is not None:
            split_listen(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if self.dhcp == "server" and self.range is None and not self.subnets:
            raise ValueError("server mode needs addresses to lease: give --range FIRST-LAST (or use --dhcp proxy)")
        if (self.admin_certificate is None) != (self.admin_key is None):
            raise ValueError("your own certificate needs both `admin_certificate` and `admin_key`: give both or none")
        if self.mirror is not None and "debian" in self.mirrors:
            raise ValueError("`mirror` and [mirrors.debian] name the same: give one of them")
        return self

    def plain(self) -> SimpleNamespace:
        """The same without the library that checked it, for the processes of `serve`: 7 MB less in each."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        subnets = tuple(
            SimpleNamespace(**{name: getattr(table, name) for name in type(table).model_fields})
            for table in self.subnets
        )
        mirrors = {name: SimpleNamespace(url=table.url, proxy=table.proxy) for name, table in self.mirrors.items()}
        more = {
            "subnets": subnets,
            "mirrors": mirrors,
            "admin_address": self.admin_address,
            "metrics_address": self.metrics_address,
            "location": self.location,
        }
        return SimpleNamespace(**{**values, **more})

    @property
    def location(self) -> Location:
        """Where the database is; `str` of it is without the password."""
        return in_folder(self.data_dir) if self.database is None else parse(self.database)

    def origin(self, name: str) -> str:
        """Where this one was set: the path of a file, `environment`, `command line`, or `default`."""
        return self._origins.get(name, "default")

    @property
    def admin_address(self) -> tuple[str, int]:
        return split_listen(self.admin_listen)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        return None if self.metrics_listen is None else split_listen(self.metrics_listen)


def load_settings(
    flags: Mapping[str, Any], *, config: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings in force; raises BadSettings. A `config` that is named must exist, the default one need not."""
    environment = os.environ if environment is None else environment
    named = config or (Path(environment["PXEFORGE_CONFIG"]) if environment.get("PXEFORGE_CONFIG") else None)
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, chosen in (
        (str(named or DEFAULT_CONFIG), _from_file(named)),
        ("environment", _from_environment(environment)),
        ("command line", {key: value for key, value in flags.items() if value not in (None, (), [])}),
    ):
        for key, value in chosen.items():
            values[key], origin[key] = value, source
    try:
        settings = Settings(**values)
    except ValidationError as problem:
        raise BadSettings(_sentence(problem, origin)) from None
    settings._origins.update(origin)
    return settings


def _from_file(named: Path | None) -> dict[str, Any]:
    path = named or DEFAULT_CONFIG
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named is None:
            return {}
        raise BadSettings(f"there is no configuration file {path}: check --config") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise BadSettings(f"the configuration file {path} cannot be read: {problem}") from None
    except tomllib.TOMLDecodeError as problem:
        raise BadSettings(f"{path} is not valid TOML: {problem}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in Settings.model_fields:
        text = environment.get(f"PXEFORGE_{key.upper()}")
        if text and key in _TABLES:
            values[key] = _json(key, text)
        elif text:
            values[key] = [part.strip() for part in text.split(",")] if key in _LISTS else text
    return values


def _json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise BadSettings(f"setting {key} (environment) is not JSON ({problem}): better write it into a file") from None


def _sentence(problem: ValidationError, origin: Mapping[str, str]) -> str:
    """The first mistake, with the place it stands in and what is allowed."""
    first = problem.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    where = f" ({origin[key]})" if key in origin else ""
    known = Settings.model_fields
    if key == "subnets" and len(first["loc"]) > 2:
        known = SubnetSettings.model_fields
        key = f"subnets[{int(first['loc'][1]) + 1}].{first['loc'][2]}"
    elif key == "mirrors" and len(first["loc"]) > 2:
        known = MirrorSettings.model_fields
        key = f"mirrors.{first['loc'][1]}.{first['loc'][2]}"
    if first["type"] == "extra_forbidden":
        return f"unknown setting {key!r}{where}: known are {', '.join(sorted(known))}"
    text = str(first["ctx"]["error"]) if "error" in first.get("ctx", {}) else str(first["msg"])
    return f"setting {key}{where}: {text}" if key else text

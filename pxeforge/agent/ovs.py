"""Bridges of Open vSwitch: what is there, and the one transaction each way between that and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.foreign_json import read_json

_MARK = "pxeforge"  # in external_ids: ours to change and remove
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class OvsBridge:
    """A bridge with the ports that we gave it; ports of others (neutron's, virtual machines') are not in it."""

    name: str
    datapath: str = "system"
    stp: bool = False
    hwaddr: str = ""
    controller: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    is_ours: bool = field(default=True, compare=False)


def parse_table(text: str) -> list[dict[str, Any]]:
    """Rows of `ovs-vsctl --format=json list …`: sets become lists, maps dicts. Raises ValueError."""
    found = read_json(text)
    headings, data = (found.get("headings"), found.get("data")) if isinstance(found, dict) else (None, None)
    if not isinstance(headings, list) or not isinstance(data, list):
        raise ValueError("no table")
    if not all(isinstance(row, list) and len(row) == len(headings) for row in data):
        raise ValueError("a row of another length")
    return [{str(heading): _value(row[at]) for at, heading in enumerate(headings)} for row in data]


def _value(value: Any) -> Any:
    """RFC 7047, 5.1: an atom, ["set", […]], ["map", [[key, value] …]] or ["uuid", text]."""
    if not isinstance(value, list) or len(value) != 2:
        return value
    kind, content = value
    if kind == "set" and isinstance(content, list):
        return [_value(item) for item in content]
    if kind == "map" and isinstance(content, list):
        pairs = [pair for pair in content if isinstance(pair, list) and len(pair) == 2]
        return {str(_value(key)): _value(item) for key, item in pairs}
    return content if kind == "uuid" else value


def as_list(value: Any) -> list[Any]:
    """A set with one member comes as the member itself."""
    return value if isinstance(value, list) else [value]


def bridges_of(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, OvsBridge]:
    """All bridges by name, from the tables Bridge, Port and Controller."""
    ports = {str(row.get("_uuid")): row for row in tables["Port"]}
    controllers = {str(row.get("_uuid")): str(row.get("target") or "") for row in tables["Controller"]}
    found = {}
    for row in tables["Bridge"]:
        own = [ports.get(str(uuid), {}) for uuid in as_list(row.get("ports") or [])]
        found[str(row.get("name"))] = OvsBridge(
            name=str(row.get("name")),
            datapath=str(row.get("datapath_type") or "system"),
            stp=row.get("stp_enable") is True,
            hwaddr=str(_map(row.get("other_config")).get("hwaddr") or ""),
            controller=tuple(sorted(controllers.get(str(uuid), "") for uuid in as_list(row.get("controller") or []))),
            ports=tuple(sorted(str(port.get("name")) for port in own if _is_ours(port))),
            is_ours=_is_ours(row),
        )
    return found


def _is_ours(row: Mapping[str, Any]) -> bool:
    return _map(row.get("external_ids")).get(_MARK) == "network"


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def wanted_bridges(
    params: Mapping[str, Any], names: Mapping[str, str], macs: Mapping[str, str]
) -> dict[str, OvsBridge]:
    """What the step asks for. `names`: the kernel's name of an interface; `macs`: by the step's name."""
    found = {}
    for one in params.get("bridges") or []:
        if one.get("kind", "linux") == "ovs":
            ports = list(one.get("ports") or [])
            found[one["name"]] = OvsBridge(
                name=one["name"],
                datapath=one.get("datapath", "system"),
                stp=bool(one.get("stp")),
                hwaddr=macs.get(ports[0], "") if ports else "",
                controller=tuple(sorted(one.get("controller") or [])),
                ports=tuple(sorted(names.get(port, port) for port in ports)),
            )
    return found


def current(execution: Execution) -> dict[str, OvsBridge]:
    """Raises StepFailed when Open vSwitch is not there or does not answer."""
    tables = {}
    for table in ("Bridge", "Port", "Controller"):
        ran = execution.run(["ovs-vsctl", "--timeout=30", "--format=json", "list", table], timeout_s=_TIMEOUT_S)
        if ran.code != 0:
            raise StepFailed("Open vSwitch does not answer: does openvswitch-switch run on this host?", ran.output)
        try:
            tables[table] = parse_table(ran.stdout)
        except ValueError as error:
            raise StepFailed(f"what ovs-vsctl prints cannot be read ({error})", ran.output) from None
    return bridges_of(tables)


def transaction(now: Mapping[str, OvsBridge], then: Mapping[str, OvsBridge]) -> list[str]:
    """Arguments of ovs-vsctl that make `then` of `now`; [] when nothing is to be done.

    Bridges of others, and ports of others in ours, stay. Reversed arguments give the way back.
    """
    commands: list[list[str]] = []
    for name, bridge in now.items():
        if name not in then and bridge.is_ours:
            commands.append(["--if-exists", "del-br", name])
    for name, bridge in then.items():
        if bridge != now.get(name):
            commands += _make(bridge, now.get(name))
    joined: list[str] = []
    for command in commands:
        joined += [*(["--"] if joined else []), *command]
    return joined


def _make(bridge: OvsBridge, now: OvsBridge | None) -> list[list[str]]:
    name = bridge.name
    commands = [["--may-exist", "add-br", name]]
    commands.append(
        ["set", "Bridge", name, f"datapath_type={bridge.datapath}", f"stp_enable={str(bridge.stp).lower()}"]
    )
    if now is None or now.is_ours:
        commands.append(["set", "Bridge", name, f"external_ids:{_MARK}=network"])
    if bridge.hwaddr:
        commands.append(["set", "Bridge", name, f'other_config:hwaddr="{bridge.hwaddr}"'])
    elif now is not None and now.hwaddr:
        commands.append(["remove", "Bridge", name, "other_config", "hwaddr"])
    before = now.ports if now is not None else ()
    commands += [["--if-exists", "del-port", name, port] for port in before if port not in bridge.ports]
    for port in bridge.ports:
        if port not in before:
            commands.append(["--may-exist", "add-port", name, port])
            commands.append(["set", "Port", port, f"external_ids:{_MARK}=network"])
    if bridge.controller:
        commands.append(["set-controller", name, *bridge.controller])
    elif now is not None and now.controller:
        commands.append(["del-controller", name])
    return commands


def apply(execution: Execution, arguments: Sequence[str]) -> None:
    if arguments:
        ran = execution.run(["ovs-vsctl", "--timeout=30", *arguments], timeout_s=_TIMEOUT_S)
        if ran.code != 0:
            raise StepFailed("ovs-vsctl did not succeed", ran.output)

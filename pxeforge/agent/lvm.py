"""LVM by its own programs: volume groups and logical volumes, looked at by their JSON reports."""

from __future__ import annotations

import secrets

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.foreign_json import read_json

_TIMEOUT_S = 300.0
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ID_GROUPS = (6, 4, 4, 4, 4, 4, 6)


def new_id() -> str:
    """An identifier in LVM's own form, like 0TTxJc-kL2A-…"""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(length)) for length in _ID_GROUPS)


def parse_report(text: str, kind: str) -> list[dict[str, str]]:
    """Rows of `--reportformat json` (kind pv, vg or lv); raises ValueError."""
    found = read_json(text)
    reports = found.get("report") if isinstance(found, dict) else None
    if not isinstance(reports, list):
        raise ValueError("no report")
    rows: list[dict[str, str]] = []
    for report in reports:
        listed = report.get(kind, []) if isinstance(report, dict) else None
        if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
            raise ValueError(f"no list of {kind}")
        rows += [{str(key): str(value) for key, value in row.items()} for row in listed]
    return rows


def logical_volumes(execution: Execution, group: str) -> dict[str, str]:
    """Path by name."""
    rows = _report(execution, "lvs", "lv", "lv_name,vg_name,lv_path")
    return {row["lv_name"]: row["lv_path"] for row in rows if row.get("vg_name") == group and row.get("lv_path")}


def has_group(execution: Execution, group: str) -> bool:
    return any(row.get("vg_name") == group for row in _report(execution, "vgs", "vg", "vg_name"))


def make_physical(execution: Execution, path: str, identity: str) -> None:
    """The disk as a physical volume with this identifier."""
    _must(execution, ["pvcreate", "--yes", "--norestorefile", "--uuid", identity, path])


def make_group(execution: Execution, path: str, group: str) -> None:
    """A volume group on this physical volume alone."""
    _must(execution, ["vgcreate", "--yes", group, path])


def make_volume(execution: Execution, group: str, name: str, size: str) -> None:
    """A logical volume of `10G`, `50%` (of the group) or the `rest`."""
    extent = ["--extents", "100%FREE"] if size == "rest" else ["--size", f"{size[:-1]}{size[-1].lower()}"]
    if size.endswith("%"):
        extent = ["--extents", f"{size}VG"]
    _must(execution, ["lvcreate", "--yes", "--wipesignatures=y", *extent, "--name", name, group])


def take_apart(execution: Execution, paths: list[str]) -> None:
    """Removes the volume groups on these devices, if they are on no others; raises StepFailed."""
    try:
        rows = _report(execution, "pvs", "pv", "pv_name,vg_name")
    except StepFailed:
        return  # no LVM on this host: what is left of one is a signature like any other
    groups = {row["vg_name"] for row in rows if row.get("pv_name") in paths and row.get("vg_name")}
    for group in sorted(groups):
        others = [row["pv_name"] for row in rows if row.get("vg_name") == group and row.get("pv_name") not in paths]
        if others:
            raise StepFailed(f"volume group {group} is on {', '.join(others)} too: take it apart by hand")
        _must(execution, ["vgremove", "--force", "--yes", group])


def _report(execution: Execution, program: str, kind: str, columns: str) -> list[dict[str, str]]:
    ran = execution.run([program, "--reportformat=json", f"--options={columns}"], timeout_s=_TIMEOUT_S)
    try:
        if ran.code == 0:
            return parse_report(ran.stdout, kind)
    except ValueError as error:
        raise StepFailed(f"what {program} prints cannot be read ({error})", ran.output) from None
    raise StepFailed(f"{program} did not succeed", ran.output)


def _must(execution: Execution, argv: list[str]) -> None:
    ran = execution.run(argv, timeout_s=_TIMEOUT_S)
    if ran.code != 0:
        raise StepFailed(f"{argv[0]} did not succeed", ran.output)

"""The server itself: its settings and where each was set, its health, and who is logged in."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from pxeforge.services import overview, tallies
from pxeforge.services.context import Context
from pxeforge.services.readiness import Readiness
from pxeforge.services.settings_shown import settings_in_force

_GROUPS: Final = {
    "Where things are": ("data_dir", "operator_dir", "database"),
    "Boot network and DHCP": (
        "interfaces", "dhcp", "range", "router", "dns", "ntp", "domain", "search", "lease_time_s", "mtu", "routes",
        "options", "subnets", "address_check", "force",
    ),
    "Listeners": (
        "boot_port", "boot_processes", "boot_downloads", "agent_port", "admin_listen", "admin_certificate", "admin_key",
        "metrics_listen", "tftp_port", "tftp_blksize", "syslog_port",
    ),
    "Packages": (
        "mirror", "mirrors", "mirror_proxy", "mirror_offline", "cache_max_bytes", "cache_reserve_bytes",
    ),
    "Log": ("log_format", "log_level"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What browsers are shown."""

    fingerprint: str
    ends_at: float
    names: str
    own: bool  # the operator's


def add_routes(pages: Blueprint, ctx: Context, readiness: Readiness) -> None:
    @pages.get("/settings")
    def settings() -> ResponseReturnValue:
        rows = settings_in_force(ctx)
        return render_template(
            "settings.html", groups=_grouped(rows), changed=sum(row["origin"] != "default" for row in rows),
            certificate=_certificate(ctx, rows), addresses=ctx.addresses,
        )  # fmt: skip

    @pages.get("/health")
    def health() -> ResponseReturnValue:
        return render_template(
            "health.html", checks=readiness.checks(), room=overview.room(ctx),
            processes=tallies.read_all(ctx.data_dir / tallies.FOLDER),
        )  # fmt: skip


def _grouped(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows under their headings; what stands in none comes last, under its own."""
    heading = {name: title for title, names in _GROUPS.items() for name in names}
    order = {name: at for at, name in enumerate(heading)}
    found: dict[str, list[dict[str, Any]]] = {title: [] for title in (*_GROUPS, "More")}
    for row in sorted(rows, key=lambda row: order.get(row["name"], len(order))):
        shown = {**row, "value": _text(row["value"]), "default": _text(row.get("default"))}
        found[heading.get(row["name"], "More")].append(shown)
    return {title: group for title, group in found.items() if group}


def _text(value: Any) -> str:
    """As it would be written into the file of settings; nothing where it is not set."""
    if value is None or value in ([], {}, ()):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _certificate(ctx: Context, rows: list[dict[str, Any]]) -> Certificate | None:
    given = next((row["value"] for row in rows if row["name"] == "admin_certificate" and row["value"]), None)
    path = Path(given) if given else ctx.data_dir / "tls" / "server.crt"
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        told = ", ".join(str(name.value) for name in names)
    except x509.ExtensionNotFound:
        told = found.subject.rfc4514_string()
    except (OSError, ValueError, ssl.SSLError):
        return None
    return Certificate(
        fingerprint=found.fingerprint(hashes.SHA256()).hex(":").upper(),
        ends_at=found.not_valid_after_utc.timestamp(), names=told, own=bool(given),
    )  # fmt: skip

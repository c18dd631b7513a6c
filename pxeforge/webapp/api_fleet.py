"""Many hosts at once, by the API: tables in and out, lint, inventory."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, Response, g

from pxeforge.services import answer_lint, host_csv, hosts, inventory, role_catalogue
from pxeforge.services.context import Context
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import told


class Table(TypedDict):
    csv: Annotated[str, Says(text="the table, as `pxeforge host export` writes it")]
    dry_run: NotRequired[Annotated[bool, Says(text="only tell what would be done")]]


class TableRow(TypedDict):
    """What was done, or would be, for a line of the table."""

    line: int
    host: str
    action: str
    changes: dict[str, Any]


class LintAsked(TypedDict):
    """Which texts; all profiles where nothing is named."""

    host: NotRequired[str]
    profile: NotRequired[str]


class LintFinding(TypedDict):
    file: str
    line: int
    severity: Literal["error", "warning"]
    message: str


class InventoryAsked(TypedDict):
    host: NotRequired[Annotated[str, Says(text="only the variables of this host")]]
    format: NotRequired[Annotated[inventory.Form, Says(text="whose groups; ansible without it")]]


class KnownHosts(TypedDict):
    text: Annotated[str, Says(text="as SSH reads it: known_hosts")]


def add_routes(api: Blueprint, ctx: Context) -> None:
    @api.post("/hosts/import")
    @told(takes=Table, gives=list[TableRow], problems=(404, 409), once=True)
    def import_hosts(body: dict[str, Any]) -> Any:
        """Adds and changes the hosts of a table, every line or none."""
        known = role_catalogue.role_names(ctx)
        rows = host_csv.read_table(body["csv"].encode())
        return host_csv.import_table(
            ctx, rows, known_roles=known, dry_run=body.get("dry_run", False), who=g.who
        )  # fmt: skip

    @api.get("/hosts/export")
    @told(gives=str, media="text/csv")
    def export_hosts() -> Any:
        """All hosts as a table."""
        table = host_csv.write_table(hosts.list_hosts(ctx))
        return Response(
            table, mimetype="text/csv", headers={"Content-Disposition": "attachment; filename=pxeforge-hosts.csv"}
        )  # fmt: skip

    @api.get("/lint")
    @told(asks=LintAsked, gives=list[LintFinding], problems=(404, 409))
    def lint(query: dict[str, Any]) -> Any:
        """What is wrong with the texts that a host, or the hosts of a profile, would get."""
        host, profile = query.get("host"), query.get("profile")
        if host:
            found = answer_lint.lint_host(ctx, host, profile=profile)
        else:
            found = answer_lint.lint_profile(ctx, profile) if profile else answer_lint.lint_profiles(ctx)
        return [answer_lint.view(finding) for finding in found]

    @api.get("/inventory")
    @told(asks=InventoryAsked, gives=dict[str, Any], problems=(404, 409))
    def show_inventory(query: dict[str, Any]) -> Any:
        """The hosts as a dynamic inventory of Ansible."""
        host = query.get("host")
        if host is not None:
            return inventory.host_variables(ctx, host)
        return inventory.ansible_inventory(ctx, inventory.Form(query.get("format", "ansible")))

    @api.get("/inventory/known-hosts")
    @told(gives=KnownHosts)
    def show_known_hosts() -> Any:
        """The SSH keys that hosts reported when they registered."""
        return {"text": inventory.known_hosts(ctx)}

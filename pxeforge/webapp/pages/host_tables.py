"""Hosts as tables: a CSV file looked at line by line before it is imported, and the list of hosts as a file."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import host_csv, host_list, hosts, role_catalogue
from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.host_list import Asked
from pxeforge.webapp.pages.readable import counted

_MOST_BYTES: Final = 2_000_000
_SHOWN: Final = 500  # lines that would change something, and lines that are wrong
_EXAMPLE: Final = "52:54:00:12:34:56,db-01,rack-a ssd,base mariadb,serial=Z1,,auto,,r1,12,1,debian-13"


def add_routes(pages: Blueprint, ctx: Context, attention: Attention) -> None:
    @pages.route("/hosts/import", methods=["GET", "POST"])
    def host_import() -> ResponseReturnValue:
        """`try` only tells what each line would do; `import` does it, every line or none."""
        g.back = url_for("pages.host_list")
        if request.method == "GET":
            return _page("")
        table = ""
        try:
            content = _content()
            table = content.decode("utf-8-sig", errors="replace")
            is_real = request.form.get("do") == "import"
            rows = host_csv.import_table(
                ctx, host_csv.read_table(content), known_roles=role_catalogue.role_names(ctx), dry_run=not is_real,
                who=g.who,
            )  # fmt: skip
        except host_csv.BadTable as problem:
            return _page(table, wrong=problem.wrong), 400
        except Problem as problem:
            return _page(table, problem=str(problem)), problem.status
        if not is_real:
            return _page(table, rows=rows)
        flash(_told(rows), "good")
        return redirect(g.back, 303)

    @pages.get("/hosts/export")
    def host_export() -> ResponseReturnValue:
        """The hosts that fit the filter of the list, all without one."""
        fitting = set(host_list.matching(ctx, Asked.of_request().wanted(attention)))
        table = host_csv.write_table(host for host in hosts.list_hosts(ctx) if host["id"] in fitting)
        return Response(
            table, mimetype="text/csv", headers={"Content-Disposition": "attachment; filename=pxeforge-hosts.csv"}
        )  # fmt: skip


def _page(
    table: str, *, rows: list[dict[str, Any]] | None = None, wrong: tuple[tuple[int, str], ...] = (), problem: str = ""
) -> str:
    changed = [row for row in rows or [] if row["action"] != "none"]
    return render_template(
        "host_import.html", table=table, rows=rows, changed=changed, wrong=wrong, problem=problem, shown=_SHOWN,
        columns=host_csv.COLUMNS, example=_EXAMPLE, told=_told(rows) if rows is not None else "",
    )  # fmt: skip


def _content() -> bytes:
    """The file that was chosen, else the table as it was typed; raises Problem."""
    given = request.files.get("file")
    content = given.read(_MOST_BYTES + 1) if given and given.filename else b""
    content = content or request.form.get("table", "").replace("\r\n", "\n").encode()
    if not content.strip():
        raise Problem("choose a file, or write the table into the field")
    if len(content) > _MOST_BYTES:
        raise Problem(f"the table is larger than {_MOST_BYTES // 1_000_000} MB: import it in parts")
    return content


def _told(rows: list[dict[str, Any]]) -> str:
    new, changed = (sum(row["action"] == what for row in rows) for what in ("create", "change"))
    same = len(rows) - new - changed
    return f"{counted(rows, 'line')}: {new} new, {changed} changed, {same} as before."

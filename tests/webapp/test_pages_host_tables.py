"""Hosts come from a CSV file after a look at what each line does, and go into one."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, hosts
from pxeforge.services.context import Context

from .conftest import PASSWORD, Browser
from .test_pages import MAC, OTHER_MAC, add, page

TABLE = f"mac,name,tags,roles\n{MAC},db-01,rack-a,base\n{OTHER_MAC},db-02,,\n"


def send(browser: Browser, status: int, *, file: bytes | None = None, **form: Any) -> str:
    page(browser, "/hosts/import")
    sent = {**form, **({"file": (io.BytesIO(file), "hosts.csv")} if file is not None else {})}
    answer = browser.post("/hosts/import", sent, content_type="multipart/form-data")
    assert answer.status_code == status, answer.get_data(as_text=True)
    return html.unescape(answer.get_data(as_text=True))


def test_a_file_is_tried_and_then_imported(browser: Browser, ctx: Context) -> None:
    asked = send(browser, 200, file=TABLE.encode(), do="try")
    assert "2 lines: 2 new, 0 changed, 0 as before." in asked
    assert "db-02" in asked
    assert hosts.list_hosts(ctx) == []
    kept = re.search(r'<textarea name="table" hidden[^>]*>\n(.*?)</textarea>', asked, re.DOTALL)
    assert kept
    assert send(browser, 303, table=kept[1], do="import")
    assert {host["name"]: host["roles"] for host in hosts.list_hosts(ctx)} == {"db-01": ["base"], "db-02": []}
    assert "2 lines: 2 new" in page(browser, "/hosts")


def test_what_a_line_changes_is_told_with_what_was_there(browser: Browser, ctx: Context) -> None:
    add(ctx, tags=["old"])
    asked = send(browser, 200, table=f"mac,tags\n{MAC},new\n", do="try")
    assert "0 new, 1 changed" in asked
    assert "old → <b>new</b>" in asked
    assert hosts.show(ctx, "db-01")["tags"] == ["old"]


def test_every_line_that_is_wrong_is_told_and_the_table_kept(browser: Browser, ctx: Context) -> None:
    table = f"mac,name,roles\n{MAC},db 01,\nnonsense,x,\n{OTHER_MAC},db-02,flying\n"
    for do in ("try", "import"):
        text = send(browser, 400, table=table, do=do)
        assert "Mend 3 lines" in text
        for line, why in ((2, "is not a host name"), (3, "is not a MAC address"), (4, "there is no role 'flying'")):
            assert re.search(rf"<li>line {line}: [^<]*{re.escape(why)}", text)
        assert table in text
        assert hosts.list_hosts(ctx) == []


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"table": " "}, "choose a file"),
        ({"file": b""}, "choose a file"),
        ({"file": b"\xff\xfe\x00"}, "line 1: this is not UTF-8"),
        ({"file": b"colour\nred\n"}, "unknown column 'colour'"),
        ({"file": b"mac\n" + b"x" * 2_000_001}, "is larger than 2 MB"),
    ],
)
def test_what_is_no_table_is_told(browser: Browser, ctx: Context, form: dict[str, Any], why: str) -> None:
    assert why in send(browser, 400, do="import", **form)


def test_the_hosts_that_fit_the_filter_are_exported_and_come_back_the_same(browser: Browser, ctx: Context) -> None:
    add(ctx, tags=["gold"])
    add(ctx, "db-02", OTHER_MAC)
    link = re.search(r'href="(/hosts/export[^"]*)"', page(browser, "/hosts?tag=gold"))
    assert link
    answer = browser.get(html.unescape(link[1]))
    table = answer.get_data(as_text=True)
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert [line.split(",")[1] for line in table.splitlines()] == ["name", "db-01"]
    assert len(page(browser, "/hosts/export").splitlines()) == 3
    assert "0 new, 0 changed, 1 as before" in send(browser, 200, table=table, do="try")


def test_a_viewer_exports_and_does_not_import(
    browser: Browser, ctx: Context, new_browser: Callable[[], Browser]
) -> None:
    add(ctx)
    accounts.add(ctx, "eve", PASSWORD, role=UserRole.VIEWER, who="test")
    viewer = new_browser()
    viewer.login("eve")
    text = page(viewer, "/hosts")
    assert 'href="/hosts/export"' in text
    assert "/hosts/import" not in text
    assert "db-01" in page(viewer, "/hosts/export")
    page(viewer, "/hosts/import", 403)
    assert viewer.post("/hosts/import", {"table": TABLE, "do": "import"}).status_code == 403

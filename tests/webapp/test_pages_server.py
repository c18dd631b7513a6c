"""Settings with their origin, and the health of the server, on pages that tell no secret."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from pxeforge.app.certificate import ensure_certificate, fingerprint
from pxeforge.app.settings import load_settings
from pxeforge.app.settings_table import write_table
from pxeforge.services.context import Context
from pxeforge.services.settings_shown import FILE

from .conftest import Browser
from .test_pages import page


def test_settings_are_shown_in_groups_with_where_they_were_set(browser: Browser, ctx: Context, tmp_path: Path) -> None:
    assert "No server has started here yet" in page(browser, "/settings")
    config = tmp_path / "own.toml"
    config.write_text('boot_port = 8099\nmirror_proxy = "http://ann:hunter2@proxy.example:3128"\n')
    write_table(ctx, load_settings({}, config=config, environment={"PXEFORGE_DOMAIN": "example.org"}))
    text = page(browser, "/settings")
    for shown in (str(config), "environment", "8099", "default 8080", "example.org", "proxy.example", "Listeners"):
        assert shown in text
    assert "hunter2" not in text
    assert text.count('<tr id="set-') == len(json.loads((ctx.data_dir / FILE).read_text())["settings"])


def test_the_certificate_is_shown_so_that_its_fingerprint_can_be_compared(browser: Browser, ctx: Context) -> None:
    assert "It cannot be read" in page(browser, "/settings")
    (ctx.data_dir / "tls" / "server.crt").unlink()
    now = datetime.datetime.fromtimestamp(ctx.clock(), datetime.UTC)
    certificate, _key = ensure_certificate(ctx.data_dir, ["192.0.2.1"], now)
    text = page(browser, "/settings")
    assert fingerprint(certificate) in text
    assert "192.0.2.1" in text


def test_the_health_page_says_what_is_wrong(browser: Browser) -> None:
    text = page(browser, "/health")
    assert "not ready" in text
    assert "pxeforge serve is not running" in text
    assert "are free" in text

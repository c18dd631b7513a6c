"""A real admin plane behind TLS on the loopback, and a Chromium that opens it: what the tests of pages share."""

from __future__ import annotations

import datetime
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from pxeforge.app.certificate import ensure_certificate
from pxeforge.app.web_server import Plane, _server
from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.store.database import Database
from pxeforge.webapp.admin import create_admin

CHROMIUM: Final = shutil.which("chromium")
PASSWORD: Final = "correct horse battery"
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
WAIT_MS: Final = 60_000  # the computer may be busy with other tests
PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Clock:
    """The real clock, moved by `ahead` seconds: so that what is shown can have a past."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Site:
    """A data directory and the admin plane on it, which can be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        for name in ("images", "cache", "logs", "tls", "agent", "metrics"):
            (folder / name).mkdir()
        (folder / "agent" / "pxeforge-agent.pyz").write_bytes(b"agent")
        self.tls = ensure_certificate(folder, ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
        database = Database(folder / "pxeforge.db")
        database.upgrade()
        self.clock = Clock()
        self.ctx = Context(
            database=database, data_dir=folder, addresses=Addresses(boot_address="192.0.2.1"),
            master_key=load_master_key(folder), operator_dir=folder / "etc", clock=self.clock,
        )  # fmt: skip
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        plane = Plane(name="admin", app=create_admin(self.ctx), listener=self._listener, threads=8, tls=self.tls)
        self._server = _server(plane)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + WAIT_MS / 1000
        while not self._server.started:
            assert self._thread.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(WAIT_MS / 1000)
        self._listener.close()

    def close(self) -> None:
        self.stop()
        self.ctx.database.close()

    def add_user(self, name: str, role: UserRole = UserRole.ADMIN) -> None:
        """Who may log in with PASSWORD."""
        accounts.add(self.ctx, name, PASSWORD, role=role, who="test")


@contextmanager
def site_in(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    try:
        yield site
    finally:
        site.close()


@contextmanager
def chromium(program: str | None = CHROMIUM) -> Iterator[Any]:
    """A browser of Playwright's; CI has no other than Debian's. `program`: one that becomes it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


def new_page(browser: Any, site: Site, *, scheme: str = "light", width: int = 1300, script: bool = True) -> Any:
    """A visitor with an own session; what goes wrong in the page is in `page.mistakes`."""
    context = browser.new_context(
        base_url=site.url, ignore_https_errors=True, color_scheme=scheme, viewport={"width": width, "height": 900},
        java_script_enabled=script,
    )  # fmt: skip
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.mistakes = []
    page.on("pageerror", lambda error: page.mistakes.append(str(error)))
    page.on("console", lambda said: page.mistakes.append(said.text) if _is_mistake(said) else None)
    return page


def _is_mistake(said: Any) -> bool:
    """A server that was stopped on purpose cannot be loaded from; that is no mistake of the page."""
    return said.type == "error" and "ERR_CONNECTION" not in said.text and "status of 4" not in said.text


def log_in(page: Any, name: str = "admin", password: str = PASSWORD) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login" not in url)


def faults(page: Any) -> list[str]:
    """What axe-core calls serious or critical, each with the first element it means."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['impact']} {one['id']} ({len(one['nodes'])}): {one['nodes'][0]['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]

"""A real context on a fresh database, and browsers that talk to the admin app as a user would."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pxeforge.services import accounts, profiles
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.store.database import Database
from pxeforge.webapp.admin import create_admin

SITE = "https://admin.test"
PASSWORD = "correct horse battery"


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Browser:
    """A client that sends the session's token with its forms, as the pages do."""

    client: FlaskClient
    token: str = field(default="")

    def get(self, path: str, **kwargs: object) -> TestResponse:
        response = self.client.get(path, base_url=SITE, **kwargs)  # type: ignore[arg-type]
        found = re.search(r'name="csrf_token" value="([^"]+)"', response.get_data(as_text=True))
        self.token = found.group(1) if found else self.token
        return response

    def post(self, path: str, data: dict[str, object] | None = None, **kwargs: object) -> TestResponse:
        form = {"csrf_token": self.token, **(data or {})}
        return self.client.post(path, base_url=SITE, data=form, **kwargs)  # type: ignore[arg-type]

    def login(self, name: str = "admin", password: str = PASSWORD, next_page: str = "") -> TestResponse:
        self.get("/login")
        response = self.post("/login", {"name": name, "password": password, "next": next_page})
        self.get("/users")
        return response


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    database = Database(tmp_path / "pxeforge.db")
    database.upgrade()
    context = Context(
        database=database,
        data_dir=tmp_path,
        addresses=Addresses(boot_address="192.0.2.1"),
        master_key=load_master_key(tmp_path),
        operator_dir=tmp_path / "etc",
        clock=clock,
    )
    accounts.add(context, "admin", PASSWORD, who="test")
    return context


@pytest.fixture
def app(ctx: Context) -> Flask:
    admin = create_admin(ctx)
    admin.testing = True
    return admin


@pytest.fixture
def new_browser(app: Flask) -> Callable[[], Browser]:
    return lambda: Browser(app.test_client())


@pytest.fixture
def browser(new_browser: Callable[[], Browser]) -> Browser:
    """Logged in as admin."""
    one = new_browser()
    assert one.login().status_code == 303
    return one


@pytest.fixture
def profile(ctx: Context) -> str:
    """A profile whose image is there."""
    folder = ctx.data_dir / "images" / "debian-13" / "20250803"
    folder.mkdir(parents=True)
    image = {
        "name": "debian-13",
        "version": "20250803",
        "arch": "amd64",
        "suite": "trixie",
        "kernel_version": "6.12",
        "imported_at": 1.0,
        "files": {"linux": {"size": 1, "sha256": "0" * 64}},
        "sources": {},
    }
    (folder / "image.json").write_text(json.dumps(image))
    account = {"name": "ops", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqexample0000 ops@desk"], "sudo": True}
    profiles.create(ctx, "debian-13", image="debian-13", parameters={"accounts": [account]}, who="test")
    return "debian-13"

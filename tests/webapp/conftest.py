"""A real context on a fresh database, and browsers that talk to the admin app as a user would."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts
from pxeforge.services.context import Context
from pxeforge.webapp import event_stream
from pxeforge.webapp.admin import create_admin
from tests.conftest import Clock as Clock

SITE = "https://admin.test"
PASSWORD = "correct horse battery"


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
def ctx(ctx: Context) -> Context:
    """With an operator who may log in."""
    accounts.add(ctx, "admin", PASSWORD, role=UserRole.ADMIN, who="test")
    return ctx


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads an answer to its end does not wait for a minute."""
    monkeypatch.setattr(event_stream, "LONGEST_S", 0.05)


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

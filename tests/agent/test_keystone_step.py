from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent import keystone_session
from pxeforge.engine.step_types import checked_params

from .fake_host import do
from .fake_keystone import FakeKeystone

PASSWORD = "service-password"


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeKeystone, str]]:
    monkeypatch.setattr(keystone_session, "_PAUSE_S", 0.01)
    fake = FakeKeystone()
    url = fake.start()
    yield fake, url
    fake.stop()


def params(url: str, **more: Any) -> dict[str, Any]:
    auth = {"url": url, "user": "admin", "password": "admin-password", "project": "admin"}
    return checked_params("keystone", {"auth": auth, **more})


WHOLE: dict[str, Any] = {
    "region": "Here",
    "domains": [{"name": "heat"}],
    "projects": [{"name": "service", "description": "for services"}, {"name": "stacks", "domain": "heat"}],
    "roles": ["member"],
    "users": [
        {"name": "nova", "password": PASSWORD, "email": "nova@example.org"},
        {"name": "heat", "password": PASSWORD, "domain": "heat"},
    ],
    "grants": [
        {"user": "nova", "project": "service", "role": "admin"},
        {"user": "heat", "user_domain": "heat", "domain": "heat", "role": "member"},
        {"user": "admin", "system": "all", "role": "admin"},
    ],
    "services": [
        {
            "name": "nova",
            "type": "compute",
            "description": "computes",
            "public": "http://c:8774/v2.1",
            "internal": "http://c:8774/v2.1",
            "admin": "http://c:8774/v2.1",
        }
    ],
}


def test_all_is_made_once_in_one_session(tmp_path: Path, keystone: tuple[FakeKeystone, str]) -> None:
    fake, url = keystone
    first = do(tmp_path, "keystone", params(url, **WHOLE))
    assert first["status"] == "changed", first
    assert {row["name"] for row in fake.rows["user"].values()} == {"admin", "nova", "heat"}
    assert sorted(row["interface"] for row in fake.rows["endpoint"].values()) == ["admin", "internal", "public"]
    assert {row["region_id"] for row in fake.rows["endpoint"].values()} == {"Here"}
    assert len(fake.grants) == 3
    fake.writes.clear()
    before = fake.logins
    assert do(tmp_path, "keystone", params(url, **WHOLE))["status"] == "ok"
    assert fake.writes == []
    assert fake.logins - before == 1 + 2  # ours, and the two passwords that were tried


def test_only_what_differs_is_changed(tmp_path: Path, keystone: tuple[FakeKeystone, str]) -> None:
    fake, url = keystone
    do(tmp_path, "keystone", params(url, **WHOLE))
    user = next(row for row in fake.rows["user"].values() if row["name"] == "nova")
    endpoint = next(row for row in fake.rows["endpoint"].values() if row["interface"] == "public")
    user.update(password="another one", email="else@example.org")
    endpoint["url"] = "http://old:8774/"
    fake.writes.clear()
    result = do(tmp_path, "keystone", params(url, **WHOLE))
    assert (result["status"], user["password"], endpoint["url"]) == ("changed", PASSWORD, "http://c:8774/v2.1")
    assert fake.writes == [
        f"PATCH /users/{user['id']}",
        f"PATCH /users/{user['id']}",
        f"PATCH /endpoints/{endpoint['id']}",
    ]
    assert PASSWORD not in json.dumps(result)


def test_a_keystone_that_is_starting_is_waited_for(tmp_path: Path, keystone: tuple[FakeKeystone, str]) -> None:
    fake, url = keystone
    fake.away_for = 5
    assert do(tmp_path, "keystone", params(url, roles=["member"]))["status"] == "changed"
    fake.away_for = 10**9
    result = do(tmp_path, "keystone", params(url, roles=["member"], deadline_s=0.05))
    assert (result["status"], "answers 503" in result["message"]) == ("failed", True)
    result = do(tmp_path, "keystone", params("http://127.0.0.1:9/v3", roles=["member"], deadline_s=0.05))
    assert (result["status"], "gives no answer" in result["message"]) == ("failed", True)


def test_a_dry_run_changes_nothing_and_does_not_wait(tmp_path: Path, keystone: tuple[FakeKeystone, str]) -> None:
    fake, url = keystone
    result = do(tmp_path, "keystone", params(url, **WHOLE), check_only=True)
    assert result["status"] == "changed", result
    assert "create user nova" in result["message"]
    assert fake.writes == []
    fake.away_for = 10**9
    assert do(tmp_path, "keystone", params(url, **WHOLE), check_only=True)["status"] == "changed"


def test_a_token_that_ends_on_the_way_is_replaced(tmp_path: Path, keystone: tuple[FakeKeystone, str]) -> None:
    fake, url = keystone
    fake.expires_after = 3
    result = do(tmp_path, "keystone", params(url, **WHOLE))
    assert result["status"] == "changed", result
    assert do(tmp_path, "keystone", params(url, **WHOLE))["status"] == "ok"


def test_a_wrong_password_of_ours_and_a_name_that_is_not_there_are_told(
    tmp_path: Path, keystone: tuple[FakeKeystone, str]
) -> None:
    fake, url = keystone
    wrong = params(url, roles=["member"])
    wrong["auth"]["password"] = "wrong-password"
    assert "gives admin no token" in do(tmp_path, "keystone", wrong)["message"]
    grants = [{"user": "nobody", "project": "admin", "role": "admin"}]
    assert "no user nobody" in do(tmp_path, "keystone", params(url, grants=grants))["message"]
    assert fake.writes == []


def test_steps_that_follow_each_other_share_a_token(tmp_path: Path, keystone: tuple[FakeKeystone, str]) -> None:
    fake, url = keystone
    wanted = params(url, roles=["member"])
    assert do(tmp_path, "keystone", wanted)["status"] == "changed"
    remembered: dict[str, Any] = {}
    before = fake.logins
    for _ in range(3):
        assert do(tmp_path, "keystone", wanted, remembered=remembered)["status"] == "ok"
    assert fake.logins - before == 1
    fake.tokens.clear()  # keystone has got new keys
    assert do(tmp_path, "keystone", wanted, remembered=remembered)["status"] == "ok"
    assert fake.logins - before == 2
    # After a change the catalogue may be another one.
    assert do(tmp_path, "keystone", params(url, roles=["other"]), remembered=remembered)["status"] == "changed"
    assert len(remembered) == 1
    assert "admin-password" not in repr(remembered)

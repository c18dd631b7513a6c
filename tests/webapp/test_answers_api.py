"""The REST API of images, profiles and previews."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from flask.testing import FlaskClient

from pxeforge.services import arming, events, hosts, profiles
from pxeforge.services.context import Context
from tests.conftest import ACCOUNT, MAC

from .conftest import PASSWORD, SITE

HASH = "$6$saltsalt$" + "a" * 86


@pytest.fixture
def ask(app: Any, ctx: Context, profile: str) -> Any:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    accounts = [{**ACCOUNT, "password_hash": HASH}]
    profiles.create(ctx, "other", image=profile, parameters={"accounts": accounts}, who="test")
    client: FlaskClient = app.test_client()
    login = {"Authorization": "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()}

    def call(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        reply = client.open(f"/api/v1{path}", method=method, json=body, base_url=SITE, headers=login)
        assert reply.status_code == status, reply.get_data(as_text=True)
        return reply.get_json()

    return call


def test_an_image_tells_its_files_and_its_users(ask: Any) -> None:
    [image] = ask("GET", "/images/debian-13")
    assert {file["name"] for file in image["files"]} == {"linux", "initrd.gz", "loaders/pxelinux.0"}
    assert image["used_by"]["profiles"] == ["debian-13", "other"]
    assert "there is no image ghost" in ask("GET", "/images/ghost", status=404)["detail"]


def test_an_image_is_verified_by_whoever_asks(ask: Any, ctx: Context) -> None:
    assert ask("POST", "/images/debian-13/verify") == {"faults": []}
    assert events.recent(ctx, limit=1)[0]["who"] == "admin"
    (ctx.data_dir / "images/debian-13/20250803/linux").unlink()
    assert "linux is missing" in ask("POST", "/images/debian-13/verify")["faults"][0]


def test_a_profile_is_cloned(ask: Any) -> None:
    assert ask("POST", "/profiles/other/clone", {"name": "copy"}, 201)["parameters"]["accounts"][0]["name"] == "ops"
    assert "already" in ask("POST", "/profiles/other/clone", {"name": "copy"}, 409)["detail"]
    assert "is not a profile name" in ask("POST", "/profiles/other/clone", {"name": ""}, 400)["detail"]
    assert ask("POST", "/profiles/other/clone", {}, 400)["errors"][0]["pointer"] == "/name"


def test_texts_come_with_their_findings_and_without_secrets(ask: Any, ctx: Context) -> None:
    profiles.change(ctx, "other", parameters={"extra_lines": ["d-i netcfg/enable boolean maybe"]}, who="test")
    for path in ("/hosts/n1/render/answers?profile=other", "/profiles/other/render/answers"):
        shown = ask("GET", path)
        assert HASH not in shown["text"]
        [found] = shown["findings"]
        assert shown["text"].splitlines()[found["line"] - 1] == "d-i netcfg/enable boolean maybe"
    [found] = [one for one in ask("GET", "/lint?profile=other") if one["severity"] == "error"]
    assert found["file"] == "profile/other/answers"


def test_attempts_and_differences(ask: Any, ctx: Context) -> None:
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    [one] = ask("GET", "/hosts/n1/attempts")
    found = ask("GET", f"/diff/answers?left=host%3Dn1,attempt%3D{one['id']}&right=host%3Dn1,profile%3Dother")
    assert found["unified"].startswith("--- n1 for debian-13 as armed")
    assert HASH not in str(found)
    assert "names no text" in ask("GET", "/diff/answers?left=n1&right=n1", status=400)["detail"]
    assert ask("GET", "/diff/nonsense?left=host%3Dn1&right=host%3Dn1", status=404)

"""The REST API of images, profiles and previews."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from flask.testing import FlaskClient

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, arming, events, hosts, image_imports, profiles
from pxeforge.services.context import Context
from pxeforge.services.import_progress import ImportStage, Progress
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


def test_an_import_is_asked_for_watched_and_cancelled(ask: Any, ctx: Context) -> None:
    assert ask("GET", "/image-imports") == []
    asked = ask("POST", "/images", {"name": "memtest"}, status=202)
    assert (asked["name"], asked["state"], asked["asked_by"]) == ("memtest", "waiting", "admin")
    assert "being imported already" in ask("POST", "/images", {"name": "memtest"}, status=409)["detail"]
    taken = image_imports.take(ctx)
    assert taken is not None
    image_imports.tell(ctx, taken.id, Progress(stage=ImportStage.DOWNLOAD, done_bytes=1, total_bytes=2, note="x"))
    shown = ask("GET", "/image-imports/memtest")
    assert (shown["state"], shown["step"], shown["done_bytes"], shown["total_bytes"]) == ("running", "download", 1, 2)
    assert ask("GET", "/image-imports") == [shown]
    assert ask("POST", "/image-imports/memtest/cancel")["state"] == "cancelled"
    ask("POST", "/image-imports/memtest/cancel", status=409)
    assert "nobody asked" in ask("GET", "/image-imports/ipxe", status=404)["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "name"),
        ({"name": "rocky-9"}, "comes from an ISO file"),
        ({"name": "debian-13", "source": "iso"}, "source"),
        ({"name": "debian-13", "mirror": "file:///etc/passwd"}, "no mirror address"),
        ({"name": "debian-13", "keyring": "/etc/passwd"}, "keyring"),
    ],
)
def test_no_import_has_to_do_with_files_of_the_server(ask: Any, body: dict[str, Any], says: str) -> None:
    assert says in ask("POST", "/images", body, status=400)["detail"]
    assert ask("GET", "/image-imports") == []


def test_an_operator_names_no_mirror(app: Any, ctx: Context) -> None:
    accounts.add(ctx, "op", PASSWORD, role=UserRole.OPERATOR, who="test")
    login = {"Authorization": "Basic " + b64encode(f"op:{PASSWORD}".encode()).decode()}
    for body, status in (({"mirror": "http://10.0.0.1/debian"}, 403), ({}, 202)):
        reply = app.test_client().post(
            "/api/v1/images", json={"name": "debian-13", **body}, base_url=SITE, headers=login
        )
        assert reply.status_code == status, reply.get_data(as_text=True)


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

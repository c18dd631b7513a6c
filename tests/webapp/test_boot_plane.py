"""The boot plane as firmware, installers and strangers on the boot network meet it."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask.testing import FlaskClient

from pxeforge.servers.http import HttpServer, HttpSettings
from pxeforge.servers.tcp_listener import listen_tcp
from pxeforge.services import hosts
from pxeforge.services.cache_upstream import Upstream
from pxeforge.services.context import Context
from pxeforge.services.package_cache import PackageCache
from pxeforge.webapp.boot_plane import create_boot_plane, file_at_once, is_slow
from tests.conftest import FACTS, MAC

# Every route of the boot plane and what it asks of the caller. A new route must be entered here on purpose.
ROUTES = {
    ("GET", "/healthz"): "open",
    ("GET", "/boot/<mac>/menu.ipxe"): "open: an unarmed or unknown MAC gets the local disk only",
    ("GET", "/boot/<mac>/autoexec.ipxe"): "open: the menu of a known MAC",
    ("GET", "/boot/<mac>/grub.cfg"): "open: as the menu for iPXE",
    ("GET", "/grub/<path:name>"): "open: the same for all hosts",
    ("GET", "/debian-installer/<path:name>"): "open: the same for all hosts",
    ("GET", "/boot/<mac>/<name>"): "open: boot loaders that the distribution publishes",
    ("GET", "/images/<name>/<version>/<path:path>"): "open: what the vendor publishes",
    ("GET", "/answers/<token>"): "token",
    ("POST", "/discovery/<token>/report"): "token",
    ("GET", "/answers/<token>/<name>"): "token",
    ("GET", "/installer/<token>/early"): "token",
    ("GET", "/installer/<token>/disks"): "token",
    ("GET", "/installer/<token>/late"): "token",
    ("GET", "/installer/<token>/wipe"): "token",
    ("POST", "/installer/<token>/progress"): "token",
    ("POST", "/installer/<token>/finished"): "token",
    ("POST", "/installer/<token>/wiped"): "token",
    ("POST", "/installer/<token>/failed"): "token",
    ("POST", "/installer/<token>/register"): "token",
    ("GET", "/agent/pxeforge-agent.pyz"): "open: holds no secret",
    ("GET", "/mirror/<name>/<path:path>"): "open: what the mirror publishes",
}


@pytest.fixture
def client(ctx: Context) -> FlaskClient:
    return create_boot_plane(ctx, None).test_client()


def test_every_route_has_its_class_and_there_is_no_other(ctx: Context) -> None:
    rules = create_boot_plane(ctx, None).url_map.iter_rules()
    found = {(method, rule.rule) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert found == set(ROUTES)


@pytest.mark.parametrize(("method", "rule"), [key for key, kind in ROUTES.items() if kind == "token"])
def test_a_route_that_needs_a_token_refuses_a_wrong_one(client: FlaskClient, method: str, rule: str) -> None:
    reply = client.open(rule.replace("<token>", "0" * 32), method=method, json={} if method == "POST" else None)
    assert reply.status_code == 403


@pytest.mark.parametrize("path", ["/", "/login", "/hosts", "/api/v1/hosts", "/static/x.css", "/v1/claim"])
def test_nothing_of_the_admin_plane_is_here(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["images/debian-13/20250803/../../../secret.key", "images/debian-13/20250803/image.json",
     "images/debian-13/20250803/%2e%2e/%2e%2e/%2e%2e/secret.key", "images/../secret.key/x/y",
     "images/debian-13/20250803/..%5csecret.key", "images/debian-13/.incoming/linux"],
)  # fmt: skip
def test_no_path_leads_out_of_an_image(client: FlaskClient, armed: dict[str, Any], path: str) -> None:
    reply = client.get(f"/{path}")
    assert reply.status_code == 404


def test_an_image_file_has_its_exact_length_head_and_range(client: FlaskClient, armed: dict[str, Any]) -> None:
    url = "/images/debian-13/20250803/linux"
    assert client.get(url).data == b"kernel"
    assert client.head(url).headers["Content-Length"] == "6"
    part = client.get(url, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.data) == (206, b"ern")


@pytest.mark.parametrize("spelling", [MAC, MAC.replace(":", "-"), MAC.upper()])
def test_an_armed_host_gets_its_menu_by_any_spelling(client: FlaskClient, armed: dict[str, Any], spelling: str) -> None:
    reply = client.get(f"/boot/{spelling}/menu.ipxe")
    assert reply.status_code == 200
    assert b"kernel http://192.0.2.1:8080/images/debian-13/20250803/linux" in reply.data
    assert "Location" not in reply.headers


@pytest.mark.parametrize("folder", ["debian-installer/amd64/grub", "debian-installer/arm64/grub", "grub"])
def test_grub_by_http_is_sent_to_its_own_menu_by_http(client: FlaskClient, armed: dict[str, Any], folder: str) -> None:
    shared = client.get(f"/{folder}/grub.cfg").text
    assert "set boot_root=http,192.0.2.1:8080\nsource ($boot_root)/boot/$net_default_mac/grub.cfg\n" in shared
    menu = client.get(f"/boot/{MAC}/grub.cfg")
    assert "linux ($server)/images/debian-13/20250803/linux" in menu.text
    assert client.get("/boot/52:54:00:99:99:99/grub.cfg").text.count("linux (") == 0


@pytest.mark.parametrize(
    "path",
    ["grub/image.json", "grub/../secret.key", "debian-installer/amd64/grub/x.lst",
     "debian-installer/amd64/grub/../../image.json", "debian-installer/bootnetx64.efi"],
)  # fmt: skip
def test_grub_gets_nothing_but_its_own_files(client: FlaskClient, armed: dict[str, Any], path: str) -> None:
    assert client.get(f"/{path}").status_code == 404


def test_what_is_no_mac_has_no_menu(client: FlaskClient) -> None:
    assert client.get("/boot/nonsense/menu.ipxe").status_code == 404


def test_the_whole_install_over_http(client: FlaskClient, ctx: Context, tokens: Callable[[str], str]) -> None:
    assert client.get(f"/answers/{tokens('answers')}").status_code == 200
    url = f"/installer/{tokens('installer')}"
    for script in ("early", "disks", "late"):
        assert client.get(f"{url}/{script}").data.startswith(b"#!/bin/sh")
    assert client.post(f"{url}/progress?stage=disks", data="install disk is /dev/vda").status_code == 200
    answer = client.post(f"{url}/register", json=FACTS)
    assert answer.status_code == 200
    assert answer.get_json()["host_name"] == "n1"
    assert client.post(f"{url}/register", json=FACTS).status_code == 403
    assert client.get(f"{url}/late").status_code == 403
    assert hosts.show(ctx, "n1")["state"] == "registered"


def test_a_report_is_stripped_of_control_characters_and_cut(
    client: FlaskClient, ctx: Context, tokens: Callable[[str], str]
) -> None:
    from pxeforge.services import events

    client.get(f"/answers/{tokens('answers')}")
    client.post(f"/installer/{tokens('installer')}/progress", data=b"\x1b[31mred\x00\xff" + b"x" * 9000)
    message = events.timeline(ctx, hosts.show(ctx, "n1")["id"])[-1]["message"]
    assert "\x1b" not in message
    assert "\x00" not in message
    assert len(message) <= 4000


def test_facts_that_are_no_object_are_refused(client: FlaskClient, tokens: Callable[[str], str]) -> None:
    client.get(f"/answers/{tokens('answers')}")
    url = f"/installer/{tokens('installer')}/register"
    assert client.post(url, data=b"\xff\x00 not json").status_code == 400
    assert client.post(url, json=["a", "list"]).status_code == 400


def test_an_endless_body_is_refused(client: FlaskClient, tokens: Callable[[str], str]) -> None:
    client.get(f"/answers/{tokens('answers')}")
    reply = client.post(f"/installer/{tokens('installer')}/register", data=b"{" + b" " * 300_000)
    assert reply.status_code in (400, 413)


def test_without_an_upstream_the_mirror_says_so(client: FlaskClient) -> None:
    reply = client.get("/mirror/debian/dists/trixie/Release")
    assert reply.status_code == 404
    assert b"set `mirror`" in reply.data


def test_a_name_that_no_file_system_takes_is_not_found(ctx: Context) -> None:
    client = create_boot_plane(ctx, None).test_client()
    assert client.get("/images/" + "a" * 300 + "/1/linux").status_code == 404


def test_a_monitor_that_asks_by_head_starts_no_install(ctx: Context, tokens: Callable[[str], str]) -> None:
    client = create_boot_plane(ctx, None).test_client()
    for path in (f"/boot/{MAC}/menu.ipxe", f"/answers/{tokens('answers')}"):
        head, got = client.head(path), client.get(path)
        assert (head.status_code, head.content_length) == (200, got.content_length)
        assert head.data == b""
    assert hosts.show(ctx, "n1")["state"] == "installing"


def test_a_mirror_that_is_down_is_one_sentence_and_everything_else_goes_on(ctx: Context, tmp_path: Path) -> None:
    cache = PackageCache({"debian": Upstream("http://127.0.0.1:9/debian")}, tmp_path / "cache")
    plane = create_boot_plane(ctx, cache).test_client()
    reply = plane.get("/mirror/debian/dists/trixie/Release")
    assert reply.status_code == 502
    assert b"the package mirror http://127.0.0.1:9/debian does not answer" in reply.data
    assert plane.get("/healthz").status_code == 200


def test_a_uefi_loader_has_its_type_its_exact_length_and_head(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pxeforge.services.loaders.IPXE_DIR", tmp_path)
    (tmp_path / "snponly.efi").write_bytes(b"MZ loader")
    for reply in (client.get(f"/boot/{MAC}/snponly.efi"), client.head(f"/boot/{MAC}/snponly.efi")):
        assert reply.status_code == 200
        assert (reply.headers["Content-Type"], reply.headers["Content-Length"]) == ("application/efi", "9")
    assert client.get(f"/boot/{MAC}/snponly.efi").data == b"MZ loader"
    for path in (
        f"/boot/{MAC}/ipxe.efi",
        "/boot/nonsense/snponly.efi",
        f"/boot/{MAC}/image.json",
        f"/boot/{MAC}/x.efi",
    ):
        assert client.get(path).status_code == 404


def test_autoexec_is_the_menu_of_a_known_host_only(client: FlaskClient, armed: dict[str, Any]) -> None:
    assert client.get(f"/boot/{MAC}/autoexec.ipxe").data == client.get(f"/boot/{MAC}/menu.ipxe").data
    assert client.get("/boot/52:54:00:99:99:99/autoexec.ipxe").status_code == 404


IMAGE = "/images/debian-13/20250803"


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [("bytes=0-0", 206, b"k"), ("bytes=-2", 206, b"el"), ("bytes=4-", 206, b"el"), ("bytes=2-99", 206, b"rnel"),
     ("bytes=6-", 416, None), ("bytes=-0", 416, None), ("bytes=3-1", 416, None), ("lines=1-2", 416, None),
     ("nonsense", 416, None), ("bytes=0-0,2-3", 416, None)],
)  # fmt: skip
def test_one_range_of_a_file_or_a_refusal_with_its_size(
    client: FlaskClient, armed: dict[str, Any], asked: str, status: int, body: bytes | None
) -> None:
    reply = client.get(f"{IMAGE}/linux", headers={"Range": asked})
    assert reply.status_code == status
    if body is None:
        assert reply.headers["Content-Range"] == "bytes */6"
    else:
        assert (reply.data, reply.content_length) == (body, len(body))
        assert reply.headers["Content-Range"].endswith("/6")


def test_who_has_a_file_already_is_told_so_until_it_changes(client: FlaskClient, armed: dict[str, Any]) -> None:
    first = client.get(f"{IMAGE}/linux")
    for name, header in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
        again = client.get(f"{IMAGE}/linux", headers={name: first.headers[header]})
        assert (again.status_code, again.data) == (304, b"")
    assert client.get(f"{IMAGE}/linux", headers={"If-None-Match": '"other"'}).data == b"kernel"


def test_a_link_does_not_lead_out_of_an_image(client: FlaskClient, armed: dict[str, Any], ctx: Context) -> None:
    place = ctx.data_dir / "images/debian-13/20250803/linux"
    place.unlink()
    place.symlink_to(ctx.data_dir / "secret.key")
    assert client.get(f"{IMAGE}/linux").status_code == 404
    place.unlink()
    place.mkdir()
    assert client.get(f"{IMAGE}/linux").status_code == 404


@pytest.mark.usefixtures("profile")
def test_the_short_way_tells_the_same_as_the_long_one(ctx: Context, client: FlaskClient) -> None:
    """A file of an image by GET is answered in the server's loop; HEAD and ranges are the application's."""
    add_to_image(ctx, "tree/a+b~1/x@y", b"package")
    path = f"{IMAGE}/tree/a+b~1/x@y"
    found = file_at_once(ctx, PackageCache({}, ctx.data_dir / "cache"), path, {})
    assert found is not None
    headers, stream, size = found
    with stream:
        assert (stream.read(), size) == (b"package", 7)
    told = client.head(path).headers
    assert {name: told[name] for name, _ in headers} == dict(headers)


@pytest.mark.parametrize(
    ("name", "headers"),
    [("linux", {}), ("tree/x", {"range": "bytes=0-1"}), ("tree/x", {"if-none-match": '"1"'}), ("tree/none", {}),
     ("image.json", {}), ("tree/../image.json", {}), ("tree", {}), ("", {})],
)  # fmt: skip
@pytest.mark.usefixtures("profile")
def test_whatever_needs_a_second_look_takes_the_long_way(ctx: Context, name: str, headers: dict[str, str]) -> None:
    add_to_image(ctx, "tree/x", b"package")
    cache = PackageCache({}, ctx.data_dir / "cache")
    assert file_at_once(ctx, cache, f"{IMAGE}/{name}", headers) is None
    assert file_at_once(ctx, cache, "/images/none/1/tree/x", {}) is None


@pytest.mark.usefixtures("profile")
def test_no_link_leads_the_short_way_out_of_the_image(ctx: Context) -> None:
    add_to_image(ctx, "tree/x", b"package")
    place = ctx.data_dir / IMAGE.strip("/") / "tree/x"
    place.unlink()
    (ctx.data_dir / "outside").write_bytes(b"secret")
    place.symlink_to(ctx.data_dir / "outside")
    assert file_at_once(ctx, PackageCache({}, ctx.data_dir / "cache"), f"{IMAGE}/tree/x", {}) is None


def add_to_image(ctx: Context, name: str, content: bytes) -> None:
    image = ctx.data_dir / IMAGE.strip("/")
    place = image / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    manifest = json.loads((image / "image.json").read_text())
    manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (image / "image.json").write_text(json.dumps(manifest))


def test_only_what_asks_upstream_counts_as_slow() -> None:
    assert is_slow("/mirror/debian/pool/x")
    assert not any(is_slow(rule) for _, rule in ROUTES if not rule.startswith("/mirror/"))


def test_the_health_page_counts_and_names_nobody(ctx: Context) -> None:
    plane = create_boot_plane(ctx, None, lambda: {"connections": 3, "waiting": 1}).test_client()
    assert plane.get("/healthz").data == b"ok\nconnections 3\nwaiting 1\n"


@pytest.fixture
def wire(ctx: Context, armed: dict[str, Any]) -> Iterator[http.client.HTTPConnection]:
    """The plane behind the server that it has in the product, met by bytes."""
    listener = listen_tcp("127.0.0.1", 0)
    cache = PackageCache({}, ctx.data_dir / "cache")
    server = HttpServer(
        listener, HttpSettings(quick_threads=1, slow_threads=1), is_slow=is_slow,
        instant=lambda path, headers: file_at_once(ctx, cache, path, headers),
    )  # fmt: skip
    thread = Thread(target=server.run, args=(create_boot_plane(ctx, None, server.counts),))
    thread.start()
    with closing(http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)) as connection:
        yield connection
    server.stop()
    thread.join(30)
    listener.close()


def over(wire: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    wire.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        wire.putheader(name, value)
    wire.endheaders()
    reply = wire.getresponse()
    body = reply.read()
    assert reply.getheader("Transfer-Encoding") is None
    assert reply.getheader("Location") is None
    return reply.status, body


def test_over_the_wire_files_menus_and_ranges_are_exact(wire: http.client.HTTPConnection) -> None:
    assert over(wire, f"{IMAGE}/linux") == (200, b"kernel")
    assert over(wire, f"//{IMAGE}//linux") == (200, b"kernel")
    assert over(wire, f"{IMAGE}/linux", Range="bytes=1-3") == (206, b"ern")
    assert over(wire, f"{IMAGE}/linux", Range="bytes=9-") == (416, b"Requested Range Not Satisfiable\n")
    assert over(wire, f"{IMAGE}/linux", "HEAD") == (200, b"")
    assert over(wire, f"/boot/{MAC}/menu.ipxe")[1].startswith(b"#!ipxe")
    assert over(wire, "/healthz")[1].startswith(b"ok\nconnections 1\n")
    assert over(wire, "/answers/" + "0" * 32)[0] == 403
    assert over(wire, "/healthz", "DELETE")[0] == 405


@pytest.mark.parametrize(
    "path",
    [f"{IMAGE}/../../../secret.key", f"{IMAGE}/%2e%2e/%2e%2e/%2e%2e/secret.key", f"{IMAGE}/..%2f..%2f..%2fsecret.key",
     f"{IMAGE}/%252e%252e/secret.key", f"{IMAGE}/linux%00", f"{IMAGE}/..%5c..%5csecret.key", f"{IMAGE}/image.json",
     "/images/debian-13/2025080/linux", "/images/debian-1/20250803/linux", "/%2fetc/passwd", "//etc/passwd",
     "/images//etc/passwd/x", "/images/debian-13/20250803", "/secret.key", "/agent/../secret.key"],
)  # fmt: skip
def test_no_spelling_reaches_a_file_that_is_not_offered(wire: http.client.HTTPConnection, path: str) -> None:
    status, body = over(wire, path)
    assert status in (400, 404)
    assert len(body) < 100

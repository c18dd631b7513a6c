"""Images that lie at web servers: what the role glance writes for them, and its check, run beside a glance in which
something is wrong.
"""

from __future__ import annotations

import configparser
import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pxeforge.engine.layout import Layout
from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")
CONTROL = ("mariadb", "rabbitmq", "memcached", "keystone", "glance")


def plan_of(roles: dict[str, Role], releases: dict[str, Release], version: str, **variables: object) -> Plan:
    nics = [{"name": "eth0", "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1/24"]}]
    facts: dict[str, Any] = {"os": {"id": "debian", "version": version}, "nics": nics}
    host = PlanHost(host_id="1", name="c1", roles=CONTROL, addresses=("10.0.0.1",), facts=facts)
    return compile_plan([host], roles, server=SERVER, releases=releases, layout=Layout(), variables=variables)


def params(plan: Plan, task_id: str, step: str) -> dict[str, Any]:
    task = next(task for task in plan.tasks if task.id == task_id)
    return dict(next(item for item in task.steps if item["name"] == step)["params"])


def config(plan: Plan) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(str(params(plan, "glance.configure@c1", "config")["content"]))
    return parser


@pytest.mark.parametrize("version", ["12", "13"])
def test_images_at_web_servers_are_taken_from_administrators_only(
    roles: dict[str, Role], releases: dict[str, Release], version: str
) -> None:
    plan = plan_of(roles, releases, version, glance_http_store=True)
    found = config(plan)
    assert found["DEFAULT"]["enabled_backends"] == "files:file,web:http"
    assert found["DEFAULT"]["show_multiple_locations"] == "true"
    assert found["glance_store"]["default_backend"] == "files"
    assert found["web"]["https_ca_certificates_file"] == "/etc/ssl/certs/ca-certificates.crt"
    policy = params(plan, "glance.configure@c1", "policy")
    assert policy["path"].startswith(found["oslo_policy"]["policy_dirs"] + "/")
    rules = yaml.safe_load(policy["content"])
    assert rules == {"set_image_location": "role:admin", "add_image_location": "role:admin or role:service"}
    restarted = next(
        step["params"]["restart_on"] for task in plan.tasks if task.id == "glance.start@c1" for step in task.steps
        if step["params"].get("name") == "glance-api"
    )  # fmt: skip
    assert "glance.configure.policy" in restarted
    assert params(plan, "glance.image@c1", "up-and-down")["input"]["web_address"] == "10.0.0.1"


def test_without_them_nobody_is_told_where_an_image_lies(roles: dict[str, Role], releases: dict[str, Release]) -> None:
    plan = plan_of(roles, releases, "12")
    found = config(plan)
    assert found["DEFAULT"]["enabled_backends"] == "files:file"
    assert "show_multiple_locations" not in found["DEFAULT"]
    assert "web" not in found
    assert params(plan, "glance.configure@c1", "policy")["state"] == "absent"
    assert params(plan, "glance.image@c1", "up-and-down")["input"]["web_address"] == ""


class FakeGlance:
    """Keystone and glance in one server. `fetches`: how it gets what lies elsewhere."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.content: dict[str, bytes] = {}
        self.made = itertools.count(1)
        self.fetched: list[str] = []
        self.has_web = True
        self.alters = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        words = path.partition("?")[0].strip("/").split("/")
        if words == ["v3", "auth", "tokens"]:
            return 201, json.dumps({"token": self.token()}).encode()
        if words == ["v2", "images"] and method == "POST":
            identity = f"i{next(self.made)}"
            self.images[identity] = {**json.loads(body), "id": identity, "status": "queued", "size": None, "url": None}
            return 201, json.dumps(self.images[identity]).encode()
        if words == ["v2", "images"]:
            return 200, json.dumps({"images": list(self.images.values())}).encode()
        image = self.images[words[2]]
        if method == "DELETE":
            del self.images[words[2]]
            return 204, b""
        if method == "PATCH":
            return self.register(image, json.loads(body))
        if words[3:] == ["file"] and method == "PUT":
            self.content[image["id"]] = body
            image.update(status="active", size=len(body), checksum=hashlib.md5(body).hexdigest())
            return 204, b""
        if words[3:] == ["file"]:
            return 200, self.fetch(image["url"]) if image["url"] else self.content[image["id"]]
        return 200, json.dumps(image).encode()

    def token(self) -> dict[str, Any]:
        endpoint = {"interface": "internal", "region": "R", "url": self.url}
        catalog = [{"type": "image", "endpoints": [endpoint]}]
        return {"project": {"id": "p"}, "user": {"id": "u"}, "roles": [{"name": "admin"}], "catalog": catalog}

    def register(self, image: dict[str, Any], change: Any) -> tuple[int, bytes]:
        """As glance does it: it asks for the size, and keeps the address."""
        if not self.has_web:
            return 403, b"It's not allowed to add locations if locations are invisible."
        [added] = change
        assert (added["op"], added["path"], added["value"]["metadata"]) == ("add", "/locations/-", {})
        asked = urllib.request.Request(added["value"]["url"], method="HEAD")
        with urllib.request.urlopen(asked, timeout=10) as told:
            image.update(status="active", size=int(told.headers["Content-Length"]), url=added["value"]["url"])
        return 200, json.dumps(image).encode()

    def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: bytes = answer.read()
        return found[:-1] + b"?" if self.alters else found

    url = ""


def _handler(glance: FakeGlance) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = glance.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("X-Subject-Token", "t")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do  # noqa: N815 (named by http.server)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def glance() -> Iterator[FakeGlance]:
    fake = FakeGlance()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def run(glance: FakeGlance, web_address: str) -> tuple[int, str]:
    given = {
        "auth": {"url": f"{glance.url}/v3", "user": "admin", "password": "secret", "project": "admin"},
        "region": "R", "own_name": "c1", "own_url": glance.url, "web_address": web_address,
    }  # fmt: skip
    # What does not come back as it went up is waited for: other hosts copy it.
    source = (TOP / "roles/glance/checks/image.py").read_text().replace("COPIED_S = 60", "COPIED_S = 0")
    done = subprocess.run(
        [sys.executable, "-B", "-c", source], input=json.dumps(given), capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, "PYTHONPATH": str(TOP / "roles/cloud/templates")},
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


def test_an_image_is_registered_by_its_address_and_comes_from_there(glance: FakeGlance) -> None:
    went_up = "an image of 1 MiB went up and came down the same"
    assert run(glance, "127.0.0.1") == (0, f"{went_up}; another lies at a web server and came from there")
    assert len(glance.fetched) == 1
    assert glance.images == {}
    assert run(glance, "") == (0, went_up)
    assert len(glance.fetched) == 1


def test_a_glance_that_takes_no_address_or_gives_something_else_is_noticed(glance: FakeGlance) -> None:
    glance.has_web = False
    code, said = run(glance, "127.0.0.1")
    assert (code, "403 It's not allowed to add locations" in said) == (1, True), said
    glance.has_web, glance.alters = True, True
    code, said = run(glance, "127.0.0.1")
    assert (code, said) == (1, "glance: the image that came back has 1048576 bytes, or others")
    assert glance.images == {}

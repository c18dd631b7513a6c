"""A-09: the accounts in the configuration that roles write are let in; the check is run as a host runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pxeforge.engine.layout import Layout
from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.release import Release
from pxeforge.engine.roles import Role

TOP = Path(__file__).resolve().parents[2]
SERVER = PlanServer(address="10.0.0.254", boot_url="http://10.0.0.254:8080")
CONTROL = (
    *("mariadb", "rabbitmq", "memcached", "keystone", "openrc", "placement", "glance", "nova-controller", "horizon"),
    *("neutron-server", "cinder"),
)
HOSTS = {
    "c1": CONTROL,
    "n1": ("neutron-openvswitch", "neutron-dhcp", "neutron-l3", "neutron-metadata"),
    "p1": ("nova-compute",),
    "b1": ("cinder-nfs",),
    "s1": ("nfs-server",),
}
SECRET = re.compile(r"@@secret:([a-z0-9_]+)@@")
# As much of the package as the check uses: which user has which password where stands in $LOGINS.
PYMYSQL = """\
import contextlib, json, os

class MySQLError(Exception):
    pass

class Connection(contextlib.AbstractContextManager):
    def __exit__(self, *_):
        return None

    @contextlib.contextmanager
    def cursor(self):
        yield self

    def execute(self, query):
        assert query == "SELECT 1"

def connect(*, host, port, user, password, database, connect_timeout, read_timeout):
    if [user, password, database] not in json.loads(os.environ["LOGINS"]):
        raise MySQLError(1045, f"Access denied for user '{user}'@'10.0.0.1' (using password: YES)")
    return Connection()
"""


@pytest.fixture(params=["12", "13"])
def plan(roles: dict[str, Role], releases: dict[str, Release], request: pytest.FixtureRequest) -> Plan:
    hosts = []
    for number, (name, names) in enumerate(HOSTS.items(), 1):
        nics = [{"name": "eth0", "mac": f"02:00:00:00:00:{number:02x}", "addresses": [f"10.0.0.{number}/24"]}]
        facts: dict[str, Any] = {"os": {"id": "debian", "version": request.param}, "nics": nics}
        address = (f"10.0.0.{number}",)
        hosts.append(PlanHost(host_id=name, name=name, roles=names, addresses=address, facts=facts))
    return compile_plan(hosts, roles, server=SERVER, releases=releases, layout=Layout())


def written(plan: Plan, host: str) -> dict[str, str]:
    """What the roles write on the host, by path."""
    steps = [step for task in plan.tasks if task.host_name == host for step in task.steps if step["type"] == "file"]
    return {step["params"]["path"]: str(step["params"].get("content", "")) for step in steps}


def looked_at(plan: Plan, host: str) -> list[str]:
    found = [task for task in plan.tasks if task.id == f"cloud.accounts@{host}"]
    return [path for task in found for path in task.steps[0]["params"]["input"]["files"].split()]


def test_every_file_with_an_account_is_looked_at_on_its_host(plan: Plan) -> None:
    for host in HOSTS:
        files = written(plan, host)
        with_account = {path for path, text in files.items() if re.search(r"(?m)^(auth_type|connection) = ", text)}
        given = set(looked_at(plan, host))
        assert with_account <= given <= set(files)
    assert {len(looked_at(plan, host)) for host in ("c1", "s1")} == {6, 0}


class _Keystone(BaseHTTPRequestHandler):
    users: dict[str, str]  # the password of each
    roles: list[str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]
        user = asked["identity"]["password"]["user"]
        known = self.users.get(user["name"]) == user["password"] and asked["scope"]["project"]["name"] == "service"
        told = {"project": {"id": "p"}, "user": {"id": "u"}, "roles": [{"name": name} for name in self.roles]}
        body = json.dumps({"token": told} if known else {"error": "The request you have made requires authentication"})
        self.send_response(201 if known else 401)
        self.send_header("X-Subject-Token", "t")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    names = ("glance", "placement", "nova", "neutron", "cinder")
    monkeypatch.setattr(_Keystone, "users", {name: f"of-{name}_service" for name in names}, raising=False)
    monkeypatch.setattr(_Keystone, "roles", ["admin", "service"], raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Keystone) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


LOGINS = [
    [user, f"of-{user}_db", database]
    for user, databases in {
        **{name: (name,) for name in ("keystone", "glance", "placement", "neutron", "cinder")},
        "nova": ("nova", "nova_api"),
    }.items()
    for database in databases
]


def check(plan: Plan, host: str, keystone: str, folder: Path, logins: list[list[str]] = LOGINS) -> tuple[int, str]:
    """The check on what the roles write, with secrets that are told by their names."""
    paths = []
    for path in looked_at(plan, host):
        text = SECRET.sub(r"of-\1", written(plan, host)[path]).replace("http://10.0.0.1:5000", keystone)
        file = folder / path.rpartition("/")[2]
        file.write_text(text)
        paths.append(str(file))
    return run(paths, folder, logins)


def run(paths: list[str], folder: Path, logins: list[list[str]]) -> tuple[int, str]:
    (folder / "pymysql.py").write_text(PYMYSQL)
    done = subprocess.run(
        [sys.executable, "-B", str(TOP / "roles/cloud/checks/accounts.py")], capture_output=True, text=True, timeout=60,
        input=json.dumps({"files": " ".join(paths)}), check=False,
        env={**os.environ, "PYTHONPATH": f"{folder}:{TOP / 'roles/cloud/templates'}", "LOGINS": json.dumps(logins)},
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


def test_every_account_of_a_controller_is_let_in(plan: Plan, keystone: str, tmp_path: Path) -> None:
    everybody = "cinder, glance, neutron, nova, placement"
    assert check(plan, "c1", keystone, tmp_path) == (0, f"keystone lets in {everybody}; 7 logins to databases")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("p1", "keystone lets in neutron, nova; 0 logins to databases"),
        ("b1", "keystone lets in cinder; 1 logins to databases"),
        ("n1", "keystone lets in nobody; 0 logins to databases"),
    ],
)
def test_a_host_uses_the_accounts_that_it_has(plan: Plan, keystone: str, tmp_path: Path, host: str, words: str) -> None:
    assert check(plan, host, keystone, tmp_path) == (0, words)


def test_an_account_that_is_not_let_in_is_named_with_its_place_and_without_its_password(
    plan: Plan, keystone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_Keystone.users, "placement", "another")
    logins = [login for login in LOGINS if login[2] != "nova_api"]
    code, said = check(plan, "c1", keystone, tmp_path, logins)
    assert code == 1
    first, second = said.split("; ")
    assert first.startswith(f"user placement, [keystone_authtoken] of {tmp_path}/placement.conf: POST {keystone}")
    assert ": 401 " in first
    assert second.startswith(f"nova at the database of 10.0.0.1, [api_database] of {tmp_path}/nova.conf: ")
    assert "of-" not in said.replace(str(tmp_path), "")


def test_a_user_whom_other_services_would_not_trust_is_named(
    plan: Plan, keystone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Keystone, "roles", ["admin"])
    code, said = check(plan, "b1", keystone, tmp_path)
    place = f"[keystone_authtoken] of {tmp_path}/cinder.conf"
    assert (code, said) == (1, f"user cinder, {place}, has the roles ['admin'] in service, not service")


def test_a_file_that_is_gone_or_broken_is_named_without_what_is_in_it(tmp_path: Path) -> None:
    for text, why in ((None, "FileNotFoundError"), ("no section\npassword = of-me\n", "MissingSectionHeaderError")):
        file = tmp_path / "x.conf"
        if text is not None:
            file.write_text(text)
        assert run([str(file)], tmp_path, []) == (1, f"{file} cannot be read ({why}): deploy again")

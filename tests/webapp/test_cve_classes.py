"""Each class of fault by which a peer was broken into has a test of its own here; one table says which is where."""

from __future__ import annotations

import importlib
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pxeforge.app.assembly import open_data_dir
from pxeforge.app.web_server import listen_unix
from pxeforge.services import answer_preview, hosts, profiles
from pxeforge.services.answer_preview import Source
from pxeforge.services.context import Context, load_master_key
from pxeforge.store.database import Database
from pxeforge.webapp.admin import create_admin
from pxeforge.webapp.agent_plane import create_agent_plane
from tests.conftest import ACCOUNT, MAC

from .conftest import SITE

HERE = "tests.webapp.test_cve_classes"
ACCESS = "tests.webapp.test_access_cves"
# The history of Cobbler, a Python peer: number, what went wrong, and where it is shown that it does not here.
CLASSES: dict[str, tuple[str, list[str]]] = {
    "CVE-2018-1000226": (
        "methods that took a token never checked it",
        [
            f"{ACCESS}:test_cve_2018_1000226_no_method_forgets_to_ask_who_calls",
            f"{HERE}:test_cve_2018_1000226_no_route_of_the_agents_answers_without_a_credential",
            "tests.webapp.test_access:test_a_route_that_nobody_declared_is_open_to_nobody",
        ],
    ),
    "CVE-2021-40323": (
        "text of strangers in a log was rendered as a template",
        [f"{ACCESS}:test_cve_2021_40323_what_a_stranger_writes_into_the_log_stays_text"],
    ),
    "CVE-2021-40324": (
        "an upload of logs wrote any file",
        [f"{ACCESS}:test_cve_2021_40324_a_report_is_a_line_of_the_timeline_and_never_a_file"],
    ),
    "CVE-2021-40325": (
        "settings could be changed without a login",
        [f"{ACCESS}:test_cve_2021_40325_settings_are_not_changed_without_the_right"],
    ),
    "CVE-2021-45082": (
        "templates could import and run whatever they liked",
        [
            f"{HERE}:test_cve_2021_45082_code_in_a_template_of_the_operators_is_not_run",
            f"{HERE}:test_cve_2021_45082_code_in_a_value_is_text",
            f"{HERE}:test_cve_2021_45082_a_template_is_never_taken_from_elsewhere",
            "tests.render.test_environment:test_the_sandbox_holds",
            "tests.engine.test_plan:test_templates_cannot_reach_out_of_the_sandbox",
        ],
    ),
    "CVE-2021-45083": (
        "files with hashes and keys could be read by everybody",
        [
            f"{ACCESS}:test_cve_2021_45083_keys_are_for_their_owner_only",
            f"{HERE}:test_cve_2021_45083_nothing_in_the_data_directory_is_for_others",
        ],
    ),
    "CVE-2022-0860": (
        "an expired account could log in",
        [
            f"{ACCESS}:test_cve_2022_0860_a_disabled_user_is_let_in_by_nothing",
            f"{ACCESS}:test_cve_2022_0860_what_has_ended_lets_nobody_in",
        ],
    ),
    "CVE-2024-47533": (
        "a secret that could not be read became the constant -1, which was then accepted",
        [
            f"{ACCESS}:test_cve_2024_47533_no_constant_is_a_credential_anywhere",
            f"{ACCESS}:test_cve_2024_47533_a_key_that_cannot_be_read_stops_the_start",
        ],
    ),
}
# Each ends in what a template must never show.
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ lipsum.__globals__['os'].environ }}",
    "{{ (()|attr('__class__')).__base__ }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ '%c'|format(42).__class__ }}",
    "{{ host.__class__.__init__.__globals__ }}",
]
OUT = re.compile(r"uid=\d|<class|<module|subclasses|__globals__")


@pytest.mark.parametrize("cve", CLASSES)
def test_each_class_has_its_tests(cve: str) -> None:
    _what, tests = CLASSES[cve]
    assert tests
    for one in tests:
        module, _, name = one.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), one
    own = [name for name in (*globals(), *vars(importlib.import_module(ACCESS))) if name.startswith("test_cve_")]
    listed = {one.partition(":")[2] for _, tests in CLASSES.values() for one in tests}
    assert set(own) <= listed


def test_cve_2018_1000226_no_route_of_the_agents_answers_without_a_credential(ctx: Context) -> None:
    app, asked = create_agent_plane(ctx), 0
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = re.sub("<[^>]*>", "1", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            for header in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {'0' * 64}"}):
                reply = app.test_client().open(path, method=method, json={}, headers=header)
                assert reply.status_code in (401, 403), (method, path, header)
                asked += 1
    assert asked >= 12


@pytest.fixture
def own_template(ctx: Context, profile: str) -> Path:
    """A template of the operator's, used by the host n1."""
    path = ctx.operator_dir / "preseed" / "mine.cfg.j2"
    path.parent.mkdir(parents=True)
    path.write_text("")
    profiles.change(ctx, profile, parameters={}, template="mine.cfg.j2", who="test")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    return path


@pytest.mark.parametrize("text", ESCAPES)
def test_cve_2021_45082_code_in_a_template_of_the_operators_is_not_run(
    ctx: Context, own_template: Path, text: str
) -> None:
    own_template.write_text(f"d-i netcfg/get_hostname string {text}\n")
    api = create_admin(ctx, trusted_socket=True).test_client()
    refused = api.get("/api/v1/hosts/n1/render/answers?profile=debian-13")
    assert refused.status_code == 400
    assert "mine.cfg.j2" in refused.get_json()["detail"]
    armed = api.post("/api/v1/hosts/n1/arm", json={"profile": "debian-13"})
    assert armed.status_code == 400
    assert not re.search(r"uid=\d|<module", armed.get_data(as_text=True))
    assert hosts.show(ctx, "n1")["state"] == "known"


@pytest.mark.parametrize(
    "text", [*ESCAPES, "#set $x = 9173*8219", "<%= 9173*8219 %>", "${9173*8219}", "{{ 9173*8219 }}"]
)
def test_cve_2021_45082_code_in_a_value_is_text(ctx: Context, profile: str, text: str) -> None:
    """Wherever operators, tables and hosts put words: each is refused or comes out as it went in."""
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    api = create_admin(ctx, trusted_socket=True).test_client()
    account = {**ACCOUNT, "name": "ops", "full_name": text}
    for parameters in (
        {"accounts": [account]},
        {"extra_lines": [f"# {text}"]},
        {"domain": text},
        {"kernel_args": text},
    ):
        api.patch(f"/api/v1/profiles/{profile}", json={"parameters": parameters})
    api.patch("/api/v1/hosts/n1", json={"settings": {"parameters": {"extra_lines": [f"# {text}"]}}})
    api.patch("/api/v1/hosts/n1", json={"name": text})
    api.patch("/api/v1/hosts/n1", json={"tags": [text]})
    with ctx.database.write() as session:
        hosts.find(session, "n1").serial = text
    for what in ("answers", "late", "early", "menu", "menu.ipxe", "kernel-args"):
        reply = api.get(f"/api/v1/hosts/n1/render/{what}?profile={profile}")
        shown = reply.get_json().get("text", "").replace(text, "")
        assert "75392887" not in shown
        assert not OUT.search(shown), what


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "/etc/passwd", "..%2fsecret.key", "....//secret.key", "debian.cfg.j2\x00.txt", ".", "..",
     "", "../preseed/debian.cfg.j2", "\\..\\..\\x", "x" * 5000],
)  # fmt: skip
def test_cve_2021_45082_a_template_is_never_taken_from_elsewhere(
    ctx: Context, own_template: Path, client: FlaskClient, name: str
) -> None:
    secret = "d-i passwd/root-password-crypted password outside"
    (ctx.operator_dir / "secret.key").write_text(secret)
    own_template.write_text(f'{{% include "{name}" %}}\n')
    shown = client.get("/api/v1/hosts/n1/render/answers?profile=debian-13").get_json()
    assert "outside" not in str(shown)
    client.patch("/api/v1/profiles/debian-13", json={"template": name})
    shown = client.get("/api/v1/hosts/n1/render/answers?profile=debian-13").get_json()
    assert "outside" not in str(shown)
    assert "root:x:0" not in str(shown)


@pytest.fixture
def client(ctx: Context) -> FlaskClient:
    return create_admin(ctx, trusted_socket=True).test_client()


def test_cve_2021_45083_nothing_in_the_data_directory_is_for_others(tmp_path: Path) -> None:
    """With the mask of a careless service, everything that a start makes."""
    before = os.umask(0)
    try:
        folder = tmp_path / "data"
        open_data_dir(folder)
        load_master_key(folder)
        database = Database(folder / "pxeforge.db")
        database.upgrade()
        listener = listen_unix(folder / "pxeforge.sock")
        listener.close()
        database.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in (folder / "secret.key", folder / "pxeforge.sock", *[one for one in folder.iterdir() if one.is_dir()]):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_a_preview_for_a_reader_is_made_by_the_same_sandbox(ctx: Context, own_template: Path, app: Flask) -> None:
    own_template.write_text("d-i x/y string {{ namespace.__init__.__globals__ }}\n")
    with pytest.raises(Exception, match=r"mine\.cfg\.j2"):
        answer_preview.preview(ctx, Source(profile="debian-13"), what="answers")
    reply: Any = app.test_client().get("/api/v1/profiles/debian-13/render/answers", base_url=SITE)
    assert reply.status_code == 401

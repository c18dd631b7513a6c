"""Each event is one line in the form that was asked for, with fields of known names and without secrets."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pxeforge
from pxeforge.app.logs import FIELDS, HIDDEN, hide_secrets

SAYS = """
import logging, socket, sys
from types import SimpleNamespace
import structlog
log = structlog.get_logger("x")  # as modules do, before anything is set up
from pxeforge.app import logs
logs.set_up(SimpleNamespace(log_format=sys.argv[1], log_level=sys.argv[2]), "wire")
log.debug("small")
log.info("TFTP", peer="192.0.2.7", file="a\\nb ERROR forged=1", sent=3, problem=None)
log.warning("link is down\\nforged", interface="eth0")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a packet was dropped", peer="192.0.2.7")
from pxeforge.app.web_server import Plane, _server
_server(Plane(name="x", app=lambda *_: [], listener=socket.socket(), threads=1))  # it would set up a log of its own
logging.getLogger("uvicorn.error").error("cannot %s", "listen")
logging.getLogger("quiet").info("never said")
log.info("by token", path="/answers/0123456789abcdef/user-data", token="geheim", reason="Bearer abcdefghijkl")
print(dict(logs.lines_told()), file=sys.stderr)
"""


def said(form: str = "console", level: str = "info", **environment: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", SAYS, form, level], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(pxeforge.__file__).parents[1]), **environment},
    )  # fmt: skip
    return done.stdout.splitlines(), done.stderr


def test_lines_for_people_are_one_each_and_nobody_can_forge_one() -> None:
    lines, counted = said()
    assert len(lines) == 5
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"
    start = re.compile(when + r" (info   |warning|error  ) wire: ")
    assert all(start.match(line) for line in lines)
    assert lines[0].endswith(r'wire: TFTP peer=192.0.2.7 file="a\nb ERROR forged=1" sent=3 problem=None')
    assert "ZeroDivisionError" in lines[2]
    assert lines[3].endswith("cannot listen logger=uvicorn.error")
    assert counted.strip() == str({"debug": 0, "info": 2, "warning": 1, "error": 2, "critical": 0})


def test_json_lines_are_objects_with_the_same_fields() -> None:
    lines, _ = said("json", "debug")
    found = [json.loads(line) for line in lines]
    assert [list(one)[:4] for one in found] == [["timestamp", "level", "process", "event"]] * 6
    assert found[1] == {
        **found[1], "level": "info", "process": "wire", "event": "TFTP", "peer": "192.0.2.7",
        "file": "a\nb ERROR forged=1", "sent": 3, "problem": None,
    }  # fmt: skip
    assert "ZeroDivisionError" in found[3]["exception"]
    assert {name for one in found for name in one} - {"timestamp", "level", "process", "event", "token"} <= set(FIELDS)


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_are_in_no_line(form: str) -> None:
    text = "\n".join(said(form)[0])
    for secret in ("0123456789abcdef", "geheim", "abcdefghijkl"):
        assert secret not in text
    assert f"/answers/{HIDDEN}/user-data" in text


def test_less_than_the_level_is_not_said() -> None:
    lines, _ = said(level="error")
    assert [line.split()[1] for line in lines] == ["error", "error"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_under_systemd_a_line_begins_with_its_priority_and_has_no_time(form: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
        subprocess.run(
            [sys.executable, "-c", SAYS, form, "info"], stdout=stream, stderr=subprocess.DEVNULL, check=True,
            env={
                **os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}",
                "PYTHONPATH": str(Path(pxeforge.__file__).parents[1]),
            },
        )  # fmt: skip
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<3>", "<6>"]
    assert not re.search(r"\d\d:\d\d:\d\d", "".join(lines))
    if form == "json":
        assert all(json.loads(line[3:])["event"] for line in lines)


FAILS = """
import sys, threading
from types import SimpleNamespace
from pxeforge.app import logs
logs.set_up(SimpleNamespace(log_format="json", log_level="info"), "wire")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("of the main thread")
"""


def test_what_nobody_caught_is_one_line_too() -> None:
    done = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["level"] for one in found] == ["critical"] * 2
    assert "ZeroDivisionError" in found[0]["exception"]
    assert "ValueError: of the main thread" in found[1]["exception"]
    assert (done.returncode, done.stderr) == (1, "")


SECRETS = st.text("ABCDEFghijkl0123456789", min_size=12, max_size=40)


@given(SECRETS)
def test_whatever_looks_like_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    texts = [
        f"GET /installer/{secret}/late?stage=1", f"/answers/{secret}", f"Authorization: Bearer {secret}",
        f"Basic {secret}=", f"http://user:{secret}@mirror.example/debian", f"password={secret}", f"token: {secret}",
        f'{{"secret": "{secret}"}}', f"passphrase = '{secret}'", f"$6$salt$${secret}", f"PASSWORD={secret};x",
    ]  # fmt: skip
    event: dict[str, Any] = {f"f{n}": text for n, text in enumerate(texts)}
    event |= {"credential": secret, "api_token": secret, "password_hash": secret, "was": (f"token={secret}",)}
    hidden = hide_secrets(None, "info", event)
    assert secret not in json.dumps(hidden)


@pytest.mark.parametrize(
    "text",
    [
        "images/debian-13/20250803/linux", "the token of another host was used", "/boot/52:54:00:12:34:56/menu.ipxe",
        "no such profile: basic", "password required", "http://mirror.example:8080/debian",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide_secrets(None, "info", {"reason": text}) == {"reason": text}


def fields_of(tree: ast.AST) -> set[str]:
    """Names of the fields in calls of a logger (`log.info(…)`, `self._log.tell(…)`)."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        of, method = ast.unparse(node.func.value), node.func.attr
        if of.split(".")[-1].strip("_") in ("log", "get_logger()") and method in (
            "debug", "info", "warning", "error", "exception", "tell"
        ):  # fmt: skip
            found |= {word.arg for word in node.keywords if word.arg is not None}
    return found


def test_fields_have_the_same_names_everywhere() -> None:
    root = Path(pxeforge.__file__).parent
    told = {
        f"{path.relative_to(root)}: {name}"
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] not in ("agent", "lab")
        for name in fields_of(ast.parse(path.read_text()))
        if name not in FIELDS and name != "exc_info"
    }
    assert not told, "use a name of pxeforge.app.logs.FIELDS, or add one there with its meaning"

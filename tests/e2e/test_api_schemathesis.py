"""Whatever is asked of the API, as each role: no fault of the server, and every answer as the description says."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection"
)
# How much: admins reach everything; the others are mostly refused, which is soon seen.
ROLES = {"viewer": ("fuzzing", 6), "operator": ("fuzzing", 12), "admin": ("coverage,fuzzing", 12)}
LEAST = {"viewer": 300, "operator": 600, "admin": 2000}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A real admin plane with hosts: its port, tokens, and what stands in its paths."""
    folder = tmp_path / "data"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.e2e.api_server", str(folder)]
    log = (tmp_path / "server.log").open("w")
    with log, subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, (tmp_path / "server.log").read_text()
        yield json.loads(line)
        server.stdin.close()
        assert server.wait(30) == 0
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def description(plane: dict[str, Any]) -> dict[str, Any]:
    """As the plane gives it; what stands in paths is mostly something that is there."""
    headers = {"Authorization": f"Bearer {plane['tokens']['viewer']}"}
    url = f"http://127.0.0.1:{plane['port']}/api/v1/openapi.json"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        told: dict[str, Any] = json.load(reply)
    for methods in told["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in plane["known"]:
                    parameter["schema"]["enum"] = [*plane["known"][parameter["name"]], "ghost"]
    return told


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_schemathesis_finds_nothing(plane: dict[str, Any], role: str, tmp_path: Path) -> None:
    told = tmp_path / "openapi.json"
    told.write_text(json.dumps(description(plane)))
    phases, examples = ROLES[role]
    command = [
        str(Path(sys.executable).with_name("st")), "run", str(told), "--url", f"http://127.0.0.1:{plane['port']}/api/v1",
        "--header", f"Authorization: Bearer {plane['tokens'][role]}", "--max-examples", str(examples),
        "--phases", phases, "--checks", CHECKS, "--seed", "1", "--suppress-health-check", "all",
        "--continue-on-failure", "--generation-database", "none", "--warnings", "off", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    generated = int(done.stdout.partition(" generated")[0].rpartition("\n")[2].replace(",", ""))
    assert generated >= LEAST[role]

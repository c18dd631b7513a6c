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
RUNS = {
    "viewer": ("fuzzing", 6),
    "operator": ("fuzzing", 12),
    "admin": ("fuzzing", 12),
    "admin-limits": ("coverage", 12),
}
LEAST = {"viewer": 300, "operator": 600, "admin": 600, "admin-limits": 1000}


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


def description(plane: dict[str, Any], by: str) -> dict[str, Any]:
    """As the plane gives it; what stands in paths is something that is there.

    Not as the only values when limits are tried (`by` coverage): others would then count as wrong, also the name of a
    host that was made on the way.
    """
    key = "enum" if by == "fuzzing" else "examples"
    headers = {"Authorization": f"Bearer {plane['tokens']['viewer']}"}
    url = f"http://127.0.0.1:{plane['port']}/api/v1/openapi.json"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        told: dict[str, Any] = json.load(reply)
    for methods in told["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in plane["known"]:
                    parameter["schema"][key] = [*plane["known"][parameter["name"]], "ghost"]
    return told


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_schemathesis_finds_nothing(plane: dict[str, Any], run: str, tmp_path: Path) -> None:
    told, role = tmp_path / "openapi.json", run.partition("-")[0]
    phase, examples = RUNS[run]
    told.write_text(json.dumps(description(plane, phase)))
    command = [
        str(Path(sys.executable).with_name("st")), "run", str(told), "--url", f"http://127.0.0.1:{plane['port']}/api/v1",
        "--header", f"Authorization: Bearer {plane['tokens'][role]}", "--max-examples", str(examples),
        "--phases", phase, "--checks", CHECKS, "--seed", "1", "--suppress-health-check", "all",
        "--request-timeout", "60", "--continue-on-failure", "--generation-database", "none", "--warnings", "off",
        "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    generated = int(done.stdout.partition(" generated")[0].rpartition("\n")[2].replace(",", ""))
    assert generated >= LEAST[run]

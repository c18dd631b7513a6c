"""The wheel, in an empty virtual environment, started from `/`: every asset is there and served."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.assets import ASSET_KINDS

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it needs, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    inside = folder / "venv" / "bin" / "python"
    [wheel] = folder.glob("pxeforge-*.whl")
    subprocess.run([str(inside), *pip[1:], "install", str(wheel)], check=True, cwd="/")
    return inside


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    name = f"wheel-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for words in ("link set lo up", "link add br0 type bridge", "addr add 10.98.0.1/24 dev br0", "link set br0 up"):
        subprocess.run(["ip", "-n", name, *words.split()], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture(scope="module")
def server(python: Path, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running server of the wheel; gives its data directory."""
    data_dir = tmp_path_factory.mktemp("data") / "data"
    log = data_dir.with_name("serve.log")
    words = ["serve", "--data-dir", str(data_dir), "--interface", "br0", "--mirror", "http://127.0.0.1:9/debian"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, str(python.with_name("pxeforge")), *words],
            stdout=stream, stderr=stream, cwd="/",
        )  # fmt: skip
    deadline = time.monotonic() + 120
    while "pxeforge is ready" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.2)
    yield data_dir
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_every_file_of_the_asset_folders_is_in_the_wheel(python: Path) -> None:
    code = (
        "import json, pathlib\n"
        "from pxeforge.assets import ASSET_KINDS, asset_dirs\n"
        "found = {}\n"
        "for kind in ASSET_KINDS:\n"
        "    for place in asset_dirs(kind):\n"
        "        if place.is_dir():\n"
        "            found[kind] = sorted(str(p.relative_to(place)) for p in place.rglob('*') if p.is_file())\n"
        "from pxeforge.engine.roles import load_roles\n"
        "print(json.dumps([found, sorted(load_roles(asset_dirs('roles')))]))\n"
    )
    said = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout
    found, roles = json.loads(said)
    for kind in ASSET_KINDS:
        wanted = sorted(str(path.relative_to(ROOT / kind)) for path in (ROOT / kind).rglob("*") if path.is_file())
        assert wanted
        # pip compiles the scripts of roles.
        assert [name for name in found[kind] if "__pycache__" not in name] == wanted
    assert roles == sorted(path.parent.name for path in (ROOT / "roles").glob("*/role.yaml"))


def test_the_linters_of_the_wheel_have_their_schemas(python: Path, tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text("#cloud-config\nautoinstall:\n  version: 1\n  nonsense: true\n")
    command = [str(python.with_name("pxeforge")), "lint", str(tmp_path / "user-data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 1
    assert "unknown key 'nonsense'" in done.stdout


def fetch(namespace: str, *words: str) -> str:
    command = ["ip", "netns", "exec", namespace, "curl", "-sk", "--max-time", "30", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_menus_and_pages_are_served_from_the_wheel(server: Path, namespace: str) -> None:
    assert "#!ipxe" in fetch(namespace, "http://10.98.0.1:8080/boot/52:54:00:00:00:01/menu.ipxe")
    assert "<form" in fetch(namespace, "https://127.0.0.1:8443/login")
    for path in sorted((ROOT / "web" / "static").rglob("*")):
        if path.is_file():
            url = f"https://127.0.0.1:8443/static/{path.relative_to(ROOT / 'web' / 'static')}"
            assert fetch(namespace, "-o", "/dev/null", "-w", "%{http_code}", url) == "200", url


def test_the_command_line_of_the_wheel_knows_the_roles(server: Path, python: Path) -> None:
    command = [str(python.with_name("pxeforge")), "--data-dir", str(server), "role", "list", "--json"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
    assert {"base", "mariadb"} <= {role["name"] for role in json.loads(said)}

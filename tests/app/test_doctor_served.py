"""`doctor` beside a server that runs: what it was started with is what is examined."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.app.doctor.served import as_served
from pxeforge.app.doctor.world import World
from pxeforge.app.settings import load_settings

STARTED = {"boot_port": 18080, "tftp_port": 1069, "interfaces": ["lo"], "dhcp": "off", "log_level": "debug"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """As a server leaves it that was started with flags."""
    rows = [{"name": name, "value": value, "origin": "command line"} for name, value in STARTED.items()]
    (tmp_path / "settings.json").write_text(json.dumps({"version": 1, "settings": rows}))
    return tmp_path


@pytest.fixture
def running(data_dir: Path) -> Iterator[None]:
    with (data_dir / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_its_ports_and_interfaces_are_those_it_was_started_with(data_dir: Path, running: None) -> None:
    settings = as_served(load_settings({"data_dir": data_dir}, environment={}))
    assert (settings.boot_port, settings.tftp_port, settings.interfaces) == (18080, 1069, ("lo",))
    assert (settings.dhcp, settings.log_level) == ("off", "info")  # how it logs is nothing that is examined
    assert {18080, 8442} <= {port.port for port in World(settings, 0.5).wanted_ports}


def test_what_doctor_is_told_itself_wins(data_dir: Path, running: None) -> None:
    told = load_settings({"data_dir": data_dir, "interfaces": ("eth9",)}, environment={"PXEFORGE_BOOT_PORT": "80"})
    settings = as_served(told)
    assert (settings.interfaces, settings.boot_port) == (("eth9",), 18080)
    assert settings.origin("interfaces") == "command line"


def test_without_a_server_or_with_a_strange_file_the_settings_stay(data_dir: Path) -> None:
    told = load_settings({"data_dir": data_dir}, environment={})
    assert as_served(told) is told
    with (data_dir / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for content in ("{", '{"settings": [{"name": "boot_port", "value": "x", "origin": "default"}]}'):
            (data_dir / "settings.json").write_text(content)
            assert as_served(told).boot_port == 8080

"""The measurements themselves, small: every row comes out, nothing is dropped, lost or wrong on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("gcc") is None, reason="needs root for network namespaces, and gcc"
)
needs_peers = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("dnsmasq", "kea-dhcp4")), reason="dnsmasq or Kea is missing"
)


def measure(*words: str) -> str:
    return said("bench", "--rounds", "1", "--seconds", "1", *words)


def said(module: str, *words: str) -> str:
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_storm_loses_no_machine() -> None:
    table = measure("--only", "storm", "--hosts", "200", "--machines", "100")
    assert "boot storm of 100 machines" in table
    assert "lost" not in table


@needs_peers
def test_every_host_of_a_fleet_is_answered_beside_the_peers() -> None:
    table = measure("--only", "dhcp", "--only", "boot", "--hosts", "200")
    for title in ("exchanges of 4 messages", "offers, each of 200", "menus, each of 200", "answers, each of 200"):
        assert title in table
    assert "Kea" in table
    assert "dropped" not in table


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing")
def test_a_warm_cache_is_measured_without_a_word_to_upstream() -> None:
    table = measure("--only", "cache")
    assert "package cache, warm, 303 packages" in table
    assert "upstream was asked" not in table


def test_a_few_agents_do_all_that_they_are_given_and_are_told_nothing_odd() -> None:
    table = said("bench.engine", "--hosts", "20", "--times", "1", "--agents", "20", "--tasks", "3", "--seconds", "2")
    assert "plan for 20 hosts of the shipped roles" in table
    assert "20 agents with nothing to do" in table
    assert "RSS of the agent process" in table

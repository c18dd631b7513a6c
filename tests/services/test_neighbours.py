"""The neighbour table of a network namespace with a neighbour in it."""

import os
import secrets
import subprocess
import sys

import pytest

from pxeforge.services.neighbours import neighbour_mac


def test_nobody_is_behind_an_address_that_is_no_neighbour() -> None:
    assert neighbour_mac("127.0.0.1") is None
    assert neighbour_mac("192.0.2.77") is None


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_a_neighbour_is_known_by_its_mac() -> None:
    name = f"neigh-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "link add va type veth peer name vb", "addr add 10.97.0.1/24 dev va", "link set va up", "link set vb up",
            "neigh add 10.97.0.9 lladdr 52:54:00:00:00:09 dev va",
        ):  # fmt: skip
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        code = "from pxeforge.services.neighbours import neighbour_mac as f; print(f('10.97.0.9'), f('10.97.0.8'))"
        command = ["ip", "netns", "exec", name, sys.executable, "-c", code]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [
            "52:54:00:00:00:09", "None",
        ]  # fmt: skip
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)

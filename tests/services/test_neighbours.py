"""The neighbour table of a network namespace with a neighbour in it."""

import os
import secrets
import subprocess
import sys

import pytest

from pxeforge.services.neighbours import KEPT_S, Neighbours


def test_nobody_is_behind_an_address_that_is_no_neighbour() -> None:
    neighbours = Neighbours()
    assert neighbours("127.0.0.1") is None
    assert neighbours("203.0.113.77") is None


ASKED = f"""
import subprocess
from pxeforge.services.neighbours import Neighbours
now = 0.0
ask = Neighbours(lambda: now)
def replace(address, mac):
    subprocess.run(["ip", "neigh", "replace", address, "lladdr", mac, "dev", "va"], check=True)
print(ask("10.97.0.9"), ask("10.97.0.8"))
replace("10.97.0.9", "52:54:00:00:00:0a")
replace("10.97.0.8", "52:54:00:00:00:08")
print(ask("10.97.0.9"), ask("10.97.0.8"))
now = {KEPT_S} + 1
print(ask("10.97.0.9"))
"""


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
        command = ["ip", "netns", "exec", name, sys.executable, "-c", ASKED]
        answers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert answers == [
            "52:54:00:00:00:09", "None",  # a stranger is nobody yet
            "52:54:00:00:00:09", "52:54:00:00:00:08",  # one is remembered, the other was asked for again
            "52:54:00:00:00:0a",  # and nothing is remembered for ever
        ]  # fmt: skip
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_our_address_as_each_peer_sees_us() -> None:
    name = f"neigh-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "link set lo up", "link add va type bridge", "addr add 10.97.0.1/24 dev va", "link set va up",
            "link add vb type bridge", "addr add 10.98.0.1/24 dev vb", "link set vb up",
            "route add 10.99.0.0/16 via 10.98.0.7",
        ):  # fmt: skip
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        code = (
            "from pxeforge.services.neighbours import Neighbours; n = Neighbours();"
            "print(*map(n.source, ('10.97.0.9', '10.98.0.9', '10.99.3.4', '10.97.0.1', '203.0.113.1', 'nonsense')))"
        )
        command = ["ip", "netns", "exec", name, sys.executable, "-c", code]
        answers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert answers[-6:] == ["10.97.0.1", "10.98.0.1", "10.98.0.1", "None", "None", "None"]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)

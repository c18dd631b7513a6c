"""The fixtures of the servers' tests, for programs of other people as clients."""

from tests.servers.conftest import desk, network, store

__all__ = ["desk", "network", "store"]

"""Every role of a cloud taken from a real Debian again: nothing runs, nothing listens, and it can come back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.cloud import Cloud
from tests.e2e.cloud_trial import (
    EMULATED,
    on,
    operator_folder,
    other_than,
    skip_without_mirror,
    states,
    write_blueprint,
)
from tests.e2e.conftest import CACHE

pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not())),
    pytest.mark.timeout(3000),
]
ROLES = (
    *("haproxy", "mariadb", "rabbitmq", "memcached", "keystone", "openrc", "placement", "glance", "nova-controller"),
    *("horizon", "neutron-server", "neutron-openvswitch", "neutron-dhcp", "neutron-metadata", "neutron-l3"),
    *("nova-compute", "guest-image"),
)
WHOLE = {
    "summary": "every role that one host without machines of its own can have",
    "variables": {
        **EMULATED, "neutron_provider_address": "172.24.4.1/24", "workers": 1,
    },
    "networks": {"api": {"cidr": "10.77.0.0/24", "purposes": ["api", "tunnel"]}},
    "vips": {"cloud": {"address": "10.77.0.250", "network": "api", "roles": ["placement", "glance"]}},
    "hosts": [{"match": {"name": "c1"}, "roles": list(ROLES)}],
}  # fmt: skip
BARE = {
    "summary": "the same host without any of them",
    "hosts": [{"match": {"name": "c1"}, "roles": ["cloud"]}],
}  # fmt: skip
PORTS = (3306, 4369, 5000, 5672, 6080, 6640, 8774, 8775, 8778, 9292, 9696, 11211, 15672, 25672, 80)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    skip_without_mirror()
    folder = tmp_path_factory.mktemp("removal")
    with (
        operator_folder(folder / "operator") as operator,
        Cloud(folder, cache=CACHE, suite="bookworm", names=["c1"], name="removal") as made,
    ):
        write_blueprint(operator, "whole", WHOLE)
        write_blueprint(operator, "bare", BARE)
        assert other_than(states(made, "deploy", "whole"), "ok", "changed") == {}
        yield made


def listening(cloud: Cloud) -> set[int]:
    return {int(line.split()[3].rpartition(":")[2]) for line in on(cloud, "c1", "ss -Hltn").splitlines()} & {*PORTS}


def running(cloud: Cloud) -> set[str]:
    """Services beside those of an empty Debian with the role `cloud`."""
    told = on(cloud, "c1", "systemctl list-units --type=service --state=running,failed,activating --plain --no-legend")
    own = ("systemd-", "dbus", "polkit", "ssh", "chrony", "pxeforge-agent", "user@", "getty", "console")
    return {name for name in (line.split()[0] for line in told.splitlines()) if not name.startswith(own)}


def test_roles_go_by_name_and_leave_nothing_that_runs(cloud: Cloud) -> None:
    assert listening(cloud) >= {3306, 5000, 5672, 8774, 9292, 9696, 11211}
    plan = json.loads(cloud.pxeforge("plan", "bare", "--remove-unassigned", "--json"))
    [leftover] = plan["leftover"]
    assert {*ROLES} <= {*leftover["roles"]}
    began = time.monotonic()
    removed = states(cloud, "deploy", "bare", "--remove-unassigned")
    print(f"\n{len(leftover['roles'])} roles removed in {time.monotonic() - began:.0f} s")
    assert other_than(removed, "ok", "changed") == {}
    assert listening(cloud) == set()
    assert running(cloud) == set()
    assert json.loads(cloud.pxeforge("plan", "bare", "--remove-unassigned", "--json"))["leftover"] == []
    assert other_than(states(cloud, "deploy", "bare", "--remove-unassigned"), "ok") == {}


def test_what_was_removed_can_come_back(cloud: Cloud) -> None:
    assert other_than(states(cloud, "deploy", "whole"), "ok", "changed") == {}
    assert other_than(states(cloud, "verify", "whole"), "ok") == {}

"""The network step with programs of ours in place of the kernel's network, systemd and Open vSwitch; what real ones
make of it is told by tests/e2e/test_network_step.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.agent.networkd_files import networkd_files
from pxeforge.agent.ovs import OvsBridge, transaction
from pxeforge.engine.step_types import checked_params

from .fake_host import do, program

# networkd gives links the addresses of their files when it (re)starts; systemd runs the script of the rollback unit.
SYSTEMCTL = r"""
echo "$*" >> log
case "$*" in
"--quiet is-active systemd-networkd.service") test -e networkd-runs;;
"--quiet is-enabled systemd-networkd.service") test -e networkd-enabled;;
"enable --quiet systemd-networkd.service") touch networkd-enabled;;
"restart systemd-networkd.service") touch networkd-runs; for f in etc/systemd/network/*.network; do
  test -e "$f" || continue; name=$(sed -n 's/^Name=//p' "$f"); sed -n 's/^Address=//p' "$f" > "addresses/$name"; done;;
"disable --quiet --now "*) rm -f networkd-runs networkd-enabled;;
"start pxeforge-network-rollback.service")
  eval "$(sed -n 's/^ExecStart=//p' etc/systemd/system/pxeforge-network-rollback.service)";;
esac
"""
IP = r"""
case "$*" in
"-json address") exec python3 -c '
import json, pathlib
split = lambda text: {"local": text.split("/")[0], "prefixlen": int(text.split("/")[1])}
print(json.dumps([{"ifname": file.name, "addr_info": [split(line) for line in file.read_text().split()]}
                  for file in sorted(pathlib.Path("addresses").iterdir())]))';;
"address del "*) grep -vxF "$3" "addresses/$5" > new; mv new "addresses/$5";;
"address flush "*) : > "addresses/$4";;
"address add "*) echo "$3" >> "addresses/$5";;
"-4 route show proto boot") cat routes 2>/dev/null || true;;
*) echo "ip $*" >> log;;
esac
"""
EMPTY_TABLE = '{"headings":["_uuid","name"],"data":[]}'


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for name, number in (("eth0", 1), ("eth1", 2)):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "address").write_text(f"52:54:00:00:00:0{number}\n")
    for folder in ("addresses", "etc/systemd/network", "etc/pxeforge"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "addresses/eth0").write_text("192.0.2.5/24\n")
    (tmp_path / "addresses/eth1").write_text("")
    program(tmp_path, "systemctl", SYSTEMCTL)
    program(tmp_path, "ip", IP)
    program(tmp_path, "ovs-vsctl", f"case \"$*\" in *list*) echo '{EMPTY_TABLE}';; *) echo ovs-vsctl $* >> log;; esac")
    return tmp_path


@pytest.fixture
def server(host: Path) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        (host / "etc/pxeforge/agent.json").write_text(json.dumps({"agent_url": url}))
        yield listener


def network(host: Path, *, check_only: bool = False, **params: Any) -> dict[str, Any]:
    checked = checked_params("network", params)
    checked["deadline_s"] = min(checked["deadline_s"], 0.2)  # nobody's network takes long here
    return do(host, "network", checked, root=host, check_only=check_only)


def files(host: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((host / "etc/systemd/network").iterdir())}


BRIDGED: dict[str, Any] = {
    "nics": [{"name": "eth0"}, {"name": "eth1", "addresses": ["198.51.100.5/24"]}],
    "bridges": [{"name": "br0", "ports": ["eth0"], "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"}],
}


def test_the_network_is_written_as_a_whole_and_nothing_the_second_time(host: Path, server: socket.socket) -> None:
    old = host / "etc/systemd/network/10-old.network"
    old.write_text("[Match]\nName=eth1\n")
    dry = network(host, **BRIDGED, check_only=True)
    assert (dry["status"], "10-old.network has to go" in dry["message"]) == ("changed", True)
    assert list(files(host)) == ["10-old.network"]
    first = network(host, **BRIDGED)
    assert first["status"] == "changed", first
    assert list(files(host)) == ["20-br0.netdev", "20-br0.network", "50-eth0.network", "50-eth1.network"]
    assert "MACAddress=52:54:00:00:00:01" in files(host)["20-br0.netdev"]
    assert (host / "addresses/eth0").read_text() == ""  # it is the bridge's now
    assert network(host, **BRIDGED)["status"] == "ok"
    assert not list((host / "etc/systemd/system").glob("pxeforge*"))
    log = (host / "log").read_text()
    assert log.index("restart pxeforge-network-rollback.timer") < log.index("restart systemd-networkd.service")
    assert "stop pxeforge-network-rollback.timer" in log


def test_a_network_that_loses_the_server_is_put_back(host: Path, server: socket.socket) -> None:
    old = host / "etc/systemd/network/10-old.network"
    old.write_text("[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.5/24\n")
    (host / "networkd-runs").touch()
    (host / "networkd-enabled").touch()
    server.close()
    result = network(host, nics=[{"name": "eth0", "addresses": ["203.0.113.5/24"]}])
    assert result["status"] == "failed", result
    assert "is not reached over the new network" in result["message"]
    assert result["message"].endswith("for 0.2 s: the former network is back")
    assert files(host) == {"10-old.network": "[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.5/24\n"}
    assert (host / "addresses/eth0").read_text() == "192.0.2.5/24\n"
    assert not list((host / "etc/systemd/system").glob("pxeforge*"))


def test_what_others_had_set_comes_back_too(host: Path, server: socket.socket) -> None:
    (host / "routes").write_text("default via 192.0.2.1 dev eth0 linkdown \n")
    server.close()
    result = network(host, nics=[{"name": "eth0", "addresses": ["203.0.113.5/24"]}])
    assert result["status"] == "failed"
    assert (files(host), (host / "addresses/eth0").read_text()) == ({}, "192.0.2.5/24\n")
    assert not (host / "networkd-runs").exists()
    assert "ip -4 route replace default via 192.0.2.1 dev eth0\n" in (host / "log").read_text()


def test_ifupdown_hands_its_nics_over_and_gets_them_back(host: Path, server: socket.socket) -> None:
    interfaces = host / "etc/network/interfaces"
    interfaces.parent.mkdir()
    before = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n"
    interfaces.write_text(before)
    for name in ("ifup", "ifdown"):
        program(host, name, f"echo {name} $* >> log")
    eth0 = {"name": "eth0", "addresses": ["192.0.2.5/24"]}
    port = server.getsockname()[1]
    assert network(host, nics=[eth0])["status"] == "changed"
    assert "eth0" not in interfaces.read_text()
    assert "ifdown --force eth0" in (host / "log").read_text()
    assert network(host, nics=[eth0])["status"] == "ok"
    interfaces.write_text(before)
    result = network(host, nics=[eth0], check=[{"host": "127.0.0.1", "port": 9 if port != 9 else 10}])
    assert result["status"] == "failed"
    assert interfaces.read_text() == before
    assert "ifup --force eth0" in (host / "log").read_text()


def test_a_change_that_was_cut_short_is_confirmed_or_put_back_first(host: Path, server: socket.socket) -> None:
    wanted = {"nics": [{"name": "eth0", "addresses": ["192.0.2.5/24"]}]}
    network(host, **wanted)
    (host / "network/armed").touch()  # the agent was killed before it could call the rollback off
    result = network(host, **wanted)
    assert (result["status"], "not confirmed" in result["message"]) == ("changed", True)
    assert not (host / "network/armed").exists()


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"nics": [{"name": "eth7"}]}, "there is no NIC eth7 here: there is eth0 (52:54:00:00:00:01), eth1"),
        ({"nics": [{"name": "lan", "mac": "52:54:00:00:00:09"}]}, "no NIC here has the MAC 52:54:00:00:00:09"),
    ],
)
def test_a_nic_that_is_not_there_is_named_before_anything_changes(
    host: Path, server: socket.socket, params: dict[str, Any], reason: str
) -> None:
    result = network(host, **params)
    assert (result["status"], reason in result["message"]) == ("failed", True)
    assert files(host) == {}


def test_netplan_is_left_alone(host: Path, server: socket.socket) -> None:
    (host / "etc/netplan").mkdir()
    (host / "etc/netplan/50-cloud-init.yaml").touch()
    assert "configured by netplan" in network(host, nics=[{"name": "eth0"}])["message"]


def test_without_interfaces_nothing_is_done(host: Path) -> None:
    assert network(host)["status"] == "ok"
    assert not (host / "log").exists()


def test_every_kind_of_interface_has_its_files() -> None:
    params = checked_params("network", {
        "nics": [{"name": "a", "mac": "52:54:00:00:00:01"}, {"name": "b"}, {"name": "c"}],
        "bonds": [{"name": "bond0", "nics": ["a", "b"], "mode": "802.3ad", "mtu": 9000}],
        "vlans": [{"name": "storage", "link": "bond0", "id": 20, "addresses": ["198.51.100.5/24", "198.51.100.6/24"],
                   "routes": [{"to": "203.0.113.0/24", "via": "198.51.100.1", "metric": 7}]}],
        "vxlans": [{"name": "vx42", "id": 42, "link": "storage", "group": "239.1.1.1", "addresses": ["192.0.2.1/24"]},
                   {"name": "vx43", "id": 43, "remote": "198.51.100.9"}],
        "bridges": [{"name": "br-ex", "kind": "ovs", "ports": ["c"], "dhcp": True}],
    })  # fmt: skip
    made = networkd_files(params, {})
    assert sorted(made) == [
        "20-br-ex.network", "30-bond0.netdev", "30-bond0.network", "40-storage.netdev", "40-storage.network",
        "45-vx42.netdev", "45-vx42.network", "45-vx43.netdev", "45-vx43.network", "50-a.network", "50-b.network",
        "50-c.network",
    ]  # fmt: skip
    assert "PermanentMACAddress=52:54:00:00:00:01" in made["50-a.network"]
    assert "Bond=bond0" in made["50-a.network"]
    assert "Mode=802.3ad" in made["30-bond0.netdev"]
    assert "VLAN=storage" in made["30-bond0.network"]
    assert "Id=20" in made["40-storage.netdev"]
    assert made["40-storage.network"].count("Address=") == 2
    assert "Destination=203.0.113.0/24\nGateway=198.51.100.1\nMetric=7" in made["40-storage.network"]
    assert "VXLAN=vx42" in made["40-storage.network"]
    assert "VNI=42\nGroup=239.1.1.1\nDestinationPort=4789\n" in made["45-vx42.netdev"]
    assert "Independent=yes" in made["45-vx43.netdev"]
    assert "Bridge=" not in made["50-c.network"]  # Open vSwitch keeps its own ports


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"nics": [{"name": "a", "addresses": ["192.0.2.5"]}]}, "prefix length"),
        ({"bridges": [{"name": "br0", "ports": ["a"]}]}, "is not there"),
        (
            {"nics": [{"name": "a", "dhcp": True}], "bridges": [{"name": "br0", "ports": ["a"]}]},
            "give the addresses to br0",
        ),
        ({"nics": [{"name": "a", "gateway": "192.0.2.1"}, {"name": "b", "gateway": "192.0.2.1"}]}, "default route"),
        ({"nics": [{"name": "a"}, {"name": "a"}]}, "two interfaces are called a"),
        ({"vlans": [{"name": "v", "link": "a", "id": 5}]}, "v is on a, which"),
        ({"vxlans": [{"name": "v", "id": 5, "group": "239.1.1.1"}]}, "needs `link`"),
        ({"bridges": [{"name": "b", "datapath": "netdev"}]}, "belong to a bridge of kind ovs"),
    ],
)
def test_interfaces_that_do_not_fit_together_are_refused(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        checked_params("network", params)


def test_bridges_of_open_vswitch_change_by_one_transaction_each_way() -> None:
    empty: dict[str, OvsBridge] = {}
    wanted = {
        "br-ex": OvsBridge("br-ex", "netdev", hwaddr="52:54:00:00:00:01", controller=("tcp:c:6633",), ports=("eth0",))
    }
    assert " ".join(transaction(empty, wanted)) == (
        "--may-exist add-br br-ex -- set Bridge br-ex datapath_type=netdev stp_enable=false"
        ' -- set Bridge br-ex external_ids:pxeforge=network -- set Bridge br-ex other_config:hwaddr="52:54:00:00:00:01"'
        " -- --may-exist add-port br-ex eth0 -- set Port eth0 external_ids:pxeforge=network"
        " -- set-controller br-ex tcp:c:6633"
    )
    assert transaction(wanted, wanted) == []
    assert transaction(wanted, empty) == ["--if-exists", "del-br", "br-ex"]
    theirs = {"br-int": OvsBridge("br-int", is_ours=False)}
    assert transaction({**wanted, **theirs}, wanted) == []

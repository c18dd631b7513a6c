from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.lab.dhcp_relay import relaying
from pxeforge.lab.rack import Branch, Rack, RackError, Site
from pxeforge.lab.site_dhcp import PROGRAMS, Brand, SiteDhcp, path_of

needs_rack = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("udhcpc")),
        reason="racks need root and iproute2, and their client is udhcpc",
    ),
]
WIRE = ipaddress.IPv4Network("10.77.0.0/24")
BRANCH = ipaddress.IPv4Network("10.78.0.0/24")
# What each would need to send a machine somewhere: the site's server knows nothing of netbooting.
_BOOT_WORDS = ("boot", "tftp", "next-server", "filename", "67,")


@pytest.fixture
def rack() -> Iterator[Rack]:
    with Rack("test") as rack:
        yield rack


def site() -> Site:
    return Site("site", WIRE[2], WIRE)


@pytest.mark.parametrize("brand", list(Brand))
@pytest.mark.parametrize("subnet", [None, BRANCH])
def test_a_server_lends_forty_one_addresses_and_no_boot_file(
    brand: Brand, subnet: ipaddress.IPv4Network | None, tmp_path: Path
) -> None:
    text = SiteDhcp(site(), tmp_path, brand=brand, subnet=subnet).config()
    lent = subnet or WIRE
    assert re.search(rf"{lent[50]}\W+{lent[90]}", text)
    assert str(subnet[1] if subnet else WIRE[2]) in text  # the router
    assert not [word for word in _BOOT_WORDS if word in text]


def test_kea_is_told_in_json(tmp_path: Path) -> None:
    told = json.loads(SiteDhcp(site(), tmp_path, brand=Brand.KEA).config())
    assert told["Dhcp4"]["interfaces-config"]["interfaces"] == ["eth0"]


def leased(wire: Rack | Branch) -> str:
    """What udhcpc on a fresh port of the wire is lent, by whom."""
    wire.ip("link", "add", "client0", "type", "veth", "peer", "name", "client1")
    wire.ip("link", "set", "client1", "master", wire.bridge, "up")
    wire.ip("link", "set", "client0", "up")
    client = ["udhcpc", "-i", "client0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", "/bin/true"]
    done = wire.run(client, check=False)
    return done.stdout + done.stderr


class TestOnARack:
    pytestmark = needs_rack

    @pytest.mark.parametrize("brand", list(Brand))
    def test_each_brand_lends_addresses_of_its_wire(self, brand: Brand, rack: Rack, tmp_path: Path) -> None:
        if path_of(brand) is None:
            pytest.skip(f"the package {PROGRAMS[brand].package} is missing")
        with SiteDhcp(rack.add_site(), tmp_path, brand=brand) as dhcp:
            assert re.search(r"lease of 10\.77\.0\.\d+ obtained from 10\.77\.0\.2", leased(rack))
            assert Path(f"/proc/{dhcp.pid}").exists()
        assert not Path(f"/proc/{dhcp.pid}").exists()

    @pytest.mark.skipif(path_of(Brand.DNSMASQ) is None, reason="needs dnsmasq")
    @pytest.mark.parametrize("brand", list(Brand))
    def test_behind_a_relay_it_lends_addresses_of_the_branch(self, brand: Brand, rack: Rack, tmp_path: Path) -> None:
        if path_of(brand) is None:
            pytest.skip(f"the package {PROGRAMS[brand].package} is missing")
        site = rack.add_site()
        branch = rack.add_branch()
        with (
            SiteDhcp(site, tmp_path, brand=brand, subnet=branch.subnet),
            relaying(branch, [rack.address, site.address], tmp_path),
        ):
            assert re.search(r"lease of 10\.78\.0\.\d+ obtained from 10\.77\.0\.2", leased(branch))

    def test_a_server_that_is_not_installed_names_its_package(
        self, rack: Rack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dhcp = SiteDhcp(rack.add_site(), tmp_path, brand=Brand.KEA)
        with monkeypatch.context() as computer:
            computer.setenv("PATH", str(tmp_path))
            with pytest.raises(RackError, match="install the package kea-dhcp4-server"):
                dhcp.start()

    @pytest.mark.skipif(path_of(Brand.DNSMASQ) is None, reason="needs dnsmasq")
    def test_a_relay_that_cannot_start_says_why(self, rack: Rack, tmp_path: Path) -> None:
        branch = rack.add_branch()
        with (
            relaying(branch, [rack.address], tmp_path / "first"),
            pytest.raises(RackError, match="in use"),
            relaying(branch, [rack.address], tmp_path / "second"),
        ):
            pass

"""What the settings make of the wire."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from pxeforge.app.settings import load_settings
from pxeforge.app.wire import boot_files, dhcp_settings
from pxeforge.domain.firmware import Firmware
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.protocol.dhcp.lease import BadSubnet
from pxeforge.servers.interfaces import Interface
from pxeforge.services import loaders

BR0 = Interface(name="br0", address=IPv4Address("10.77.0.1"), network=IPv4Network("10.77.0.0/24"), mac=None)
SERVER = {"dhcp": "server", "range": "10.77.0.50-10.77.0.90"}


def files_with(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, **flags: Any) -> BootFiles:
    for name in names:
        (folder / name).write_bytes(b"loader")
    monkeypatch.setattr(loaders, "IPXE_DIR", folder)
    return boot_files(load_settings(flags, environment={}))


def test_routes_and_mtu_reach_the_hosts() -> None:
    routes = ["10.9.0.0/16 via 10.77.0.254", "10.8.1.0/24 via 10.77.0.253"]
    settings = load_settings({**SERVER, "routes": routes, "mtu": 9000}, environment={})
    (subnet,) = dhcp_settings(settings, [BR0]).subnets
    assert subnet.mtu == 9000
    assert subnet.routes == (
        (IPv4Network("10.9.0.0/16"), IPv4Address("10.77.0.254")),
        (IPv4Network("10.8.1.0/24"), IPv4Address("10.77.0.253")),
    )


def test_a_route_by_a_router_that_no_host_reaches_is_refused() -> None:
    settings = load_settings({**SERVER, "routes": ["10.9.0.0/16 via 10.99.0.1"]}, environment={})
    with pytest.raises(BadSubnet, match=r"router 10\.99\.0\.1 .* is not inside"):
        dhcp_settings(settings, [BR0])


def test_every_uefi_loader_has_a_name_of_its_own_per_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = files_with(monkeypatch, tmp_path, "snponly.efi", "ipxe.efi", "undionly.kpxe", boot_port=8081)
    assert files.grub_files == {Firmware.UEFI_X64: "boot/{dashed}/bootnetx64.efi"}
    assert files.ipxe_files == {
        Firmware.UEFI_X64: "boot/{dashed}/snponly.efi",
        Firmware.HTTP_X64: "http://{server}:8081/boot/{mac}/snponly.efi",
    }
    assert files.bios_ipxe_file == "boot/{dashed}/undionly.kpxe"


def test_without_ipxe_on_the_server_none_is_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = files_with(monkeypatch, tmp_path)
    assert (files.ipxe_files, files.bios_ipxe_file) == ({}, None)

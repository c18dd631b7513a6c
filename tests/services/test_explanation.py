"""`host explain`: the same bytes as the servers would send, and a reason for each."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.boot import Boot, BootDecision, BootRequest
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp import proxy
from pxeforge.protocol.dhcp.client import classify
from pxeforge.protocol.dhcp.exchange import Answer, Arrival
from pxeforge.protocol.dhcp.message import DhcpMessage
from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.services import arming, hosts, install_tokens, loaders
from pxeforge.services.boot_desk import Desk
from pxeforge.services.context import Context
from pxeforge.services.explanation import explain
from pxeforge.services.problems import Problem
from tests.conftest import MAC, PEER, write_image

HOST = MacAddress.parse(MAC)
OWN = f"boot/{HOST.dashed}/"


@pytest.fixture(autouse=True)
def _loaders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All loaders of this server's own packages, whatever is installed here."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in (*loaders.IPXE_NAMES, "lpxelinux.0", "ldlinux.c32"):
        (folder / name).write_bytes(b"loader")
    monkeypatch.setattr(loaders, "IPXE_DIR", folder)
    monkeypatch.setattr(
        loaders, "LPXELINUX_FILES", {name: folder / name.rpartition("/")[2] for name in loaders.LPXELINUX_FILES}
    )


def titles(told: dict[str, Any]) -> list[str]:
    return [step["title"] for step in told["steps"]]


def packet(told: dict[str, Any], start: str) -> DhcpMessage:
    step = next(step for step in told["steps"] if step["title"].startswith(start))
    return DhcpMessage.parse(bytes.fromhex(step["hex"]))


def test_a_host_that_boots_its_disk_meets_silence_and_hears_why(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    told = explain(ctx, "n1")
    assert (told["decision"], told["files"]) == ("local", {})
    assert titles(told) == ["bios: DISCOVER", "silence"]
    assert "not armed" in told["steps"][1]["reason"]


def test_the_offer_is_what_the_responder_sends_to_that_very_discover(ctx: Context, armed: dict[str, Any]) -> None:
    told = explain(ctx, "n1", firmware="bios")
    discover = packet(told, "bios: DISCOVER")
    request = classify(discover)
    assert isinstance(request, BootRequest)
    arrival = Arrival(our_address=IPv4Address("192.0.2.1"), port=67, peer=("0.0.0.0", 68), now=0)
    decision = BootDecision(boot=Boot.INSTALL, reason="test")
    sent = proxy.answer(discover, arrival, request, decision, loaders.boot_files(ctx.data_dir, 8080))
    assert isinstance(sent, Answer)
    shown = next(step for step in told["steps"] if "our OFFER" in step["title"])
    assert shown["hex"] == sent.replies[0].datagram().hex()
    assert "option 67 (boot file) pxelinux.0" in shown["decoded"]


def test_uefi_is_told_to_go_on_at_port_4011(ctx: Context, armed: dict[str, Any]) -> None:
    told = explain(ctx, "n1", firmware="uefi-x64")
    assert packet(told, "our OFFER from port 67").file == b""
    assert packet(told, "our ACK from port 4011").file == f"{OWN}bootnetx64.efi".encode()
    assert f"TFTP {OWN}grub.cfg" in titles(told)


def test_server_mode_shows_the_address_it_would_lease(ctx: Context, armed: dict[str, Any]) -> None:
    subnet = Subnet(
        network=IPv4Network("192.0.2.0/24"), first=IPv4Address("192.0.2.50"), last=IPv4Address("192.0.2.60")
    )
    server = dataclasses.replace(ctx, dhcp="server", subnets=lambda: (subnet,))
    told = explain(server, "n1", firmware="bios")
    offer, ack = packet(told, "our OFFER"), packet(told, "our ACK")
    assert subnet.first <= offer.yiaddr <= subnet.last
    assert ack.yiaddr == offer.yiaddr
    assert ack.file == b"pxelinux.0"


@pytest.mark.parametrize(
    ("firmware", "loader", "names"),
    [
        ("bios", "auto", ["pxelinux.0", "ldlinux.c32", f"pxelinux.cfg/01-{HOST.dashed}"]),
        (
            "bios",
            "lpxelinux",
            [f"{OWN}lpxelinux/{name}" for name in ("lpxelinux.0", "ldlinux.c32", f"pxelinux.cfg/01-{HOST.dashed}")],
        ),
        ("bios", "ipxe", [f"{OWN}undionly.kpxe", f"http://192.0.2.1:8080/boot/{MAC}/menu.ipxe"]),
        (
            "http-arm64",
            "auto",
            [
                f"http://192.0.2.1:8080/boot/{MAC}/bootnetaa64.efi",
                f"http://192.0.2.1:8080/boot/{MAC}/grubaa64.efi",
                "http://192.0.2.1:8080/debian-installer/arm64/grub/grub.cfg",
                f"http://192.0.2.1:8080/boot/{MAC}/grub.cfg",
            ],
        ),
        ("uefi-x64", "ipxe", [f"{OWN}snponly.efi", f"http://192.0.2.1:8080/boot/{MAC}/menu.ipxe"]),
    ],
)
def test_the_files_are_those_the_server_has_under_these_names(
    ctx: Context, armed: dict[str, Any], firmware: str, loader: str, names: list[str]
) -> None:
    write_image(
        ctx.data_dir, "20250804",
        {"loaders/ldlinux.c32": b"x", "loaders/bootnetaa64.efi": b"s", "loaders/grubaa64.efi": b"g"},
    )  # fmt: skip
    hosts.change(ctx, "n1", loader=loader, who="test")
    told = explain(ctx, "n1", firmware=firmware)
    files = [step for step in told["steps"] if step["title"].startswith(("TFTP", "HTTP"))]
    assert [step["title"].split(" ", 1)[1] for step in files] == names
    assert not any("NOT HERE" in step["reason"] for step in files)
    assert hosts.show(ctx, "n1")["state"] == "armed"  # looking moves nothing
    token = install_tokens.token_of(ctx, hosts.show(ctx, "n1")["attempt"]["id"], "answers")
    if names[0].endswith("linux.0"):
        menu = Desk(ctx).tftp_open(names[-1], PEER)
        assert isinstance(menu, bytes)
        assert files[-1]["text"] == menu.decode().replace(token, "0" * 32)


def test_the_texts_of_an_install_are_shown_and_a_rescue_has_none(ctx: Context, armed: dict[str, Any]) -> None:
    assert set(explain(ctx, "n1")["files"]) == {"menu.pxelinux", "answers", "early", "disks", "late"}
    arming.arm_program(ctx, "n1", boot="rescue", profile="debian-13", who="test")
    assert set(explain(ctx, "n1")["files"]) == {"menu.pxelinux"}


@pytest.mark.parametrize("firmware", sorted(set(Firmware) - {Firmware.UNKNOWN}, key=lambda one: one.value))
@pytest.mark.parametrize("mode", ["proxy", "off"])
def test_every_firmware_is_explained(ctx: Context, armed: dict[str, Any], firmware: Firmware, mode: str) -> None:
    told = explain(dataclasses.replace(ctx, dhcp=mode), "n1", firmware=firmware.value)
    assert told["firmware"] == firmware.value
    assert all(step["reason"] for step in told["steps"])
    assert told["decision"] == ("install" if firmware.arch else "local")


def test_a_firmware_that_does_not_exist_is_refused(ctx: Context, armed: dict[str, Any]) -> None:
    with pytest.raises(Problem, match=r"'toaster' is no firmware: choose one of bios, uefi-ia32"):
        explain(ctx, "n1", firmware="toaster")

"""DHCP messages as real firmware sends them, and short ways to write others."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.exchange import Arrival
from pxeforge.protocol.dhcp.message import DhcpMessage, MessageType, Op, Option
from pxeforge.protocol.dhcp.subnet import HostNetwork

OURS = IPv4Address("10.77.0.1")
OTHERS = IPv4Address("10.77.0.2")
MAC = bytes.fromhex("525400123456")
_COOKIE = "63825363"


def _raw(xid: str, secs: str, flags: str, options: str) -> bytes:
    fixed = f"01010600{xid}{secs}{flags}" + "00000000" * 4 + MAC.hex() + "00" * 10 + "00" * 64 + "00" * 128
    return bytes.fromhex(fixed + _COOKIE + options.replace(" ", "").replace("\n", ""))


# QEMU's iPXE ROM for BIOS (iPXE src/net/udp/dhcp.c): raw user class, option 175, architecture 0.
IPXE_DISCOVER = _raw(
    "a1b2c3d4",
    "0004",
    "0000",
    """350101 390205c0 5d020000 5e03010201
    3c20 505845436c69656e743a417263683a30303030303a554e44493a303032303031
    4d04 69505845
    3719 0103060708 0a0c 0f11 1a2b3c4243778081 82838485 8687 afcb
    af30 b10501 1af4 1041 eb03010000 170101 220101 130101 140101 110101 270101 190101
    290101 100102 210101 150101 180101
    3d07 01525400123456
    6111 00 564d1ab4 2c53 4c4e 9d6a 0123456789ab
    ff""",
)

# A PXE ROM of the older kind (Intel Boot Agent): no user class, GUID, broadcast flag, padded.
PXE_ROM_DISCOVER = _raw(
    "52123456",
    "0004",
    "8000",
    """350101 3718 0102030506 0b0c0d0f10 1112 2b36 3c43 8081 8283 8485 8687
    390204ec
    6111 00 00112233 4455 6677 8899 aabbccddeeff
    5d020000 5e03010201
    3c20 505845436c69656e743a417263683a30303030303a554e44493a303032303031
    ff""",
).ljust(548, b"\0")

# OVMF's UEFI PXE driver (EDK2 NetworkPkg/UefiPxeBcDxe): architecture 7, UNDI 3.
OVMF_DISCOVER = _raw(
    "00c0ffee",
    "0000",
    "8000",
    """350101 390205dc
    3723 0102030405060c0d0f1112161728292a2b32333a3b3c424361808182838485868797 00
    6111 00 564d1ab4 2c53 4c4e 9d6a 0123456789ab
    5e03010310 5d020007
    3c20 505845436c69656e743a417263683a30303030373a554e44493a303033303136
    ff""",
)

# The same firmware's HTTP Boot driver (NetworkPkg/HttpBootDxe): architecture 16, HTTPClient.
OVMF_HTTP_DISCOVER = _raw(
    "00c0ffef",
    "0000",
    "8000",
    """350101 390205dc
    370a 01030406 0c0f2b3c4361
    6111 00 564d1ab4 2c53 4c4e 9d6a 0123456789ab
    5e03010310 5d020010
    3c21 48545450436c69656e743a417263683a30303031363a554e44493a30303330303100
    ff""",
)

# busybox's udhcpc inside debian-installer: class "d-i", no PXE at all.
INSTALLER_DISCOVER = _raw(
    "0badcafe", "0000", "0000", "350101 3d0701525400123456 3c03 642d69 3707 0103060c0f1c2a 39020240 ff"
)


def message(
    kind: MessageType,
    *,
    mac: bytes = MAC,
    ciaddr: str = "0.0.0.0",
    giaddr: str = "0.0.0.0",
    flags: int = 0,
    **options: bytes,
) -> DhcpMessage:
    """A message of a client; options are given by the names of Option."""
    return DhcpMessage(
        op=Op.REQUEST,
        xid=7,
        chaddr=mac,
        flags=flags,
        ciaddr=IPv4Address(ciaddr),
        giaddr=IPv4Address(giaddr),
        options={Option.MESSAGE_TYPE: bytes((kind,)), **{Option[name]: value for name, value in options.items()}},
    )


def arrival(port: int = 67, *, peer: tuple[str, int] = ("0.0.0.0", 68), now: float = 1000.0) -> Arrival:
    return Arrival(our_address=OURS, port=port, peer=peer, now=now)


@dataclass
class Networks:
    """HostNetworks in memory."""

    hosts: dict[MacAddress, HostNetwork] = field(default_factory=dict)
    guids: dict[bytes, MacAddress] = field(default_factory=dict)

    def of(self, mac: MacAddress) -> HostNetwork | None:
        return self.hosts.get(mac)

    def is_kept_from(self, mac: MacAddress, address: IPv4Address) -> bool:
        return any(own.address == address and holder != mac for holder, own in self.hosts.items())

    def mac_of(self, guid: bytes) -> MacAddress | None:
        return self.guids.get(guid)


def reserving(**addresses: str) -> Networks:
    """`reserving(m525400123456="10.77.0.55")`."""
    return Networks(
        {
            MacAddress(bytes.fromhex(mac[1:])): HostNetwork(address=IPv4Address(address))
            for mac, address in addresses.items()
        }
    )

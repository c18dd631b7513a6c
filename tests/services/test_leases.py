"""Leases in the database: what is saved is there after a restart, and the address is the key."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import Lease, LeaseState
from pxeforge.services.context import Context
from pxeforge.services.leases import StoredLeases

pytestmark = pytest.mark.both_databases


def lease(number: int, last: int, state: LeaseState = LeaseState.BOUND, client_id: bytes = b"") -> Lease:
    return Lease(
        mac=MacAddress(number.to_bytes(6, "big")), client_id=client_id, address=IPv4Address(f"10.77.0.{last}"),
        expires_at=1000.5, state=state,
    )  # fmt: skip


def test_what_is_saved_is_loaded_as_it_was_and_the_address_is_the_key(ctx: Context) -> None:
    store = StoredLeases(ctx)
    store.save([lease(1, 50, client_id=b"\1x"), lease(2, 51, LeaseState.DECLINED)])
    store.save([lease(3, 50), lease(4, 52, LeaseState.RELEASED)])
    loaded = sorted(StoredLeases(ctx).load(), key=lambda found: found.address)
    assert loaded == [lease(3, 50), lease(2, 51, LeaseState.DECLINED), lease(4, 52, LeaseState.RELEASED)]


def test_leases_are_saved_all_or_none(ctx: Context) -> None:
    store = StoredLeases(ctx)
    broken = lease(2, 51)
    object.__setattr__(broken, "expires_at", object())
    with pytest.raises(Exception, match="type"):
        store.save([lease(1, 50), broken])
    assert store.load() == []

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import OFFER_HELD_S, QUARANTINE_S, BadSubnet, Lease, LeaseBook, LeaseState, Subnet

OURS = IPv4Address("10.77.0.1")


def ip(last: int) -> IPv4Address:
    return IPv4Address(f"10.77.0.{last}")


def mac(number: int) -> MacAddress:
    return MacAddress(b"\x52\x54\0\0\0" + bytes((number,)))


def subnet(first: int = 50, last: int = 52) -> Subnet:
    return Subnet(network=IPv4Network("10.77.0.0/24"), first=ip(first), last=ip(last), router=ip(1), lease_time_s=600)


PLAIN = subnet()


def offered(book: LeaseBook, host: int, now: float = 0, wanted: IPv4Address | None = None) -> IPv4Address | None:
    lease = book.offer(mac(host), b"", wanted, OURS, now)
    return lease.address if lease else None


def test_hosts_get_different_addresses_until_none_is_left() -> None:
    book = LeaseBook(subnet())
    assert {offered(book, host) for host in (1, 2, 3)} == {ip(50), ip(51), ip(52)}
    assert offered(book, 4) is None


def test_an_offer_that_is_not_taken_falls_back() -> None:
    book = LeaseBook(subnet(50, 50))
    assert offered(book, 1) == ip(50)
    assert offered(book, 2, now=OFFER_HELD_S - 1) is None
    assert offered(book, 2, now=OFFER_HELD_S + 1) == ip(50)


def test_a_host_keeps_its_address_whatever_client_id_it_sends() -> None:
    book = LeaseBook(subnet())
    address = offered(book, 1)
    assert address
    book.bind(mac(1), b"\1firmware", address, OURS, 0)
    again = book.offer(mac(1), b"\xffinstaller", None, OURS, 10)
    assert again is not None
    assert (again.address, again.state) == (address, LeaseState.BOUND)


def test_a_wanted_address_is_given_if_it_is_free() -> None:
    book = LeaseBook(subnet())
    assert offered(book, 1, wanted=ip(52)) == ip(52)
    assert offered(book, 2, wanted=ip(52)) in (ip(50), ip(51))


def test_an_address_outside_the_range_is_not_lent() -> None:
    book = LeaseBook(subnet())
    assert book.bind(mac(1), b"", ip(60), OURS, 0) == ()
    assert book.bind(mac(1), b"", OURS, OURS, 0) == ()


def test_a_bound_address_comes_back_after_its_time() -> None:
    book = LeaseBook(subnet(50, 50))
    (lease,) = book.bind(mac(1), b"", ip(50), OURS, 0)
    assert lease.expires_at == 600
    assert offered(book, 2, now=599) is None
    assert offered(book, 2, now=601) == ip(50)


def test_a_released_address_goes_back_to_its_last_holder_first() -> None:
    book = LeaseBook(subnet())
    book.bind(mac(1), b"", ip(51), OURS, 0)
    (lease,) = book.release(mac(1), ip(51), 5)
    assert lease.state is LeaseState.RELEASED
    assert offered(book, 1, now=6) == ip(51)


def test_only_the_holder_can_release_or_decline() -> None:
    book = LeaseBook(subnet())
    book.bind(mac(1), b"", ip(51), OURS, 0)
    assert book.release(mac(2), ip(51), 1) == ()
    assert book.decline(mac(2), ip(51), 1) == ()


def test_a_declined_address_is_in_quarantine_for_everybody() -> None:
    book = LeaseBook(subnet(50, 51))
    book.bind(mac(1), b"", ip(50), OURS, 0)
    (lease,) = book.decline(mac(1), ip(50), 1)
    assert lease.state is LeaseState.DECLINED
    assert offered(book, 1, now=2) == ip(51)
    assert offered(book, 2, now=2) is None
    assert offered(book, 2, now=QUARANTINE_S + 2, wanted=ip(50)) == ip(50)


def test_a_reserved_address_is_for_its_host_only_and_may_lie_outside_the_range() -> None:
    book = LeaseBook(subnet(50, 51), reservations={mac(1): ip(51), mac(2): ip(200)})
    assert (offered(book, 1), offered(book, 2), offered(book, 3)) == (ip(51), ip(200), ip(50))
    assert offered(book, 4) is None
    assert book.bind(mac(1), b"", ip(50), OURS, 500) == ()


def test_a_reservation_made_later_counts_at_once() -> None:
    reservations: dict[MacAddress, IPv4Address] = {}
    book = LeaseBook(subnet(), reservations=reservations)
    reservations[mac(1)] = ip(99)
    assert offered(book, 1) == ip(99)


def test_a_host_that_moves_gives_its_former_address_back() -> None:
    book = LeaseBook(subnet())
    book.bind(mac(1), b"", ip(50), OURS, 0)
    changed = book.bind(mac(1), b"", ip(51), OURS, 1)
    assert [(lease.address, lease.state) for lease in changed] == [
        (ip(50), LeaseState.RELEASED),
        (ip(51), LeaseState.BOUND),
    ]


def test_the_book_survives_a_restart() -> None:
    before = LeaseBook(subnet())
    stored = before.bind(mac(1), b"", ip(52), OURS, 0)
    after = LeaseBook(subnet(), stored)
    assert offered(after, 1, now=10) == ip(52)
    assert offered(after, 2, now=10, wanted=ip(52)) != ip(52)


def test_an_offer_is_withdrawn_when_the_host_chose_another_server() -> None:
    book = LeaseBook(subnet(50, 50))
    offered(book, 1)
    book.withdraw_offer(mac(1))
    assert offered(book, 2) == ip(50)


steps = st.lists(
    st.tuples(st.sampled_from(["offer", "bind", "release", "decline", "wait"]), st.integers(1, 6), st.integers(49, 55)),
    max_size=60,
)


@given(steps)
def test_no_address_ever_has_two_live_holders(todo: list[tuple[str, int, int]]) -> None:
    book, now = LeaseBook(subnet(50, 54), reservations={mac(6): ip(54)}), 0.0
    stored: dict[IPv4Address, Lease] = {}
    for what, host, last in todo:
        holder = {lease.address: lease.mac for lease in book if lease.is_live(now)}
        changed: tuple[Lease, ...] = ()
        if what == "offer":
            lease = book.offer(mac(host), b"", ip(last), OURS, now)
            assert lease is None or holder.get(lease.address, mac(host)) == mac(host)
        elif what == "bind":
            changed = book.bind(mac(host), b"", ip(last), OURS, now)
            assert not changed or holder.get(ip(last), mac(host)) == mac(host)
        elif what == "release":
            changed = book.release(mac(host), ip(last), now)
        elif what == "decline":
            changed = book.decline(mac(host), ip(last), now)
        else:
            now += last * 10
        stored.update({lease.address: lease for lease in changed})
        bound = [lease for lease in book if lease.state is LeaseState.BOUND and lease.is_live(now)]
        assert len({lease.mac for lease in bound}) == len(bound)
        # What was handed out for storing tells the same story as the book.
        assert all(stored[lease.address] == lease for lease in bound)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"first": IPv4Address("10.78.0.5")}, "not inside"),
        ({"first": ip(90)}, "upside down"),
        ({"router": IPv4Address("10.78.0.1")}, "router"),
        ({"lease_time_s": 5}, "too short"),
        ({"domain": "a..b"}, "not a domain name"),
    ],
)
def test_a_senseless_subnet_is_refused_with_a_reason(change: dict[str, object], reason: str) -> None:
    good = {"network": IPv4Network("10.77.0.0/24"), "first": ip(50), "last": ip(60)}
    with pytest.raises(BadSubnet, match=reason):
        Subnet(**{**good, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("destination", "descriptor"),
    [
        ("10.0.0.0/8", b"\x08\x0a"), ("10.17.0.0/16", b"\x10\x0a\x11"), ("10.27.129.0/24", b"\x18\x0a\x1b\x81"),
        ("10.229.0.128/25", b"\x19\x0a\xe5\x00\x80"), ("10.198.122.47/32", b"\x20\x0a\xc6\x7a\x2f"),
        ("0.0.0.0/0", b"\x00"),
    ],
)  # fmt: skip
def test_a_route_is_written_as_the_examples_of_rfc_3442(destination: str, descriptor: bytes) -> None:
    subnet = replace(PLAIN, router=None, routes=((IPv4Network(destination), PLAIN.first),))
    assert subnet.routes_bytes() == descriptor + PLAIN.first.packed


def test_the_default_route_is_named_once_and_never_alone() -> None:
    default = (IPv4Network("0.0.0.0/0"), PLAIN.last)
    with_router = replace(PLAIN, router=PLAIN.first)
    assert replace(with_router, routes=(default,)).routes_bytes() == b"\x00" + PLAIN.last.packed
    assert with_router.routes_bytes() == b""


def test_routes_that_make_no_sense_are_refused() -> None:
    away = (IPv4Network("10.9.0.0/16"), IPv4Address("192.0.2.1"))
    twice = ((IPv4Network("10.9.0.0/16"), PLAIN.first), (IPv4Network("10.9.0.0/16"), PLAIN.last))
    many = tuple((IPv4Network(f"10.9.{n}.0/24"), PLAIN.first) for n in range(40))
    for routes, said in (((away,), "is not inside"), (twice, "two routes"), (many, "too many")):
        with pytest.raises(BadSubnet, match=said):
            replace(PLAIN, routes=routes)
    with pytest.raises(BadSubnet, match="MTU"):
        replace(PLAIN, mtu=100)

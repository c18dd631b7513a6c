from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.lease import OFFER_HELD_S, QUARANTINE_S, Lease, LeaseBook, LeaseState
from pxeforge.protocol.dhcp.subnet import HostNetwork, Subnet

from .packets import Networks

OURS = IPv4Address("10.77.0.1")


def ip(last: int) -> IPv4Address:
    return IPv4Address(f"10.77.0.{last}")


def mac(number: int) -> MacAddress:
    return MacAddress(b"\x52\x54\0\0\0" + bytes((number,)))


def subnet(first: int = 50, last: int = 52) -> Subnet:
    return Subnet(network=IPv4Network("10.77.0.0/24"), first=ip(first), last=ip(last), router=ip(1), lease_time_s=600)


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


def reserving(**addresses: int) -> Networks:
    """`reserving(h1=51)`: host 1 has 10.77.0.51."""
    return Networks({mac(int(host[1:])): HostNetwork(address=ip(last)) for host, last in addresses.items()})


def test_a_reserved_address_is_for_its_host_only_and_may_lie_outside_the_range() -> None:
    book = LeaseBook(subnet(50, 51), networks=reserving(h1=51, h2=200))
    assert [book.offer(mac(1), b"", None, OURS, 0, ip(51)), book.offer(mac(2), b"", None, OURS, 0, ip(200))] == [
        book.offer(mac(1), b"", ip(50), OURS, 0, ip(51)), book.offer(mac(2), b"", ip(50), OURS, 0, ip(200)),
    ]  # fmt: skip
    assert (offered(book, 3), offered(book, 4)) == (ip(50), None)
    assert book.bind(mac(1), b"", ip(50), OURS, 500, ip(51)) == ()
    assert [lease.address for lease in book.bind(mac(2), b"", ip(200), OURS, 500, ip(200))] == [ip(200)]


def test_a_reservation_made_later_counts_at_once() -> None:
    networks = Networks()
    book = LeaseBook(subnet(50, 50), networks=networks)
    networks.hosts[mac(1)] = HostNetwork(address=ip(50))
    assert offered(book, 2) is None
    assert book.bind(mac(2), b"", ip(50), OURS, 0) == ()


def test_while_somebody_else_has_the_reserved_address_the_host_gets_another() -> None:
    book = LeaseBook(subnet())
    book.bind(mac(2), b"", ip(51), OURS, 0)
    lease = book.offer(mac(1), b"", None, OURS, 1, ip(51))
    assert lease is not None
    assert lease.address in (ip(50), ip(52))
    assert book.bind(mac(1), b"", lease.address, OURS, 2, ip(51))
    back = book.offer(mac(1), b"", lease.address, OURS, 601, ip(51))
    assert back is not None
    assert back.address == ip(51)
    assert book.bind(mac(1), b"", lease.address, OURS, 602, ip(51)) == ()


def test_addresses_kept_for_others_are_passed_over_and_looked_at_again_later() -> None:
    networks = reserving(**{f"h{number}": number for number in range(50, 250)})
    book = LeaseBook(subnet(50, 253), networks=networks)
    found = [book.offer(mac(host), b"", None, OURS, host) for host in range(1, 10)]
    assert [lease.address for lease in found if lease] == [ip(250), ip(251), ip(252), ip(253)]
    del networks.hosts[mac(77)]
    assert offered(book, 9, now=100) == ip(77)


def test_a_nearly_full_range_is_searched_in_a_few_steps() -> None:
    """Counted, not timed: how often the book asks whether an address is kept for somebody."""

    class Counting(Networks):
        asked = 0

        def is_kept_from(self, mac: MacAddress, address: IPv4Address) -> bool:
            self.asked += 1
            return False

    wide = Subnet(
        network=IPv4Network("10.0.0.0/16"), first=IPv4Address("10.0.0.2"), last=IPv4Address("10.0.255.250"),
        lease_time_s=600,
    )  # fmt: skip
    networks = Counting()
    full = [
        Lease(mac=MacAddress(number.to_bytes(6, "big")), client_id=b"", address=wide.first + number,
              expires_at=1000 if number != 40_000 else 10, state=LeaseState.BOUND)
        for number in range(wide.size)
    ]  # fmt: skip
    book = LeaseBook(wide, full, networks)
    assert offered(book, 1, now=5) is None
    assert offered(book, 1, now=11) == wide.first + 40_000
    assert offered(book, 2, now=12) is None
    assert networks.asked < 10


def test_renewals_without_end_do_not_fill_the_memory() -> None:
    book = LeaseBook(subnet())
    for now in range(5000):
        book.bind(mac(1), b"", ip(50), OURS, now)
    assert len(book._free_from) < 100


def test_invented_macs_do_not_fill_the_memory() -> None:
    book = LeaseBook(subnet(50, 99))
    for number in range(5000):
        invented = MacAddress(number.to_bytes(6, "big"))
        book.offer(invented, b"", None, OURS, number * 10)
        if number % 3 == 0:
            book.withdraw_offer(invented)
    assert max(len(book._last_of), len(book._by_address), len(book._free_at)) <= 50


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
    book, now = LeaseBook(subnet(50, 54), networks=reserving(h6=54)), 0.0
    stored: dict[IPv4Address, Lease] = {}
    for what, host, last in todo:
        holder = {lease.address: lease.mac for lease in book if lease.is_live(now)}
        changed: tuple[Lease, ...] = ()
        if what == "offer":
            lease = book.offer(mac(host), b"", ip(last), OURS, now, ip(54) if host == 6 else None)
            assert lease is None or holder.get(lease.address, mac(host)) == mac(host)
        elif what == "bind":
            changed = book.bind(mac(host), b"", ip(last), OURS, now, ip(54) if host == 6 else None)
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

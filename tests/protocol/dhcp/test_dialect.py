"""Which dialect a host is given, and when it is given the other one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.dialect import Dialect, DialectBook, first_dialect

from .packets import MAC

HOST = MacAddress(MAC)
BINL, DIRECT = Dialect.BINL, Dialect.DIRECT


def tries(book: DialectBook, count: int, firmware: Firmware = Firmware.UEFI_X64, first_xid: int = 1) -> list[Dialect]:
    """Netboots with a new transaction number each, a minute apart."""
    return [book.discovered(HOST, firmware, first_xid + n, 60.0 * (first_xid + n)) for n in range(count)]


@pytest.mark.parametrize(("firmware", "dialect"), [(Firmware.BIOS, DIRECT), (Firmware.UEFI_X64, BINL)])
def test_a_host_begins_with_the_dialect_of_its_kind(firmware: Firmware, dialect: Dialect) -> None:
    assert first_dialect(firmware) is dialect
    assert tries(DialectBook(), 5, firmware) == [dialect, dialect, dialect.other, dialect.other, dialect]


def test_a_pc_that_goes_from_uefi_to_its_bios_begins_anew() -> None:
    book = DialectBook()
    assert tries(book, 1) == [BINL]
    book.reached(HOST)
    assert tries(book, 1, Firmware.BIOS) == [DIRECT]
    assert tries(book, 1) == [BINL]


def test_a_discover_repeated_within_one_try_is_no_failure() -> None:
    book = DialectBook()
    assert {book.discovered(HOST, Firmware.UEFI_X64, 7, now) for now in (0, 4, 12, 28)} == {BINL}
    assert tries(book, 1) == [BINL]


def test_a_rom_that_never_changes_its_number_starts_over_by_the_clock() -> None:
    book = DialectBook()
    seen = [book.discovered(HOST, Firmware.BIOS, 7, now) for now in (0.0, 40.0, 80.0)]
    assert seen == [DIRECT, DIRECT, BINL]


def test_a_host_that_came_further_keeps_its_dialect_over_many_netboots() -> None:
    book = DialectBook()
    for n in range(1, 10):
        assert tries(book, 1, first_xid=n) == [BINL]
        book.reached(HOST)


def test_what_was_learnt_is_remembered() -> None:
    book = DialectBook()
    assert tries(book, 3)[-1] is DIRECT
    book.reached(HOST)
    assert tries(book, 2, first_xid=10) == [DIRECT, DIRECT]


def test_a_word_of_an_unknown_host_changes_nothing_and_hosts_do_not_share_dialects() -> None:
    book = DialectBook()
    book.reached(HOST)
    tries(book, 3)
    assert book.discovered(MacAddress(b"\2\0\0\0\0\1"), Firmware.UEFI_X64, 1, 500.0) is BINL


def test_a_flood_of_macs_forgets_the_oldest_only() -> None:
    book = DialectBook()
    tries(book, 3)
    for n in range(4095):
        book.discovered(MacAddress(b"\2\0" + n.to_bytes(4, "big")), Firmware.BIOS, 1, 500.0)
    book.reached(HOST)
    assert tries(book, 1, first_xid=10) == [DIRECT]
    for n in range(4096):
        book.discovered(MacAddress(b"\6\0" + n.to_bytes(4, "big")), Firmware.BIOS, 1, 900.0)
    assert tries(book, 1, first_xid=20) == [BINL]


@given(st.lists(st.sampled_from(["try", "reached"]), max_size=40), st.sampled_from([Firmware.BIOS, Firmware.UEFI_X64]))
def test_the_dialect_changes_only_after_two_tries_in_a_row_in_vain(events: list[str], firmware: Firmware) -> None:
    book, xid, in_vain = DialectBook(), 0, 0
    last: Dialect | None = None
    for event in events:
        if event == "reached":
            book.reached(HOST)
            in_vain = 0
            continue
        xid += 1
        dialect = book.discovered(HOST, firmware, xid, 60.0 * xid)
        if last is not None and dialect is not last:
            assert in_vain == 2
            in_vain = 0
        in_vain += 1
        assert in_vain <= 2
        last = dialect

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pxeforge.lab import matrix
from pxeforge.lab.matrix import COLUMNS, LIMITS, ROWS, Cell, Column, Outcome, Row, Seen, lacking, outcome_of_failure
from pxeforge.services.image_catalogue import CATALOGUE

TOKEN = "0123abcd"
PXELINUX = next(row for row in ROWS if row.name == "pxelinux")
PROXY = next(column for column in COLUMNS if column.name == "dnsmasq")
SERVER = next(column for column in COLUMNS if column.name == "server")
EVENTS: list[dict[str, Any]] = [
    {"at": 100.0, "source": "dhcp", "kind": "netboot", "message": "DISCOVER by bios"},
    {"at": 107.5, "source": "tftp", "kind": "menu_fetched", "message": "pxelinux menu fetched by 10.77.0.50"},
    {"at": 108.0, "source": "tftp", "kind": "tftp_sent", "message": "images/x/linux to 10.77.0.50: 9 bytes in 0.1 s"},
    {"at": 109.0, "source": "tftp", "kind": "tftp_sent", "message": "images/x/initrd.gz to 10.77.0.50: 9 bytes"},
]
CONSOLE = f"[0.0] Linux version 6.12\n[0.0] Command line: auto=true url=http://10.77.0.1:8080/answers/{TOKEN} ---\n"
GREEN = Seen(events=EVENTS, console=CONSOLE)


def without(words: str) -> Seen:
    return replace(GREEN, events=[event for event in EVENTS if words not in event["message"]])


def why(seen: Seen, *, row: Row = PXELINUX, column: Column = PROXY, until: str = matrix.KERNEL) -> str | None:
    return lacking(row, column, seen, TOKEN, until)


def test_a_machine_with_its_own_menu_and_its_own_kernel_is_green() -> None:
    assert why(GREEN) is None
    assert GREEN.menu_at == 107.5


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Seen(events=[], console=""), "menu was not fetched"),
        (without("menu"), "menu was not fetched"),
        (without("linux to"), "linux was not fetched by TFTP"),
        (without("initrd"), "initrd.gz was not fetched by TFTP"),
        (replace(GREEN, console="iPXE 1.21"), "no kernel on the console"),
        (replace(GREEN, console=CONSOLE.replace(TOKEN, "other")), "not this host's answers"),
    ],
)
def test_whatever_is_missing_is_named_and_is_not_green(seen: Seen, reason: str) -> None:
    assert re.search(re.escape(reason), why(seen) or "nothing")


def test_a_menu_fetched_by_another_boot_loader_than_the_rows_is_not_green() -> None:
    ipxe = next(row for row in ROWS if row.name == "ipxe")
    assert why(GREEN, row=ipxe) == "its menu was not fetched by ipxe: pxelinux menu fetched by 10.77.0.50"


def test_a_row_that_goes_by_a_certain_file_is_green_only_with_it() -> None:
    undionly = next(row for row in ROWS if row.name == "undionly")
    menu = {"at": 107.5, "source": "http", "kind": "menu_fetched", "message": "ipxe menu fetched by 10.77.0.50"}
    files = [{**event, "source": "http"} for event in EVENTS if event["kind"] == "tftp_sent"]
    loader = {"at": 105.0, "source": "tftp", "kind": "tftp_sent", "message": "boot/x/undionly.kpxe to 10.77.0.50"}
    assert why(replace(GREEN, events=[loader, menu, *files]), row=undionly) is None
    assert why(replace(GREEN, events=[menu, *files]), row=undionly) == "undionly.kpxe was not fetched"


def test_files_by_another_way_than_the_rows_are_not_green() -> None:
    over_http = replace(PXELINUX, files_by="http")
    assert why(GREEN, row=over_http) == "linux was not fetched by HTTP"
    assert why(GREEN, row=replace(PXELINUX, files_by=None)) is None


def test_a_kernel_that_knows_nothing_of_secure_boot_is_not_green_where_it_is_enforced() -> None:
    enforced = replace(PXELINUX, secure_boot=True)
    assert why(GREEN, row=enforced) == "the kernel does not say that Secure Boot is on"
    assert why(replace(GREEN, console=f"{CONSOLE}secureboot: Secure boot enabled\n"), row=enforced) is None


def test_an_address_lent_in_proxy_mode_is_not_green() -> None:
    leased = replace(GREEN, events=[*EVENTS, {"at": 1, "source": "dhcp", "kind": "leased", "message": "leased"}])
    assert why(leased) == "proxy mode lent it an address"
    assert why(leased, column=SERVER) is None


def test_a_machine_may_have_to_come_further_than_its_kernel() -> None:
    assert why(GREEN, until="early") == "no early in its timeline"
    early = replace(GREEN, events=[*EVENTS, {"at": 200.0, "source": "http", "kind": "early", "message": "early"}])
    assert why(early, until="early") is None


def test_names_are_distinct_and_fit_for_hosts_and_folders() -> None:
    for kind in (ROWS, COLUMNS):
        names = [one.name for one in kind]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[a-z][a-z0-9-]{1,20}", name) for name in names)


def test_every_processor_of_the_rows_has_an_image() -> None:
    assert {row.arch for row in ROWS} <= {entry.arch for entry in CATALOGUE.values()}


def test_a_known_limit_is_told_with_its_reason_and_everything_else_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matrix, "LIMITS", {("ovmf", "server"): "its GRUB is too old"})
    ovmf = next(row for row in ROWS if row.name == "ovmf")
    assert outcome_of_failure(ovmf, SERVER, "no menu") == (Outcome.LIMITED, "its GRUB is too old")
    assert outcome_of_failure(ovmf, PROXY, "no menu") == (Outcome.RED, "no menu")


def test_limits_name_cells_that_exist() -> None:
    rows, columns = {row.name for row in ROWS}, {column.name for column in COLUMNS}
    assert all(row in rows and column in columns and reason for (row, column), reason in LIMITS.items())


def test_a_cell_says_its_times_its_reason_and_its_note() -> None:
    green = Cell(row="r", column="c", outcome=Outcome.GREEN, menu_s=6.6, kernel_s=14.2, note="second run")
    assert green.words() == "yes: menu after 7 s, kernel after 14 s (second run)"
    assert Cell(row="r", column="c", outcome=Outcome.RED, reason="no menu").words() == "failed: no menu"

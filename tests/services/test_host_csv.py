"""Hosts go out to a spreadsheet and come back: all lines or none, and nothing runs as a formula."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol.dhcp.subnet import Subnet
from pxeforge.services import events, hosts
from pxeforge.services.context import Context
from pxeforge.services.host_csv import BadTable, import_table, read_table, write_table
from tests.conftest import FACTS as FACTS
from tests.conftest import MAC

pytestmark = pytest.mark.both_databases
OTHER = "52:54:00:12:34:57"
THIRD = "52:54:00:12:34:58"
ROLES = ("base", "mariadb")
HEAD = "mac,name,tags,roles,disk,wipe,loader\n"


def load(ctx: Context, text: str, *, dry_run: bool = False) -> list[dict[str, Any]]:
    return import_table(ctx, read_table(text.encode()), known_roles=ROLES, dry_run=dry_run, who="test")


def by_name(ctx: Context) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in hosts.list_hosts(ctx)}


def test_a_table_makes_hosts_with_everything_it_says(ctx: Context) -> None:
    done = load(
        ctx,
        HEAD + f"{MAC} {OTHER.upper().replace(':', '-')},n1,rack-a ssd,mariadb base,serial=S1,S1 S2,pxelinux\n"
        f"{THIRD},,,,,yes,\n",
    )
    assert [(row["line"], row["host"], row["action"]) for row in done] == [(2, "n1", "create"), (3, THIRD, "create")]
    n1 = by_name(ctx)["n1"]
    assert (n1["macs"], n1["tags"], sorted(n1["roles"])) == ([MAC, OTHER], ["rack-a", "ssd"], ["base", "mariadb"])
    assert (n1["state"], n1["loader"]) == ("known", "pxelinux")
    assert n1["settings"] == {"disk": "serial=S1", "wipe": ["S1", "S2"]}
    assert hosts.show(ctx, THIRD)["settings"] == {"wipe": True}


def test_a_second_import_of_the_same_table_changes_nothing(ctx: Context) -> None:
    table = HEAD + f"{MAC},n1,a b,base,first,true,auto\n"
    load(ctx, table)
    told = events.recent(ctx)
    assert [row["action"] for row in load(ctx, table)] == ["none"]
    assert events.recent(ctx) == told


def test_what_is_exported_can_be_imported_and_changes_nothing(ctx: Context, registered: dict[str, Any]) -> None:
    load(ctx, HEAD + f"{OTHER},n2,-odd :x,mariadb,size=20G..500G,S1,ipxe\n{THIRD},,,,,false,\n")
    table = write_table(hosts.list_hosts(ctx))
    assert [row["action"] for row in load(ctx, table)] == ["none"] * 3
    assert hosts.show(ctx, "n1")["state"] == "registered"


def test_an_empty_cell_or_a_missing_column_leaves_and_a_dash_clears(ctx: Context) -> None:
    load(ctx, HEAD + f"{MAC},n1,a,base,first,true,ipxe\n")
    assert [row["action"] for row in load(ctx, HEAD + f"{MAC},,,,,,\n")] == ["none"]
    assert [row["action"] for row in load(ctx, f"MAC\n{MAC}\n")] == ["none"]
    [row] = load(ctx, HEAD + f"{MAC},,-,-,-,-,-\n")
    assert row["changes"] == {
        "tags": [["a"], []], "roles": [["base"], []], "disk": ["first", None], "wipe": [True, None],
        "loader": ["ipxe", "auto"],
    }  # fmt: skip
    with pytest.raises(BadTable, match="line 2: name cannot be cleared"):
        load(ctx, HEAD + f"{MAC},-,,,,,\n")


def test_a_reserved_address_goes_in_and_out_and_is_for_one_host(ctx: Context) -> None:
    lan = Subnet(network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.60"))
    ctx = replace(ctx, dhcp="server", subnets=lambda: (lan,))
    load(ctx, f"mac,name,address\n{MAC},n1,10.77.0.9\n{OTHER},n2,\n")
    assert [nic["reserved_address"] for nic in hosts.show(ctx, "n1")["nics"]] == ["10.77.0.9"]
    table = write_table(hosts.list_hosts(ctx))
    assert [row["action"] for row in load(ctx, table)] == ["none"] * 2
    with pytest.raises(BadTable, match=r"line 2: 10\.77\.0\.9 is reserved for host n1"):
        load(ctx, f"mac,address\n{OTHER},10.77.0.9\n")
    load(ctx, f"mac,address\n{MAC},-\n{OTHER},10.77.0.9\n")
    assert [nic["reserved_address"] for nic in hosts.show(ctx, "n1")["nics"]] == [None]


def test_addresses_stand_in_the_order_of_the_macs(ctx: Context) -> None:
    lan = Subnet(network=IPv4Network("10.77.0.0/24"), first=IPv4Address("10.77.0.50"), last=IPv4Address("10.77.0.60"))
    ctx = replace(ctx, dhcp="server", subnets=lambda: (lan,))
    [row] = load(ctx, f"mac,name,address\n{MAC} {OTHER} {THIRD},n1,10.77.0.9 - 10.77.0.8\n")
    assert row["changes"]["address"] == [None, "10.77.0.9 - 10.77.0.8"]
    table = write_table(hosts.list_hosts(ctx))
    assert "10.77.0.9 - 10.77.0.8" in table
    assert [row["action"] for row in load(ctx, table)] == ["none"]
    load(ctx, f"mac,address\n{THIRD} {MAC},10.77.0.9 10.77.0.8\n")
    nics = hosts.show(ctx, "n1")["nics"]
    assert {nic["mac"]: nic["reserved_address"] for nic in nics} == {MAC: "10.77.0.8", OTHER: None, THIRD: "10.77.0.9"}
    with pytest.raises(BadTable, match="2 addresses for 1 MAC addresses"):
        load(ctx, f"mac,address\n{MAC},10.77.0.9 10.77.0.8\n")


def test_tags_and_roles_become_exactly_what_the_cell_says(ctx: Context) -> None:
    load(ctx, HEAD + f"{MAC},n1,a b,base,,,\n")
    load(ctx, HEAD + f"{MAC},n1,b c,mariadb,,,\n")
    assert (by_name(ctx)["n1"]["tags"], by_name(ctx)["n1"]["roles"]) == (["b", "c"], ["mariadb"])


def test_one_bad_line_and_nothing_is_imported(ctx: Context) -> None:
    table = (
        HEAD + f"{MAC},n1,,,,,\n\n"
        "nonsense,n2,,,,,\n"
        f"{OTHER},Not A Name,,,,,\n"
        f"{THIRD},n3,,ghost,,,\n"
        ",n4,,,,,\n"
        f"{MAC},n5,,,,,\n"
        "52:54:00:00:00:01,n1,,,,,\n"
        "52:54:00:00:00:02,n6,,,/dev/sda,,\n"
        "52:54:00:00:00:03,n7,,,,,lilo\n"
    )
    with pytest.raises(BadTable) as refused:
        load(ctx, table)
    assert [line for line, _ in refused.value.wrong] == [4, 5, 6, 7, 8, 9, 10, 11]
    said = dict(refused.value.wrong)
    assert "'nonsense' is not a MAC address" in said[4]
    assert "there is no role 'ghost': known are base, mariadb" in said[6]
    assert "the mac is missing" in said[7]
    assert said[8] == f"the MAC address {MAC} is already in line 2"
    assert said[9] == "the name n1 is already in line 2"
    assert "lilo" in said[11]
    assert "line 4: 'nonsense'" in str(refused.value)
    assert hosts.list_hosts(ctx) == []
    assert events.recent(ctx) == []


def test_a_line_that_joins_two_hosts_is_refused(ctx: Context) -> None:
    load(ctx, f"mac\n{MAC}\n{OTHER}\n")
    with pytest.raises(BadTable, match="line 2: these MAC addresses belong to different hosts"):
        load(ctx, f"mac\n{MAC} {OTHER}\n")


def test_a_dry_run_tells_and_changes_nothing(ctx: Context) -> None:
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    told = events.recent(ctx)
    done = load(ctx, HEAD + f"{MAC},n9,,,,,\n{OTHER},n2,,base,,,\n", dry_run=True)
    assert [row["action"] for row in done] == ["change", "create"]
    assert done[0]["changes"] == {"name": ["n1", "n9"]}
    assert list(by_name(ctx)) == ["n1"]
    assert events.recent(ctx) == told


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfmac;name\r\n52:54:00:12:34:56;n1\r\n;;\r\n",
        b"sep=;\r\nmac;name\r\n52:54:00:12:34:56;n1\r\n",
        b"mac\tname\n52:54:00:12:34:56\tn1\n",
        b'"mac","name"\n"52:54:00:12:34:56","n1"\n',
        b"\n\nName, MAC\nn1, 52:54:00:12:34:56",
        b"mac,name,\n52:54:00:12:34:56,n1,\n",
        b"mac,name\r52:54:00:12:34:56,n1\r",
    ],
)
def test_what_spreadsheets_write_is_read(ctx: Context, content: bytes) -> None:
    rows = read_table(content)
    assert [dict(row.cells) for row in rows] == [{"mac": MAC, "name": "n1"}]
    import_table(ctx, rows, known_roles=ROLES, who="test")
    assert by_name(ctx)["n1"]["macs"] == [MAC]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", 1, "names the columns"),
        (b"name\nn1\n", 1, "mac too"),
        (b"mac,mac\n", 1, "each once"),
        (b"mac,colour\n", 1, "unknown column 'colour'"),
        (b"mac,name\n52:54:00:12:34:56,n1,x\n", 2, "more cells than columns"),
        (b"mac,name\n\n\xff,n1\n", 3, "save the table as 'CSV UTF-8'"),
        (b'mac,name\n52:54:00:12:34:56,"n1\n', 2, "not CSV"),
        ("mac\nx".encode("utf-16"), 1, "not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(content: bytes, line: int, said: str) -> None:
    with pytest.raises(BadTable) as refused:
        read_table(content)
    [(seen, message)] = refused.value.wrong
    assert seen == line
    assert said in message


def test_a_line_number_is_where_the_record_begins() -> None:
    rows = read_table(b'sep=,\nmac,name\n"52:54:00:12:34:56\n",n1\n\n52:54:00:12:34:57,n2\n')
    assert [row.line for row in rows] == [3, 6]


CELL = st.text(st.characters(codec="utf-8"), max_size=30)


@given(cell=CELL)
def test_no_exported_cell_begins_as_a_formula(cell: str) -> None:
    view = {"name": cell, "tags": [cell], "roles": [cell], "settings": {"disk": cell}, "loader": "auto"}
    view |= {"macs": [MAC], "nics": []}
    rows = list(csv.reader(io.StringIO(write_table([view]), newline="")))
    for out in rows[1]:
        assert out == "-" or not out.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(cell=CELL.filter(lambda text: text.isprintable() and text == text.strip() and text and text[0] != "'"))
def test_what_is_neutralised_comes_back_as_it_was(cell: str) -> None:
    view = {"macs": [MAC], "nics": [], "name": None, "tags": [], "roles": [], "loader": "auto"}
    view |= {"settings": {"disk": cell}}
    [row] = read_table(write_table([view]).encode())
    assert row.cells["disk"] == cell


@given(content=st.binary(max_size=200))
def test_any_file_is_read_or_refused_in_words(content: bytes) -> None:
    said = "line 1"
    try:
        read_table(b"mac,name\n" + content)
    except BadTable as problem:
        said = str(problem)
    assert "line " in said

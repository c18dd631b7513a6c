"""The list of hosts as it is searched: every word occurs somewhere in what the list shows of a host."""

from __future__ import annotations

import pytest

from pxeforge.services import host_list, hosts
from pxeforge.services.context import Context
from pxeforge.store.tables import Host

pytestmark = pytest.mark.both_databases


@pytest.fixture
def ids(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Three hosts that have names, addresses, serial numbers and tags."""
    made = {}
    fixed = iter(("d15c0e7a3b91", "e26d1f8b4ca2", "f37e209c5d13"))  # made by chance they hold words that are looked for
    monkeypatch.setattr(hosts, "new_id", lambda: next(fixed))
    for number, name in enumerate(("db-1", "web-2", "cafe")):
        host = hosts.add(ctx, macs=[f"52:54:00:aa:0{number}:01", f"0c:42:a1:00:00:0{number}"], name=name, who="ann")
        made[name] = host["id"]
        with ctx.database.write() as session:
            row = session.get_one(Host, host["id"])
            row.address, row.uuid = f"10.64.0.{number}", f"0000000{number}-cafe-4000-8000-00000000000{number}"
            row.serial = f"SN-X{number}:52:54:09"
    hosts.change(ctx, "web-2", tags=["Rack-7", "port:52:54:00:bb:00"], who="ann")
    hosts.set_roles(ctx, "db-1", ["mariadb"], who="ann", known_roles=["mariadb"])
    with ctx.database.write() as session:
        session.get_one(Host, made["cafe"]).address = "fd00:52:54:77::9"
        session.get_one(Host, made["cafe"]).state = "ready"
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("db", "db-1"), ("WEB-2", "web-2"), ("10.64.0.1", "web-2"), ("rack-7", "web-2"), ("mariadb", "db-1"),
        ("read", "cafe"), ("known", "db-1 web-2"), ("sn-x", "db-1 web-2 cafe"), ("-cafe-", "db-1 web-2 cafe"),
        ("00000002-cafe", "cafe"), ("cafe", "db-1 web-2 cafe"), ("cafe ready", "cafe"), ("%", ""), ("zzzz", ""),
        ("_", ""), ("known mariadb", "db-1"),
        # Of MACs
        ("aa:01", "web-2"), ("52:54:00:aa", "db-1 web-2 cafe"), ("52-54-00-AA-02", "cafe"), ("2:54:00:aa:01:", "web-2"),
        ("0C:42:A1:00:00:02", "cafe"), ("0c:42:a1 db", "db-1"),
        # What no NIC has may stand elsewhere
        ("52:54:09", "db-1 web-2 cafe"), ("52:54:77", "cafe"), ("52:54:00:bb", "web-2"), ("52:54:00:cc", ""),
    ],
)  # fmt: skip
def test_hosts_are_found_by_what_is_shown_of_them(ctx: Context, ids: dict[str, str], text: str, found: str) -> None:
    page = host_list.page(ctx, host_list.Wanted(text=text))
    assert {host["name"] for host in page.hosts} == set(found.split())
    assert page.found == len(found.split())
    assert set(host_list.matching(ctx, host_list.Wanted(text=text))) == {ids[name] for name in found.split()}


def test_every_host_is_found_by_its_id(ctx: Context, ids: dict[str, str]) -> None:
    for name, host_id in ids.items():
        [row] = host_list.rows_after(ctx, host_list.Wanted(text=host_id[2:]), None)
        assert row["name"] == name

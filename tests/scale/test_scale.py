"""A page costs as many statements with ten thousand hosts as with ten, and none reads through all events."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from bench.year import name_of
from pxeforge.services import events, host_list
from pxeforge.services.context import Context
from pxeforge.services.housekeeping import Housekeeping
from pxeforge.webapp.admin import create_admin
from tests.scale.conftest import HOSTS, asked

MOST_STATEMENTS = 60  # of one page; each is one way to the database
MOST_BYTES = 300_000
ONE = name_of(41)
PAGES = [
    "/", "/hosts", "/hosts?page=37", "/hosts?sort=seen_at&down=1", "/hosts?state=failed", "/hosts?role=mariadb",
    "/hosts?tag=rack-7", "/hosts?q=node-0004", f"/hosts/{ONE}", "/events", "/audit", "/audit?who=ops",
    f"/audit?host={ONE}", "/runs", "/profiles", "/images",
]  # fmt: skip
ROUTES = [
    "/hosts?limit=100", "/hosts?limit=100&state=failed", "/hosts?limit=100&tag=rack-7", f"/hosts/{ONE}",
    f"/hosts/{ONE}/timeline", f"/hosts/{ONE}/attempts", "/events?limit=100", "/audit?limit=100", "/runs",
]  # fmt: skip
# Through all rows of a table, by none of its indexes.
_ALL_EVENTS = re.compile(r"SCAN events\b(?! USING)")
_ALL_OF_A_LARGE_TABLE = re.compile(r"SCAN (hosts|events|nics|attempts|tokens)\b(?! USING)")


@pytest.fixture(scope="module")
def client(ctx: Context) -> FlaskClient:
    return create_admin(ctx, trusted_socket=True).test_client()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_small_asks_little_and_reads_no_event_that_it_does_not_show(
    ctx: Context, client: FlaskClient, path: str
) -> None:
    client.get(path)  # templates are compiled
    with asked() as noted:
        answer = client.get(path)
    assert answer.status_code == 200
    assert len(answer.data) < MOST_BYTES
    assert len(noted.statements) <= MOST_STATEMENTS
    assert [step for step in noted.plans(ctx) if _ALL_EVENTS.search(step)] == []


@pytest.mark.parametrize("path", ROUTES)
def test_a_list_of_the_api_asks_little_and_reads_no_event_that_it_does_not_show(
    ctx: Context, client: FlaskClient, path: str
) -> None:
    with asked() as noted:
        answer = client.get(f"/api/v1{path}")
    assert answer.status_code == 200
    assert len(noted.statements) <= MOST_STATEMENTS
    assert [step for step in noted.plans(ctx) if _ALL_EVENTS.search(step)] == []


def test_editing_a_host_reads_no_table_through(ctx: Context, client: FlaskClient) -> None:
    with asked() as noted:
        answer = client.patch(f"/api/v1/hosts/{ONE}", json={"tags": ["edited"]})
    assert answer.status_code == 200
    assert len(noted.statements) <= MOST_STATEMENTS
    assert [step for step in noted.plans(ctx) if step.startswith("SCAN")] == []


@pytest.mark.parametrize("key", ["name", "state", "address"])
def test_hosts_are_sorted_by_an_index(ctx: Context, key: str) -> None:
    with asked() as noted:
        found = host_list.page(ctx, host_list.Wanted(sort=key), limit=50)
    assert (found.total, len(found.hosts)) == (HOSTS, 50)
    assert [step for step in noted.plans(ctx) if "SCAN" in step and "USING" not in step] == []


def test_a_part_of_a_mac_is_looked_for_without_reading_all_hosts(ctx: Context) -> None:
    with asked() as noted:
        found = host_list.page(ctx, host_list.Wanted(text="52:54:01:00:00"), limit=50)
    assert 50 <= found.found < HOSTS
    assert len(found.hosts) == 50
    steps = noted.plans(ctx)
    assert [step for step in steps if "SCAN hosts" in step and "COVERING INDEX" not in step] == []
    assert [step for step in steps if "SEARCH hosts" in step] != []


def test_what_the_server_does_every_five_seconds_goes_by_indexes(ctx: Context) -> None:
    with asked() as noted:
        Housekeeping(ctx).tick()
    steps = noted.plans(ctx)
    assert steps
    assert [step for step in steps if _ALL_OF_A_LARGE_TABLE.search(step)] == []


def test_timelines_are_counted_over_an_index_alone(ctx: Context) -> None:
    with asked() as noted:
        assert events.prune(ctx) == 0
    assert [step for step in noted.plans(ctx) if "events" in step and "COVERING INDEX" not in step] == []
    assert len(noted.statements) == 1

"""Rules, racks, edits of many hosts and identities by the API."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from pxeforge.services.context import Context
from pxeforge.webapp.admin import create_admin

ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.fixture
def client(ctx: Context) -> FlaskClient:
    return create_admin(ctx, trusted_socket=True).test_client()


def call(client: FlaskClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.open(f"/api/v1{path}", method=method, json=body)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_json()


def test_rules_are_kept_tried_and_applied(client: FlaskClient) -> None:
    call(client, "POST", "/hosts", {"macs": [ONE]}, 201)
    rule = {"when": {"mac": "52:54:00"}, "set": {"name": "n{n}", "rack": "r1", "unit": "7"}}
    (tried,) = call(client, "POST", "/rules/test", rule)
    assert (tried["host"], tried["changes"]["name"]) == (ONE, [None, "n1"])
    made = call(client, "POST", "/rules", {"name": "lab", **rule}, 201)
    assert (made["position"], made["when"]) == (1, {"mac": ["52:54:00"]})
    assert call(client, "POST", "/rules/test", {"rule": "lab"})[0]["matches"]
    done = call(client, "POST", "/rules/apply", {})
    assert (done["changed"], done["hosts"][0]["host"]) == (1, "n1")
    changed = call(client, "PATCH", "/rules/lab", {"enabled": False, "when": {"vendor": "Dell*"}})
    assert (changed["enabled"], sorted(changed["when"])) == (False, ["mac", "vendor"])
    assert call(client, "POST", "/rules/lab/move", {"position": 1})["position"] == 1
    assert call(client, "GET", "/racks")[0]["units"][0]["host"] == "n1"
    assert call(client, "PUT", "/racks/r1", {"height": 12})["height"] == 12
    assert "stands in rack r1" in call(client, "DELETE", "/racks/r1", status=409)["detail"]
    call(client, "DELETE", "/rules/lab")
    assert call(client, "GET", "/rules") == []
    refused = call(client, "POST", "/rules", {"name": "x", "when": {"colour": "red"}, "set": {"tags": ["a"]}}, 400)
    assert "unknown criterion 'colour'" in refused["detail"]


def test_many_hosts_are_changed_or_none(client: FlaskClient) -> None:
    for mac, name in ((ONE, "n1"), (TWO, "n2")):
        call(client, "POST", "/hosts", {"macs": [mac], "name": name}, 201)
    body = {"where": "state=known", "changes": {"add_tags": ["a"]}, "dry_run": True}
    assert call(client, "POST", "/hosts/bulk", body)["changed"] == 2
    assert call(client, "POST", "/hosts/bulk", {**body, "dry_run": False})["changed"] == 2
    refused = call(client, "POST", "/hosts/bulk", {"hosts": ["n1", "nobody"], "changes": {"tags": []}}, 400)
    assert "nobody: no host is known as 'nobody'" in refused["detail"]
    assert call(client, "GET", "/hosts/n1")["tags"] == ["a"]


def test_nics_are_moved_hosts_merged_and_conflicts_told(client: FlaskClient) -> None:
    for mac, name in ((ONE, "n1"), (TWO, "n2")):
        call(client, "POST", "/hosts", {"macs": [mac], "name": name}, 201)
    assert call(client, "GET", "/conflicts") == []
    assert call(client, "POST", "/hosts/n1/nics", {"mac": "52:54:00:00:00:09"})["macs"] == [ONE, "52:54:00:00:00:09"]
    assert call(client, "POST", "/nics/52:54:00:00:00:09/move", {"host": "n2"})["name"] == "n2"
    assert call(client, "DELETE", "/nics/52:54:00:00:00:09")["macs"] == [TWO]
    assert call(client, "POST", "/hosts/n1/merge", {"host": "n2"})["macs"] == [ONE, TWO]
    assert "no open conflict" in call(client, "POST", "/conflicts/00000000/settle", status=404)["detail"]


def test_a_host_is_armed_for_the_profile_that_it_is_meant_for(client: FlaskClient, profile: str) -> None:
    call(client, "POST", "/hosts", {"macs": [ONE], "name": "n1"}, 201)
    refused = call(client, "POST", "/hosts/n1/arm", {}, 400)
    assert "the host has none of its own" in refused["detail"]
    call(client, "PATCH", "/hosts/n1", {"settings": {"profile": profile}})
    assert call(client, "POST", "/hosts/n1/arm", {})["state"] == "armed"

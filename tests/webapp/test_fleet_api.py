"""The routes for many hosts at once: table in and out, lint, inventory."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from pxeforge.services.context import Context
from pxeforge.webapp.admin import create_admin
from tests.conftest import MAC

TABLE = f"mac,name,roles\n{MAC},n1,base\n"


@pytest.fixture
def api(ctx: Context) -> FlaskClient:
    """Root's own way in: no login."""
    return create_admin(ctx, trusted_socket=True).test_client()


def test_a_table_goes_in_and_comes_out(api: FlaskClient) -> None:
    tried = api.post("/api/v1/hosts/import", json={"csv": TABLE, "dry_run": True})
    assert (tried.status_code, tried.get_json()[0]["action"]) == (200, "create")
    assert api.get("/api/v1/hosts").get_json() == []
    assert api.post("/api/v1/hosts/import", json={"csv": TABLE}).get_json()[0]["host"] == "n1"
    out = api.get("/api/v1/hosts/export")
    assert out.mimetype == "text/csv"
    assert "attachment" in out.headers["Content-Disposition"]
    assert out.get_data(as_text=True).splitlines()[1].startswith(f"{MAC},n1,,base,")


def test_a_wrong_table_is_refused_with_its_lines(api: FlaskClient) -> None:
    for body in ({"csv": "mac\nx\n"}, {"csv": ""}):
        refused = api.post("/api/v1/hosts/import", json=body)
        assert refused.status_code == 400
        assert "line " in refused.get_json()["detail"]


def test_lint_and_inventory_answer(api: FlaskClient, profile: str) -> None:
    api.post("/api/v1/hosts/import", json={"csv": TABLE})
    assert not [one for one in api.get("/api/v1/lint").get_json() if one["severity"] == "error"]
    assert isinstance(api.get(f"/api/v1/lint?host=n1&profile={profile}").get_json(), list)
    assert api.get("/api/v1/lint?host=ghost").status_code == 404
    assert api.get("/api/v1/inventory").get_json()["role_base"] == {"hosts": ["n1"]}
    assert api.get("/api/v1/inventory?host=n1").get_json()["pxeforge_roles"] == ["base"]
    assert api.get("/api/v1/inventory?host=ghost").status_code == 404
    assert api.get("/api/v1/inventory/known-hosts").get_json() == {"text": ""}


def test_roles_tell_what_their_variables_may_be_and_why_one_is_broken(api: FlaskClient, ctx: Context) -> None:
    folder = ctx.operator_dir / "roles" / "ours"
    folder.mkdir(parents=True)
    (folder / "role.yaml").write_text("name: ours\nsumary: s\n")
    roles = {role["name"]: role for role in api.get("/api/v1/roles").get_json()}
    assert "role.yaml:1: summary is missing: add it" in roles["ours"]["problem"]
    assert roles["neutron"]["problem"] is None
    variables = {one["name"]: one["allowed"] for one in roles["neutron"]["variables"]}
    assert variables["neutron_tenant_type"] == "one of vxlan, gre, vlan"

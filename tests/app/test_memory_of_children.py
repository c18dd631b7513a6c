"""What the children of `serve` hold in memory: the rack's computer is small, and there are six of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CHILDREN = {
    "wire": "pxeforge.app.wire pxeforge.app.assembly",
    "tftp": "pxeforge.app.tftp_helper pxeforge.app.assembly",
    "boot": "pxeforge.webapp.boot_plane pxeforge.app.assembly",
    "agent": "pxeforge.webapp.agent_plane pxeforge.app.assembly",
    "admin": "pxeforge.webapp.admin pxeforge.app.assembly",
}
# Each is 2 to 8 MB, and needed for moments only: imported where it is used.
_LATER = {"alembic", "mako", "psycopg", "jsonschema", "pykickstart", "requests"}
_NOT_ON_THE_WIRE = {"pydantic", "flask", "cryptography"}


@pytest.mark.parametrize("child", sorted(_CHILDREN))
def test_a_child_imports_nothing_large_before_it_needs_it(child: str) -> None:
    code = f"import sys, {', '.join(['pxeforge.app.processes', *_CHILDREN[child].split()])}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "pxeforge" in loaded
    assert loaded & _LATER == set()
    if child in ("wire", "tftp"):
        assert loaded & _NOT_ON_THE_WIRE == set()

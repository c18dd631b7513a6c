"""What is shipped, read once for all tests of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.engine.release import Release, load_releases
from pxeforge.engine.roles import Role, load_roles

_TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def roles() -> dict[str, Role]:
    return load_roles([_TOP / "roles"])


@pytest.fixture(scope="session")
def releases() -> dict[str, Release]:
    return load_releases([_TOP / "releases"])

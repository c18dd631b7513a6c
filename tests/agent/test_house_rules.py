from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import pxeforge
from pxeforge import agent

SOURCES = sorted(Path(agent.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_agent_needs_python_3_9_and_the_standard_library_only(source: Path) -> None:
    tree = ast.parse(source.read_text(), feature_version=(3, 9))
    imported: set[str] = set()
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            imported.update(alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            imported.add(item.module or "")
    foreign = {
        name
        for name in imported
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith("pxeforge.agent")
    }
    assert foreign == set()


def test_agent_and_server_carry_one_version() -> None:
    assert pxeforge.__version__ == agent.AGENT_VERSION

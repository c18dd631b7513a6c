"""Slow tests on real parts. Their labs live below .lab/, which git ignores; logs stay there for a look afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pxeforge.lab.session import Lab, LabProblem, is_worlds_fault
from pxeforge.lab.udebs import ENVIRONMENT

ROOT = Path(__file__).parents[2] / ".lab"
CACHE = ROOT / "cache"  # QEMU and the mirror's packages, shared by all labs
# What a keeper says when the mirror lacks what nobody fills in: such a run is skipped loudly, not failed.
_LACKING = "udebs that this install needs"

LabMaker = Callable[..., Lab]


# The files that take the longest begin first, so that none of them is left alone at the end.
_FIRST = (
    *("test_journey.py", "test_cloud_ha.py", "test_cloud_two_nodes.py", "test_cloud_vm.py"),
    *("test_firmware.py", "test_cloud_control.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST))


@pytest.fixture(scope="module")
def make_lab() -> Iterator[LabMaker]:
    """Brings labs up (once more, saying so, when the mirror or machine was at fault) and takes them down again."""
    if os.geteuid() != 0:
        pytest.skip("a virtual rack needs root (network namespaces)")
    labs: list[Lab] = []

    def make(name: str, *, beside: str = "none", hosts: int = 1) -> Lab:
        folder = ROOT / name
        Lab.clear(folder)
        for attempt in (1, 2):
            try:
                lab = Lab.up(folder, cache=CACHE, beside=beside, hosts=hosts, admin_port=0, name=f"pxf-{name}")
            except LabProblem as problem:
                if _LACKING in str(problem):
                    pytest.skip(f"THE MIRROR LACKS INSTALLER PACKAGES AND {ENVIRONMENT} DOES NOT FILL THEM: {problem}")
                if attempt == 1 and is_worlds_fault(problem):
                    print(f"\nretrying once, the mirror or the machine was at fault: {problem}", flush=True)
                    continue
                raise
            labs.append(lab)
            return lab
        raise AssertionError("unreachable")

    yield make
    for lab in labs:
        lab.down()

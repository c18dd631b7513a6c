"""The seeds and all inputs that ever broke a target; the search itself is tests/e2e/test_fuzz.py and `make fuzz`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from .targets import TARGETS, joined, pieces

FOUND = Path(__file__).parent / "found"
CASES = [(name, seed) for name, target in TARGETS.items() for seed in target.seeds] + [
    (folder.name, path.read_bytes()) for folder in sorted(FOUND.glob("*")) for path in sorted(folder.iterdir())
]


@pytest.mark.parametrize(("target", "data"), CASES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(CASES)])
def test_what_was_sent_once_does_no_harm_again(
    target: str, data: bytes, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.getbasetemp()))
    TARGETS[target].run(data)


def test_datagrams_that_were_joined_come_apart_again() -> None:
    datagrams = [(1, b"abc"), (255, b""), (0, bytes(2000))]
    assert list(pieces(joined(*datagrams), 9)) == datagrams

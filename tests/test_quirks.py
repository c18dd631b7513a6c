"""docs/reference/quirks.md keeps its word: every row has a proof that exists, or a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "quirks.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| Quirk", "| ---"))
]
PROOFS = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)) - {"tests/test_quirks.py"})


def test_every_row_has_a_quirk_a_source_and_a_proof_or_a_reason() -> None:
    assert len(ROWS) > 80
    for row in ROWS:
        assert len(row) == 3, row
        quirk, source, proof = row
        assert quirk
        assert source
        assert proof.startswith("Why not: ") or "`tests/" in proof, row


@pytest.mark.parametrize("proof", PROOFS)
def test_every_proof_exists(proof: str) -> None:
    path, _, name = proof.partition("::")
    text = (ROOT / path).read_text()
    assert re.search(rf"^\s*(def|class) {re.escape(name.partition('[')[0])}\b", text, re.MULTILINE), proof


@pytest.mark.parametrize("number", [*range(1, 15), *range(20, 27)])
def test_every_requirement_of_the_books_has_a_row(number: int) -> None:
    assert any(f"R-{number:02}" in row[0] for row in ROWS)

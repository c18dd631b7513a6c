"""Two texts side by side hold every line of both, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.text_diff import Change, blocks, compare, unified

TEXTS = st.lists(st.sampled_from(["a", "b b", "d-i x boolean true", "d-i x boolean false", "", "é"]), max_size=25).map(
    "\n".join
)


@given(TEXTS, TEXTS)
def test_each_side_reads_as_its_text(left: str, right: str) -> None:
    rows = compare(left, right)
    assert [row.left.text for row in rows if row.left] == left.splitlines()
    assert [row.right.text for row in rows if row.right] == right.splitlines()
    assert [row.left.number for row in rows if row.left] == list(range(1, len(left.splitlines()) + 1))
    assert [row.right.number for row in rows if row.right] == list(range(1, len(right.splitlines()) + 1))


@given(TEXTS, TEXTS)
def test_rows_that_are_called_the_same_are_the_same_and_no_others(left: str, right: str) -> None:
    rows = compare(left, right)
    for row in rows:
        if row.change is Change.SAME:
            assert row.left is not None
            assert row.right is not None
            assert row.left.text == row.right.text
        elif row.change is Change.CHANGED:
            assert row.left is not None
            assert row.right is not None
            assert row.left.text != row.right.text
    assert (left.splitlines() == right.splitlines()) == all(row.change is Change.SAME for row in rows)


@given(TEXTS, TEXTS)
def test_blocks_hold_all_rows_and_fold_no_change(left: str, right: str) -> None:
    rows = compare(left, right)
    found = blocks(rows)
    assert [row for block in found for row in block.rows] == rows
    assert all(row.change is Change.SAME for block in found if block.is_folded for row in block.rows)


def test_what_differs_within_a_line_is_marked() -> None:
    [row] = compare("d-i time/zone string UTC", "d-i time/zone string Europe/Vienna")
    assert row.change is Change.CHANGED
    assert row.left is not None
    assert row.right is not None
    assert [piece for differs, piece in row.left.parts if differs] == ["UTC"]
    assert [piece for differs, piece in row.right.parts if differs] == ["Europe/Vienna"]


def test_lines_that_have_nothing_in_common_went_and_came() -> None:
    assert [row.change for row in compare("aaa bbb", "ccc;ddd")] == [Change.GONE, Change.COME]


def test_equal_lines_far_from_a_change_are_folded() -> None:
    lines = [f"line {number}" for number in range(40)]
    found = blocks(compare("\n".join(lines), "\n".join([*lines[:20], "new", *lines[20:]])))
    assert [(block.is_folded, len(block.rows)) for block in found] == [(True, 17), (False, 7), (True, 17)]


def test_the_unified_form_names_both_sides_and_is_empty_for_equal_texts() -> None:
    assert unified("a\nb", "a\nc", "left", "right").splitlines() == [
        "--- left", "+++ right", "@@ -1,2 +1,2 @@", " a", "-b", "+c",
    ]  # fmt: skip
    assert unified("a", "a", "left", "right") == ""

"""Late snippets of all sources run, in a fixed order, and none replaces another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.snippets import MAX_SNIPPET_BYTES, SOURCES, LateSnippet, merge_snippets
from pxeforge.render.values import AnswersProblem

SNIPPETS = st.builds(
    LateSnippet,
    name=st.from_regex(r"[a-z]{1,4}", fullmatch=True),
    text=st.just("true"),
    source=st.sampled_from(SOURCES),
    origin=st.sampled_from(["", "base", "mariadb"]),
)


@given(st.lists(SNIPPETS, unique_by=lambda one: one.label))
def test_every_snippet_is_kept_and_sources_come_in_order(snippets: list[LateSnippet]) -> None:
    merged = merge_snippets(snippets)
    assert sorted(one.label for one in merged) == sorted(one.label for one in snippets)
    order = [SOURCES.index(one.source) for one in merged]
    assert order == sorted(order)
    for source in SOURCES:
        assert [one for one in merged if one.source == source] == [one for one in snippets if one.source == source]


def test_two_of_one_name_from_one_source_are_refused() -> None:
    with pytest.raises(AnswersProblem, match="twice"):
        merge_snippets([LateSnippet(name="a", text="1"), LateSnippet(name="a", text="2")])
    both = [LateSnippet(name="a", text="1"), LateSnippet(name="a", text="2", source="host")]
    assert [one.label for one in merge_snippets(both)] == ["profile/a", "host/a"]


@pytest.mark.parametrize(
    "entry",
    ["x", {"text": "x"}, {"name": "a b", "text": ""}, {"name": "a", "text": "x\0"}, {"name": "a", "text": 5},
     {"name": "a", "text": "x" * (MAX_SNIPPET_BYTES + 1)}, {"name": "a", "text": "", "when": "late"}],
)  # fmt: skip
def test_these_are_no_snippets(entry: object) -> None:
    with pytest.raises(AnswersProblem):
        LateSnippet.parse(entry)

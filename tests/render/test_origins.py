"""Each line of a rendered text knows the line of the template it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.render.environment import render_template
from pxeforge.render.origins import origins_of
from tests.render.families import KICKSTART, UBUNTU, context_of, dirs_of, template_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t").mkdir()
    return tmp_path / "t"


def test_lines_of_text_loops_comments_and_included_parts_are_told(folder: Path) -> None:
    (folder / "a.j2").write_text(
        "first {{ x }}\n{% for one in all %}\n{{ one }}\n{% endfor %}\n{# a\n comment #}\nmid {{ x }}\n"
        '{% include "b.j2" %}\n{% if x %}\n  yes\n{% endif %}\n'
    )
    (folder / "b.j2").write_text("b1\n{{ x }}\n")
    values = {"x": "X", "all": ["1", "2"]}
    lines = render_template("a.j2", values, [folder]).splitlines()
    told = [str(one) for one in origins_of("a.j2", values, [folder])[: len(lines)]]
    assert list(zip(lines, told, strict=True)) == [
        ("first X", "t/a.j2:1"), ("1", "t/a.j2:3"), ("2", "t/a.j2:3"), ("mid X", "t/a.j2:7"), ("b1", "t/b.j2:1"),
        ("X", "t/b.j2:2"), ("  yes", "t/a.j2:10"),
    ]  # fmt: skip


def test_a_template_that_looks_at_its_own_text_has_no_origins_rather_than_wrong_ones(folder: Path) -> None:
    (folder / "a.j2").write_text("{% set t %}abc{% endset %}{{ t | length }}\n")
    assert origins_of("a.j2", {}, [folder]) == ()


def test_a_template_that_cannot_be_rendered_has_none(folder: Path) -> None:
    (folder / "a.j2").write_text("{{ nothing }}")
    assert origins_of("a.j2", {}, [folder]) == ()


@pytest.mark.parametrize("system", [*KICKSTART, *UBUNTU])
def test_every_line_of_the_shipped_answers_has_an_origin(system: str) -> None:
    values, dirs, template = context_of(system, {}).variables(), dirs_of(system), template_of(system)
    lines = render_template(template, values, dirs).split("\n")
    origins = origins_of(template, values, dirs)
    assert len(origins) == len(lines)
    for line, origin in zip(lines, origins, strict=True):
        if line.strip():
            assert origin is not None, line
            [path] = [
                folder / origin.template.partition("/")[2]
                for folder in dirs
                if folder.name == origin.template.partition("/")[0]
            ]
            assert 1 <= origin.line <= len(path.read_text().splitlines())

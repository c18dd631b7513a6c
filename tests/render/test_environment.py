"""The template sandbox: errors name file and line, values stay in their place, nothing leads out."""

from __future__ import annotations

import shlex
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.environment import (
    TemplateProblem,
    debconf_value,
    display_text,
    kernel_line,
    kernel_word,
    quote_for_shell,
    render_template,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "preseed"
    made.mkdir()
    return made


def problem(folder: Path, text: str, **context: object) -> TemplateProblem:
    (folder / "a.j2").write_text(text)
    with pytest.raises(TemplateProblem) as caught:
        render_template("a.j2", context, [folder])
    return caught.value


def test_an_undefined_name_is_told_with_file_and_line(folder: Path) -> None:
    assert str(problem(folder, "one\ntwo\n{{ disk_rule }}\n")) == "preseed/a.j2:3: 'disk_rule' is undefined"


def test_an_undefined_attribute_is_told(folder: Path) -> None:
    told = problem(folder, "\n{{ host.serial }}", host={"name": "x"})
    assert told.line == 2
    assert "no attribute 'serial'" in told.message


def test_a_syntax_error_is_told_with_its_line(folder: Path) -> None:
    told = problem(folder, "one\n{% if x %}\n")
    assert (told.template, told.line) == ("preseed/a.j2", 2)
    assert "endif" in told.message


def test_an_error_in_an_included_template_names_that_template(folder: Path) -> None:
    (folder / "part.j2").write_text("\n\n{{ missing }}")
    assert str(problem(folder, "{% include 'part.j2' %}")) == "preseed/part.j2:3: 'missing' is undefined"
    (folder / "part.j2").write_text("\n{% endfor %}")
    assert problem(folder, "{% include 'part.j2' %}").template == "preseed/part.j2"


def test_a_missing_template_names_the_folders(folder: Path) -> None:
    with pytest.raises(TemplateProblem, match=f"none.j2: template not found in {folder}"):
        render_template("none.j2", {}, [folder])
    assert "cannot include other.j2" in str(problem(folder, "x\n{% include 'other.j2' %}"))


def test_a_refusing_filter_is_told_with_its_line(folder: Path) -> None:
    told = problem(folder, "\n{{ name | debconf }}", name="a\nb")
    assert told.line == 2
    assert "one line" in told.message


def test_the_first_folder_wins(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (folder / "a.j2").write_text("packaged")
    (own / "a.j2").write_text("operator's")
    assert render_template("a.j2", {}, [tmp_path / "absent", own, folder]) == "operator's"


@pytest.mark.parametrize("name", ["../secret", "x/../../secret", "/etc/passwd"])
def test_no_name_leads_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(TemplateProblem):
        render_template(name, {}, [folder])


def test_no_symbolic_link_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "link.j2").symlink_to(tmp_path / "secret")
    (folder / "dir").mkdir()
    for name in ("link.j2", "dir"):
        with pytest.raises(TemplateProblem, match=r"leads out of|no plain file"):
            render_template(name, {}, [folder])


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ render.__globals__ }}",
        "{{ [].append(1) }}",
        "{{ lipsum }}",
        "{{ cycler }}",
        "{{ range(10000000) | list }}",
    ],
)
def test_the_sandbox_holds(folder: Path, text: str) -> None:
    assert problem(folder, text, render=render_template).line == 1


def test_a_template_that_runs_away_is_stopped(folder: Path) -> None:
    told = problem(folder, "{% for a in range(9999) %}{% for b in range(9999) %}xxxxxxxx{% endfor %}{% endfor %}")
    assert "more than" in told.message


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 2000000000 }}",
        "{{ x * 2000000000 }}",
        "{{ 2 ** (2 ** 60) }}",
        "{{ '%2000000000d' | format(1) }}",
        "{{ '{:2000000000}'.format(1) }}",
        "{{ x | center(2000000000) }}",
        "{{ x | indent(2000000000, true) }}",
        "{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n - 1) }}{% endif %}{% endmacro %}{{ m(x, 40) }}",
        "{% set text %}{% for i in range(100000) %}{{ x }}{% endfor %}{% endset %}{{ text | length }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    ],
)
def test_what_would_take_all_memory_or_hours_is_refused_with_its_line(folder: Path, text: str) -> None:
    told = problem(folder, "\n\n" + text, x="y" * 100)
    assert (told.line, told.message.endswith(": make it smaller")) == (3, True), told.message


def test_what_one_thread_renders_counts_for_no_other(folder: Path) -> None:
    together = threading.Barrier(2, timeout=30)
    loops = "{% for a in range(15) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
    (folder / "a.j2").write_text("{{ meet() }}" + loops + "done")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda _: render_template("a.j2", {"meet": lambda: together.wait() * 0}, [folder]), range(2))
        assert list(found) == ["0done", "0done"]


def test_nothing_is_escaped_as_html(folder: Path) -> None:
    (folder / "a.j2").write_text("{{ x }}")
    assert render_template("a.j2", {"x": "<&>"}, [folder]) == "<&>"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_quoted_word_is_one_shell_word(text: str) -> None:
    assert shlex.split(quote_for_shell(text)) == [text]


@given(st.text())
def test_a_debconf_value_is_one_line_or_refused(text: str) -> None:
    try:
        value = debconf_value(text)
    except ValueError:
        assert not text.isprintable() or text.endswith("\\")
        return
    assert len(f"x{value}x".splitlines()) == 1
    assert not value.endswith("\\")


def test_debconf_booleans_are_written_small() -> None:
    assert [debconf_value(True), debconf_value(False)] == ["true", "false"]


@given(st.text())
def test_a_kernel_word_has_nothing_to_interpret_or_is_refused(text: str) -> None:
    try:
        word = kernel_word(text)
    except ValueError:
        return
    assert word == text
    assert word.split() == [word]
    assert not set(word) & set("\"'`$;{}|&<>()\\#\n\r\0")


@pytest.mark.parametrize("bad", ["", "a b", "a;b", "${x}", "a\nb", "a'b", 'a"b', "a#b", "a|b", "a&&b", "a\\", "ä"])
def test_these_are_no_kernel_words(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot be a kernel argument"):
        kernel_word(bad)


def test_a_kernel_line_keeps_its_words() -> None:
    assert kernel_line(" a=1  --- console=ttyS0,115200n8 ") == "a=1 --- console=ttyS0,115200n8"
    with pytest.raises(ValueError, match="one line"):
        kernel_line("a\nb")


@given(st.text())
def test_displayed_text_has_nothing_to_interpret(text: str) -> None:
    shown = display_text(text)
    assert len(shown) == min(len(text), 70)
    assert not set(shown) & set("\"'`$;{}|&<>\\#\n\r\t\0")

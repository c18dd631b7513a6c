"""Coloured texts hold every character of the text, line by line, with the findings where they belong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.lint_finding import Severity
from pxeforge.services.answer_findings import FileFinding
from pxeforge.services.answer_preview import TEXTS
from pxeforge.webapp.pages.source_text import counts, lines_of

PIECES = [
    "d-i netcfg/x string a b\n", "# note\n", "d-i preseed/late_command string x && \\\n  sh y; true\n",
    "part / --size=3\n", "%post\n", "%end\n", "%packages\n", "@core\n", "odd\n", "\n", "#!ipxe\n",
    "kernel ${base}/linux a=b --- c || goto x\n", "LABEL 1\n  APPEND a=b\n", "<script>alert(1)</script>\n",
    "if [ -z \"$x\" ]; then echo 'é'; fi\n", "#cloud-config\n", "autoinstall: {version: 1}\n",
]  # fmt: skip
SOURCES = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def read(what: str, text: str) -> list[str]:
    return ["".join(piece for _css, piece in line.pieces) for line in lines_of(what, text)]


@given(st.sampled_from(sorted(TEXTS)), SOURCES)
def test_nothing_is_lost_or_added(what: str, text: str) -> None:
    assert "\n".join(read(what, text)).rstrip("\n") == text.rstrip("\n")


@given(st.sampled_from(sorted(TEXTS)), st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])))
def test_any_text_can_be_shown(what: str, text: str) -> None:
    assert "\n".join(read(what, text)).rstrip("\n") == text.removeprefix("\ufeff").rstrip("\n")


@pytest.mark.parametrize(
    ("what", "text", "expected"),
    [
        ("answers", "d-i netcfg/enable boolean true", {("k", "d-i"), ("t", "netcfg/enable"), ("b", "boolean")}),
        ("answers", "part / --size=3\n%end", {("t", "part"), ("b", "--size"), ("k", "%end")}),
        ("menu", "kernel ${base}/linux a=b", {("k", "kernel"), ("v", "${base}"), ("t", "a")}),
        ("kernel-args", "# 1  Install\nconsole=ttyS0 quiet", {("c", "# 1  Install"), ("t", "console"), ("s", "ttyS0")}),
        ("late", "# hi\necho $A", {("c", "# hi"), ("b", "echo"), ("v", "$A")}),
        ("answers", "#cloud-config\nautoinstall:\n  version: 1", {("t", "autoinstall")}),
    ],
)
def test_each_language_has_its_colours(what: str, text: str, expected: set[tuple[str, str]]) -> None:
    assert expected <= {piece for line in lines_of(what, text) for piece in line.pieces}


def test_only_who_looks_at_a_text_loads_the_lexers() -> None:
    code = "import sys, pxeforge.webapp.admin; sys.exit('pygments.lexers.shell' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_huge_text_is_shown_without_colours() -> None:
    text = "d-i a/b string c\n" * 20_000
    lines = lines_of("answers", text)
    assert lines[0].pieces == (("", "d-i a/b string c"),)
    assert len(lines) >= 20_000


def test_findings_stand_at_their_line_and_beyond_the_end_at_the_last() -> None:
    found = [FileFinding("f", 2, Severity.ERROR, "two"), FileFinding("f", 99, Severity.WARNING, "far")]
    lines = lines_of("answers", "d-i a/b string\nd-i c/d string\nd-i e/f string\n", found)
    assert [[one.message for one in line.findings] for line in lines] == [[], ["two"], ["far"]]
    assert counts(found) == {"error": 1, "warning": 1}
    assert lines_of("answers", "", found)[0].findings

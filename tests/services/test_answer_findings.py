"""Findings say where: in the file, in which line of it, and from which line of which template."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pxeforge.domain.installer import Installer
from pxeforge.render.install_source import InstallSource
from pxeforge.render.lint_answers import TextKind
from pxeforge.render.lint_finding import Severity
from pxeforge.services.answer_findings import (
    FileFinding,
    errors_of,
    lint_answers,
    lint_args,
    lint_menus,
    lint_shell,
    view,
    with_origins,
)
from tests.render.families import context_of

EL9 = InstallSource(installer=Installer.ANACONDA, distribution="rocky", release="9.4")


def test_a_finding_shows_line_text_and_template() -> None:
    found = FileFinding("a.ks", 3, Severity.ERROR, "is wrong", "kickstart/a.ks.j2:2", "rootpw …")
    assert str(found) == "a.ks:3: error: is wrong in «rootpw …» [from kickstart/a.ks.j2:2]"
    assert view(found) == {
        "file": "a.ks", "line": 3, "severity": "error", "message": "is wrong", "template": "kickstart/a.ks.j2:2",
        "text": "rootpw …",
    }  # fmt: skip


def test_the_image_says_which_linter_reads_the_answers() -> None:
    text = "install\nreboot\n"
    assert any("removed" in one.message for one in lint_answers("x", text, EL9))
    assert any("no owner" in one.message or "too few" in one.message for one in lint_answers("x", text))
    assert lint_answers("x", "<profile/>", InstallSource(installer=Installer.AUTOYAST)) == []


def test_scripts_inside_a_kickstart_file_are_read_by_their_shell_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"reboot\n%pre\ntouch {mark}\n%end\n%post --interpreter=/bin/bash\ntrue\nif then (\n%end\n"
    found = [one for one in errors_of(lint_answers("a.ks", text, EL9)) if "cannot read" in one.message]
    assert [(one.line, one.message.split()[0]) for one in found] == [(7, "bash")]
    assert not mark.exists()
    python = text.replace("/bin/bash", "/usr/bin/python3")
    assert not [one for one in lint_answers("a.ks", python, EL9) if "cannot read" in one.message]
    assert not [one for one in lint_answers("a.ks", text, EL9, ask_programs=False) if "cannot read" in one.message]


def test_a_script_that_its_shell_cannot_read_is_an_error() -> None:
    [found] = lint_shell("late", "true\ncase x in\n")
    assert (found.severity, found.line >= 2) == (Severity.ERROR, True)
    assert list(lint_shell("late", "true\n")) == []
    assert list(lint_shell("late", "(", shell="no-such-shell")) == []


@pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="needs grub-script-check")
def test_grub_is_asked_about_its_menu() -> None:
    [found] = lint_answers("grub.cfg", "if true; then\n  echo x\n", kind=TextKind.GRUB)
    assert found.message.startswith("grub-script-check:")
    assert lint_menus({"grub": "menuentry 'x' --id x {\n  echo x\n}\n"}) == []


def test_kernel_arguments_are_those_of_the_installer() -> None:
    assert lint_args("args", "inst.ks=http://192.0.2.1/a", Installer.ANACONDA) == []
    assert lint_args("args", "inst.ks=http://192.0.2.1/a", Installer.DEBIAN)


def test_a_finding_is_followed_to_its_template(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.ks.j2").write_text("reboot\n{% include 'b.ks.j2' %}\n")
    (folder / "b.ks.j2").write_text("{# part #}\nlangen_US\n")
    values = context_of("rocky-9", {})
    told = lint_answers("answers", "reboot\nlangen_US\n", EL9)
    found = with_origins(told, "a.ks.j2", values, [folder])
    assert next(one.origin for one in found if "langen_US" in one.message) == "mine/b.ks.j2:2"
    assert [one.origin for one in with_origins(told, "none.j2", values, [folder])] == [""] * len(told)

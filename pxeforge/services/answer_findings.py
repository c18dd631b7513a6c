"""What the linters say about the texts of a host, with the template and the rendered line that it is about."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pxeforge.domain.installer import Installer
from pxeforge.render.answers import AnswersContext
from pxeforge.render.install_source import InstallSource
from pxeforge.render.lint import NO_QUESTIONS, Questions
from pxeforge.render.lint_answers import ANSWERS, TextKind, kind_of, lint_text
from pxeforge.render.lint_finding import Severity, shown_line
from pxeforge.render.lint_kickstart import scripts_of
from pxeforge.render.origins import origins_of
from pxeforge.services.answers_check import BINARY, AnswersCheckProblem, debconf_complaints

_DEBCONF_LINE: Final = re.compile(r"\bline (\d+)\b")
_SHELL_LINE: Final = re.compile(r"(?:line )?(\d+): (?:syntax error: )?(.*)", re.IGNORECASE)
_SHELLS: Final = ("/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/sh", "sh", "bash")
_TIMEOUT_S: Final = 20


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A finding and the file it is in; `line` counts from 1. `origin` is the template's line, `text` the file's."""

    file: str
    line: int
    severity: Severity
    message: str
    origin: str = ""
    text: str = ""

    def __str__(self) -> str:
        where = f" [from {self.origin}]" if self.origin else ""
        shown = f" in «{self.text}»" if self.text else ""
        return f"{self.file}:{self.line}: {self.severity.value}: {self.message}{shown}{where}"


def lint_answers(
    file: str, text: str, source: InstallSource | None = None, questions: Questions = NO_QUESTIONS,
    kind: TextKind | None = None, *, ask_programs: bool = True,
) -> list[FileFinding]:  # fmt: skip
    """Our own findings of a text, and what the installer's own programs say of it, where they are installed.

    Without `source` and `kind` the text itself tells what it is. `ask_programs` False: at once, for whoever holds up
    others meanwhile.
    """
    kind = kind or (ANSWERS[source.installer] if source is not None else kind_of(file, text))
    lines = text.split("\n")
    own = [
        FileFinding(file, one.line, one.severity, one.message, text=shown_line(lines, one.line))
        for one in lint_text(kind, text, source, questions)
    ]
    told = {one.line for one in own}
    others = [one for one in _programs(kind, file, text) if one.line not in told] if ask_programs else []
    return sorted([*own, *others], key=lambda one: one.line)


def _programs(kind: TextKind, file: str, text: str) -> Iterable[FileFinding]:
    if kind is TextKind.PRESEED:
        return _debconf(file, text)
    if kind is TextKind.KICKSTART:
        return _shell_scripts(file, text)
    if kind is TextKind.GRUB:
        return _grub(file, text)
    return ()


def _debconf(file: str, text: str) -> Iterator[FileFinding]:
    try:
        complaints = debconf_complaints(text) or []
    except AnswersCheckProblem as problem:
        yield FileFinding(file, 1, Severity.WARNING, str(problem))
        return
    for said in complaints:
        line = _DEBCONF_LINE.search(said)
        severity = Severity.ERROR if said.startswith("error") else Severity.WARNING
        yield FileFinding(file, int(line[1]) if line else 1, severity, f"{BINARY}: {said.partition(': ')[2] or said}")


def _shell_scripts(file: str, text: str) -> Iterator[FileFinding]:
    """The scripts inside a kickstart file, read by the shell and not run."""
    for script in scripts_of(text):
        if script.interpreter in _SHELLS:
            yield from (
                replace(one, line=one.line + script.line)
                for one in lint_shell(file, script.text, Path(script.interpreter).name)
            )


def lint_shell(file: str, text: str, shell: str = "sh") -> Iterator[FileFinding]:
    """What `sh -n` says of a script; nothing where there is no such shell."""
    said = _said_by([shell, "-n"], text)
    found = _SHELL_LINE.search(said) if said is not None else None
    if said:
        line, message = (int(found[1]), found[2]) if found else (1, said)
        yield FileFinding(file, line, Severity.ERROR, f"{shell} cannot read the script: {message}")


def _grub(file: str, text: str) -> Iterator[FileFinding]:
    said = _said_by(["grub-script-check"], text)
    if said:
        line = _DEBCONF_LINE.search(said)
        yield FileFinding(file, int(line[1]) if line else 1, Severity.ERROR, f"grub-script-check: {said}")


def _said_by(command: Sequence[str], text: str) -> str | None:
    """What a program says about a text on its standard input; empty: nothing to complain about. None: not here."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]], input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"it could not be asked ({problem})"
    said = " ".join((done.stderr or done.stdout).decode(errors="replace").split())
    return said or f"it ended with {done.returncode}" if done.returncode else ""


def with_origins(
    findings: Iterable[FileFinding], template: str, values: AnswersContext, dirs: Sequence[Path]
) -> list[FileFinding]:
    """The same findings, each with the template's line that its own came from."""
    found = list(findings)
    origins = origins_of(template, values.variables(), dirs) if found else ()
    return [
        replace(one, origin=str(origins[one.line - 1])) if one.line <= len(origins) and origins[one.line - 1] else one
        for one in found
    ]


def lint_menus(
    menus: Mapping[str, str], base: str = "menu", *, ask_programs: bool = True
) -> list[FileFinding]:  # fmt: skip
    """Menus by the kind of loader: ipxe, pxelinux, grub."""
    return [
        one
        for name, text in menus.items()
        for one in lint_answers(f"{base}.{name}", text, kind=TextKind(name), ask_programs=ask_programs)
    ]


def lint_args(file: str, args: str, installer: Installer) -> list[FileFinding]:
    """A kernel command line for an installer."""
    source = InstallSource(installer=installer)
    return [
        FileFinding(file, one.line, one.severity, one.message)
        for one in lint_text(TextKind.KERNEL_ARGS, args, source)
    ]  # fmt: skip


def errors_of(findings: Iterable[FileFinding]) -> list[FileFinding]:
    """Only those that forbid arming."""
    return [one for one in findings if one.severity is Severity.ERROR]


def view(finding: FileFinding) -> dict[str, Any]:
    """The finding as the API and the command line show it."""
    return {
        "file": finding.file, "line": finding.line, "severity": finding.severity.value, "message": finding.message,
        "template": finding.origin, "text": finding.text,
    }  # fmt: skip

"""`pxeforge lint`: mistakes in answers, found before a machine reads them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json

# As in render/lint_answers.py, which is loaded when something is linted.
KINDS = ("preseed", "kickstart", "user-data", "ipxe", "pxelinux", "grub", "kernel-args")
_NAMED: Final = re.compile(r"^name:", re.MULTILINE)
_OF_BLUEPRINT: Final = re.compile(r"^(hosts|extends|vips|tolerance):", re.MULTILINE)
_OF_ROLE: Final = re.compile(r"^(tasks|verify):", re.MULTILINE)


@click.command()
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True)
)
@click.option(
    "--kind", type=click.Choice(KINDS), help="What the files are; without it their names and beginnings tell."
)
@click.option(
    "--os", "system", metavar="NAME-RELEASE", help="Which system kickstart files are for, like centos-6 or rocky-9.4."
)
@click.option("--host", "host", metavar="HOST", help="The answers of this host, as it is armed.")
@click.option("--profile", help="With --host: as if armed for this profile.")
@click.option("--all", "every", is_flag=True, help="Every profile, rendered for a sample host.")
@json_option
@click.pass_obj
def lint(
    session: Any, files: tuple[Path, ...], kind: str | None, system: str | None, host: str | None,
    profile: str | None, every: bool, as_json: bool,
) -> None:  # fmt: skip
    """Lint answers, boot menus, a host's texts or every profile: `file:line: severity: message`.

    Answers are preseed, kickstart (by pykickstart, for the release) and user-data (by the schemas of autoinstall and
    cloud-init). Asks debconf-set-selections, grub-script-check and sh too, where they are installed. Exit code 1 when
    there is an error.
    """
    if not (files or host or every):
        raise click.UsageError("say what to lint: FILE..., --host HOST or --all")
    if profile and not host:
        raise click.UsageError("--profile goes with --host")
    if (kind or system) and not files:
        raise click.UsageError("--kind and --os go with files")
    found = [finding for file in files for finding in _lint_file(file, kind, system)]
    if host:
        query = {"host": host, **({"profile": profile} if profile else {})}
        found += session.api.call("GET", "/lint", query=query)
    if every:
        found += session.api.call("GET", "/lint")
    if as_json:
        show_json(found)
    for one in () if as_json else found:
        where = f" [from {one['template']}]" if one["template"] else ""
        shown = f" in «{one['text']}»" if one["text"] else ""
        say(f"{one['file']}:{one['line']}: {one['severity']}: {one['message']}{shown}{where}")
    if not found and not as_json:
        say("nothing to complain about")
    sys.exit(1 if any(one["severity"] == "error" for one in found) else 0)


def _lint_file(file: Path, kind: str | None, system: str | None) -> list[dict[str, Any]]:
    from pxeforge.render.lint_answers import TextKind
    from pxeforge.services.answer_findings import lint_answers, view

    source, chosen = _source(system), TextKind(kind) if kind else None
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        strange = _no_answers(file, content.decode()) if chosen is None and source is None else None
        if strange is not None:
            return [_error(file, strange)]
        if source is not None and chosen is None:
            chosen = TextKind.KICKSTART
        return [view(finding) for finding in lint_answers(str(file), content.decode(), source, kind=chosen)]
    except OSError as problem:
        message = f"cannot be read ({problem.strerror})"
    except UnicodeDecodeError:
        message = "not UTF-8: write plain text"
    return [_error(file, message)]


def _error(file: Path, message: str) -> dict[str, Any]:
    return {"file": str(file), "line": 1, "severity": "error", "message": message, "template": "", "text": ""}


def _no_answers(file: Path, text: str) -> str | None:
    """What somebody took for answers that is a blueprint or a role, also a faulty one; None for all else."""
    if file.suffix not in (".yaml", ".yml", "") or not _NAMED.search(text):
        return None
    if _OF_BLUEPRINT.search(text):
        return f"this is a blueprint, and no answers: use `pxeforge blueprint check {file}`"
    if _OF_ROLE.search(text):
        return "this is a role, and no answers: `pxeforge role list` reads it and says what is wrong in it"
    return None


def _source(system: str | None) -> Any:
    """What kickstart files are for; raises UsageError."""
    from pxeforge.domain.installer import Installer
    from pxeforge.render.install_source import InstallSource
    from pxeforge.render.kickstart import Release
    from pxeforge.render.values import AnswersProblem

    if system is None:
        return None
    name, _, release = system.partition("-")
    try:
        Release.of(name, release)
        return InstallSource(installer=Installer.ANACONDA, distribution=name, release=release)
    except AnswersProblem as problem:
        raise click.UsageError(f"--os {system}: {problem}") from None


COMMANDS = (lint,)

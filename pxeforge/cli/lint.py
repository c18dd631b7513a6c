"""`pxeforge lint`: mistakes in answers, found before a machine reads them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json


@click.command()
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True)
)
@click.option("--host", "host", metavar="HOST", help="The answers of this host, as it is armed.")
@click.option("--profile", help="With --host: as if armed for this profile.")
@click.option("--all", "every", is_flag=True, help="Every profile, rendered for a sample host.")
@json_option
@click.pass_obj
def lint(
    session: Any, files: tuple[Path, ...], host: str | None, profile: str | None, every: bool, as_json: bool
) -> None:
    """Lint preseed files, a host's answers or every profile: `file:line: severity: message`.

    Asks debconf-set-selections too, where it is installed. Exit code 1 when there is an error.
    """
    if not (files or host or every):
        raise click.UsageError("say what to lint: FILE..., --host HOST or --all")
    if profile and not host:
        raise click.UsageError("--profile goes with --host")
    found = [finding for file in files for finding in _lint_file(file)]
    if host:
        query = {"host": host, **({"profile": profile} if profile else {})}
        found += session.api.call("GET", "/lint", query=query)
    if every:
        found += session.api.call("GET", "/lint")
    if as_json:
        show_json(found)
    for one in () if as_json else found:
        say(f"{one['file']}:{one['line']}: {one['severity']}: {one['message']}")
    if not found and not as_json:
        say("nothing to complain about")
    sys.exit(1 if any(one["severity"] == "error" for one in found) else 0)


def _lint_file(file: Path) -> list[dict[str, Any]]:
    from pxeforge.services.answer_lint import lint_answers, view

    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return [view(finding) for finding in lint_answers(str(file), content.decode())]
    except OSError as problem:
        message = f"cannot be read ({problem.strerror})"
    except UnicodeDecodeError:
        message = "not UTF-8: write plain text"
    return [{"file": str(file), "line": 1, "severity": "error", "message": message}]


COMMANDS = (lint,)

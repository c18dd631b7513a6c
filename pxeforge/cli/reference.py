"""The reference page of the commands, made from the click tree; a test holds the committed page to it.

`python -m pxeforge.cli.reference docs/reference` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from pxeforge.cli.main import main
from pxeforge.services.context import write_whole

PAGE: Final = "commands.md"
_MADE_BY: Final = (
    "<!-- Made by `python -m pxeforge.cli.reference docs/reference`: change the code, then run it again. -->"
)
_INTRODUCTION: Final = (
    "Listings take `--json`. An error is one sentence on stderr. Exit code 0: done, 1: failed, 2: wrong usage. "
    "HOST is a MAC address in any spelling, a UUID, a name or the beginning of an id. "
    "Without `--server` a command talks to the server that runs on the same data directory, or opens the "
    "data directory itself where none runs."
)


def commands_table() -> str:
    """The page of all commands with their arguments and options."""
    sections = "\n".join(_section(path, command) for path, command in _leaves((), main))
    options = _options(main)
    head = f"# Commands\n\n{_MADE_BY}\n\n{_INTRODUCTION}\n\n## pxeforge\n\nOptions before every command:\n\n{options}"
    return f"{head}\n{sections}"


def write_page(folder: Path) -> None:
    """Writes the page whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PAGE, commands_table().encode())


def _leaves(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, child in sorted(command.commands.items()):
        yield from _leaves((*path, name), child)


def _section(path: tuple[str, ...], command: click.Command) -> str:
    arguments = [_argument(one) for one in command.params if isinstance(one, click.Argument)]
    head = " ".join(["pxeforge", *path, *arguments])
    text = " ".join((command.help or "").split())
    options = _options(command)
    return f"## {head}\n\n{text}\n" + (f"\n{options}" if options else "")


def _argument(argument: click.Argument) -> str:
    if argument.metavar:
        return argument.metavar
    name = (argument.name or "").upper()
    if isinstance(argument.type, click.Choice):
        name = "|".join(map(str, argument.type.choices))
    word = f"{name}..." if argument.nargs == -1 else name
    return word if argument.required else f"[{word}]"


def _options(command: click.Command) -> str:
    options = [one for one in command.params if isinstance(one, click.Option)]
    return "".join(f"- `{_spelling(one)}`: {_meaning(one)}\n" for one in options)


def _spelling(option: click.Option) -> str:
    spelled = ", ".join(option.opts)
    if option.is_flag:
        return spelled
    kind = option.type
    value = "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else option.metavar or kind.name.upper()
    return f"{spelled} {value}"


def _meaning(option: click.Option) -> str:
    said = (option.help or "").rstrip(".")
    said += " (required)" if option.required else ""
    return f"{said} (default {option.default})" if option.show_default else said


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))

"""Collects the late snippets of one host: the server's, those of its profile and of its roles, and its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from pxeforge.render.snippets import LateSnippet, merge_snippets
from pxeforge.render.values import AnswersProblem
from pxeforge.services.answers import snippets_of
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.services.remembered import Remembered

# A folder of `NAME.sh` in /etc/pxeforge and in the data directory: run at the end of every install.
SERVER_FOLDER: Final = "late.d"
# The file of a role that is run at the end of the install of every host which has the role.
ROLE_FILE: Final = "late.sh"
_ROLES: Final = "SELECT role FROM assignments WHERE host_id = :host ORDER BY assigned_at, role"


class SnippetHost(Protocol):
    """A host as the wire or the store has it."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str | None: ...

    @property
    def settings(self) -> dict[str, Any]: ...


def of_host(ctx: Context, host: SnippetHost, layer: Mapping[str, Any]) -> tuple[LateSnippet, ...]:
    """All of them, merged, in the order in which they run; `layer` are the profile's parameters. Raises Problem."""
    try:
        own = host.settings.get("parameters", {})
        return merge_snippets(
            [*_of_server(ctx), *snippets_of(layer), *_of_roles(ctx, host.id), *snippets_of(own, "host")]
        )
    except AnswersProblem as problem:
        raise Problem(f"late snippets not usable: {problem}") from problem


def _of_server(ctx: Context) -> Iterator[LateSnippet]:
    """By name; a file in the operator's folder hides one of the same name in the data directory."""
    files: dict[str, Path] = {}
    for folder in (ctx.operator_dir / SERVER_FOLDER, ctx.data_dir / SERVER_FOLDER):
        for path in folder.glob("*.sh"):
            files.setdefault(path.stem, path)
    for name in sorted(files):
        yield LateSnippet(name=name, text=_text(files[name]), source="server")


def _of_roles(ctx: Context, host_id: str) -> Iterator[LateSnippet]:
    """In the order in which the roles were assigned."""
    for (role,) in ctx.database.look_up(_ROLES, host=host_id):
        found = next((folder / role / ROLE_FILE for folder in ctx.assets("roles") if (folder / role).is_dir()), None)
        if found is not None and found.is_file():
            yield LateSnippet(name=ROLE_FILE.removesuffix(".sh"), origin=role, text=_text(found), source="role")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise Problem(f"late snippet {path} cannot be read ({problem}): make it a readable UTF-8 file") from None


_text: Remembered[str] = Remembered(_read)

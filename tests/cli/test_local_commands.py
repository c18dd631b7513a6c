"""Commands that work on the computer they run on: a server elsewhere is never mixed up with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main
from tests.conftest import write_image

NOBODY = "http://127.0.0.1:9"
LOCAL = [
    ("image", "import", "memtest"),
    ("image", "prefetch", "p"),
    ("mirror", "prefetch", "p"),
    ("mirror", "prefetch", "--missing"),
    ("mirror", "forget", "debian/pool/x"),
    ("db", "backup", "FILE"),
    ("db", "restore", "FILE"),
    ("db", "upgrade"),
    ("db", "check"),
    ("db", "copy", "--to", "sqlite:///FILE"),
    ("doctor",),
    ("serve", "--interface", "lo"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *words, **more: CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words], **more)


@pytest.mark.parametrize("words", LOCAL, ids=" ".join)
def test_a_local_command_is_refused_where_a_server_was_named(
    run: Callable[..., Result], tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "FILE").write_text("x")
    command = " ".join(words[:2] if words[0] in ("image", "mirror", "db") else words[:1])
    by_flag, by_environment = run("--server", NOBODY, *words), run(*words, env={"PXEFORGE_SERVER": NOBODY})
    for answer in (by_flag, by_environment):
        assert answer.exit_code == 1
        assert answer.stderr == (
            f"pxeforge: `pxeforge {command}` works on the computer it runs on: run it on the server's computer, "
            "without --server (or PXEFORGE_SERVER)\n"
        )
    assert not (tmp_path / "data").exists()


def test_an_image_is_verified_by_the_server_that_was_named(run: Callable[..., Result], tmp_path: Path) -> None:
    write_image(tmp_path / "data")
    assert run("image", "verify", "debian-13").exit_code == 0
    assert "does not answer" in run("--server", NOBODY, "image", "verify", "debian-13").stderr


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from leaves(sub, (*path, name))
    else:
        yield path, command


def words_for(command: click.Command) -> list[str]:
    """As few words as the command takes."""
    words: list[str] = []
    for one in command.params:
        if one.required:
            kind: Any = one.type
            value = str(kind.choices[0]) if isinstance(kind, click.Choice) else "1h" if one.name == "expires" else "x"
            words += [value] if isinstance(one, click.Argument) else [one.opts[0], value]
    return words


def test_no_command_touches_this_computers_data_where_a_server_was_named(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "pxeforge.cli.main.load_settings", lambda *_a, **_k: asked.append("settings")
    )  # whoever has them could open the data directory
    commands = [(path, command) for path, command in leaves(main) if path[0] not in ("lab", "completion")]
    assert len(commands) > 90
    for path, command in commands:
        answer = run("--server", NOBODY, *path, *words_for(command), input="x\n")
        assert not (tmp_path / "data").exists(), path
        assert not asked, path
        assert "Traceback" not in answer.output
        assert answer.exception is None or isinstance(answer.exception, SystemExit), (path, answer.exception)

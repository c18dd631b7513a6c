"""`pxeforge completion`: the script by which a shell completes our commands."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: pxeforge completion bash > /etc/bash_completion.d/pxeforge.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = context.find_root().command
    sys.stdout.write(kind(root, {}, "pxeforge", "_PXEFORGE_COMPLETE").source())


COMMANDS = (completion,)

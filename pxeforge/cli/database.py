"""`pxeforge db …`: backup, restore, upgrade and check of the data directory on this computer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table
from pxeforge.cli.transport import Refusal


@click.group()
def db() -> None:
    """The database, its keys and backups; on the computer that holds the data directory."""


def _data_dir(session: Any) -> Path:
    if session.server is not None:
        raise Refusal("`pxeforge db` works on files: run it on the server's computer, without --server")
    return Path(session.settings().data_dir)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def backup(session: Any, file: Path, force: bool) -> None:
    """Write database, keys, certificate and addresses to FILE (mode 0600); a server may run.

    FILE opens every secret: keep it where secrets are kept. Images are not in it, they can be imported again.
    """
    from pxeforge.services import backups

    manifest = backups.backup(_data_dir(session), file, force=force)
    say(f"backup {file} written: {len(manifest.files)} files, revision {manifest.revision}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def restore(session: Any, file: Path) -> None:
    """Put the backup FILE in the place of what is here; refused while a server runs.

    FILE is checked and migrated first; what it replaces is kept aside. Hosts that were armed are disarmed.
    """
    from pxeforge.app.assembly import open_data_dir
    from pxeforge.services import backups

    data_dir = _data_dir(session)
    open_data_dir(data_dir)
    done = backups.restore(data_dir, file)
    say(f"restored the backup of {moment(done.manifest.created_at)} (pxeforge {done.manifest.version})")
    if done.aside is not None:
        say(f"what was here before is kept in {done.aside}")
    if done.disarmed:
        say(f"disarmed, because they may have been installed since: {', '.join(done.disarmed)}")


@db.command()
@click.pass_obj
def upgrade(session: Any) -> None:
    """Bring the database up to this release (`serve` does the same at its start)."""
    from pxeforge.app.assembly import open_data_dir
    from pxeforge.services import backups

    data_dir = _data_dir(session)
    open_data_dir(data_dir)
    before, now = backups.upgrade(data_dir)
    say(f"the database is at revision {now} already" if before == now else f"upgraded from {before or 'none'} to {now}")


@db.command()
@json_option
@click.pass_obj
def check(session: Any, as_json: bool) -> None:
    """Look at database, key, certificate and images; changes nothing. Exit code 1 when something is wrong."""
    from pxeforge.services import backups

    found = backups.check(_data_dir(session))
    rows = [{"check": one.check, "ok": one.ok, "seen": one.seen} for one in found]
    if as_json:
        show_json(rows)
    else:
        marked = [{**row, "result": "ok" if row["ok"] else "WRONG"} for row in rows]
        show_table(marked, {"CHECK": "check", "RESULT": "result", "SEEN": "seen"}, empty="Nothing was looked at.")
    sys.exit(0 if all(one.ok for one in found) else 1)


COMMANDS = (db,)

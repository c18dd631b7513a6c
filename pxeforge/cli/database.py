"""`pxeforge db …`: backup, restore, upgrade and check of the data directory on this computer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import moment, say, show_json, show_table


@click.group()
def db() -> None:
    """The database, its keys and backups; on the computer that holds the data directory."""


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def backup(session: Any, file: Path, force: bool) -> None:
    """Write database, keys, certificate and addresses to FILE (mode 0600); a server may run.

    FILE opens every secret: keep it where secrets are kept. Images are not in it, they can be imported again.
    """
    from pxeforge.services import backups

    settings = session.settings()
    manifest = backups.backup(settings.data_dir, file, location=settings.location, force=force)
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

    settings = session.settings()
    open_data_dir(settings.data_dir)
    done = backups.restore(settings.data_dir, file, location=settings.location)
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

    settings = session.settings()
    open_data_dir(settings.data_dir)
    before, now = backups.upgrade(settings.data_dir, settings.location)
    say(f"the database is at revision {now} already" if before == now else f"upgraded from {before or 'none'} to {now}")


@db.command()
@json_option
@click.pass_obj
def check(session: Any, as_json: bool) -> None:
    """Look at database, key, certificate and images; changes nothing. Exit code 1 when something is wrong."""
    from pxeforge.services import backups

    settings = session.settings()
    found = backups.check(settings.data_dir, settings.location)
    rows = [{"check": one.check, "ok": one.ok, "seen": one.seen} for one in found]
    if as_json:
        show_json(rows)
    else:
        marked = [{**row, "result": "ok" if row["ok"] else "WRONG"} for row in rows]
        show_table(marked, {"CHECK": "check", "RESULT": "result", "SEEN": "seen"}, empty="Nothing was looked at.")
    sys.exit(0 if all(one.ok for one in found) else 1)


@db.command()
@click.option("--to", "target", metavar="URL", required=True, help="The database to move to, an empty one.")
@click.option("--force", is_flag=True, help="Replace the rows that are there.")
@click.pass_obj
def copy(session: Any, target: str, force: bool) -> None:
    """Copy all rows into another database, to move to it; refused while a server runs.

    Everything else stays in the data directory. Afterwards set `database` (or PXEFORGE_DATABASE) to URL.
    """
    from pxeforge.app.assembly import open_data_dir
    from pxeforge.services import backups

    settings = session.settings()
    open_data_dir(settings.data_dir)
    rows, location = backups.copy(settings.data_dir, settings.location, target, force=force)
    say(f"{rows} rows copied to {location}; set `database` in pxeforge.toml to its URL before the next start")


COMMANDS = (db,)

"""`pxeforge mirror …`: the package cache, what it holds and what it lacks."""

from __future__ import annotations

import sys
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json
from pxeforge.cli.transport import Refusal

_SHOWN = 20


@click.group()
def mirror() -> None:
    """The cache of packages that hosts install from."""


@mirror.command()
@json_option
@click.pass_obj
def status(session: Any, as_json: bool) -> None:
    """Show mirrors, hit rate and room, and what hosts asked for in vain."""
    found = session.api.call("GET", "/mirror")
    if as_json:
        return show_json(found)
    counters = found["counters"]
    for name, url in found["mirrors"].items():
        say(f"/mirror/{name:<18} {url}")
    if found["offline"]:
        say("offline: no mirror is asked (mirror_offline)")
    rate = "nothing asked for yet" if found["hit_rate"] is None else f"{found['hit_rate']:.1%} of the answers"
    say(f"from the cache        {rate}")
    most = "" if found["max_bytes"] is None else f" of {_size(found['max_bytes'])} at most"
    say(f"on the disk           {_size(counters['used_bytes'])}{most}")
    say(f"given to hosts        {_size(counters['served_bytes'])}")
    say(f"fetched from mirrors  {_size(counters['upstream_bytes'])}")
    for name, meaning in (
        ("failed", "requests failed because a mirror did"),
        ("missing", "requests could not be answered while a mirror was away"),
        ("broken", "downloads broke off"),
        ("evicted_files", "files were evicted to make room"),
    ):
        if counters[name]:
            say(f"{counters[name]} {meaning}")
    for name in found["missing"][:_SHOWN]:
        say(f"missing: {name}")
    if len(found["missing"]) > _SHOWN:
        say(f"and {len(found['missing']) - _SHOWN} more: see --json")
    if found["missing"]:
        say("`pxeforge mirror prefetch --missing` fetches them")
    return None


@mirror.command()
@click.argument("profile", required=False)
@click.option("--plan", "with_plan", is_flag=True, help="Also what the assigned roles install.")
@click.option("--blueprint", metavar="NAME", help="Also what the roles of this blueprint install.")
@click.option("--package", "packages", multiple=True, metavar="NAME", help="Also this package (may be repeated).")
@click.option("--missing", is_flag=True, help="What hosts asked for in vain while the mirror was away.")
@click.option("--dry-run", is_flag=True, help="Only say what is missing and how big it is (indexes are fetched).")
@json_option
@click.pass_obj
def prefetch(
    session: Any, profile: str | None, with_plan: bool, blueprint: str | None, packages: tuple[str, ...],
    missing: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Fetch everything that installs with PROFILE ask for into the cache.

    Indexes, installer components for the image's kernel, the base system, and the profile's packages with whatever
    these draw in. Runs beside a running server.
    """
    from pxeforge.app.prefetching import prefetch_packages

    if profile is None and (not missing or with_plan or blueprint or packages):
        raise Refusal("name a profile, or give --missing alone: see `pxeforge profile list`")
    found = prefetch_packages(
        session.settings(), profile=profile, blueprint=blueprint, with_plan=with_plan or blueprint is not None,
        packages=packages, missing=missing, dry_run=dry_run, tell=_tell,
    )  # fmt: skip
    if as_json:
        show_json(found)
    else:
        _report(found, dry_run)
    if found["problems"]:
        sys.exit(1)


def _tell(done: int, of: int, name: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {of}  {name[-60:]:<60}", nl=done == of, err=True)


def _report(found: dict[str, Any], dry_run: bool) -> None:
    for note in found["notes"]:
        say(f"note: {note}")
    count, size = len(found["missing"]), _size(found["missing_bytes"])
    if dry_run:
        for each in found["missing"]:
            say(f"{_size(each['size_bytes']):>9}  {each['name']}")
        say(f"{count} of {found['needed_files']} files are missing: {size} of {_size(found['needed_bytes'])}")
        return
    for problem in found["problems"]:
        click.echo(f"pxeforge: {problem}", err=True)
    came = count - len(found["problems"])
    say(f"{came} files fetched ({size} were missing); {found['needed_files']} are needed")


@mirror.command()
@click.argument("name")
@click.pass_obj
def forget(session: Any, name: str) -> None:
    """Remove one file from the cache, so that it is fetched anew: debian/pool/main/…"""
    from pxeforge.app.prefetching import forget_file

    forget_file(session.settings(), name)
    say(f"{name} removed from the cache")


def _size(count: int | None) -> str:
    if count is None:
        return "?"
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


COMMANDS = (mirror,)

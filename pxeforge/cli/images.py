"""`pxeforge image …`: bootable OS trees, imported and verified."""

from __future__ import annotations

import sys
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.progress import printing_progress
from pxeforge.cli.transport import at


@click.group()
def image() -> None:
    """Bootable OS trees."""


@image.command("import")
@click.argument("name")
@click.option("--mirror", metavar="URL", help="Package mirror (default: the one apt uses here).")
@click.option("--keyring", type=click.Path(exists=True), help="Keyring to trust (default: Debian's archive keyring).")
@click.pass_obj
def import_image(session: Any, name: str, mirror: str | None, keyring: str | None) -> None:
    """Import NAME from a signed package mirror.

    NAME is debian-13, debian-12, debian-13-arm64 or debian-12-arm64 (installers), memtest (memory test) or ipxe.

    InRelease (GPG) → Packages → SHA-256 → .deb are verified; nothing is left behind when one of them does not fit.
    """
    from pxeforge.app.imports import import_debian_image

    settings = session.settings(**({"mirror": mirror} if mirror else {}))
    with printing_progress() as progress:
        imported = import_debian_image(settings, name, keyring=keyring, progress=progress)
    done = "imported" if imported.fresh else "was imported already"
    profile = f"; profile {name} is ready" if "linux" in imported.files else ""
    say(f"{imported.name} {imported.version} {done}{profile}")


@image.command("list")
@json_option
@click.pass_obj
def list_images(session: Any, as_json: bool) -> None:
    """List the images at hand."""
    rows = session.api.call("GET", "/images")
    if as_json:
        return show_json(rows)
    columns = {
        "NAME": "name", "VERSION": "version", "ARCH": "arch", "KERNEL": "kernel", "SIZE": "size_bytes",
        "IMPORTED": "imported_at",
    }  # fmt: skip
    show_table(rows, columns, empty="No images yet: run `pxeforge image import debian-13`.")
    return None


@image.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(session: Any, name: str, as_json: bool) -> None:
    """Show the versions of one image."""
    rows = [row for row in session.api.call("GET", "/images") if row["name"] == name]
    if not rows:
        click.echo(f"pxeforge: there is no image {name}: run `pxeforge image import {name}`", err=True)
        sys.exit(1)
    if as_json:
        return show_json(rows)
    for row in rows:
        for key, value in row.items():
            say(f"{key:>12}  {value}")
    return None


@image.command()
@click.argument("name")
@click.pass_obj
def verify(session: Any, name: str) -> None:
    """Hash every file of an image again."""
    from pxeforge.app.imports import verify_image_files

    problems = verify_image_files(session.settings(), name)
    for problem in problems:
        click.echo(f"pxeforge: {problem}", err=True)
    if problems:
        sys.exit(1)
    say(f"{name}: every file is as it was imported")


@image.command()
@click.argument("name")
@click.pass_obj
def remove(session: Any, name: str) -> None:
    """Remove an image that no profile or armed host needs."""
    session.api.call("DELETE", at("/images/{}", name))
    say(f"image {name} removed")


COMMANDS = (image,)

"""`pxeforge image …`: bootable OS trees, imported and verified."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from pxeforge.cli.mirror import prefetch
from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_fields, show_json, show_table
from pxeforge.cli.progress import printing_progress
from pxeforge.cli.transport import at

_VERIFY_S: Final = 1800  # a dozen gigabytes from a slow disk


@click.group()
def image() -> None:
    """Bootable OS trees."""


@image.command("import")
@click.argument("name")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--from", "source", type=click.Choice(["package", "mirror", "iso"]), help="Default: what NAME fits.")
@click.option("--mirror", metavar="URL", help="Package mirror (default: the one apt uses here).")
@click.option("--keyring", type=click.Path(exists=True, path_type=Path), help="Keys to trust (default: the vendor's).")
@click.option("--sha256", multiple=True, metavar="HEX", help="SHA-256 of an ISO; once for each FILE, in order.")
@click.option("--unverified", is_flag=True, help="Import an ISO that nobody vouches for; it is marked.")
@click.pass_obj
def import_image(
    session: Any, name: str, files: tuple[Path, ...], source: str | None, mirror: str | None, keyring: Path | None,
    sha256: tuple[str, ...], unverified: bool,
) -> None:  # fmt: skip
    """Import NAME from a signed mirror, or from installation ISO FILES.

    From packages of a mirror: debian-13, debian-12, debian-13-arm64 and debian-12-arm64 (installers), memtest (memory
    test), ipxe, discovery (a small system that reports the hardware). From a mirror's loose installer files: the same
    of Debian, ubuntu-14.04 to ubuntu-20.04.

    From ISO files (Ubuntu, CentOS, Rocky, AlmaLinux, Fedora, openSUSE), all discs of a set with the first one first:
    what is on them tells what they are. They are verified by the signature or signed checksums beside them, else by
    --sha256; without either they are refused unless --unverified is given.

    Nothing is left behind when something does not fit.
    """
    from pxeforge.app.imports import Wish, import_image

    wish = Wish(
        name=name, source=source, isos=files, keyring=keyring, sha256=sha256, unverified=unverified, mirror=mirror
    )  # fmt: skip
    with printing_progress() as progress:
        imported, profile = import_image(session.settings(), wish, progress=progress)
    done = "imported" if imported.fresh else "was imported already"
    doubt = ", UNVERIFIED" if imported.verified == "unverified" else ""
    ready = f"; profile {profile} is ready" if profile else ""
    say(f"{imported.name} {imported.version} {done}{doubt}{ready}")


@image.command("list")
@json_option
@click.pass_obj
def list_images(session: Any, as_json: bool) -> None:
    """List the images at hand."""
    rows = session.api.call("GET", "/images")
    if as_json:
        return show_json(rows)
    columns = {
        "NAME": "name", "VERSION": "version", "ARCH": "arch", "INSTALLER": "installer", "KERNEL": "kernel",
        "SIZE": "size_bytes", "VERIFIED": "verified", "IMPORTED": "imported_at",
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
        show_fields(row)
    return None


@image.command()
@click.argument("name")
@click.pass_obj
def verify(session: Any, name: str) -> None:
    """Hash every file of an image again."""
    problems = _faults(session, name)
    for problem in problems:
        click.echo(f"pxeforge: {problem}", err=True)
    if problems:
        sys.exit(1)
    say(f"{name}: every file is as it was imported")


def _faults(session: Any, name: str) -> list[str]:
    """By the server that was named, else here: large images take longer than an answer may."""
    if session.server is not None:
        found: list[str] = session.api.call("POST", at("/images/{}/verify", name), timeout_s=_VERIFY_S)["faults"]
        return found
    from pxeforge.app.imports import verify_image_files

    return verify_image_files(session.settings(), name)


@image.command()
@click.argument("name")
@click.pass_obj
def remove(session: Any, name: str) -> None:
    """Remove an image that no profile or armed host needs."""
    session.api.call("DELETE", at("/images/{}", name))
    say(f"image {name} removed")


image.add_command(prefetch)  # as under `mirror`: what an image's installs need of the mirror

COMMANDS = (image,)

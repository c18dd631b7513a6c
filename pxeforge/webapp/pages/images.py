"""The images: what they are, who needs them, whether they are still whole; their import and their removal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import attempts, image_details, image_imports, images
from pxeforge.services.context import Context
from pxeforge.services.image_catalogue import CATALOGUE, MEDIA, MIRRORED
from pxeforge.services.import_progress import ImportStage

_FILES_SHOWN = 200
_USUAL_DATA_DIR = Path("/var/lib/pxeforge")
_STEPS = {
    None: "begins",
    ImportStage.INDEX.value: "reads what is signed",
    ImportStage.DOWNLOAD.value: "downloads",
    ImportStage.CHECK.value: "checks",
    ImportStage.UNPACK.value: "unpacks",
    ImportStage.DONE.value: "is nearly there",
}
_PROGRAMS = {
    "discovery": "a small system that tells what hardware a host has",
    "memtest": "a memory test",
    "ipxe": "boot loaders that speak HTTP",
}


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/images")
    def image_list() -> ResponseReturnValue:
        rows = image_details.overview(ctx)
        present, imports = {row["name"]: row for row in rows}, image_imports.recent(ctx)
        under_way = [row["name"] for row in imports if not image_imports.is_over(row)]
        return render_template(
            "images.html", images=rows, commands=_commands(present), is_elsewhere=ctx.data_dir != _USUAL_DATA_DIR,
            offers=_offers(ctx, present, under_way), imports=imports, is_under_way=bool(under_way), steps=_STEPS,
        )  # fmt: skip

    @pages.post("/images/import")
    def image_import() -> ResponseReturnValue:
        g.back = url_for("pages.image_list")
        mirror = request.form.get("mirror", "").strip() or None
        wanted = image_imports.ask(ctx, request.form.get("name", ""), actor=g.actor, mirror=mirror)
        flash(f"The import of {wanted['name']} was begun: this page tells how far it is.", "good")
        return redirect(g.back, 303)

    @pages.post("/images/import/cancel")
    def image_import_cancel() -> ResponseReturnValue:
        g.back = url_for("pages.image_list")
        ended = image_imports.cancel(ctx, request.form.get("name", ""), who=g.who)
        flash(f"The import of {ended['name']} was cancelled.", "good")
        return redirect(g.back, 303)

    @pages.get("/images/<name>")
    def image_page(name: str) -> ResponseReturnValue:
        return _page(ctx, name)

    @pages.post("/images/<name>/verify")
    def image_verify(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.image_list")
        return _page(ctx, name, faults=image_details.verify(ctx, name, who=g.who))

    @pages.post("/images/<name>/remove")
    def image_remove(name: str) -> ResponseReturnValue:
        """Without `confirm` it says what would go; with it, it goes."""
        g.back = url_for("pages.image_list")
        if request.form.get("confirm") != "yes":
            use = attempts.using_images(ctx).get(name, attempts.Use())
            return render_template("image_remove.html", name=name, versions=image_details.details(ctx, name), use=use)
        images.remove(ctx, name, who=g.who)
        flash(f"The image {name} was removed.", "good")
        return redirect(g.back, 303)


def _offers(
    ctx: Context, present: Mapping[str, Mapping[str, Any]], under_way: Collection[str]
) -> list[dict[str, Any]]:  # fmt: skip
    """What the server imports by itself: {name, what, here (the version that is there), lacks, busy}.

    `lacks`: the distribution of which the settings name no mirror.
    """
    offers = []
    for name in image_imports.by_name():
        distribution = image_imports.distribution_of(name)
        known = distribution == "debian" or distribution in ctx.mirrors
        offers.append({
            "name": name, "what": _PROGRAMS.get(name) or f"the installer of {_title(name)}",
            "here": str(present[name]["version"]) if name in present else "", "lacks": "" if known else distribution,
            "busy": name in under_way,
        })  # fmt: skip
    return offers


def _title(name: str) -> str:
    entry = MIRRORED[name]
    return f"{entry.distribution.capitalize()} {entry.release} ({entry.suite}, {entry.arch})"


def _commands(present: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """What can be imported on the command line, as it is typed: {words, what, here (the version that is there)}."""
    by_name = {name: (name, f"{entry.package} of Debian {entry.suite}") for name, entry in CATALOGUE.items()}
    loose = {
        name: (f"{name} --from mirror --mirror URL", f"{one.suite}, {one.arch}")
        for name, one in MIRRORED.items() if name not in CATALOGUE
    }  # fmt: skip
    media = {name: (f"{name} FILE.iso", "installation media") for name in MEDIA if name not in loose}
    return [
        {"words": words, "what": what, "here": str(present[name]["version"]) if name in present else ""}
        for name, (words, what) in {**by_name, **loose, **media}.items()
    ]  # fmt: skip


def _page(ctx: Context, name: str, faults: list[str] | None = None) -> ResponseReturnValue:
    """`faults`: what a verification just found; None where nobody asked."""
    versions: list[dict[str, Any]] = image_details.details(ctx, name)
    return render_template("image.html", name=name, versions=versions, faults=faults, files_shown=_FILES_SHOWN)

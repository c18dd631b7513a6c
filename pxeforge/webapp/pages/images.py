"""The images: what they are, who needs them, whether they are still whole; and their removal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import attempts, image_details, images
from pxeforge.services.context import Context
from pxeforge.services.image_catalogue import CATALOGUE, MEDIA, MIRRORED

_FILES_SHOWN = 200
_USUAL_DATA_DIR = Path("/var/lib/pxeforge")


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/images")
    def image_list() -> ResponseReturnValue:
        rows = image_details.overview(ctx)
        return render_template(
            "images.html", images=rows, importable=_importable({row["name"]: row for row in rows}),
            is_elsewhere=ctx.data_dir != _USUAL_DATA_DIR,
        )  # fmt: skip

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


def _importable(present: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """What can be imported, as it is typed: {words, what, here (the version that is there)}."""
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

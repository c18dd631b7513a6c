"""The images: what they are, who needs them, whether they are still whole; and their removal."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import attempts, image_details, images
from pxeforge.services.context import Context

_FILES_SHOWN = 200


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/images")
    def image_list() -> ResponseReturnValue:
        return render_template("images.html", images=image_details.overview(ctx))

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


def _page(ctx: Context, name: str, faults: list[str] | None = None) -> ResponseReturnValue:
    """`faults`: what a verification just found; None where nobody asked."""
    versions: list[dict[str, Any]] = image_details.details(ctx, name)
    return render_template("image.html", name=name, versions=versions, faults=faults, files_shown=_FILES_SHOWN)

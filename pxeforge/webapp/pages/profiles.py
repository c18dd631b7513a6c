"""Profiles: listed, made, cloned, edited in a form with an error at each field, removed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import answer_templates, attempts, images, profiles
from pxeforge.services.answer_lint import lint_profile
from pxeforge.services.context import Context
from pxeforge.services.hidden import hide
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.profile_form import Entered, as_text, fields, read, version_of

_SUMMARY_LONG = 160


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/profiles")
    def profile_list() -> ResponseReturnValue:
        rows = [{**row, "said": _said(ctx, row["parameters"])} for row in profiles.list_profiles(ctx)]
        return render_template("profiles.html", profiles=rows, **_choices(ctx))

    @pages.post("/profiles")
    def profile_create() -> ResponseReturnValue:
        g.back = url_for("pages.profile_list", _anchor="add")
        name, image = request.form.get("name", "").strip(), request.form.get("image", "")
        if not image:
            raise Problem("a profile needs an image: import one first, in Images")
        template = answer_templates.default_template(ctx, images.newest(ctx, image))
        if template is None:
            raise Problem(f"there is no answer template for the installer of {image}: choose another image")
        profiles.create(ctx, name, image=image, template=template, parameters={}, who=g.who)
        flash(f"The profile {name} was made: now say who may log in.", "good")
        return redirect(url_for("pages.profile_page", name=name), 303)

    @pages.get("/profiles/<name>")
    def profile_page(name: str) -> ResponseReturnValue:
        return _page(ctx, name)

    @pages.post("/profiles/<name>")
    def profile_save(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.profile_page", name=name)
        before = profiles.show(ctx, name)
        entered = read(ctx, request.form, before["parameters"])
        if request.form.get("version") != version_of(before):
            entered.errors.setdefault(
                "", "Somebody has changed this profile since you opened it: compare, then save again."
            )
        image, template = request.form.get("image", ""), request.form.get("template", "")
        if entered.errors:
            return _page(ctx, name, entered, {"image": image, "template": template})
        profiles.change(
            ctx, name, parameters=entered.values, unset=entered.unset, image=image or None, template=template or None,
            who=g.who,
        )  # fmt: skip
        flash("Saved. Hosts that are armed keep what they were armed with.", "good")
        return redirect(g.back, 303)

    @pages.post("/profiles/<name>/clone")
    def profile_clone(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.profile_page", name=name)
        new = request.form.get("name", "").strip()
        profiles.clone(ctx, name, new, who=g.who)
        flash(f"{new} is a copy of {name}.", "good")
        return redirect(url_for("pages.profile_page", name=new), 303)

    @pages.post("/profiles/<name>/remove")
    def profile_remove(name: str) -> ResponseReturnValue:
        """Without `confirm` it says what would go; with it, it goes."""
        g.back = url_for("pages.profile_page", name=name)
        if request.form.get("confirm") != "yes":
            use = attempts.using_profile(ctx, name)
            return render_template("profile_remove.html", profile=profiles.show(ctx, name), use=use)
        profiles.remove(ctx, name, who=g.who)
        flash(f"The profile {name} was removed.", "good")
        return redirect(url_for("pages.profile_list"), 303)


def _page(
    ctx: Context, name: str, entered: Entered | None = None, chosen: dict[str, str] | None = None
) -> ResponseReturnValue:  # fmt: skip
    """The profile's page; with `entered` the form as it was sent, with its errors."""
    profile = {**profiles.show(ctx, name), **{key: value for key, value in (chosen or {}).items() if value}}
    everything = fields(ctx, profile["parameters"], entered)
    page = render_template(
        "profile.html", profile=profile, seen=version_of(profiles.show(ctx, name)),
        set_here=[one for one in everything if one.is_set], defaults=[one for one in everything if not one.is_set],
        problem=entered.errors.get("") if entered else None, has_errors=bool(entered),
        use=attempts.using_profile(ctx, name), findings=lint_profile(ctx, name), **_choices(ctx),
    )  # fmt: skip
    return page, 400 if entered else 200


def _choices(ctx: Context) -> dict[str, Any]:
    """Images that install something, by name, and the templates by family."""
    installers = {row["name"]: row for row in images.list_images(ctx) if row["installer"]}
    return {"images": list(installers.values()), "templates": answer_templates.templates(ctx)}


def _said(ctx: Context, parameters: dict[str, Any]) -> dict[str, str]:
    """Each parameter in a few words; secrets are hidden."""
    said = {}
    for key, value in hide(ctx, parameters).items():
        names = isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value)
        text = ", ".join(str(item["name"]) for item in value) if names else as_text(value, "text")
        said[key] = text if len(text) <= _SUMMARY_LONG else f"{text[:_SUMMARY_LONG]}…"
    return said

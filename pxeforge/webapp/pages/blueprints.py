"""Blueprints: the list, and one of them with what is wrong in it, its rules, its hosts and their networks."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from pxeforge.services import blueprints, plans
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.topology import picture_of


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/blueprints")
    def blueprint_list() -> ResponseReturnValue:
        found = [blueprints.show(ctx, one["name"]) for one in blueprints.list_blueprints(ctx)]
        return render_template("blueprints.html", blueprints=found, folder=ctx.operator_dir / "blueprints")

    @pages.get("/blueprints/<name>")
    def blueprint_page(name: str) -> ResponseReturnValue:
        found = blueprints.show(ctx, name)
        plan, problem = None, ""
        if not found["findings"]:
            try:
                plan = plans.plan(ctx, blueprint=name)
            except Problem as refused:
                problem = str(refused)
        own = [one for one in found["findings"] if one["file"] == found["file"]]
        return render_template(
            "blueprint.html", blueprint=found, picture=picture_of(found["hosts"]), plan=plan, problem=problem,
            lines=found["text"].splitlines(), told={one["line"]: one for one in own},
        )  # fmt: skip

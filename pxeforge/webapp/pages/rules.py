"""The rules that name, tag, place and profile hosts: in order, with a trial that changes nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.domain.host_rules import CRITERIA, FIELDS
from pxeforge.services import profiles, role_catalogue, rules
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem, Stale
from pxeforge.webapp.pages.hosts import words
from pxeforge.webapp.pages.readable import counted

_FLAGS: Final = ("attach", "arm")
_SHOWN: Final = 200


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/rules")
    def rule_list() -> ResponseReturnValue:
        return _page(ctx)

    @pages.get("/rules/<name>")
    def rule_page(name: str) -> ResponseReturnValue:
        """One rule in the form, with what it would do now."""
        rule = rules.show(ctx, name)
        return _page(ctx, form=_as_form(rule), tried=rules.dry_run(ctx, name), name=name)

    @pages.post("/rules")
    def rule_save() -> ResponseReturnValue:
        """`try` changes nothing; `add` and `change` keep what is in the form, with the `version` it was made of."""
        g.back = url_for("pages.rule_list")
        form, do, name = request.form, request.form.get("do", "try"), request.form.get("old_name", "")
        try:
            when, gives = _when(form.get("when", "")), _gives()
            if do == "try":
                wanted = {"name": form.get("name") or "new", "when": when, "set": gives}
                return _page(ctx, form=_given(), tried=rules.dry_run(ctx, wanted), name=name)
            _keep(ctx, do, name, when, gives)
        except Problem as problem:
            is_stale = isinstance(problem, Stale)
            return _page(ctx, form=_given(), problem=str(problem), name=name, is_stale=is_stale), problem.status
        flash("The rule is saved. It is asked when something new is known of a host.", "good")
        return redirect(g.back, 303)

    @pages.post("/rules/<name>/do")
    def rule_do(name: str) -> ResponseReturnValue:
        g.back = url_for("pages.rule_list")
        do = request.form.get("do", "")
        if do in ("up", "down"):
            rules.move(ctx, name, max(1, rules.show(ctx, name)["position"] + (1 if do == "down" else -1)), who=g.who)
        elif do in ("on", "off"):
            rules.change(ctx, name, enabled=do == "on", who=g.who)
        elif do == "remove":
            g.back = url_for("pages.rule_page", name=name)
            rules.remove(ctx, name, who=g.who, expected_version=request.form.get("version") or None)
            g.back = url_for("pages.rule_list")
            flash("The rule is removed; what it gave to hosts stays with them.", "good")
        elif do == "apply":
            _told_applied(rules.apply(ctx, rule=name, who=g.who))
        else:
            raise Problem("there is no such action: reload the page and choose one")
        return redirect(g.back, 303)


def _page(
    ctx: Context, *, form: dict[str, Any] | None = None, tried: list[dict[str, Any]] | None = None, name: str = "",
    problem: str = "", is_stale: bool = False,
) -> str:  # fmt: skip
    return render_template(
        "rules.html", rules=rules.list_rules(ctx), form=defaultdict(str, form or {}), name=name, problem=problem,
        is_stale=is_stale, fits=[one for one in tried or [] if one["matches"]] if tried is not None else None,
        near=[one for one in tried or [] if not one["matches"]], shown=_SHOWN,
        criteria={key: kind.help for key, kind in CRITERIA.items()}, fields=FIELDS,
        profiles=[one["name"] for one in profiles.list_profiles(ctx)], roles=_roles(ctx),
    )  # fmt: skip


def _roles(ctx: Context) -> list[str]:
    try:
        return role_catalogue.role_names(ctx)
    except Problem:
        return []


def _keep(ctx: Context, do: str, name: str, when: dict[str, list[str]], gives: dict[str, Any]) -> None:
    new_name = request.form.get("name", "").strip()
    if do != "change":
        rules.add(ctx, new_name, when=when, gives=gives, who=g.who)
        return
    before = rules.show(ctx, name)
    gone_when = dict.fromkeys(set(before["when"]) - set(when))
    gone_gives = dict.fromkeys(set(before["set"]) - set(gives))
    rules.change(
        ctx, name, when={**gone_when, **when}, gives={**gone_gives, **gives}, new_name=new_name, who=g.who,
        expected_version=request.form.get("version") or None,
    )  # fmt: skip


def _when(text: str) -> dict[str, list[str]]:
    """A line each: `key=value`, several values of a key by several lines or by ` | `; raises Problem."""
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = _split(line)
        if not equals:
            raise Problem(f"{line[:60]!r} is no criterion: write it like vendor=Dell* or memory>=64G")
        found.setdefault(key, []).extend(one.strip() for one in value.split(" | "))
    return found


def _split(line: str) -> tuple[str, str, str]:
    """`memory>=64G` is the criterion memory with the value `>=64G`."""
    match = re.fullmatch(r"\s*([a-z_]+)\s*(=|(?=[<>]))\s*(.*)", line)
    return (match[1], "=", match[3]) if match else (line, "", "")


def _gives() -> dict[str, Any]:
    form = request.form
    texts = {key: form.get(key, "").strip() for key in ("name_to", "profile", "rack", "unit", "height")}
    found: dict[str, Any] = {key.removesuffix("_to"): value for key, value in texts.items() if value}
    found |= {key: named for key in ("tags", "roles") if (named := words(form.get(key, "")))}
    return found | {key: True for key in _FLAGS if form.get(key)}


def _given() -> dict[str, Any]:
    """The form as it was sent."""
    return {key: value for key, value in request.form.items() if key not in ("csrf_token", "do", "old_name")}


def _as_form(rule: dict[str, Any]) -> dict[str, Any]:
    gives = rule["set"]
    lines = [
        f"{key}{'' if one[:1] in '<>' else '='}{one}" for key, values in rule["when"].items() for one in values
    ]  # fmt: skip
    return {
        "version": rule["version"], "name": rule["name"], "when": "\n".join(lines), "name_to": gives.get("name", ""),
        "tags": " ".join(gives.get("tags", ())), "roles": " ".join(gives.get("roles", ())),
        **{key: gives.get(key, "") for key in ("profile", "rack", "unit", "height", *_FLAGS)},
    }  # fmt: skip


def _told_applied(done: dict[str, Any]) -> None:
    flash(f"{counted(done['looked_at'], 'host')} looked at, {done['changed']} changed.", "good")
    for one in done["problems"][:5]:
        flash(f"{one['host']}: {one['message']}", "error")

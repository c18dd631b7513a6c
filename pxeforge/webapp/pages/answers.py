"""What hosts would be given: previews with lint findings, two of them side by side, and the lint of all profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import answer_lint, answer_preview, attempts, hosts, profiles
from pxeforge.services.answer_preview import Source
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.services.text_diff import Change, blocks, compare
from pxeforge.webapp.pages.source_text import counts, lines_of

_ARMED = frozenset({"armed", "booting"})
_MOST_NAMES = 200


def add_routes(pages: Blueprint, ctx: Context) -> None:
    pages.add_app_template_filter(answer_preview.what_of, "what_of")

    @pages.get("/hosts/<host_id>/preview")
    def host_preview(host_id: str) -> ResponseReturnValue:
        host = hosts.show(ctx, host_id)
        source = _source(ctx, host)
        earlier = attempts.of_host(ctx, host["id"])
        return _preview(ctx, source, host=host, earlier=earlier)

    @pages.get("/profiles/<name>/preview")
    def profile_preview(name: str) -> ResponseReturnValue:
        profiles.show(ctx, name)
        return _preview(ctx, Source(profile=name), host=None, earlier=[])

    @pages.get("/diff")
    def diff() -> ResponseReturnValue:
        """`left` and `right` as Source.parse reads them; or `right_host`, typed by a person."""
        left = Source.parse(request.args.get("left", ""))
        typed = request.args.get("right_host", "").strip()
        right = _other_host(ctx, left, typed) if typed else Source.parse(request.args.get("right", ""))
        kinds = answer_preview.texts_of(ctx, left)
        what = _what(kinds)
        try:
            one, two = answer_preview.compare(ctx, left, right, what=what)
        except Problem as problem:
            return render_template(
                "diff.html", left=str(left), right=str(right), what=what, kinds=kinds, problem=str(problem)
            )
        rows = compare(one.text, two.text)
        changed = sum(row.change is not Change.SAME for row in rows)
        return render_template(
            "diff.html", left=str(left), right=str(right), what=what, kinds=kinds, problem="", one=one, two=two,
            blocks=blocks(rows), changed=changed, back_left=_page_of(left, what), back_right=_page_of(right, what),
        )  # fmt: skip

    @pages.get("/lint")
    def lint_page() -> ResponseReturnValue:
        known = profiles.list_profiles(ctx)
        found = {row["name"]: answer_lint.lint_profile(ctx, row["name"]) for row in known}
        return render_template(
            "lint.html", profiles=known, found=found,
            counts=counts(one for findings in found.values() for one in findings),
        )  # fmt: skip


def _preview(
    ctx: Context, source: Source, *, host: dict[str, Any] | None, earlier: list[dict[str, Any]]
) -> ResponseReturnValue:  # fmt: skip
    kinds = answer_preview.texts_of(ctx, source)
    what = _what(kinds)
    shown, problem = None, ""
    try:
        shown = answer_preview.preview(ctx, source, what=what)
    except Problem as refused:
        problem = str(refused)
    return render_template(
        "preview.html", host=host, source=source, what=what, kinds=kinds, shown=shown, problem=problem,
        lines=lines_of(what, shown.text, shown.findings) if shown else [],
        counts=counts(shown.findings) if shown else {}, profiles=profiles.list_profiles(ctx), earlier=earlier,
        others=answer_preview.names_beside(ctx, host["id"], limit=_MOST_NAMES) if host else [],
    )  # fmt: skip


def _source(ctx: Context, host: dict[str, Any]) -> Source:
    """What the address asks for; else what the host is armed with, was armed with, or the first profile."""
    profile, attempt = request.args.get("profile"), request.args.get("attempt")
    if profile or attempt:
        return Source(host=host["id"], profile=profile or None, attempt=attempt if not profile else None)
    if host["state"] in _ARMED:
        return Source(host=host["id"])
    last = (host["attempt"] or {}).get("profile")
    known = [row["name"] for row in profiles.list_profiles(ctx)]
    chosen = last if last in known else next(iter(known), None)
    return Source(host=host["id"], profile=chosen)


def _other_host(ctx: Context, left: Source, text: str) -> Source:
    """Another host for the same profile; for an attempt, the other host as it is armed or was armed last."""
    return Source(host=hosts.show(ctx, text)["id"], profile=left.profile)


def _what(kinds: Mapping[str, str]) -> str:
    what = request.args.get("what", "")
    return what if what in kinds else "answers"


def _page_of(source: Source, what: str) -> str:
    if source.host is None:
        return url_for("pages.profile_preview", name=source.profile, what=what)
    return url_for(
        "pages.host_preview", host_id=source.host, what=what, profile=source.profile, attempt=source.attempt
    )  # fmt: skip

"""The roles page: a draft shows at once what is wrong with it and what would be done; then all of it is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.engine.roles import Role
from pxeforge.services import assignments, role_catalogue
from pxeforge.services import host_list as listing
from pxeforge.services.assignments import Change, Draft, Remark
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem, Stale
from pxeforge.webapp.pages.readable import counted
from pxeforge.webapp.reported import hardware

_SIZE: Final = 50
_MOST: Final = 2000  # changes of one draft: it travels with the form
_IN_USE, _FREE, _PARTS = "In use", "Further roles", "Come along with others"
_PLAN_AT_ONCE: Final = 200  # hosts with roles; a plan of more is made when somebody asks for it


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/roles")
    def role_table() -> ResponseReturnValue:
        return _page(ctx, Draft())

    @pages.post("/roles/draft")
    def role_draft() -> ResponseReturnValue:
        """Nothing is saved: the page again, with one more wish in its draft."""
        g.back = url_for("pages.role_table")
        return _page(ctx, _wish(ctx, _draft(), request.form.get("do", "")))

    @pages.post("/roles")
    def role_save() -> ResponseReturnValue:
        g.back = url_for("pages.role_table")
        draft = _draft()
        if not draft.changes:
            flash("Nothing was changed.", "plain")
            return redirect(g.back, 303)
        try:
            done = assignments.save(ctx, draft, g.who)
        except Stale as problem:
            return _page(ctx, assignments.refreshed(ctx, draft), told=str(problem)), problem.status
        flash(f"Saved on {counted(done['hosts'], 'host')}: {done['given']} given, {done['taken']} taken away.", "good")
        return redirect(g.back, 303)


def _page(ctx: Context, draft: Draft, told: str = "") -> str:
    known = role_catalogue.roles_at_hand(ctx)
    q, only, page = request.values.get("q", "").strip(), request.values.get("only", ""), _number("page")
    wanted = listing.Wanted(text=q, role={"": None, "-": ""}.get(only, only))
    found = listing.page(ctx, wanted, limit=_SIZE, offset=(page - 1) * _SIZE, facts=True)
    touched = _touched(ctx, draft, found.hosts)
    shown = {host["id"]: host for host in [*found.hosts, *touched]}
    after = {host_id: draft.roles_of(host_id, host["roles"]) for host_id, host in shown.items()}
    remarks = {host_id: assignments.remarks(host, after[host_id], known) for host_id, host in shown.items()}
    plan, later, problem = _plan(ctx, draft)
    counts, role_filter = _counts(ctx, known), request.values.get("role_filter", "").strip()
    return render_template(
        "roles.html", found=found, roles=sorted(known.values(), key=lambda role: role.name), known=known, draft=draft,
        touched=touched, after=after, q=q, only=only, page=page, last_page=max(1, -(-found.found // _SIZE)), told=told,
        hardware={host_id: hardware(host["facts"]) for host_id, host in shown.items()}, plan=plan, problem=problem,
        later=later, remarks=remarks,
        wrong=bool(problem) or _has_errors(draft, remarks),
        counts=counts, groups=grouped(known, counts, role_filter), folded={_PARTS}, role_filter=role_filter,
        added={(one.host_id, one.role) for one in draft.changes if one.gives},
        gone={(one.host_id, one.role) for one in draft.changes if not one.gives}, size=_SIZE,
    )  # fmt: skip


def _has_errors(draft: Draft, remarks: Mapping[str, Sequence[Remark]]) -> bool:
    return any(remark.kind == "error" for one in draft.touched for remark in remarks.get(one, ()))


def _touched(ctx: Context, draft: Draft, shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The hosts of the draft, wherever in the list they stand."""
    here = {host["id"]: dict(host) for host in shown}
    missing = [one for one in draft.touched if one not in here]
    for start in range(0, len(missing), listing.MOST):
        some = listing.Wanted(ids=frozenset(missing[start : start + listing.MOST]))
        here |= {host["id"]: host for host in listing.page(ctx, some, limit=listing.MOST, facts=True).hosts}
    return [here[one] for one in draft.touched if one in here]


def _plan(ctx: Context, draft: Draft) -> tuple[dict[str, Any] | None, list[dict[str, Any]], str]:
    """The plan with the draft, what follows once hosts are installed, and why there is no plan."""
    if not draft.changes:
        return None, [], ""
    if request.form.get("do") != "plan" and assignments.assigned_hosts(ctx) > _PLAN_AT_ONCE:
        return None, assignments.later(ctx, draft), ""
    try:
        return *assignments.plan_and_later(ctx, draft), ""
    except Problem as problem:
        return None, assignments.later(ctx, draft), str(problem)


def grouped(known: Mapping[str, Role], counts: Mapping[str, int], words: str = "") -> dict[str, list[Role]]:
    """The roles by name in groups: those that hosts have, the others, and what only comes along with others.

    `words`: only roles that have each of them in name or summary. A group that is empty is left out.
    """
    needed = {required for role in known.values() for required in role.requires}
    found: dict[str, list[Role]] = {_IN_USE: [], _FREE: [], _PARTS: []}
    for role in sorted(known.values(), key=lambda role: role.name):
        if not all(word in f"{role.name} {role.summary}".lower() for word in words.lower().split()):
            continue
        comes_along = role.name in needed and bool(role.requires)  # what requires nothing can stand alone
        found[_IN_USE if counts.get(role.name) else _PARTS if comes_along else _FREE].append(role)
    return {title: group for title, group in found.items() if group}


def _counts(ctx: Context, known: Mapping[str, Role]) -> dict[str, int]:
    return {name: count for name, count in listing.role_counts(ctx).items() if name in known}


def _wish(ctx: Context, draft: Draft, do: str) -> Draft:
    """`give ROLE`, `take ROLE` (the ticked hosts, or the one named behind), `discard`; anything else only looks."""
    verb, _, rest = do.partition(" ")
    if verb == "discard":
        return Draft()
    if verb not in ("give", "take"):
        return draft
    role, _, host_id = rest.partition(" ")
    chosen = [host_id] if host_id else request.form.getlist("host")
    if not chosen:
        raise Problem("choose at least one host first: tick it, or drag it onto the role")
    if verb == "give":
        role_catalogue.check_roles(ctx, [role])
    present = listing.roles_of(ctx, chosen)
    more = [Change(one, role, verb == "give") for one in chosen if one in present]
    wished = draft.with_changes(more, {**present, **{one: sorted(roles) for one, roles in draft.seen.items()}})
    if len(wished.changes) > _MOST:
        raise Problem(f"a draft holds {_MOST} changes at most: save this one first")
    return wished


def _draft() -> Draft:
    """From the form's hidden fields: `+ROLE HOST` and `-ROLE HOST`, `HOST ROLE,ROLE`; raises Problem."""
    changes = []
    for text in request.form.getlist("draft"):
        role, _, host_id = text[1:].partition(" ")
        if text[:1] not in ("+", "-") or not role or not host_id:
            raise Problem("the form is damaged: reload the page and try again")
        changes.append(Change(host_id, role, text[0] == "+"))
    seen = {}
    for text in request.form.getlist("seen"):
        host_id, _, roles = text.partition(" ")
        seen[host_id] = frozenset(filter(None, roles.split(",")))
    if len(changes) > _MOST:
        raise Problem(f"a draft holds {_MOST} changes at most")
    return Draft(changes=tuple(changes), seen=seen)


def _number(key: str) -> int:
    text = request.values.get(key, "")
    do, _, wanted = request.form.get("do", "").partition(" ")
    if do == key:
        text = wanted
    return max(1, int(text)) if text.isdecimal() and len(text) < 7 else 1

"""What a deploy would do, as lists and as a graph, and what the runs do, host by host and task by task."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import blueprints, deploys, later_hosts, plans, runs
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.webapp.pages.plan_graph import Graph, graph_of

# In the order in which they stand in the progress bar.
_TASK_STATES: Final = ("ok", "changed", "failed", "blocked", "cancelled", "running", "pending")
_WORTH_A_LOOK: Final = frozenset({"failed", "running"})
_RUNS_SHOWN: Final = 50


def add_routes(pages: Blueprint, ctx: Context) -> None:
    _plan_routes(pages, ctx)
    _run_routes(pages, ctx)


def _plan_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/plan")
    def plan() -> ResponseReturnValue:
        """Of the roles that hosts were given, or of a `blueprint`; with `limit` only of these hosts."""
        asked = _asked(request.args)
        wish = plans.Wish(asked["blueprint"], remove_unassigned=asked["remove_unassigned"])
        found, later = later_hosts.plan_and_later(ctx, wish, limit=asked["limit"], later_limit=asked["limit"])
        labels = {task["id"]: f"{task['host_name']}: {task['role']} {task['name']}" for task in found["tasks"]}
        return render_template(
            "plan.html", plan=found, groups=_by_host(found["tasks"]), labels=labels, asked=asked,
            graph=_graph(found["tasks"]), blueprints=_blueprint_names(ctx), later=later,
        )  # fmt: skip

    @pages.post("/deploy")
    def deploy() -> ResponseReturnValue:
        asked = _asked(request.form)
        g.back = _plan_address(asked)
        digest = str(plans.plan(ctx, **asked)["digest"])
        if request.form.get("digest") != digest:
            flash("The plan has changed since you looked at it: here is the new one.", "error")
            return redirect(g.back, 303)
        return _to_run(deploys.deploy(ctx, check=request.form.get("check") == "yes", who=g.who, **asked))

    @pages.post("/verify")
    def verify() -> ResponseReturnValue:
        asked = _asked(request.form)
        g.back = _plan_address(asked)
        return _to_run(deploys.verify(ctx, blueprint=asked["blueprint"], who=g.who))


def _run_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/runs")
    def run_list() -> ResponseReturnValue:
        after = _place(request.args.get("after", ""))
        found = runs.list_runs(ctx, limit=_RUNS_SHOWN + 1, after=after)
        last = found[_RUNS_SHOWN - 1] if len(found) > _RUNS_SHOWN else None
        older = url_for("pages.run_list", after=f"{last['created_at']!r}-{last['id']}") if last else None
        shown = [
            {**run, "bar": _bar(run["counts"]), "total": sum(run["counts"].values())} for run in found[:_RUNS_SHOWN]
        ]
        return render_template("runs.html", runs=shown, older=older, is_first=after is None)

    @pages.get("/runs/<run_id>")
    def run_page(run_id: str) -> ResponseReturnValue:
        run = runs.show_run(ctx, run_id)
        after = runs.plan_of(ctx, run["id"])
        return render_template(
            "run.html", run=run, groups=_by_host(run["tasks"]), bar=_bar(run["counts"]), matrix=_matrix(run["tasks"]),
            total=len(run["tasks"]), over=sum(task["finished_at"] is not None for task in run["tasks"]),
            attention=[task for task in run["tasks"] if task["state"] in _WORTH_A_LOOK],
            graph=_graph([_as_planned(task, run, after) for task in run["tasks"]]),
        )  # fmt: skip

    @pages.post("/runs/<run_id>/cancel")
    def run_cancel(run_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.run_page", run_id=run_id)
        deploys.cancel(ctx, run_id, who=g.who)
        return redirect(g.back, 303)

    @pages.post("/runs/<run_id>/resume")
    def run_resume(run_id: str) -> ResponseReturnValue:
        """With `task` that one is done again, and what waits for it."""
        g.back = url_for("pages.run_page", run_id=run_id)
        return _to_run(deploys.resume(ctx, run_id, who=g.who, task=request.form.get("task") or None))


def _asked(form: Any) -> dict[str, Any]:
    """Of which blueprint and of which hosts, for plans.plan and deploys.deploy."""
    return {
        "blueprint": form.get("blueprint") or None, "limit": tuple(one for one in form.getlist("limit") if one),
        "remove_unassigned": form.get("remove_unassigned") == "yes",
    }  # fmt: skip


def _plan_address(asked: dict[str, Any]) -> str:
    return url_for("pages.plan", **{**asked, "remove_unassigned": "yes" if asked["remove_unassigned"] else None})


def _blueprint_names(ctx: Context) -> list[str]:
    try:
        return [one["name"] for one in blueprints.list_blueprints(ctx)]
    except Problem:  # a role's file is broken: the plan says so
        return []


def _place(text: str) -> tuple[float, str] | None:
    """Behind which run the list goes on: when it began and its id."""
    at, _, run_id = text.rpartition("-")
    try:
        return (float(at), run_id) if run_id else None
    except ValueError:
        return None


def _as_planned(task: dict[str, Any], run: dict[str, Any], after: dict[str, list[str]]) -> dict[str, Any]:
    """A task of a run as the graph wants it; its box leads to what it did."""
    return {
        **task, "id": task["planned_id"], "kind": run["kind"], "after": after[task["planned_id"]],
        "href": f"#task-{task['id']}",
    }  # fmt: skip


def _graph(tasks: list[dict[str, Any]]) -> Graph | None:
    """`graph=tasks` in the address gathers the hosts, `graph=hosts` does not."""
    wanted = {"tasks": True, "hosts": False}.get(request.args.get("graph", ""))
    return graph_of(tasks, by_task=wanted) if tasks else None


def _to_run(run: dict[str, Any]) -> ResponseReturnValue:
    return redirect(url_for("pages.run_page", run_id=run["id"]), 303)


def _by_host(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks in their order, gathered by host in the order of each host's first task."""
    groups: dict[str, dict[str, Any]] = {}
    for task in tasks:
        group = groups.setdefault(task["host_id"], {"id": task["host_id"], "name": task["host_name"], "tasks": []})
        group["tasks"].append(task)
    return list(groups.values())


def _matrix(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Hosts × tasks: `roles` with how many columns each has, `columns` (role, name), and `rows` with a cell or None."""
    columns: list[tuple[str, str]] = list(dict.fromkeys((task["role"], task["name"]) for task in tasks))
    order = list(dict.fromkeys(role for role, _name in columns))
    columns.sort(key=lambda column: order.index(column[0]))
    roles = [(role, sum(column[0] == role for column in columns)) for role in order]
    at = {column: index for index, column in enumerate(columns)}
    rows: dict[str, dict[str, Any]] = {}
    for task in tasks:
        row = rows.setdefault(
            task["host_id"], {"id": task["host_id"], "name": task["host_name"], "cells": [None] * len(columns)}
        )
        row["cells"][at[task["role"], task["name"]]] = task
    return {"roles": roles, "columns": columns, "rows": list(rows.values())}


def _bar(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Segments of the progress bar: state, count, and start and width in percent."""
    order = [*_TASK_STATES, *sorted(set(counts) - set(_TASK_STATES))]
    total = sum(counts.values())
    segments, start = [], 0.0
    for state in order:
        count = counts.get(state, 0)
        if count:
            width = 100 * count / total
            segments.append({"state": state, "count": count, "start": round(start, 2), "width": round(width, 2)})
            start += width
    return segments

"""What a deploy would do, and what the runs do."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services import deploys
from pxeforge.services.context import Context

# In the order in which they stand in the progress bar.
_TASK_STATES = ("ok", "changed", "failed", "blocked", "cancelled", "running", "pending")


def add_routes(pages: Blueprint, ctx: Context) -> None:
    @pages.get("/plan")
    def plan() -> ResponseReturnValue:
        found = deploys.plan(ctx)
        labels = {task["id"]: f"{task['host_name']}: {task['role']} {task['name']}" for task in found["tasks"]}
        return render_template("plan.html", plan=found, groups=_by_host(found["tasks"]), labels=labels)

    @pages.post("/deploy")
    def deploy() -> ResponseReturnValue:
        g.back = url_for("pages.plan")
        if request.form.get("digest") != str(deploys.plan(ctx)["digest"]):
            flash("The plan has changed since you looked at it: here is the new one.", "error")
            return redirect(g.back, 303)
        return _to_run(deploys.deploy(ctx, check=request.form.get("check") == "yes", who=g.who))

    @pages.post("/verify")
    def verify() -> ResponseReturnValue:
        g.back = url_for("pages.plan")
        return _to_run(deploys.verify(ctx, who=g.who))

    @pages.get("/runs")
    def run_list() -> ResponseReturnValue:
        return render_template("runs.html", runs=deploys.list_runs(ctx))

    @pages.get("/runs/<run_id>")
    def run_page(run_id: str) -> ResponseReturnValue:
        run = deploys.show_run(ctx, run_id)
        return render_template("run.html", run=run, groups=_by_host(run["tasks"]), bar=_bar(run["counts"]))

    @pages.post("/runs/<run_id>/cancel")
    def run_cancel(run_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.run_page", run_id=run_id)
        deploys.cancel(ctx, run_id, who=g.who)
        return redirect(g.back, 303)

    @pages.post("/runs/<run_id>/resume")
    def run_resume(run_id: str) -> ResponseReturnValue:
        g.back = url_for("pages.run_page", run_id=run_id)
        return _to_run(deploys.resume(ctx, run_id, who=g.who))


def _to_run(run: dict[str, Any]) -> ResponseReturnValue:
    return redirect(url_for("pages.run_page", run_id=run["id"]), 303)


def _by_host(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks in their order, gathered by host in the order of each host's first task."""
    groups: dict[str, dict[str, Any]] = {}
    for task in tasks:
        group = groups.setdefault(task["host_id"], {"id": task["host_id"], "name": task["host_name"], "tasks": []})
        group["tasks"].append(task)
    return list(groups.values())


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

"""Plans, runs and the secrets that they make, by the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import deploys, secrets
from pxeforge.services.context import Context
from pxeforge.webapp.paging import Part, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told


class Run(TypedDict):
    """A plan that is or was carried out."""

    id: str
    kind: Literal["deploy", "verify"]
    state: Literal["running", "succeeded", "failed", "cancelled"]
    check: bool
    blueprint: str | None
    started_by: str
    created_at: float
    finished_at: float | None
    counts: Annotated[dict[str, int], Says(text="tasks by their state")]


class RunTask(TypedDict):
    id: str
    planned_id: str
    host_id: str
    host_name: str
    role: str
    name: str
    state: str
    started_at: float | None
    finished_at: float | None
    result: dict[str, Any]
    waiting_for: str | None


class RunInFull(Run):
    """With every task, its result and what it waits for."""

    tasks: list[RunTask]


class RunsAsked(TypedDict):
    """Which runs; all that is given must fit."""

    kind: NotRequired[Literal["deploy", "verify"]]
    state: NotRequired[Literal["running", "succeeded", "failed", "cancelled"]]
    blueprint: NotRequired[str]


class PlanStep(TypedDict):
    name: str
    type: str


class PlannedTask(TypedDict):
    id: str
    host_id: str
    host_name: str
    role: str
    name: str
    kind: str
    after: list[str]
    steps: list[PlanStep]


class Plan(TypedDict):
    """What a deploy would do."""

    digest: str
    problems: list[str]
    text: str
    dot: str
    tasks: list[PlannedTask]


class PlanAsked(TypedDict):
    """Without a blueprint: the roles that hosts were given. `limit`: only these hosts."""

    blueprint: NotRequired[str]
    limit: NotRequired[list[str]]


class Deploy(PlanAsked):
    """The same, carried out."""

    check: NotRequired[Annotated[bool, Says(text="a dry run: nothing is changed on the hosts")]]


class Verify(TypedDict):
    blueprint: NotRequired[str]
    only: NotRequired[Annotated[str, Says(text="only checks with this in their name")]]


class Resume(TypedDict):
    task: NotRequired[Annotated[str, Says(text="id or planned_id of a task that is to be done again")]]


class SecretName(TypedDict):
    name: str
    created_at: float


class SecretValue(TypedDict):
    name: str
    value: str


def add_routes(api: Blueprint, ctx: Context) -> None:
    _starting(api, ctx)
    _run_routes(api, ctx)

    @api.get("/secrets")
    @told(gives=SecretName, pages=Pages(names=("name",)))
    def list_secrets() -> Any:
        """Names and ages of the generated secrets; never their values."""
        return secrets.list_secrets(ctx)

    @api.post("/secrets/<path:name>/reveal")
    @told(gives=SecretValue, problems=(404,))
    def reveal_secret(name: str) -> Any:
        """The clear text, with an entry in the audit log."""
        return secrets.show(ctx, name, who=g.who)


def _starting(api: Blueprint, ctx: Context) -> None:
    @api.post("/plan")
    @told(takes=PlanAsked, gives=Plan, problems=(404, 409))
    def make_plan(body: dict[str, Any]) -> Any:
        """What a deploy would do; nothing is changed."""
        return deploys.plan(ctx, blueprint=body.get("blueprint"), limit=tuple(body.get("limit", [])))

    @api.post("/deploy")
    @told(takes=Deploy, gives=RunInFull, status=202, problems=(404, 409), once=True)
    def deploy(body: dict[str, Any]) -> Any:
        """Starts a deploy; one run at a time."""
        return deploys.deploy(
            ctx, blueprint=body.get("blueprint"), check=body.get("check", False), limit=tuple(body.get("limit", [])),
            who=g.who,
        )  # fmt: skip

    @api.post("/verify")
    @told(takes=Verify, gives=RunInFull, status=202, problems=(404, 409), once=True)
    def verify(body: dict[str, Any]) -> Any:
        """Starts the checks: real operations on the hosts."""
        return deploys.verify(ctx, blueprint=body.get("blueprint"), only=body.get("only"), who=g.who)


def _run_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/runs")
    @told(asks=RunsAsked, gives=Run, pages=Pages(keys=((float, int), (str,))))
    def list_runs(query: dict[str, Any], part: Part) -> Any:
        """Runs, newest first."""
        rows = deploys.list_runs(ctx, limit=part.limit + 1, after=part.after, **query)
        return first(rows, part.limit, lambda row: (row["created_at"], row["id"]))

    @api.get("/runs/<run>")
    @told(gives=RunInFull, problems=(404,))
    def show_run(run: str) -> Any:
        """One run with every task."""
        return deploys.show_run(ctx, run)

    @api.post("/runs/<run>/cancel")
    @told(gives=RunInFull, problems=(404, 409), once=True)
    def cancel_run(run: str) -> Any:
        """No new task starts; what is under way may end."""
        return deploys.cancel(ctx, run, who=g.who)

    @api.post("/runs/<run>/resume")
    @told(takes=Resume, gives=RunInFull, problems=(404, 409), once=True)
    def resume_run(run: str, body: dict[str, Any]) -> Any:
        """Takes a failed or cancelled run up again.

        With `task` only that one and what waits for it, in any run that ended.
        """
        return deploys.resume(ctx, run, who=g.who, task=body.get("task"))

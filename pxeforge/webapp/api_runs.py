"""Plans, runs and the secrets that they make, by the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import check_results, deployed_roles, deploys, drift, hosts, plans, runs, secrets
from pxeforge.services.context import Context
from pxeforge.webapp.paging import Part, first, sorted_part
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told


class Loss(TypedDict):
    """A host that a run succeeded without."""

    host_id: str
    host_name: str
    task: str
    why: str


class Run(TypedDict):
    """A plan that is or was carried out."""

    id: str
    kind: Literal["deploy", "verify"]
    state: Literal["running", "succeeded", "failed", "cancelled"]
    check: bool
    blueprint: str | None
    started_by: str
    origin: Literal["operator", "timer"]
    created_at: float
    finished_at: float | None
    losses: Annotated[list[Loss], Says(text="not empty: it succeeded with losses, as the blueprint's tolerance allows")]
    counts: Annotated[dict[str, int], Says(text="tasks by their state")]


class RunTask(TypedDict):
    id: str
    planned_id: str
    host_id: str
    host_name: str
    role: str
    name: str
    kind: str
    state: str
    started_at: float | None
    finished_at: float | None
    tries: Annotated[int, Says(text="tries that failed and were not the last")]
    said: Annotated[str | None, Says(text="by its agent, last")]
    usual_s: Annotated[float | None, Says(text="how long it takes here, as earlier runs show")]
    result: dict[str, Any]
    waiting_for: str | None


class LeftOut(TypedDict):
    """A task that counts as done, because a deploy begins behind it."""

    task: str
    done_at: Annotated[float | None, Says(text="when a deploy last did it there; null: none did since the install")]


class RunInFull(Run):
    """With every task, its result and what it waits for."""

    left_s: Annotated[float | None, Says(text="until its end, if all hosts keep their usual pace")]
    tasks: list[RunTask]
    left_out: NotRequired[Annotated[list[LeftOut], Says(text="told when it is started with `from_step`")]]


class Holder(TypedDict):
    """A task under way, and who has it."""

    task: str
    host_id: str
    host_name: str
    running_s: float
    lease_ends_s: float | None
    said: str | None
    usual_s: float | None
    most_s: float | None
    times: int


class Why(TypedDict):
    """Why a run or a task is not over."""

    run: str
    task: str | None
    sentence: str
    left_s: float | None
    usual_s: float | None
    held_by: list[Holder]


class WhyAsked(TypedDict):
    task: NotRequired[Annotated[str, Says(text="id or planned_id of a task; without it: the run as a whole")]]


class RunsAsked(TypedDict):
    """Which runs; all that is given must fit."""

    kind: NotRequired[Literal["deploy", "verify"]]
    state: NotRequired[Literal["running", "succeeded", "failed", "cancelled"]]
    blueprint: NotRequired[str]
    origin: NotRequired[Literal["operator", "timer"]]


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
    interrupts: Annotated[str, Says(text="whom it cuts off when it changes something: tenants or nobody")]
    steps: list[PlanStep]


class PlannedRestart(TypedDict):
    """A unit that is restarted when one of `when` changed something."""

    host_name: str
    unit: str
    task: str
    when: list[str]
    interrupts: str


class Leftover(TypedDict):
    """Roles that were deployed on a host which no longer has them."""

    host_id: str
    host_name: str
    roles: list[str]
    removed: Annotated[bool, Says(text="whether this plan removes them")]


class Plan(TypedDict):
    """What a deploy would do."""

    digest: str
    problems: list[str]
    text: str
    dot: str
    packages: Annotated[dict[str, list[str]], Says(text="by host, what a deploy installs")]
    restarts: list[PlannedRestart]
    leftover: list[Leftover]
    left_out: Annotated[list[LeftOut], Says(text="what counts as done with `from_step`")]
    tasks: list[PlannedTask]


class PlanAsked(TypedDict):
    """Without a blueprint: the roles that hosts were given. `limit`: only these hosts."""

    blueprint: NotRequired[str]
    limit: NotRequired[list[str]]
    remove_unassigned: NotRequired[
        Annotated[bool, Says(text="take roles from hosts that had them deployed and no longer have them")]
    ]
    from_step: NotRequired[
        Annotated[str, Says(text="begin here, at a role, role.task or role.task@host: what is before counts as done")]
    ]


class Deploy(PlanAsked):
    """The same, carried out."""

    check: NotRequired[Annotated[bool, Says(text="a dry run: nothing is changed on the hosts")]]


class Verify(TypedDict):
    blueprint: NotRequired[str]
    limit: NotRequired[list[str]]
    only: NotRequired[Annotated[str, Says(text="only checks with this in their name")]]


class Resume(TypedDict):
    task: NotRequired[Annotated[str, Says(text="id or planned_id of a task that is to be done again")]]


class SecretName(TypedDict):
    name: str
    created_at: float
    age_s: float


class SecretRotated(TypedDict):
    """`tasks` of the last deploy put the new value on their hosts: deploy again (`blueprint`: that of then)."""

    name: str
    created_at: float
    blueprint: str | None
    tasks: list[str]


class Check(TypedDict):
    name: str
    state: Literal["good", "bad"]
    since: float
    checked_at: float
    level: Annotated[int | None, Says(text="how much it proves, 0 to 6, where the role says so")]
    message: str
    run_id: str


class RoleHealth(TypedDict):
    """What the checks of a role last said on a host."""

    host_id: str
    host_name: str
    role: str
    state: Literal["good", "bad"]
    since: float
    checked_at: Annotated[float, Says(text="of the check that is longest ago")]
    checks: list[Check]


class HealthAsked(TypedDict):
    role: NotRequired[str]
    host: NotRequired[str]


class DriftedStep(TypedDict):
    """A step that would change something, or could not be looked at."""

    host_id: str
    host_name: str
    role: str
    task: str
    step: str
    type: str
    status: Literal["changed", "failed"]
    message: str
    diff: str


class Drift(TypedDict):
    """What the last dry run of the timer would have changed."""

    run: str | None
    at: float | None
    differs: list[DriftedStep]


class Deployed(TypedDict):
    """A role that a deploy put on a host."""

    host_id: str
    host_name: str
    role: str
    since: float
    at: Annotated[float, Says(text="when it was last deployed")]
    run_id: str


class SecretValue(TypedDict):
    name: str
    value: str


def add_routes(api: Blueprint, ctx: Context) -> None:
    _starting(api, ctx)
    _run_routes(api, ctx)
    _standing_routes(api, ctx)

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

    @api.post("/secrets/<path:name>/rotate")
    @told(gives=SecretRotated, problems=(404, 409), once=True)
    def rotate_secret(name: str) -> Any:
        """A new value; hosts get it with the next deploy."""
        return secrets.rotate(ctx, name, who=g.who)


def _standing_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/health")
    @told(asks=HealthAsked, gives=RoleHealth, pages=Pages(keys=((int,), (str,), (str,), (str,))), problems=(404,))
    def show_health(query: dict[str, Any], part: Part) -> Any:
        """Services by host and role, bad ones first: what `verify` last said, and since when."""
        host_id = hosts.show(ctx, query["host"])["id"] if "host" in query else None
        rows = check_results.show(ctx, host_id=host_id, role=query.get("role"))
        return sorted_part(rows, part, lambda row: (int(row["state"] != "bad"), *_place(row)))

    @api.get("/drift")
    @told(gives=Drift)
    def show_drift() -> Any:
        """What differs from the last deploy, as the timer's dry run found it."""
        return drift.show(ctx)

    @api.get("/deployed")
    @told(gives=Deployed, pages=Pages(keys=((str,), (str,), (str,))))
    def show_deployed(part: Part) -> Any:
        """What was deployed where and not removed since."""
        return sorted_part(deployed_roles.show(ctx), part, _place)


def _place(row: dict[str, Any]) -> tuple[str, str, str]:
    """Of a row in a list by host and role."""
    return row["host_name"], row["role"], row["host_id"]


def _starting(api: Blueprint, ctx: Context) -> None:
    @api.post("/plan")
    @told(takes=PlanAsked, gives=Plan, problems=(404, 409))
    def make_plan(body: dict[str, Any]) -> Any:
        """What a deploy would do; nothing is changed."""
        return plans.plan(
            ctx, blueprint=body.get("blueprint"), limit=tuple(body.get("limit", [])),
            remove_unassigned=body.get("remove_unassigned", False), from_step=body.get("from_step"),
        )  # fmt: skip

    @api.post("/deploy")
    @told(takes=Deploy, gives=RunInFull, status=202, problems=(404, 409), once=True)
    def deploy(body: dict[str, Any]) -> Any:
        """Starts a deploy; one run at a time."""
        return deploys.deploy(
            ctx, blueprint=body.get("blueprint"), check=body.get("check", False), limit=tuple(body.get("limit", [])),
            remove_unassigned=body.get("remove_unassigned", False), from_step=body.get("from_step"), who=g.who,
        )  # fmt: skip

    @api.post("/verify")
    @told(takes=Verify, gives=RunInFull, status=202, problems=(404, 409), once=True)
    def verify(body: dict[str, Any]) -> Any:
        """Starts the checks: real operations on the hosts."""
        return deploys.verify(
            ctx, blueprint=body.get("blueprint"), only=body.get("only"), limit=tuple(body.get("limit", [])), who=g.who
        )


def _run_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/runs")
    @told(asks=RunsAsked, gives=Run, pages=Pages(keys=((float, int), (str,))))
    def list_runs(query: dict[str, Any], part: Part) -> Any:
        """Runs, newest first."""
        rows = runs.list_runs(ctx, limit=part.limit + 1, after=part.after, **query)
        return first(rows, part.limit, lambda row: (row["created_at"], row["id"]))

    @api.get("/runs/<run>")
    @told(gives=RunInFull, problems=(404,))
    def show_run(run: str) -> Any:
        """One run with every task."""
        return runs.show_run(ctx, run)

    @api.get("/runs/<run>/why")
    @told(asks=WhyAsked, gives=Why, problems=(404,))
    def why_run(run: str, query: dict[str, Any]) -> Any:
        """What it waits for: who holds which lease, what was said last, how long that usually takes."""
        return runs.why(ctx, run, query.get("task"))

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

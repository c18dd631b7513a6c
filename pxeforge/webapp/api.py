"""The REST API, version 1: thin over the use cases; who may call it is decided by the application around it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, jsonify, request, url_for

from pxeforge.domain.user_role import UserRole
from pxeforge.services import (
    accounts,
    answer_lint,
    answer_preview,
    api_tokens,
    attempts,
    audit,
    blueprints,
    deploys,
    events,
    explanation,
    host_csv,
    hosts,
    image_details,
    images,
    installs,
    inventory,
    profiles,
    secrets,
    sessions,
)
from pxeforge.services.answer_preview import Source
from pxeforge.services.context import Context
from pxeforge.services.package_cache import cache_status
from pxeforge.services.problems import Problem
from pxeforge.services.text_diff import unified
from pxeforge.webapp.json_body import json_object

_CALLED = {
    str: "a text", list: "a list of texts", dict: "an object", bool: "true or false", float: "a number",
    int: "a whole number",
}  # fmt: skip
_ALSO: dict[type, tuple[type, ...]] = {float: (int, float)}


def create_api(ctx: Context) -> Blueprint:
    """Routes below /api/v1; `g.who` is the acting user. Bodies and answers are JSON objects or arrays."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    _host_routes(api, ctx)
    _fleet_routes(api, ctx)
    _catalog_routes(api, ctx)
    _run_routes(api, ctx)
    _account_routes(api, ctx)
    _access_routes(api, ctx)
    return api


def _host_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/hosts")
    def list_hosts() -> Response:
        args = request.args
        return jsonify(hosts.list_hosts(ctx, state=args.get("state"), tag=args.get("tag"), role=args.get("role")))

    @api.post("/hosts")
    def add_host() -> tuple[Response, int]:
        body = _body(macs=list, name=str, roles=list, tags=list)
        roles = body.get("roles", [])
        deploys.check_roles(ctx, roles)
        return jsonify(
            hosts.add(
                ctx, macs=body.get("macs", []), name=body.get("name"), roles=roles, tags=body.get("tags", []),
                who=g.who,
            )
        ), 201  # fmt: skip

    @api.get("/hosts/<host>")
    def show_host(host: str) -> Response:
        return jsonify(hosts.show(ctx, host))

    @api.patch("/hosts/<host>")
    def change_host(host: str) -> Response:
        return jsonify(
            hosts.change(ctx, host, who=g.who, **_body(name=str, tags=list, loader=str, settings=dict, reserve=dict))
        )

    @api.delete("/hosts/<host>")
    def forget_host(host: str) -> Response:
        hosts.forget(ctx, host, who=g.who)
        return jsonify({})

    @api.post("/hosts/<host>/arm")
    def arm_host(host: str) -> Response:
        body = _body(profile=str, boot=str, profiles=list, timeout_s=int, for_s=float)
        for_s = body.get("for_s", installs.ARMED_FOR_S)
        if "profiles" in body:
            timeout_s = body.get("timeout_s", installs.MENU_TIMEOUT_S)
            names = [str(name) for name in body["profiles"]]
            return jsonify(installs.arm_menu(ctx, host, profiles=names, timeout_s=timeout_s, for_s=for_s, who=g.who))
        if "boot" in body:
            profile = body.get("profile")
            return jsonify(installs.arm_program(ctx, host, boot=body["boot"], profile=profile, for_s=for_s, who=g.who))
        if "profile" not in body:
            raise Problem("arming needs a profile: see `pxeforge profile list`")
        return jsonify(installs.arm(ctx, host, profile=body["profile"], for_s=for_s, who=g.who))

    @api.post("/hosts/<host>/disarm")
    def disarm_host(host: str) -> Response:
        return jsonify(installs.disarm(ctx, host, who=g.who))

    @api.post("/hosts/assign")
    def assign_roles() -> Response:
        body = _body(hosts=list, roles=list)
        known = [role["name"] for role in deploys.known_roles(ctx)]
        return jsonify(
            hosts.assign(ctx, body.get("hosts", []), body.get("roles", []), who=g.who, known_roles=known)
        )  # fmt: skip

    @api.post("/hosts/<host>/unassign")
    def unassign_roles(host: str) -> Response:
        return jsonify(hosts.unassign(ctx, host, _body(roles=list).get("roles", []), who=g.who))

    @api.get("/hosts/<host>/timeline")
    def host_timeline(host: str) -> Response:
        found = hosts.show(ctx, host)
        return jsonify(events.timeline(ctx, found["id"], after_id=_number_argument("after_id", 0, 2**62)))

    @api.get("/hosts/<host>/render/<what>")
    def render_host(host: str, what: str) -> Response:
        source = Source(host=host, profile=request.args.get("profile"), attempt=request.args.get("attempt"))
        shown = answer_preview.preview(ctx, source, what=what)
        return jsonify({"what": what, **answer_preview.view(shown)})

    @api.get("/hosts/<host>/attempts")
    def host_attempts(host: str) -> Response:
        return jsonify(attempts.of_host(ctx, host))

    @api.get("/diff/<what>")
    def diff_texts(what: str) -> Response:
        left, right = (Source.parse(request.args.get(side, "")) for side in ("left", "right"))
        one, two = answer_preview.compare(ctx, left, right, what=what)
        return jsonify(
            {
                "what": what,
                "left": answer_preview.view(one),
                "right": answer_preview.view(two),
                "unified": unified(one.text, two.text, one.title, two.title),
            }
        )

    @api.get("/hosts/<host>/explain")
    def explain_host(host: str) -> Response:
        return jsonify(explanation.explain(ctx, host, firmware=request.args.get("firmware")))

    @api.get("/events")
    def recent_events() -> Response:
        return jsonify(events.recent(ctx, limit=_number_argument("limit", 50, 1000)))


def _fleet_routes(api: Blueprint, ctx: Context) -> None:
    """Many hosts at once: tables, lint, inventory."""

    @api.post("/hosts/import")
    def import_hosts() -> Response:
        body = _body(csv=str, dry_run=bool)
        known = [role["name"] for role in deploys.known_roles(ctx)]
        rows = host_csv.read_table(body.get("csv", "").encode())
        return jsonify(
            host_csv.import_table(ctx, rows, known_roles=known, dry_run=body.get("dry_run", False), who=g.who)
        )  # fmt: skip

    @api.get("/hosts/export")
    def export_hosts() -> Response:
        table = host_csv.write_table(hosts.list_hosts(ctx))
        return Response(
            table, mimetype="text/csv", headers={"Content-Disposition": "attachment; filename=pxeforge-hosts.csv"}
        )  # fmt: skip

    @api.get("/lint")
    def lint() -> Response:
        host, profile = request.args.get("host"), request.args.get("profile")
        if host:
            found = answer_lint.lint_host(ctx, host, profile=profile)
        else:
            found = answer_lint.lint_profile(ctx, profile) if profile else answer_lint.lint_profiles(ctx)
        return jsonify([answer_lint.view(finding) for finding in found])

    @api.get("/inventory")
    def show_inventory() -> Response:
        host = request.args.get("host")
        return jsonify(inventory.ansible_inventory(ctx) if host is None else inventory.host_variables(ctx, host))

    @api.get("/inventory/known-hosts")
    def show_known_hosts() -> Response:
        return jsonify({"text": inventory.known_hosts(ctx)})


def _catalog_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/profiles")
    def list_profiles() -> Response:
        return jsonify(profiles.list_profiles(ctx))

    @api.post("/profiles")
    def create_profile() -> tuple[Response, int]:
        body = _body(name=str, image=str, template=str, parameters=dict)
        if "name" not in body or "image" not in body:
            raise Problem("a profile needs a name and an image")
        body.setdefault("parameters", {})
        return jsonify(profiles.create(ctx, body.pop("name"), who=g.who, **body)), 201

    @api.get("/profiles/<profile>")
    def show_profile(profile: str) -> Response:
        return jsonify(profiles.show(ctx, profile))

    @api.patch("/profiles/<profile>")
    def change_profile(profile: str) -> Response:
        body = _body(parameters=dict, unset=list, image=str, template=str)
        body.setdefault("parameters", {})
        return jsonify(profiles.change(ctx, profile, who=g.who, **body))

    @api.delete("/profiles/<profile>")
    def remove_profile(profile: str) -> Response:
        profiles.remove(ctx, profile, who=g.who)
        return jsonify({})

    @api.post("/profiles/<profile>/clone")
    def clone_profile(profile: str) -> tuple[Response, int]:
        return jsonify(profiles.clone(ctx, profile, _body(name=str).get("name", ""), who=g.who)), 201

    @api.get("/profiles/<profile>/render/<what>")
    def render_profile(profile: str, what: str) -> Response:
        shown = answer_preview.preview(ctx, Source(profile=profile), what=what)
        return jsonify({"what": what, **answer_preview.view(shown)})

    @api.get("/images/<name>")
    def show_image(name: str) -> Response:
        return jsonify(image_details.details(ctx, name))

    @api.post("/images/<name>/verify")
    def verify_image(name: str) -> Response:
        return jsonify({"faults": image_details.verify(ctx, name, who=g.who)})

    @api.get("/images")
    def list_images() -> Response:
        return jsonify(images.list_images(ctx))

    @api.get("/mirror")
    def mirror_status() -> Response:
        return jsonify(cache_status(ctx.data_dir / "cache"))

    @api.delete("/images/<name>")
    def remove_image(name: str) -> Response:
        images.remove(ctx, name, who=g.who)
        return jsonify({})

    @api.get("/roles")
    def list_roles() -> Response:
        return jsonify(deploys.known_roles(ctx))

    @api.get("/blueprints")
    def list_blueprints() -> Response:
        return jsonify(blueprints.list_blueprints(ctx))


def _run_routes(api: Blueprint, ctx: Context) -> None:
    @api.post("/plan")
    def make_plan() -> Response:
        body = _body(blueprint=str, limit=list)
        return jsonify(deploys.plan(ctx, blueprint=body.get("blueprint"), limit=tuple(body.get("limit", []))))

    @api.post("/deploy")
    def deploy() -> tuple[Response, int]:
        body = _body(blueprint=str, limit=list, check=bool)
        run = deploys.deploy(
            ctx, blueprint=body.get("blueprint"), check=body.get("check", False), limit=tuple(body.get("limit", [])),
            who=g.who,
        )  # fmt: skip
        return jsonify(run), 202

    @api.post("/verify")
    def verify() -> tuple[Response, int]:
        body = _body(blueprint=str, only=str)
        return jsonify(deploys.verify(ctx, blueprint=body.get("blueprint"), only=body.get("only"), who=g.who)), 202

    @api.get("/runs")
    def list_runs() -> Response:
        return jsonify(deploys.list_runs(ctx))

    @api.get("/runs/<run>")
    def show_run(run: str) -> Response:
        return jsonify(deploys.show_run(ctx, run))

    @api.post("/runs/<run>/cancel")
    def cancel_run(run: str) -> Response:
        return jsonify(deploys.cancel(ctx, run, who=g.who))

    @api.post("/runs/<run>/resume")
    def resume_run(run: str) -> Response:
        return jsonify(deploys.resume(ctx, run, who=g.who))

    @api.get("/secrets")
    def list_secrets() -> Response:
        return jsonify(secrets.list_secrets(ctx))

    @api.post("/secrets/<name>/reveal")
    def reveal_secret(name: str) -> Response:
        return jsonify(secrets.show(ctx, name, who=g.who))


def _account_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/users")
    def list_users() -> Response:
        return jsonify(accounts.list_users(ctx))

    @api.post("/users")
    def add_user() -> tuple[Response, int]:
        body = _body(name=str, password=str, role=str)
        role = accounts.parse_role(body.get("role", UserRole.VIEWER.value))
        accounts.add(ctx, body.get("name", ""), body.get("password", ""), role=role, who=g.who)
        return jsonify({"name": body["name"], "role": role.value}), 201

    @api.patch("/users/<name>")
    def change_user(name: str) -> Response:
        role = accounts.parse_role(_body(role=str).get("role", ""))
        accounts.set_role(ctx, name, role, who=g.who)
        return jsonify({"name": name, "role": role.value})

    @api.post("/users/<name>/password")
    def set_password(name: str) -> Response:
        accounts.set_password(ctx, name, _body(password=str).get("password", ""), who=g.who)
        return jsonify({"name": name})

    @api.post("/users/<name>/logout")
    def logout_user(name: str) -> Response:
        return jsonify({"name": name, "sessions": sessions.end_all(ctx, name, who=g.who)})

    @api.delete("/users/<name>")
    def remove_user(name: str) -> Response:
        accounts.remove(ctx, name, who=g.who)
        return jsonify({})

    @api.get("/me")
    def who_am_i() -> Response:
        return jsonify({"name": g.who, "role": g.actor.role.value, "via": g.actor.via, "address": g.actor.address})


def _access_routes(api: Blueprint, ctx: Context) -> None:
    """API tokens and the audit log."""

    @api.get("/tokens")
    def list_tokens() -> Response:
        return jsonify(api_tokens.list_tokens(ctx, actor=g.actor))

    @api.post("/tokens")
    def create_token() -> tuple[Response, int]:
        body = _body(name=str, role=str, user=str, for_s=float)
        made = api_tokens.create(
            ctx, name=body.get("name", ""), role=body.get("role", UserRole.VIEWER.value), user=body.get("user"),
            for_s=body.get("for_s", api_tokens.DEFAULT_S), actor=g.actor,
        )  # fmt: skip
        return jsonify(made), 201

    @api.delete("/tokens/<token>")
    def revoke_token(token: str) -> Response:
        return jsonify(api_tokens.revoke(ctx, token, actor=g.actor))

    @api.get("/audit")
    def audit_log() -> Response:
        """Newest first; the header Link leads to the next page."""
        args, limit = request.args, _number_argument("limit", 100, audit.MOST)
        wanted = audit.Filter(
            who=args.get("who"), kind=args.get("kind"), host=args.get("host"), via=args.get("via"),
            address=args.get("address"), since=args.get("since", type=float), until=args.get("until", type=float),
            before=_number_argument("before", 0, 2**62) or None,
        )  # fmt: skip
        found = audit.entries(ctx, wanted, limit=limit)
        response = jsonify(found)
        if found and len(found) == limit:
            here = {**args.to_dict(), "before": found[-1]["id"]}
            response.headers["Link"] = f'<{url_for("api.audit_log", **here)}>; rel="next"'
        return response


def _number_argument(name: str, default: int, most: int) -> int:
    """A whole number of the query string, brought into 0 to `most`."""
    return max(0, min(request.args.get(name, default, type=int), most))


def _body(**types: type) -> dict[str, Any]:
    """The JSON object of the request with known keys of the right types; null means not given. Raises Problem."""
    body = json_object(request) if request.data else {}
    if body is None:
        raise Problem("the body must be a JSON object")
    checked = {}
    for key, value in body.items():
        if key not in types:
            raise Problem(f"unknown key {key!r}: known are {', '.join(types)}")
        if value is None:
            continue
        if isinstance(value, bool) is not (types[key] is bool) or not isinstance(
            value, _ALSO.get(types[key], types[key])
        ):
            raise Problem(f"{key} must be {_CALLED[types[key]]}")
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise Problem(f"{key} must be a list of texts")
        checked[key] = value
    return checked

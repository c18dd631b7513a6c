"""Who may use which route of the admin plane: one table. What does not stand in it is open to nobody."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, cast

from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider

from pxeforge.domain.user_role import UserRole
from pxeforge.services.acting import Actor
from pxeforge.services.problems import Forbidden


class Need(StrEnum):
    """What a route asks of whoever calls it."""

    NOTHING = "nothing"  # not even a login
    OWN = "own"  # any user, for what is the user's own; no token, which must not make more of itself
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_NEEDS: Final[dict[Need, str]] = {
    Need.NOTHING: "pages.login web_file healthz readyz",
    Need.OWN: "pages.logout pages.logout_everywhere pages.password_change pages.token_create pages.token_revoke "
    "api.create_token api.revoke_token",
    Need.VIEWER: "pages.home pages.host_list pages.host_page pages.role_table pages.plan pages.run_list "
    "pages.run_page pages.profile_list pages.profile_page pages.image_list pages.image_page pages.event_list "
    "pages.user_list pages.audit_log pages.host_preview pages.profile_preview pages.diff pages.lint_page "
    "api.list_hosts api.show_host api.host_timeline api.render_host api.host_attempts api.diff_texts "
    "api.explain_host api.recent_events api.export_hosts api.lint api.show_inventory api.show_known_hosts "
    "api.list_profiles api.show_profile api.render_profile api.show_image api.list_images api.mirror_status "
    "api.list_roles api.list_blueprints api.make_plan api.list_runs api.show_run api.list_secrets api.list_users "
    "api.list_tokens api.audit_log api.who_am_i metrics",
    Need.OPERATOR: "pages.host_add pages.hosts_assign pages.host_change pages.host_assign pages.host_unassign "
    "pages.host_forget pages.arm_choose pages.arm pages.disarm pages.role_save pages.deploy pages.verify "
    "pages.run_cancel pages.run_resume pages.profile_create pages.profile_save "
    "pages.profile_clone pages.profile_remove pages.image_verify "
    "api.add_host api.change_host api.forget_host api.arm_host api.disarm_host api.assign_roles api.unassign_roles "
    "api.import_hosts api.create_profile api.change_profile api.remove_profile api.clone_profile api.verify_image "
    "api.deploy api.verify api.cancel_run api.resume_run",
    Need.ADMIN: "pages.image_remove pages.user_add pages.user_role pages.user_remove "
    "pages.user_logout "
    "api.remove_image api.reveal_secret api.add_user api.change_user api.set_password api.logout_user "
    "api.remove_user",
}
NEEDS: Final[dict[str, Need]] = {endpoint: need for need, names in _NEEDS.items() for endpoint in names.split()}


def check(endpoint: str | None, actor: Actor) -> None:
    """Raises Forbidden where this actor may not use the route; None (no such route) tells everybody the same."""
    if endpoint is None:
        return
    need = NEEDS.get(endpoint)
    if need is None:
        raise Forbidden(f"{endpoint} is open to nobody: it does not stand in webapp/access.py")
    if need is Need.OWN and actor.by_token:
        raise Forbidden("not with an API token: log in with your name and password")
    if need not in (Need.NOTHING, Need.OWN) and not actor.role.covers(UserRole(need.value)):
        whoever = f"the {actor.via} of {actor.who}" if actor.by_token else actor.who
        raise Forbidden(f"this needs the role {need.value}, and {whoever} is {actor.role.value}: ask an admin")


class CoveredJson(DefaultJSONProvider):
    """Sends JSON with marks in the place of secrets where `cover` makes them."""

    def __init__(self, app: Flask, cover: Callable[[Any], Any]) -> None:
        super().__init__(app)
        self._cover = cover

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return cast(Response, super().response(self._cover(self._prepare_response_obj(args, kwargs))))

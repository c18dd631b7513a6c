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
    Need.OWN: "pages.theme_change pages.host_columns "
    "pages.logout pages.logout_everywhere pages.password_change pages.token_create pages.token_revoke "
    "pages.first_password api.change_own_password api.create_token api.revoke_token",
    Need.VIEWER: "pages.home pages.racks pages.rule_list pages.rule_page "
    "pages.host_list pages.host_export pages.host_page pages.role_table pages.plan pages.run_list "
    "pages.power_status pages.power_order pages.settings pages.health pages.run_page "
    "pages.blueprint_list pages.blueprint_page "
    "pages.profile_list pages.profile_page pages.image_list pages.image_page pages.event_list "
    "pages.user_list pages.audit_log pages.host_preview pages.host_log pages.profile_preview pages.diff "
    "pages.lint_page "
    "api.host_stages api.list_diagnoses "
    "api.list_hosts api.show_host api.host_timeline api.render_host api.host_attempts api.diff_texts "
    "api.explain_host api.recent_events api.export_hosts api.lint api.show_inventory api.show_known_hosts "
    "api.list_profiles api.show_profile api.render_profile api.show_image api.list_images api.mirror_status "
    "api.list_image_imports api.show_image_import "
    "api.list_roles api.list_blueprints api.show_blueprint api.check_blueprint "
    "api.make_plan api.list_runs api.show_run api.list_secrets api.list_users "
    "api.show_power api.list_power api.show_power_order api.list_rules api.show_rule api.test_rules api.list_racks "
    "api.show_rack api.list_conflicts "
    "api.why_run api.show_health api.show_drift api.show_deployed "
    "api.list_tokens api.audit_log api.who_am_i api.show_user api.follow_events api.openapi metrics",
    Need.OPERATOR: "pages.rack_place pages.rack_set pages.rack_remove pages.rule_save pages.rule_do "
    "pages.host_add pages.hosts_do pages.host_change pages.host_assign pages.host_unassign "
    "pages.power_act pages.host_end pages.host_settings pages.host_identity pages.host_import "
    "pages.host_log_file "
    "pages.arm_choose pages.arm pages.disarm pages.role_save pages.role_draft pages.deploy pages.verify "
    "pages.run_cancel pages.run_resume pages.profile_create pages.profile_save "
    "pages.profile_clone pages.profile_remove pages.image_verify pages.image_import pages.image_import_cancel "
    "api.wipe_host api.enrol_host api.end_rescue api.retire_host api.revive_host "
    "api.add_host api.change_host api.forget_host api.arm_host api.disarm_host api.assign_roles "
    "api.arm_hosts api.disarm_hosts api.retire_hosts "
    "api.unassign_roles api.set_roles api.import_hosts api.create_profile api.change_profile api.remove_profile "
    "api.clone_profile api.verify_image api.import_image api.cancel_image_import "
    "api.switch_power api.switch_many api.add_rule api.change_rule api.remove_rule api.move_rule api.apply_rules "
    "api.set_rack api.remove_rack "
    "api.edit_hosts api.settle_conflict api.merge_hosts api.add_nic api.move_nic api.remove_nic "
    "api.deploy api.verify api.cancel_run api.resume_run",
    Need.ADMIN: "pages.image_remove pages.user_add pages.user_role pages.user_remove "
    "pages.user_logout pages.user_disable pages.user_enable pages.user_password pages.power_settings "
    "pages.power_forget "
    "api.rotate_secret "
    "api.remove_image api.reveal_secret api.add_user api.change_user api.set_password api.logout_user "
    "api.remove_user api.disable_user api.enable_user "
    "api.set_power api.clear_power api.list_webhooks api.add_webhook api.show_webhook "
    "api.remove_webhook api.test_webhook "
    "api.list_deliveries api.retry_delivery",
}
# All that is open to whoever logged in with a password that somebody else set.
BEFORE_OWN_PASSWORD: Final = frozenset(
    {"pages.first_password", "pages.logout", "pages.login", "web_file", "healthz", "readyz", "api.change_own_password"}
)
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

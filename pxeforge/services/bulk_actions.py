"""Many hosts armed, disarmed or retired at once: every one of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from pxeforge.services import arming, hosts, install_ends, retirement
from pxeforge.services.boot_menu import MENU_TIMEOUT_S
from pxeforge.services.bulk_edits import chosen_hosts, every_one
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.store.tables import Host

MOST_HOSTS: Final = 200  # in one transaction, which nothing else can be written beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What hosts are armed for: `profiles` (a menu), `boot` (a program), `profile`, or what each is meant for."""

    profile: str | None = None
    boot: str | None = None
    profiles: Sequence[str] | None = None
    timeout_s: int = MENU_TIMEOUT_S
    for_s: float = arming.ARMED_FOR_S

    def installs(self, host: Host) -> list[str]:
        """The profiles that may be installed on it. Raises Problem where none is named."""
        if self.boot is not None:
            return []
        return list(self.profiles) if self.profiles is not None else [self._profile_of(host)]

    def mirrors_of(self, host: Host) -> list[str]:
        """The profiles whose mirrors are asked before."""
        return self.installs(host) if self.boot is None else [self.profile] if self.profile else []

    def carry_out(self, session: Session, ctx: Context, host: Host, who: str) -> dict[str, Any]:
        """Raises Problem."""
        if self.profiles is not None:
            return arming.arm_menu_here(
                session, ctx, host.id, profiles=self.profiles, timeout_s=self.timeout_s, for_s=self.for_s, who=who
            )
        if self.boot is not None:
            return arming.arm_program_here(
                session, ctx, host.id, boot=self.boot, profile=self.profile, for_s=self.for_s, who=who
            )
        return arming.arm_here(session, ctx, host.id, profile=self._profile_of(host), for_s=self.for_s, who=who)

    def _profile_of(self, host: Host) -> str:
        profile = self.profile or host.settings.get("profile")
        if not profile:
            raise Problem("arming needs a profile, and the host has none of its own: see `pxeforge profile list`")
        return str(profile)


def arm(
    ctx: Context, names: Sequence[str], order: Order, *, who: str, where: str | None = None, dry_run: bool = False
) -> list[dict[str, Any]]:
    """Each host as it is then, with `facts`, `warnings` and `installs` (the profiles). Raises Problem, BadEdits."""
    with ctx.database.read() as session:
        wanted = [(host.id, _mirrors_of(order, host)) for host in _some(session, names, where)]
    for host_id, profiles in wanted:
        arming.ask_mirrors(ctx, host_id, profiles)

    def each(session: Session, host: Host) -> dict[str, Any]:
        armed = order.carry_out(session, ctx, host, who)
        return {**armed, "facts": host.facts, "installs": order.installs(host)}

    return _all_or_none(ctx, [host_id for host_id, _ in wanted], each, dry_run=dry_run)


def disarm(ctx: Context, names: Sequence[str], *, who: str, where: str | None = None) -> list[dict[str, Any]]:
    """Takes armings back, and gives up running installs. Raises Problem, BadEdits."""
    return _all_or_none(ctx, names, lambda session, host: install_ends.disarm_host(session, ctx, host, who=who), where)


def retire(
    ctx: Context, names: Sequence[str], *, who: str, where: str | None = None, why: str = ""
) -> list[dict[str, Any]]:
    """Takes hosts out of use. Raises Problem, BadEdits."""

    def each(session: Session, host: Host) -> dict[str, Any]:
        retirement.retire_host(session, ctx, host, who=who, why=why)
        session.flush()
        return hosts.view(host)

    return _all_or_none(ctx, names, each, where)


def _all_or_none(
    ctx: Context, names: Sequence[str], act: Callable[[Session, Host], dict[str, Any]], where: str | None = None,
    dry_run: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Of one host that was named the refusal is its own."""
    alone = len(names) == 1 and not where
    return every_one(ctx, lambda session: _some(session, names, where), act, dry_run=dry_run, alone=alone)


def _some(session: Session, names: Sequence[str], where: str | None) -> list[Host]:
    if not names and not where:
        raise Problem("say which hosts: their names, or a selection like 'state=known tag=rack1'")
    if len(names) == 1 and not where:
        return [hosts.find(session, names[0])]
    chosen = list({host.id: host for host in chosen_hosts(session, names, where)}.values())
    if len(chosen) > MOST_HOSTS:
        raise Problem(f"{len(chosen)} hosts are too many at once: choose {MOST_HOSTS} at most, e.g. rack by rack")
    return chosen


def _mirrors_of(order: Order, host: Host) -> list[str]:
    try:
        return order.mirrors_of(host)
    except Problem:  # told in the transaction, with what is wrong of the others
        return []

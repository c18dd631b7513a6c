"""Arming for a wipe: the next netboot erases the disks that were named by their serials, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.installer import Installer
from pxeforge.render.answers import PowerAction
from pxeforge.render.erasure import AfterWipe, Erasure
from pxeforge.render.values import AnswersProblem
from pxeforge.services import hosts, images, profiles
from pxeforge.services.arming import ARMED_FOR_S, add_attempt, arm_choices, ask_mirrors, to_be_armed
from pxeforge.services.boot_menu import ERASE, Purpose
from pxeforge.services.boot_texts import check_texts
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem
from pxeforge.store.tables import Attempt, Host, Profile

TEMPLATE = "wipe.cfg.j2"


def arm_wipe(
    ctx: Context, text: str, *, confirmed: str, serials: Sequence[str] = (), all_disks: bool = False,
    overwrite: bool = False, power: str = "poweroff", retire: bool = False, profile: str | None = None,
    for_s: float = ARMED_FOR_S, who: str,
) -> dict[str, Any]:  # fmt: skip
    """The next netboot erases these disks, once. `confirmed`: the host's name, typed once more.

    `all_disks`: every disk that the host has reported; each must have a serial. `profile`: whose installer is started;
    None: the one the host was armed for last. Raises Problem, and nothing is changed then.
    """
    with ctx.database.read() as session:
        chosen = profile or _usual_profile(session, hosts.find(session, text))
    ask_mirrors(ctx, text, [chosen])
    with ctx.database.write() as session:
        host = to_be_armed(session, text, for_s)
        if confirmed != host.name:
            raise Problem(f"a wipe is confirmed by the name of its host: say {host.name} once more")
        erasure = _erasure(_serials(host, serials, all_disks), overwrite, power, retire)
        image, layer = _small_system(session, ctx, chosen, erasure)
        check_texts(ctx, host, chosen, layer, image, ("early", "wipe"))
        choice = add_attempt(session, ctx, host, "1", Purpose.WIPE, chosen, image, layer, for_s, who)
        said = f"armed to erase {erasure.words()}"
        return {**arm_choices(session, ctx, host, [choice], None, said, for_s, who), "erases": list(erasure.serials)}


def _serials(host: Host, serials: Sequence[str], all_disks: bool) -> tuple[str, ...]:
    if all_disks == bool(serials):
        raise Problem("say which disks to erase: either --disk SERIAL (repeatable) or --all-disks")
    if not all_disks:
        return tuple(serials)
    disks = host.facts.get("disks", [])
    if not disks:
        raise Problem("the host has not reported any disk: name each by its serial with --disk")
    nameless = [str(disk.get("name")) for disk in disks if not disk.get("serial")]
    if nameless:
        raise Problem(f"the disk {nameless[0]} has no serial and cannot be told from others: name disks with --disk")
    return tuple(str(disk["serial"]) for disk in disks)


def _erasure(serials: tuple[str, ...], overwrite: bool, power: str, retire: bool) -> Erasure:
    try:
        return Erasure(
            serials=serials, overwrite=overwrite, power=PowerAction(power),
            after=AfterWipe.RETIRED if retire else AfterWipe.KNOWN,
        )  # fmt: skip
    except AnswersProblem as problem:
        raise Problem(str(problem)) from None
    except ValueError:
        raise Problem(f"{power!r} is nothing that a host does at the end: use poweroff or reboot") from None


def _small_system(
    session: Session, ctx: Context, profile: str, erasure: Erasure
) -> tuple[images.Image, dict[str, Any]]:  # fmt: skip
    """The installer that runs the script, and its answers."""
    row = profiles.get(session, profile)
    image = images.newest(ctx, row.image)
    if image.installer is not Installer.DEBIAN or "linux" not in image.files:
        raise Problem(f"a wipe is done by debian-installer, which the image {image.name} of {profile} is not")
    return image, {**row.parameters, "template": TEMPLATE, ERASE: erasure.plain()}


def _usual_profile(session: Session, host: Host) -> str:
    """The profile that the host was armed for last, else the only one there is; raises Problem."""
    names = session.scalars(select(Profile.name)).all()
    latest = session.scalars(
        select(Attempt.profile).where(Attempt.host_id == host.id, Attempt.profile.in_(names))
        .order_by(Attempt.armed_at.desc()).limit(1)
    ).first()  # fmt: skip
    if latest is not None:
        return latest
    if len(names) != 1:
        raise Problem("say whose installer erases the disks: --profile PROFILE (see `pxeforge profile list`)")
    return names[0]

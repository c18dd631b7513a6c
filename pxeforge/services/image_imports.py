"""Imports of images that somebody asks the server for: what is wanted, how far it is, and how it ended.

One row for each image. The admin process carries them out, each in a process of its own (app/image_importer.py): a row
that says running while none of its processes runs is one that was broken off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sqlalchemy import select
from sqlalchemy.orm import Session

from pxeforge.domain.user_role import UserRole
from pxeforge.services.acting import Actor
from pxeforge.services.context import Context, new_id
from pxeforge.services.discovery_entry import DISCOVERY_IMAGE
from pxeforge.services.events import record
from pxeforge.services.hidden import hide_everywhere
from pxeforge.services.image_catalogue import CATALOGUE, MEDIA, MIRRORED
from pxeforge.services.image_staging import is_importing
from pxeforge.services.image_store import ImportedImage
from pxeforge.services.import_progress import Progress
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from pxeforge.store.tables import ImageImport

_OPEN: Final = ("waiting", "running")
_SHOWN_S: Final = 24 * 3600.0  # how long a page tells how one ended
_MIRROR: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?")
_LONGEST_MIRROR: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One import that is to be carried out now, and for whom."""

    id: str
    name: str
    source: str
    mirror: str | None
    actor: Actor


def distribution_of(name: str) -> str:
    """Whose mirror an image that can be imported by its name comes from."""
    return MIRRORED[name].distribution if name in MIRRORED else "debian"


def by_name() -> dict[str, str]:
    """Everything that needs no file of the operator's, with where it comes from: package or mirror."""
    mirrored = {name: "mirror" for name in MIRRORED if name not in CATALOGUE}
    return {**dict.fromkeys((*CATALOGUE, DISCOVERY_IMAGE), "package"), **mirrored}


def ask(
    ctx: Context, name: str, *, actor: Actor, source: str | None = None, mirror: str | None = None
) -> dict[str, Any]:
    """Wants the image; it is imported as soon as the others before it are. Raises Problem, Conflict, Forbidden.

    `source`: package or mirror; None: what the name fits. `mirror`: None for the one of the settings.
    """
    source = _checked_source(name, source)
    _check_mirror(ctx, name, mirror, actor)
    with ctx.database.write() as session:
        row = session.get(ImageImport, name)
        if row is not None and row.state in _OPEN:
            raise Conflict(f"{name} is being imported already: wait until that is over, or cancel it")
        if is_importing(ctx.data_dir, name):
            raise Conflict(f"{name} is being imported on the command line: wait until that is over")
        if row is not None:
            session.delete(row)
            session.flush()
        row = ImageImport(
            name=name, id=new_id(), source=source, mirror=mirror, state="waiting", asked_at=ctx.clock(),
            asked_by=actor.who, asked_via=actor.via, asked_from=actor.address, done_bytes=0, total_bytes=0,
        )  # fmt: skip
        session.add(row)
        by = {"name": name, "source": source, **({"mirror": mirror} if mirror else {})}
        record(
            session, ctx, source="operator", kind="image_import_asked", who=actor.who, actor=actor,
            message=f"import of the image {name} asked for by {actor.who}", data={"after": by},
        )  # fmt: skip
        return _view(row)


def cancel(ctx: Context, name: str, *, who: str) -> dict[str, Any]:
    """Ends an import that waits or runs; nothing of it becomes an image. Raises NotFound, Conflict."""
    with ctx.database.write() as session:
        row = _row(session, name)
        if row.state not in _OPEN:
            raise Conflict(f"the import of {name} is over ({row.state}): there is nothing to cancel")
        before = row.state
        _end(ctx, row, "cancelled", f"cancelled by {who}: what was downloaded is kept for the next import")
        record(
            session, ctx, source="operator", kind="image_import_cancelled", who=who,
            message=f"import of the image {name} cancelled by {who}",
            data={"before": {"state": before}, "after": {"state": "cancelled"}},
        )  # fmt: skip
        return _view(row)


def list_imports(ctx: Context) -> list[dict[str, Any]]:
    """The last import of each image that somebody asked the server for, by name."""
    with ctx.database.read() as session:
        return [_view(row) for row in session.scalars(select(ImageImport).order_by(ImageImport.name))]


def recent(ctx: Context) -> list[dict[str, Any]]:
    """Those that are not over, and those that ended within a day; the first to be worked on first."""
    shown = [row for row in list_imports(ctx) if (row["ended_at"] or ctx.clock()) >= ctx.clock() - _SHOWN_S]
    return sorted(shown, key=lambda row: (row["state"] not in _OPEN, row["asked_at"]))


def is_over(row: Mapping[str, Any]) -> bool:
    return row["state"] not in _OPEN


def show(ctx: Context, name: str) -> dict[str, Any]:
    """Raises NotFound."""
    with ctx.database.read() as session:
        return _view(_row(session, name))


# ------------------------------------------------------------------------------ for those who carry them out


def take(ctx: Context, busy: Sequence[str] = ()) -> Wanted | None:
    """The next one that waits, but for those that are `busy`; it runs from now on. None: there is none."""
    query = select(ImageImport).where(ImageImport.state == "waiting", ImageImport.name.not_in(busy))
    first = query.order_by(ImageImport.asked_at, ImageImport.name).limit(1)
    with ctx.database.read() as session:
        if session.scalars(first).first() is None:
            return None
    with ctx.database.write() as session:
        row = session.scalars(first).first()
        if row is None:
            return None
        row.state, row.started_at = "running", ctx.clock()
        return _wanted(row)


def wanted(ctx: Context, import_id: str) -> Wanted | None:
    """One that runs; None: it was cancelled, or asked for anew."""
    with ctx.database.read() as session:
        row = _running(session, import_id)
        return None if row is None else _wanted(row)


def tell(ctx: Context, import_id: str, progress: Progress) -> None:
    with ctx.database.write() as session:
        row = _running(session, import_id)
        if row is not None:
            row.step, row.doing = progress.stage.value, progress.note
            row.done_bytes, row.total_bytes = progress.done_bytes, progress.total_bytes


def succeed(ctx: Context, import_id: str, image: ImportedImage) -> None:
    with ctx.database.write() as session:
        row = _running(session, import_id)
        if row is not None:
            _end(ctx, row, "succeeded", None)
            row.version, row.fresh = image.version, image.fresh


def fail(ctx: Context, import_id: str, problem: str) -> None:
    """It ended, and nothing came of it. One that is over stays as it is."""
    with ctx.database.write() as session:
        row = _running(session, import_id)
        if row is not None:
            _fail(session, ctx, row, problem)


def break_off(ctx: Context) -> list[str]:
    """Whatever is said to run does not: the process that looked after it is gone. Returns the names."""
    with ctx.database.write() as session:
        rows = session.scalars(select(ImageImport).where(ImageImport.state == "running")).all()
        for row in rows:
            _fail(session, ctx, row, "broken off, for the server was stopped meanwhile; no half image is left: "
                                     "import it again, downloads go on where they were")  # fmt: skip
        return [row.name for row in rows]


def _wanted(row: ImageImport) -> Wanted:
    # The role counted when it was asked for.
    actor = Actor(who=row.asked_by, role=UserRole.OPERATOR, via=row.asked_via, address=row.asked_from)
    return Wanted(id=row.id, name=row.name, source=row.source, mirror=row.mirror, actor=actor)


def _running(session: Session, import_id: str) -> ImageImport | None:
    query = select(ImageImport).where(ImageImport.id == import_id, ImageImport.state == "running")
    return session.scalars(query).first()


def _row(session: Session, name: str) -> ImageImport:
    row = session.get(ImageImport, name)
    if row is None:
        raise NotFound(f"nobody asked the server for an import of {name}")
    return row


def _end(ctx: Context, row: ImageImport, state: str, problem: str | None) -> None:
    row.state, row.ended_at, row.problem = state, ctx.clock(), problem
    row.step = row.doing = None


def _fail(session: Session, ctx: Context, row: ImageImport, problem: str) -> None:
    # Neither passwords of mirrors nor where the data lies is for everybody who looks at the page.
    said = hide_everywhere(ctx, problem).replace(f"{ctx.data_dir}/", "")
    _end(ctx, row, "failed", said)
    record(
        session, ctx, source="server", kind="image_import_failed",
        message=f"import of the image {row.name} failed: {said}", data={"name": row.name},
    )  # fmt: skip


def _checked_source(name: str, source: str | None) -> str:
    known = by_name()
    if name not in known:
        _refuse(name, known)
    if source == "mirror" and name not in MIRRORED:
        raise Problem(f"{name} is made of packages: leave the source out")
    if source == "package" and known[name] != "package":
        raise Problem(f"{name} comes from a mirror's installer files: leave the source out")
    return source or known[name]


def _refuse(name: str, known: Mapping[str, str]) -> NoReturn:
    if name in MEDIA:
        raise Problem(
            f"{name} comes from an ISO file: copy that to the server and run "
            f"`pxeforge image import {name} FILE.iso` there"
        )
    raise Problem(f"there is no {name} to import by its name: there are {', '.join(sorted(known))}")


def _check_mirror(ctx: Context, name: str, mirror: str | None, actor: Actor) -> None:
    """Operators have the mirrors of the settings: the server asks no other address on their word."""
    distribution = distribution_of(name)
    if mirror is None:
        if distribution != "debian" and distribution not in ctx.mirrors:
            raise Problem(
                f"{name} needs a mirror of {distribution}: name one under [mirrors.{distribution}] in pxeforge.toml, "
                "or let an admin give its address"
            )
        return
    if not actor.role.covers(UserRole.ADMIN):
        raise Forbidden("a mirror's address is for admins to give: leave it out, or ask an admin")
    if len(mirror) > _LONGEST_MIRROR or not _MIRROR.fullmatch(mirror):
        raise Problem(
            f"{mirror[:_LONGEST_MIRROR]!r} is no mirror address: write it like http://mirror.example/{distribution}, "
            "without a password"
        )


def _view(row: ImageImport) -> dict[str, Any]:
    return {
        "name": row.name, "state": row.state, "source": row.source, "mirror": row.mirror, "asked_by": row.asked_by,
        "asked_at": row.asked_at, "started_at": row.started_at, "ended_at": row.ended_at, "step": row.step,
        "doing": row.doing, "done_bytes": row.done_bytes, "total_bytes": row.total_bytes, "image_version": row.version,
        "fresh": row.fresh, "problem": row.problem,
    }  # fmt: skip

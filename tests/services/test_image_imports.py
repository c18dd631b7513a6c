"""Imports that the server is asked for: who may ask for what, one at a time of each image, and how each ends."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from typing import Any

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import audit, events, image_imports
from pxeforge.services.acting import SESSION, Actor
from pxeforge.services.context import Context
from pxeforge.services.image_store import load_image
from pxeforge.services.import_progress import ImportStage, Progress
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from tests.conftest import Clock, write_image

pytestmark = pytest.mark.both_databases
OPS = Actor(who="ops", role=UserRole.OPERATOR, via=SESSION, address="10.0.0.9")
ADMIN = Actor(who="admin", role=UserRole.ADMIN, via=SESSION)


def begin(ctx: Context, name: str = "debian-13") -> image_imports.Wanted:
    image_imports.ask(ctx, name, actor=OPS)
    taken = image_imports.take(ctx)
    assert taken is not None
    assert taken.name == name
    return taken


def test_an_import_waits_runs_and_succeeds(ctx: Context, clock: Clock) -> None:
    assert image_imports.ask(ctx, "debian-13", actor=OPS)["state"] == "waiting"
    clock.now += 1
    taken = image_imports.take(ctx)
    assert taken is not None
    assert (taken.name, taken.source, taken.mirror) == ("debian-13", "package", None)
    assert (taken.actor.who, taken.actor.via, taken.actor.address) == ("ops", SESSION, "10.0.0.9")
    assert image_imports.take(ctx) is None
    image_imports.tell(
        ctx, taken.id, Progress(stage=ImportStage.DOWNLOAD, done_bytes=5 << 32, total_bytes=6 << 32, note="x.deb")
    )
    shown = image_imports.show(ctx, "debian-13")
    assert (shown["state"], shown["step"], shown["doing"]) == ("running", "download", "x.deb")
    assert (shown["done_bytes"], shown["total_bytes"]) == (5 << 32, 6 << 32)
    clock.now += 60
    image_imports.succeed(ctx, taken.id, replace(load_image(write_image(ctx.data_dir)), fresh=True))
    [ended] = image_imports.list_imports(ctx)
    assert (ended["state"], ended["image_version"], ended["fresh"]) == ("succeeded", "20250803", True)
    assert ended["ended_at"] - ended["asked_at"] == 61


def test_who_asked_stands_in_the_audit_log(ctx: Context) -> None:
    image_imports.ask(ctx, "memtest", actor=OPS)
    image_imports.cancel(ctx, "memtest", who="bob")
    asked, cancelled = sorted(audit.entries(ctx, audit.Filter()), key=lambda row: row["id"])
    assert (asked["kind"], asked["who"], asked["via"], asked["address"]) == (
        "image_import_asked", "ops", SESSION, "10.0.0.9",
    )  # fmt: skip
    assert asked["data"] == {"after": {"name": "memtest", "source": "package"}}
    assert (cancelled["kind"], cancelled["who"]) == ("image_import_cancelled", "bob")


def test_one_image_is_imported_once_at_a_time(ctx: Context) -> None:
    image_imports.ask(ctx, "debian-13", actor=OPS)
    for _state in ("waiting", "running"):
        with pytest.raises(Conflict, match="debian-13 is being imported already: wait until that is over"):
            image_imports.ask(ctx, "debian-13", actor=OPS)
        image_imports.take(ctx)
    image_imports.ask(ctx, "debian-12", actor=OPS)
    assert [row["name"] for row in image_imports.list_imports(ctx)] == ["debian-12", "debian-13"]


def test_an_import_on_the_command_line_counts_too(ctx: Context) -> None:
    with (ctx.data_dir / "images" / ".lock-debian-13").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="on the command line"):
            image_imports.ask(ctx, "debian-13", actor=OPS)
    image_imports.ask(ctx, "debian-13", actor=OPS)


def test_the_first_that_was_asked_for_is_the_first_to_begin(ctx: Context, clock: Clock) -> None:
    for name in ("memtest", "debian-13", "ipxe"):
        image_imports.ask(ctx, name, actor=OPS)
        clock.now += 1
    order = []
    while (taken := image_imports.take(ctx, busy=("debian-13",))) is not None:
        order.append(taken.name)
    assert order == ["memtest", "ipxe"]
    assert [row["name"] for row in image_imports.recent(ctx)] == ["memtest", "debian-13", "ipxe"]


def test_a_failure_says_why_without_passwords_and_places(ctx: Context) -> None:
    taken = begin(ctx)
    why = f"the mirror cannot be reached at http://me:geheim@m/debian; {ctx.data_dir}/images is full"
    image_imports.fail(ctx, taken.id, why)
    ended = image_imports.show(ctx, "debian-13")
    assert ended["state"] == "failed"
    assert "geheim" not in ended["problem"]
    assert str(ctx.data_dir) not in ended["problem"]
    assert "; images is full" in ended["problem"]
    told = events.recent(ctx, limit=1)[0]
    assert (told["source"], told["kind"]) == ("server", "image_import_failed")
    assert told["message"] == f"import of the image debian-13 failed: {ended['problem']}"
    image_imports.ask(ctx, "debian-13", actor=OPS)
    assert image_imports.show(ctx, "debian-13")["problem"] is None


def test_what_was_cancelled_stays_so_whatever_its_process_says(ctx: Context) -> None:
    taken = begin(ctx)
    assert image_imports.cancel(ctx, "debian-13", who="bob")["state"] == "cancelled"
    assert image_imports.wanted(ctx, taken.id) is None
    image_imports.tell(ctx, taken.id, Progress(stage=ImportStage.UNPACK))
    image_imports.fail(ctx, taken.id, "killed")
    assert image_imports.show(ctx, "debian-13")["problem"].startswith("cancelled by bob")
    with pytest.raises(Conflict, match="is over"):
        image_imports.cancel(ctx, "debian-13", who="bob")
    again = begin(ctx)
    image_imports.fail(ctx, taken.id, "the one before")
    assert image_imports.wanted(ctx, again.id) is not None
    with pytest.raises(NotFound, match="nobody asked"):
        image_imports.cancel(ctx, "memtest", who="bob")


def test_what_ran_when_the_server_ended_was_broken_off_and_what_waited_goes_on(ctx: Context) -> None:
    begin(ctx)
    image_imports.ask(ctx, "memtest", actor=OPS)
    assert image_imports.break_off(ctx) == ["debian-13"]
    broken = image_imports.show(ctx, "debian-13")
    assert broken["state"] == "failed"
    assert "the server was stopped" in broken["problem"]
    assert "import it again" in broken["problem"]
    assert events.recent(ctx, limit=1)[0]["kind"] == "image_import_failed"
    taken = image_imports.take(ctx)
    assert taken is not None
    assert taken.name == "memtest"
    assert image_imports.break_off(replace(ctx)) == ["memtest"]


def test_a_page_tells_for_a_day_how_one_ended(ctx: Context, clock: Clock) -> None:
    taken = begin(ctx)
    image_imports.ask(ctx, "memtest", actor=OPS)
    image_imports.fail(ctx, taken.id, "no")
    clock.now += 24 * 3600 + 1
    assert [row["name"] for row in image_imports.recent(ctx)] == ["memtest"]
    assert len(image_imports.list_imports(ctx)) == 2


@pytest.mark.parametrize(
    ("wish", "refusal", "says"),
    [
        ({"name": "rocky-9"}, Problem, "comes from an ISO file: copy that to the server and run"),
        ({"name": "../../etc"}, Problem, "there is no ../../etc to import by its name: there are debian-12,"),
        ({"name": ""}, Problem, "to import by its name"),
        ({"name": "memtest", "source": "mirror"}, Problem, "memtest is made of packages"),
        ({"name": "ubuntu-20.04", "source": "package", "mirror": "http://m/ubuntu"}, Problem, "installer files"),
        ({"name": "ubuntu-20.04"}, Problem, r"name one under \[mirrors.ubuntu\] in pxeforge.toml"),
        ({"name": "debian-13", "mirror": "http+unix://%2Frun%2Fdocker.sock/debian"}, Problem, "no mirror address"),
        ({"name": "debian-13", "mirror": "file:///etc"}, Problem, "no mirror address"),
        ({"name": "debian-13", "mirror": "http://me:pw@m/debian"}, Problem, "without a password"),
        ({"name": "debian-13", "mirror": "http://m/" + "x" * 300}, Problem, "no mirror address"),
        ({"name": "debian-13", "mirror": "http://m/debian", "actor": OPS}, Forbidden, "for admins to give"),
    ],
)
def test_what_cannot_be_had_is_refused_and_leaves_nothing(
    ctx: Context, wish: dict[str, Any], refusal: type[Problem], says: str
) -> None:
    with pytest.raises(refusal, match=says):
        image_imports.ask(ctx, **{"actor": ADMIN, **wish})
    assert image_imports.list_imports(ctx) == []
    assert audit.entries(ctx, audit.Filter()) == []


def test_a_distribution_comes_from_the_mirror_that_the_settings_name(ctx: Context) -> None:
    knowing = replace(ctx, mirrors=frozenset({"ubuntu"}))
    assert image_imports.ask(knowing, "ubuntu-20.04", actor=OPS)["source"] == "mirror"
    named = image_imports.ask(ctx, "ubuntu-18.04", actor=ADMIN, mirror="https://mirror.example/ubuntu")
    assert named["mirror"] == "https://mirror.example/ubuntu"
    assert image_imports.ask(ctx, "debian-12", actor=OPS, source="mirror")["source"] == "mirror"

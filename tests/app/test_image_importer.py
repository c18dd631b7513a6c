"""The server imports what it was asked for, in processes of their own that leave nothing half, however they end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pxeforge.app import image_import, imports
from pxeforge.app.assembly import open_context
from pxeforge.app.image_importer import AT_ONCE, ImageImporter
from pxeforge.app.processes import SETTINGS_VARIABLE, handed_over
from pxeforge.app.settings import Settings
from pxeforge.domain.user_role import UserRole
from pxeforge.services import audit, image_imports, profiles
from pxeforge.services.acting import SESSION, Actor
from pxeforge.services.context import Context
from pxeforge.services.image_staging import is_importing
from pxeforge.services.image_store import list_images
from pxeforge.services.mirror_source import MirrorSource
from tests.services.test_debian_package_import import FakeMirror, keys, mirror

__all__ = ["keys", "mirror"]
pytestmark = [
    pytest.mark.skipif(shutil.which("gpg") is None or shutil.which("gpgv") is None, reason="needs gpg and gpgv"),
    pytest.mark.timeout(300),
]
OPS = Actor(who="ops", role=UserRole.OPERATOR, via=SESSION)
LONG_S = 240.0  # on a busy computer a process needs half a minute to begin


@pytest.fixture
def settings(tmp_path: Path, mirror: tuple[FakeMirror, MirrorSource]) -> Settings:
    return Settings(data_dir=tmp_path / "data", mirror=mirror[1].base_url)


@pytest.fixture
def ctx(settings: Settings) -> Iterator[Context]:
    ctx = open_context(settings, upgrade=True)
    yield ctx
    ctx.database.close()


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, SETTINGS_VARIABLE: handed_over(settings)}


@pytest.fixture
def importer(ctx: Context, environment: dict[str, str]) -> Iterator[ImageImporter]:
    importer = ImageImporter(ctx, environment)
    yield importer
    for row in image_imports.list_imports(ctx):
        if not image_imports.is_over(row):
            image_imports.cancel(ctx, row["name"], who="test")
    importer.round()


def until(importer: ImageImporter, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline
        importer.round()
        time.sleep(0.05)


def state(ctx: Context, name: str) -> str:
    return str(image_imports.show(ctx, name)["state"])


def nothing_is_left(ctx: Context) -> bool:
    return list_images(ctx.data_dir) == [] and not list((ctx.data_dir / "images").glob(".incoming-*"))


def one_import(ctx: Context, settings: Any) -> dict[str, Any]:
    image_imports.ask(ctx, "debian-13", actor=OPS)
    taken = image_imports.take(ctx)
    assert taken is not None
    image_import.carry_out(settings, taken.id)
    return image_imports.show(ctx, "debian-13")


def test_an_import_has_an_image_a_profile_and_who_asked_for_it(
    ctx: Context, settings: Settings, mirror: tuple[FakeMirror, MirrorSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "DEBIAN_KEYRING", mirror[0].key.ring)
    first = one_import(ctx, settings.plain())
    assert (first["state"], first["image_version"], first["fresh"]) == ("succeeded", "20250803+deb13u7", True)
    assert [row["name"] for row in profiles.list_profiles(ctx)] == ["debian-13"]
    audited = [(row["kind"], row["who"], row["via"]) for row in audit.entries(ctx, audit.Filter())]
    assert set(audited) == {
        (kind, "ops", SESSION) for kind in ("image_import_asked", "image_imported", "profile_created")
    }
    again = one_import(ctx, settings.plain())
    assert (again["state"], again["fresh"]) == ("succeeded", False)


def test_progress_is_told_while_it_downloads(
    ctx: Context, settings: Settings, mirror: tuple[FakeMirror, MirrorSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "DEBIAN_KEYRING", mirror[0].key.ring)
    monkeypatch.setattr(image_import, "_TELL_EVERY_S", 0.0)
    seen = []
    tell = image_imports.tell
    monkeypatch.setattr(
        image_imports, "tell", lambda *told: (tell(*told), seen.append(image_imports.show(ctx, "debian-13")))[0]
    )
    one_import(ctx, settings.plain())
    assert {"index", "download", "unpack"} <= {row["step"] for row in seen}
    downloaded = [row for row in seen if row["step"] == "download"]
    assert downloaded[-1]["done_bytes"] == downloaded[-1]["total_bytes"] > 300_000


def test_a_server_that_shall_ask_no_mirror_imports_nothing(
    ctx: Context, settings: Settings, mirror: tuple[FakeMirror, MirrorSource]
) -> None:
    offline = settings.model_copy(update={"mirror_offline": True})
    ended = one_import(ctx, offline.plain())
    assert (ended["state"], ended["problem"]) == (
        "failed", "the setting mirror_offline keeps the server from asking mirrors: change it first",
    )  # fmt: skip
    assert mirror[0].asked == []


def test_its_process_says_why_there_is_no_image(ctx: Context, importer: ImageImporter) -> None:
    """The key that signs here is none of Debian's."""
    image_imports.ask(ctx, "debian-13", actor=OPS)
    until(importer, lambda: state(ctx, "debian-13") == "failed")
    assert "is not signed by a key of" in image_imports.show(ctx, "debian-13")["problem"]
    assert nothing_is_left(ctx)


def test_cancelling_ends_the_process_and_the_image_can_be_asked_for_again(
    ctx: Context, importer: ImageImporter, mirror: tuple[FakeMirror, MirrorSource]
) -> None:
    mirror[0].silent_s = LONG_S
    image_imports.ask(ctx, "debian-13", actor=OPS)
    until(importer, lambda: mirror[0].asked)
    assert is_importing(ctx.data_dir, "debian-13")
    image_imports.cancel(ctx, "debian-13", who="ops")
    importer.round()
    assert not is_importing(ctx.data_dir, "debian-13")
    assert nothing_is_left(ctx)
    mirror[0].silent_s = 0.0
    image_imports.ask(ctx, "debian-13", actor=OPS)
    until(importer, lambda: state(ctx, "debian-13") == "failed")


def test_a_process_that_is_killed_is_told_of(
    ctx: Context, importer: ImageImporter, mirror: tuple[FakeMirror, MirrorSource]
) -> None:
    mirror[0].silent_s = LONG_S
    image_imports.ask(ctx, "debian-13", actor=OPS)
    until(importer, lambda: mirror[0].asked)
    assert is_importing(ctx.data_dir, "debian-13")
    [(_, process)] = importer._running.values()
    process.send_signal(signal.SIGKILL)
    until(importer, lambda: state(ctx, "debian-13") == "failed")
    assert re.match("its process was ended by signal 9, no half image is left", problem_of(ctx))
    assert nothing_is_left(ctx)


def problem_of(ctx: Context) -> str:
    return str(image_imports.show(ctx, "debian-13")["problem"])


def test_no_more_than_two_run_at_once(
    ctx: Context, importer: ImageImporter, mirror: tuple[FakeMirror, MirrorSource]
) -> None:
    mirror[0].silent_s = LONG_S
    for name in ("debian-13", "debian-12", "memtest"):
        image_imports.ask(ctx, name, actor=OPS)
    importer.round()
    importer.round()
    states = sorted(row["state"] for row in image_imports.list_imports(ctx))
    assert states == [*["running"] * AT_ONCE, "waiting"]


SERVER = """
import sys, time
from pxeforge.app.assembly import open_context
from pxeforge.app.image_importer import ImageImporter
from pxeforge.app.processes import settings_from_environment
ImageImporter(open_context(settings_from_environment())).start()
print("serves", flush=True)
time.sleep(600)
"""


def test_a_server_killed_meanwhile_takes_the_import_along_and_the_next_one_says_so(
    ctx: Context, environment: dict[str, str], mirror: tuple[FakeMirror, MirrorSource]
) -> None:
    mirror[0].silent_s = LONG_S
    image_imports.ask(ctx, "debian-13", actor=OPS)
    with subprocess.Popen([sys.executable, "-c", SERVER], env=environment, stdout=subprocess.PIPE) as server:
        wait(lambda: mirror[0].asked)
        server.kill()
    wait(lambda: not is_importing(ctx.data_dir, "debian-13"))
    assert state(ctx, "debian-13") == "running"
    ImageImporter(ctx, environment).round()
    assert state(ctx, "debian-13") == "failed"
    assert "broken off, for the server was stopped meanwhile" in problem_of(ctx)
    assert nothing_is_left(ctx)


def wait(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_mirror_and_its_proxy_come_from_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, mirror_proxy="http://proxy.example:3128",
        mirrors={"ubuntu": {"url": "http://m/ubuntu"}, "debian": {"url": "http://m/debian", "proxy": "http://p:1"}},
    )  # fmt: skip
    of = {name: imports._mirror(settings, imports.Wish(name=name)) for name in ("ubuntu-20.04", "debian-13", "ipxe")}
    assert of["ubuntu-20.04"] == MirrorSource("http://m/ubuntu", "http://proxy.example:3128")
    assert of["debian-13"] == of["ipxe"] == MirrorSource("http://m/debian", "http://p:1")
    assert of["ubuntu-20.04"].session().proxies["http"] == "http://proxy.example:3128"

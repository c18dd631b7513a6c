"""`pxeforge image import` from a signed mirror: image, profile, and a word in the log of events."""

from __future__ import annotations

from pathlib import Path

from pxeforge.app.assembly import open_context
from pxeforge.app.imports import import_debian_image
from pxeforge.app.settings import Settings
from pxeforge.services import events, profiles
from pxeforge.services.image_import import MirrorSource
from tests.services.test_image_import import FakeMirror, keys, mirror

__all__ = ["keys", "mirror"]


def test_an_import_makes_the_profile_and_is_told_once(
    tmp_path: Path,
    mirror: tuple[FakeMirror, MirrorSource],
) -> None:
    fake, source = mirror
    settings = Settings(data_dir=tmp_path / "data", mirror=source.base_url)
    for fresh in (True, False):
        imported = import_debian_image(settings, "debian-13", keyring=str(fake.key.ring), progress=lambda _: None)
        assert imported.fresh is fresh
    ctx = open_context(settings)
    assert [row["name"] for row in profiles.list_profiles(ctx)] == ["debian-13"]
    assert [row["kind"] for row in events.recent(ctx)].count("image_imported") == 1

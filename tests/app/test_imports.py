"""`pxeforge image import` from a signed mirror: image, profile, and a word in the log of events."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pxeforge.app.assembly import open_context
from pxeforge.app.imports import Wish, import_image
from pxeforge.app.settings import Settings
from pxeforge.cli.main import main
from pxeforge.services import audit, events, profiles
from pxeforge.services.image_store import ImportProblem
from pxeforge.services.mirror_source import MirrorSource
from tests.services import small_media
from tests.services.test_debian_package_import import FakeMirror, keys, mirror

__all__ = ["keys", "mirror"]


def test_an_import_makes_the_profile_and_is_told_once(
    tmp_path: Path,
    mirror: tuple[FakeMirror, MirrorSource],
) -> None:
    fake, source = mirror
    settings = Settings(data_dir=tmp_path / "data", mirror=source.base_url)
    for fresh in (True, False):
        wish = Wish(name="debian-13", keyring=fake.key.ring)
        imported, profile = import_image(settings, wish, progress=lambda _: None)
        assert profile == "debian-13"
        assert imported.fresh is fresh
    ctx = open_context(settings)
    assert [row["name"] for row in profiles.list_profiles(ctx)] == ["debian-13"]
    assert [row["kind"] for row in events.recent(ctx)].count("image_imported") == 1
    audited = audit.entries(ctx, audit.Filter(via="local"))
    assert [(row["who"], row["kind"]) for row in audited] == [("root", "profile_created"), ("root", "image_imported")]


@pytest.mark.skipif(not small_media.HAS_XORRISO, reason="needs xorriso")
def test_an_iso_from_the_command_line_is_marked_where_nobody_vouches_for_it(tmp_path: Path) -> None:
    iso = small_media.make_iso(tmp_path / "ubuntu-14.04.6-server-amd64.iso", small_media.ubuntu_server_14())
    run = CliRunner().invoke
    top = ["--data-dir", str(tmp_path / "data"), "image", "import", "ubuntu-14.04"]
    refused = run(main, [*top, "--from", "iso", str(iso)])
    assert (refused.exit_code, refused.exception.__class__) == (1, SystemExit)
    assert "nobody vouches for ubuntu-14.04.6-server-amd64.iso" in refused.output
    done = run(main, [*top, str(iso), "--unverified"])
    assert done.exit_code == 0, done.output
    assert re.search(r"^ubuntu-14\.04 14\.04\.6-\S+ imported, UNVERIFIED; profile ubuntu-14\.04", done.output, re.M)
    ctx = open_context(Settings(data_dir=tmp_path / "data"))
    [profile] = profiles.list_profiles(ctx)
    assert (profile["name"], profile["template"]) == ("ubuntu-14.04", "ubuntu.cfg.j2")
    assert "imported, unverified" in events.recent(ctx)[0]["message"] + events.recent(ctx)[1]["message"]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"name": "debian-13", "unverified": True}, "belong to --from iso"),
        ({"name": "debian-13", "source": "package", "isos": [Path("x")]}, "belong to --from iso"),
        ({"name": "rocky-9"}, "comes from an ISO: run `pxeforge image import rocky-9 --from iso FILE...`"),
        ({"name": "ubuntu-14.04"}, "needs a mirror of ubuntu: give --mirror"),
        ({"name": "rocky-9", "source": "iso"}, "which ISO"),
        ({"name": "rocky-9", "source": "mirror", "mirror": "http://127.0.0.1:9/x"}, "unknown installer"),
        ({"name": "debian-13", "mirror": "nonsense"}, "is no mirror address"),
    ],
)
def test_a_wish_that_cannot_be_met_says_what_to_do(tmp_path: Path, wish: dict[str, Any], says: str) -> None:
    with pytest.raises(ImportProblem, match=re.escape(says)):
        import_image(Settings(data_dir=tmp_path / "data"), Wish(**wish), progress=lambda _: None)


def test_the_source_is_what_the_name_fits() -> None:
    assert Wish(name="debian-13").from_ == "package"
    assert Wish(name="ubuntu-18.04").from_ == "mirror"
    assert Wish(name="anything", isos=[Path("x.iso")]).from_ == "iso"
    assert Wish(name="debian-13", source="mirror").from_ == "mirror"

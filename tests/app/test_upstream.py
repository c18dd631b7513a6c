"""From the settings to the mirrors behind /mirror, also after the way through the environment of a child."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest

from pxeforge.app.processes import handed_over
from pxeforge.app.settings import Settings, load_settings
from pxeforge.app.upstream import open_cache
from pxeforge.services.package_cache import Unavailable, cache_status
from tests.services.fake_repository import serve_repository


def test_mirrors_of_the_settings_reach_a_child_as_they_are(tmp_path: Path) -> None:
    config = tmp_path / "pxeforge.toml"
    config.write_text(
        'mirror = "http://user:secret@one.example/debian/"\nmirror_offline = true\ncache_max_bytes = 5_000_000\n'
        '[mirrors.rocky9]\nurl = "https://two.example/rocky/9"\n'
    )
    settings = load_settings({"data_dir": tmp_path}, config=config, environment={})
    child = pickle.loads(base64.b64decode(handed_over(settings)))
    cache = open_cache(child)
    assert cache.names == ("rocky9", "debian")
    cache.tell_upstreams()
    told = cache_status(tmp_path / "cache")
    assert told["mirrors"] == {"debian": "http://one.example/debian", "rocky9": "https://two.example/rocky/9"}
    assert (told["offline"], told["max_bytes"], told["hit_rate"]) == (True, 5_000_000, None)
    with pytest.raises(Unavailable):
        cache.get("rocky9", "os/repodata/repomd.xml")


def test_a_mirror_has_the_proxy_of_its_table_or_that_of_all(tmp_path: Path) -> None:
    with serve_repository() as (common, for_all), serve_repository() as (own, for_one):
        for repository in (for_all, for_one):
            repository.put("/r/pool/a.deb", b"a")
        settings = Settings.model_validate({
            "data_dir": tmp_path, "mirror_proxy": common, "cache_reserve_bytes": 0,
            "mirrors": {"one": {"url": "http://m.invalid/r", "proxy": own}, "two": {"url": "http://m.invalid/r"}},
        })  # fmt: skip
        cache = open_cache(settings)
        for name in ("one", "two"):
            cache.get(name, "pool/a.deb")
        assert (for_one.proxied, for_all.proxied) == (1, 1)

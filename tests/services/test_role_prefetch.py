"""Packages of roles come into the cache by themselves, once, and the timeline tells."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pxeforge.services import arming, events, hosts, role_catalogue, role_prefetch
from pxeforge.services.cache_upstream import Upstream
from pxeforge.services.context import Context
from pxeforge.services.package_cache import PackageCache
from tests.conftest import MAC, Clock
from tests.services.small_roles import add_host, give_roles
from tests.services.test_prefetch import cache, repository  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")
TOOLS = """\
name: ttools
summary: packages for tests
variables:
  ttool: {default: some-tool, help: which}
tasks:
  - name: install
    after: ["role:tother"]
    steps:
      - packages: {names: ["{{ vars.ttool }}"]}
      - name: config
        file: {path: /etc/x, content: "{{ groups.tother[0].address }}"}
"""
OTHER = """\
name: tother
summary: nothing to install
tasks:
  - name: settle
    steps:
      - wait: {shell: "true"}
"""
BROKEN = TOOLS.replace("ttools", "tbroken").replace("ttool:", "tmissing:").replace("vars.ttool", "vars.tmissing")
BROKEN = BROKEN.replace("some-tool", "no-such-package")


@pytest.fixture
def roles(ctx: Context) -> None:
    give_roles(ctx, TOOLS, OTHER, BROKEN)


def facts_of(ctx: Context, host_id: str) -> None:
    with ctx.database.write() as session:
        from pxeforge.store.tables import Host

        session.get_one(Host, host_id).facts = {"os": {"id": "debian", "version": "13", "codename": "trixie"}}


def told(ctx: Context, host_id: str) -> list[str]:
    return [event["message"] for event in events.timeline(ctx, host_id) if event["kind"] == "packages_fetched"]


def test_what_a_role_installs_is_in_the_cache_before_anybody_deploys(
    ctx: Context, cache: PackageCache, roles: None  # noqa: F811
) -> None:  # fmt: skip
    host_id = add_host(ctx, 1, "ttools", "tother")
    facts_of(ctx, host_id)
    assert role_prefetch.look(ctx, cache) == 1
    assert cache.store.has("debian/pool/main/s/some-tool_1.0_amd64.deb") or cache.store.has(
        "debian/pool/main/t/tool_1.0_amd64.deb"
    )
    assert not cache.store.has("debian/pool/main/b/base-files_1.0_amd64.deb")  # it is there already
    [message] = told(ctx, host_id)
    assert message.startswith("packages of ttools, tother are in the cache:")
    assert role_prefetch.look(ctx, cache) == 0
    assert len(told(ctx, host_id)) == 1


def test_a_host_that_is_being_installed_is_served_by_its_image(
    ctx: Context, cache: PackageCache, roles: None, profile: str  # noqa: F811
) -> None:  # fmt: skip
    hosts.add(ctx, macs=[MAC], name="n9", roles=["ttools"], who="test")
    assert role_prefetch.look(ctx, cache) == 0  # nobody knows yet what it will run
    arming.arm(ctx, "n9", profile=profile, who="test")
    assert role_prefetch.look(ctx, cache) == 1
    assert len(told(ctx, hosts.show(ctx, "n9")["id"])) == 1


def test_a_host_of_which_nothing_is_known_is_not_read_each_time(
    ctx: Context, cache: PackageCache, roles: None, clock: Clock, profile: str  # noqa: F811
) -> None:  # fmt: skip
    waiting: role_prefetch.Waiting = {}
    hosts.add(ctx, macs=[MAC], name="n9", roles=["ttools"], who="test")
    slow = add_host(ctx, 1, "ttools")
    assert role_prefetch.look(ctx, cache, waiting) == 0
    assert len(waiting) == 2
    facts_of(ctx, slow)
    assert role_prefetch.look(ctx, cache, waiting) == 0
    arming.arm(ctx, "n9", profile=profile, who="test")  # its row has changed
    assert role_prefetch.look(ctx, cache, waiting) == 1
    assert list(waiting) == [slow]
    clock.now += 3601
    assert role_prefetch.look(ctx, cache, waiting) == 1
    assert waiting == {}


def test_a_role_that_is_taken_away_and_given_again_is_looked_at_again(
    ctx: Context, cache: PackageCache, roles: None  # noqa: F811
) -> None:  # fmt: skip
    host_id = add_host(ctx, 1, "ttools")
    facts_of(ctx, host_id)
    role_prefetch.look(ctx, cache)
    hosts.unassign(ctx, "n1", ["ttools"], who="test")
    assert role_prefetch.view(ctx, host_id) == []
    known = [role["name"] for role in role_catalogue.known_roles(ctx)]
    hosts.assign(ctx, ["n1"], ["ttools"], who="test", known_roles=known)
    assert role_prefetch.look(ctx, cache) == 1
    assert "of which 0 (0 MB) were fetched now" in told(ctx, host_id)[-1]


def test_what_cannot_be_had_is_told_and_tried_again_later(
    ctx: Context, cache: PackageCache, roles: None, clock: Clock  # noqa: F811
) -> None:  # fmt: skip
    host_id = add_host(ctx, 1, "tbroken")
    facts_of(ctx, host_id)
    role_prefetch.look(ctx, cache)
    assert "no-such-package" in told(ctx, host_id)[0]
    assert role_prefetch.view(ctx, host_id)[0]["state"] == "failed"
    assert role_prefetch.look(ctx, cache) == 0
    clock.now += 3700
    assert role_prefetch.look(ctx, cache) == 1


def test_nothing_is_fetched_offline(ctx: Context, roles: None, tmp_path: Path) -> None:
    facts_of(ctx, add_host(ctx, 1, "ttools"))
    upstream: dict[str, Any] = {"debian": Upstream("http://127.0.0.1:9/debian")}
    offline = PackageCache(upstream, tmp_path / "offline", reserve_bytes=0, offline=True)
    assert role_prefetch.look(replace(ctx), offline) == 0

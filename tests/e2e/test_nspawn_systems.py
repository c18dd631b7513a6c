"""Debian systems by systemd-nspawn, made from and fed by our package cache: debootstrap and apt as its clients."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from pxeforge.lab import nspawn
from pxeforge.lab.mirror import NoMirror, apt_mirrors
from pxeforge.lab.nspawn import NspawnError, System, make_base, systems
from pxeforge.lab.rack import Rack
from pxeforge.lab.relay import Relay, serving
from pxeforge.services.archive_signature import DEBIAN_KEYRING
from tests.e2e.test_package_cache import serve

pytestmark = pytest.mark.skipif(nspawn.why_not() is not None, reason=str(nspawn.why_not()))
SUITE = "trixie"
PACKAGES = ("memcached", "rsync", "nginx-light")


@dataclass
class Site:
    """A rack with pxeforge in front of this computer's mirror, and a tree made through it."""

    rack: Rack
    folder: Path
    base: Path

    def fetched(self) -> list[str]:
        """Paths of packages that were asked of the mirror."""
        asked = [line.split()[-1] for line in (self.folder / "relay.log").read_text().splitlines()]
        return [path for path in asked if path.endswith(".deb")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        mirrors = apt_mirrors()
    except NoMirror as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        stack.enter_context(serving(Relay(folder / "relay.sock", mirrors, log=folder / "relay.log")))
        rack = stack.enter_context(Rack("nspawn"))
        upstream = f"http+unix://{quote(str(folder / 'relay.sock'), safe='')}/debian"
        stack.enter_context(serve(rack.name, folder, PXEFORGE_MIRROR=upstream, PXEFORGE_BOOT_PROCESSES="2"))
        mirror = f"http://{rack.address}:8080/mirror/debian"
        yield Site(rack, folder, make_base(rack, folder / "bases", SUITE, mirror, Path(DEBIAN_KEYRING)))


def install(system: System) -> str:
    """What apt said, and what the package manager says is there afterwards."""
    system.run(["apt-get", "update"], timeout_s=300)
    system.run(["apt-get", "-y", "install", *PACKAGES], timeout_s=900)
    return system.run(["dpkg-query", "--show", *PACKAGES]).stdout


def test_several_systems_install_at_once_and_each_package_comes_once(site: Site) -> None:
    before = site.fetched()
    with systems(site.rack, site.base, site.folder / "systems", ["n1", "n2", "n3"]) as running:
        with ThreadPoolExecutor(len(running)) as pool:
            found = list(pool.map(install, running))
        assert all(f"{name}\t" in found[0] for name in PACKAGES)
        assert found == [found[0]] * len(running)
        for system in running:
            assert system.run(["systemctl", "is-active", "memcached", "nginx", "ssh"]).stdout.split() == ["active"] * 3
    fetched = site.fetched()
    assert len(fetched) > len(before) >= 50  # debootstrap came through the cache too
    assert len(fetched) == len(set(fetched))


def test_a_system_keeps_what_it_wrote_and_has_keys_and_an_address_of_its_own(site: Site) -> None:
    with systems(site.rack, site.base, site.folder / "systems", ["k1", "k2"]) as (first, second):
        keys = [one.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout for one in (first, second)]
        machines = [one.run(["cat", "/etc/machine-id"]).stdout for one in (first, second)]
        assert keys[0] != keys[1]
        assert machines[0] != machines[1]
        assert second.run(["ping", "-c1", "-W5", str(first.site.address)]).returncode == 0
        first.run(["sh", "-c", "echo kept > /var/kept"])
        first.stop()
        assert not first.is_running
        with pytest.raises(NspawnError, match="k1 does not run"):
            first.run(["true"])
        first.start()
        assert first.run(["cat", "/var/kept"]).stdout == "kept\n"
        assert first.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout == keys[0]
        first.kill()
        assert not first.is_running
        with pytest.raises(NspawnError, match="`false` failed \\(1\\)"):
            second.run(["false"])
    assert not (site.folder / "systems" / "k1").exists()
    assert not (site.base / "var/kept").exists()

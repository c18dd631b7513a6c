"""What a profile needs of the package cache: resolved by the real apt from a small suite on loopback."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxeforge.services import prefetch, profiles
from pxeforge.services.cache_upstream import Upstream
from pxeforge.services.context import Context
from pxeforge.services.package_cache import PackageCache
from pxeforge.services.problems import NotFound, Problem
from tests.services.fake_repository import Repository, serve_repository

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")
KERNEL = "6.12"  # of the image in tests/conftest.py

# name: (priority, further fields)
PACKAGES = {
    "base-files": ("required", "Essential: yes\nDepends: libbase"),
    "libbase": ("optional", ""),
    "apt": ("important", "Depends: libbase (>= 1.0)"),
    "python3": ("optional", "Depends: libpython"),
    "libpython": ("optional", ""),
    "openssh-server": ("optional", "Depends: libssh | libother\nRecommends: xauth"),
    "libssh": ("optional", ""),
    "libother": ("optional", ""),
    "xauth": ("optional", ""),
    "linux-image-amd64": ("optional", "Depends: linux-image-6.12"),
    "linux-image-6.12": ("optional", ""),
    "grub-pc": ("optional", "Conflicts: grub-efi-amd64"),
    "grub-efi-amd64": ("optional", "Conflicts: grub-pc"),
    "unwanted": ("optional", ""),
    "tool": ("optional", "Provides: some-tool\nDepends: libtool++"),
    "libtool++": ("optional", ""),
}
UDEBS = {"anna": None, "ext4-modules-6.12-di": KERNEL, "ext4-modules-6.1-di": "6.1"}


def package(name: str, priority: str, more: str, ending: str = "deb") -> tuple[str, bytes, str]:
    """(path, content, paragraph)"""
    content = f"{name} ".encode() * 300
    path = f"pool/main/{name[0]}/{name}_1.0_amd64.{ending}"
    lines = [
        f"Package: {name}", "Version: 1.0", "Architecture: amd64", f"Priority: {priority}", f"Filename: {path}",
        f"Size: {len(content)}", f"SHA256: {hashlib.sha256(content).hexdigest()}", *([more] if more else []),
    ]  # fmt: skip
    return path, content, "\n".join(lines) + "\n"


def put_suite(repository: Repository) -> None:
    debs = [package(name, priority, more) for name, (priority, more) in PACKAGES.items()]
    udebs = [package(name, "standard", f"Kernel-Version: {kernel}" if kernel else "", "udeb")
             for name, kernel in UDEBS.items()]  # fmt: skip
    for path, content, _ in [*debs, *udebs]:
        repository.put(f"/debian/{path}", content)
    listed = []
    for folder, entries in (("main/binary-amd64", debs), ("main/debian-installer/binary-amd64", udebs)):
        index = lzma.compress("\n".join(text for _, _, text in entries).encode())
        digest = hashlib.sha256(index).hexdigest()
        for name in ("Packages.xz", f"by-hash/SHA256/{digest}"):
            repository.put(f"/debian/dists/trixie/{folder}/{name}", index)
        listed.append(f" {digest} {len(index)} {folder}/Packages.xz")
    release = "\n".join(["Codename: trixie", "SHA256:", *listed, ""]).encode()
    repository.put("/debian/dists/trixie/InRelease", release)


@pytest.fixture
def repository() -> Iterator[tuple[str, Repository]]:
    with serve_repository() as (url, repository):
        put_suite(repository)
        yield url, repository


@pytest.fixture
def cache(repository: tuple[str, Repository], tmp_path: Path) -> PackageCache:
    return PackageCache({"debian": Upstream(f"{repository[0]}/debian")}, tmp_path / "cache", reserve_bytes=0)


def names_of(needs: prefetch.Needs) -> set[str]:
    return {name.rpartition("/")[2].partition("_")[0] for name in needs.files if name.endswith("deb")}


def test_a_profile_needs_its_base_system_packages_and_what_these_draw_in(
    ctx: Context, cache: PackageCache, profile: str
) -> None:
    names = names_of(prefetch.needs_of_profile(ctx, cache, profile, packages=["some-tool"]))
    assert names >= {"base-files", "libbase", "apt", "python3", "libpython", "openssh-server", "libssh", "xauth"}
    assert names >= {"linux-image-6.12", "grub-pc", "grub-efi-amd64", "tool", "libtool++"}
    assert not names & {"unwanted", "libother"}


def test_installer_components_are_those_of_the_images_kernel(ctx: Context, cache: PackageCache, profile: str) -> None:
    needs = prefetch.needs_of_profile(ctx, cache, profile)
    udebs = {name.rpartition("/")[2] for name in needs.files if name.endswith("udeb")}
    assert udebs == {"anna_1.0_amd64.udeb", "ext4-modules-6.12-di_1.0_amd64.udeb"}


def test_indexes_are_needed_by_name_and_by_hash(ctx: Context, cache: PackageCache, profile: str) -> None:
    needs = prefetch.needs_of_profile(ctx, cache, profile)
    for folder in ("main/binary-amd64", "main/debian-installer/binary-amd64"):
        assert f"debian/dists/trixie/{folder}/Packages.xz" in needs.files
        assert any(name.startswith(f"debian/dists/trixie/{folder}/by-hash/SHA256/") for name in needs.files)
    assert "debian/dists/trixie/InRelease" in needs.files


def test_what_was_fetched_is_all_that_an_offline_server_is_asked_for(
    ctx: Context, cache: PackageCache, profile: str, tmp_path: Path
) -> None:
    needs = prefetch.needs_of_profile(ctx, cache, profile)
    missing = prefetch.missing_of(cache, needs)
    assert sum(size or 0 for name, size in missing.items() if name.endswith("/apt_1.0_amd64.deb")) == 1200
    told: list[tuple[int, int]] = []
    assert prefetch.fetch_missing(cache, needs, lambda done, of, _name: told.append((done, of))) == []
    assert told[-1] == (len(missing), len(missing))
    assert prefetch.missing_of(cache, needs) == {}
    offline = PackageCache({"debian": Upstream("http://127.0.0.1:9")}, tmp_path / "cache", offline=True)
    for name in needs.files:
        found = offline.get("debian", name.removeprefix("debian/"))
        assert not isinstance(found, prefetch.Passed | prefetch.Growing)
        found.stream.close()


def test_what_could_not_be_had_is_named_and_the_rest_is_fetched(
    ctx: Context, cache: PackageCache, profile: str, repository: tuple[str, Repository]
) -> None:
    del repository[1].files["/debian/pool/main/x/xauth_1.0_amd64.deb"]
    repository[1].put("/debian/pool/main/a/apt_1.0_amd64.deb", b"x" * 1200)
    needs = prefetch.needs_of_profile(ctx, cache, profile)
    problems = sorted(prefetch.fetch_missing(cache, needs))
    assert problems[0].startswith("debian/pool/main/a/apt_1.0_amd64.deb: its SHA256 is not the one of the index")
    assert problems[1:] == ["debian/pool/main/x/xauth_1.0_amd64.deb: the mirror has no pool/main/x/xauth_1.0_amd64.deb"]
    assert set(prefetch.missing_of(cache, needs)) == {name.partition(":")[0] for name in problems}


def test_a_package_that_the_suite_lacks_is_named(ctx: Context, cache: PackageCache, profile: str) -> None:
    with pytest.raises(Problem, match=r"trixie has no package nonsense, nothing: check the profile"):
        prefetch.needs_of_profile(ctx, cache, profile, packages=["nonsense", "apt", "nothing"])


def test_an_index_that_does_not_fit_its_release_is_refused(
    ctx: Context, cache: PackageCache, profile: str, repository: tuple[str, Repository]
) -> None:
    repository[1].put("/debian/dists/trixie/main/binary-amd64/Packages.xz", lzma.compress(b"Package: evil\n"))
    with pytest.raises(Problem, match="does not fit its Release"):
        prefetch.needs_of_profile(ctx, cache, profile)


def test_a_kernel_that_the_mirror_has_no_modules_for_is_noted(
    ctx: Context, cache: PackageCache, profile: str, repository: tuple[str, Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UDEBS, "ext4-modules-6.12-di", "6.13")
    put_suite(repository[1])
    [note] = prefetch.needs_of_profile(ctx, cache, profile).notes
    assert note == "the mirror has no modules for the kernel 6.12 of the image: import it again"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"mirror_host": "mirror.example"}, "install from mirror.example"),
        ({"mirror_directory": "/mirror/ubuntu"}, r"/mirror/ubuntu is no mirror of ours \(known: debian\)"),
        ({"mirror_directory": "/debian"}, "is no mirror of ours"),
    ],
)
def test_a_profile_that_installs_from_elsewhere_is_refused(
    ctx: Context, cache: PackageCache, profile: str, parameters: dict[str, str], says: str
) -> None:
    profiles.change(ctx, profile, parameters=parameters, who="test")
    with pytest.raises(Problem, match=says):
        prefetch.needs_of_profile(ctx, cache, profile)


def test_an_image_that_brings_its_packages_needs_only_its_further_repositories(
    ctx: Context, cache: PackageCache, profile: str, repository: tuple[str, Repository]
) -> None:
    manifest = ctx.data_dir / "images/debian-13/20250803/image.json"
    installer = {
        "installer": "anaconda", "distribution": "rocky", "release": "9.4", "tree": "tree", "live_image": None,
        "verified": "checksum",
    }  # fmt: skip
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **installer}))
    primary = f"repodata/{'a' * 64}-primary.xml.gz"
    repomd = (
        f'<repomd><data type="primary"><checksum type="sha256">{"a" * 64}</checksum><location href="{primary}"/></data>'
        "</repomd>"
    )
    repository[1].put("/debian/epel/repodata/repomd.xml", repomd.encode())
    entries = [
        {"name": name, "url": url, "key_url": "http://192.0.2.1/key"}
        for name, url in (("epel", "http://192.0.2.1:8080/mirror/debian/epel"), ("far", "http://far.example/x"))
    ]
    profiles.change(ctx, profile, parameters={"repositories": entries}, who="test")
    needs = prefetch.needs_of_profile(ctx, cache, profile)
    assert set(needs.files) == {"debian/epel/repodata/repomd.xml", f"debian/epel/{primary}"}
    assert [note.split(":")[0] for note in needs.notes] == [
        "hosts of debian-13 install from the image itself", "the repository far is no mirror of ours",
    ]  # fmt: skip


def test_a_suite_that_is_not_there_is_told(
    ctx: Context, cache: PackageCache, profile: str, repository: tuple[str, Repository]
) -> None:
    repository[1].files.clear()
    with pytest.raises(NotFound, match="debian has no suite trixie"):
        prefetch.needs_of_profile(ctx, cache, profile)

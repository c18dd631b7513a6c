"""Fetches into the package cache what an install or a deploy will ask for, or says what is missing of it.

Of a profile: the indexes of its suites, the installer's components (udebs) that fit the image's kernel, the base
system, and everything it installs with whatever that draws in, as apt resolves it. Of a plan: the packages of its
steps. RPM repositories: the indexes; which of their packages an installer takes is the installer's to decide, and they
are kept as they are asked for.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from pxeforge.domain.installer import Installer
from pxeforge.services import profiles
from pxeforge.services.apt_resolver import PackageIndex, resolved
from pxeforge.services.context import Context
from pxeforge.services.image_store import ImportedImage, latest_image
from pxeforge.services.package_cache import CutOff, Growing, PackageCache, Passed
from pxeforge.services.problems import NotFound, Problem
from pxeforge.services.repository_index import release_sizes, release_sums, repomd_sums

_AT_ONCE: Final = 4
_LOOK_S: Final = 0.05
_OPENERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    ".xz": lzma.decompress, ".gz": gzip.decompress, ".bz2": bz2.decompress, "": bytes,
}  # fmt: skip
_MIRROR_PATH: Final = re.compile(r"/mirror/([a-z0-9-]+)(/[^?#]*)?")
_BASE_PRIORITIES: Final = frozenset({"required", "important"})
# What debian-installer adds by itself, as disks, firmware and the profile call for it. What a suite lacks is left out.
_MAY_ADD: Final = (
    "apt-listchanges", "btrfs-progs", "busybox", "ca-certificates", "console-setup", "cryptsetup-initramfs",
    "discover", "dosfstools", "eatmydata", "efibootmgr", "eject", "initramfs-tools", "installation-report",
    "keyboard-configuration", "laptop-detect", "locales", "lvm2", "mdadm", "os-prober", "popularity-contest", "sudo",
    "systemd-timesyncd", "task-english", "tasksel", "wget", "xfsprogs", "zstd",
)  # fmt: skip
_COMPONENTS: Final = ("main", "non-free-firmware")
_KERNELS: Final = {
    "debian": {"amd64": "linux-image-amd64", "arm64": "linux-image-arm64"},
    "ubuntu": {"amd64": "linux-generic", "arm64": "linux-generic"},
}
_LOADERS: Final = {
    "amd64": (("grub-pc",), ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed")),
    "arm64": (("grub-efi-arm64", "grub-efi-arm64-signed", "shim-signed"),),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A suite of a repository of ours. `root` is `<mirror>` or `<mirror>/<folder>`."""

    root: str
    suite: str
    components: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.root}/dists/{self.suite}"


@dataclass(slots=True)
class Needs:
    """Files by name (`<mirror>/<path>`): size and SHA256 as far as they are told."""

    files: dict[str, tuple[int | None, str | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, size: int | None = None, sha256: str | None = None) -> None:
        self.files.setdefault(name, (size, sha256))


def needs_of_profile(
    ctx: Context, cache: PackageCache, name: str, *, blueprint: str | None = None, with_plan: bool = False,
    packages: Sequence[str] = (),
) -> Needs:  # fmt: skip
    """Indexes are fetched for it. `packages`: further ones, `with_plan`: those of the plan (of a blueprint) as well.

    Raises Problem.
    """
    profile = profiles.show(ctx, name)
    image = _image(ctx, profile["image"])
    parameters = profile["effective"]
    wanted = [*parameters["packages"], *packages, *(plan_packages(ctx, blueprint) if with_plan else [])]
    needs = Needs()
    if image.tree is not None:
        needs.notes.append(f"hosts of {name} install from the image itself: only its further repositories are fetched")
    elif image.suite and image.installer in (None, Installer.DEBIAN, Installer.SUBIQUITY):
        _add_debian(cache, needs, image, parameters, wanted)
    else:
        needs.notes.append(
            f"hosts of {name} install from RPM repositories: indexes are fetched, packages are kept as they are wanted"
        )
    for entry in parameters.get("repositories", []):
        _add_repository(cache, needs, entry)
    return needs


def needs_of_packages(cache: PackageCache, suite: str, arch: str, packages: Sequence[str]) -> Needs:
    """Of packages on top of a base system of Debian that is there already. Raises Problem."""
    needs, indexes, sources = Needs(), list[PackageIndex](), [Source("debian", suite, _COMPONENTS)]
    if "debian" not in cache.names:
        raise Problem("there is no mirror of Debian: set `mirror`")
    if "debian-security" in cache.names:
        sources.append(Source("debian-security", f"{suite}-security", _COMPONENTS))
    for source in sources:
        indexes += _add_suite(cache, needs, source, arch)
    found = [(index.root, entry) for index in indexes for entry in _paragraphs(index.text)]
    entries = [entry for _, entry in found]
    sums = {f"{root}/{entry.get('Filename')}": entry.get("SHA256") for root, entry in found}
    _check_known(entries, packages, suite)
    base = [entry["Package"] for entry in entries
            if entry.get("Priority") in _BASE_PRIORITIES or entry.get("Essential") == "yes"]  # fmt: skip
    base = list(dict.fromkeys(base))
    there = resolved(indexes, arch, [(base, False)])
    for name, size in resolved(indexes, arch, [([*base, *packages], True)]).items():
        if name not in there:
            needs.add(name, size, sums.get(name))
    return needs


def plan_packages(ctx: Context, blueprint: str | None) -> list[str]:
    """What the steps of the plan install; raises Problem."""
    from pxeforge.services import plans

    return plans.packages_of_plan(ctx, blueprint=blueprint)


def needs_of_missing(names: Iterable[str]) -> Needs:
    """What was asked for in vain while upstream was away."""
    needs = Needs()
    for name in names:
        needs.add(name)
    return needs


def missing_of(cache: PackageCache, needs: Needs) -> dict[str, int | None]:
    """Sizes by name of what is not in the cache."""
    return {name: size for name, (size, _) in needs.files.items() if not cache.store.has(name)}


def fetch_missing(
    cache: PackageCache, needs: Needs, tell: Callable[[int, int, str], None] = lambda _done, _all, _name: None
) -> list[str]:
    """Fetches what is missing, a few at once; returns a sentence for each that could not be had.

    `tell` hears how many of how many are there, and of which file.
    """
    names = list(missing_of(cache, needs))
    problems = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [(name, pool.submit(_fetch, cache, name, needs.files[name][1])) for name in names]
        for number, (name, job) in enumerate(jobs, 1):
            problem = job.result()
            if problem is not None:
                problems.append(problem)
            tell(number, len(names), name)
    return problems


def _fetch(cache: PackageCache, name: str, sha256: str | None) -> str | None:
    mirror, _, path = name.partition("/")
    try:
        _bring(cache, mirror, path)
    except (Problem, CutOff) as problem:
        return f"{name}: {problem}"
    if sha256 is not None and cache.store.sha256(name) not in (None, sha256):
        cache.store.forget(name)
        return f"{name}: its SHA256 is not the one of the index: it was removed, try again or choose another mirror"
    return None


def _bring(cache: PackageCache, mirror: str, path: str) -> None:
    """Returns when the file is whole."""
    found = cache.get(mirror, path)
    if isinstance(found, Passed):
        raise Problem("the cache has no room for it: raise `cache_max_bytes`, or free some of the disk")
    try:
        if isinstance(found, Growing):
            while found.arrived() < found.size:
                time.sleep(_LOOK_S)
            while not cache.store.has(f"{mirror}/{path}"):  # it is renamed a moment later
                if cache.store.was_given_up(f"{mirror}/{path}", found.fileno()):
                    break
                time.sleep(_LOOK_S)
    finally:
        found.close() if isinstance(found, Growing) else found.stream.close()


def _read(cache: PackageCache, name: str) -> bytes:
    """A whole file, fetched where it has to be."""
    mirror, _, path = name.partition("/")
    found = cache.get(mirror, path)
    if isinstance(found, Passed):
        return b"".join(found.body)
    stream: Any = found if isinstance(found, Growing) else found.stream
    try:
        pieces = list(iter(lambda: stream.read(1 << 20), b""))
    finally:
        stream.close()
    return b"".join(pieces)


# ---------------------------------------------------------------------------------------------- Debian and Ubuntu


def _add_debian(
    cache: PackageCache, needs: Needs, image: ImportedImage, parameters: Mapping[str, Any], wanted: Sequence[str]
) -> None:
    sources = _sources(cache, image, parameters)
    indexes: list[PackageIndex] = []
    for source in sources:
        indexes += _add_suite(cache, needs, source, image.arch)
    _add_installer(cache, needs, sources[0], image, parameters)
    entries, sums = [], {}
    for index in indexes:
        for entry in _paragraphs(index.text):
            entries.append(entry)
            sums[f"{index.root}/{entry.get('Filename')}"] = entry.get("SHA256")
    _check_known(entries, wanted, image.suite)
    for name, size in resolved(indexes, image.arch, _sets(entries, image, parameters, wanted)).items():
        needs.add(name, size, sums.get(name))


def _sources(cache: PackageCache, image: ImportedImage, parameters: Mapping[str, Any]) -> list[Source]:
    if parameters["mirror_host"] is not None:
        raise Problem(
            f"hosts of this profile install from {parameters['mirror_host']} (mirror_host), not from our cache: "
            "there is nothing to fetch"
        )
    found = _MIRROR_PATH.fullmatch(parameters["mirror_directory"])
    if found is None or found[1] not in cache.names:
        known = ", ".join(cache.names) or "none"
        raise Problem(f"mirror_directory {parameters['mirror_directory']} is no mirror of ours (known: {known})")
    root = found[1] + (found[2] or "").rstrip("/")
    components = ("main", "restricted", "universe") if image.distribution == "ubuntu" else _COMPONENTS
    sources = [Source(root, image.suite, components)]
    if parameters.get("updates"):
        sources.append(Source(root, f"{image.suite}-updates", components))
    if parameters.get("security_host") and "debian-security" in cache.names:
        sources.append(Source("debian-security", f"{image.suite}-security", components))
    return sources


def _add_suite(cache: PackageCache, needs: Needs, source: Source, arch: str) -> list[PackageIndex]:
    """The head, its signature, and each component's Packages, by name and by hash. Returns what the latter hold."""
    release = _head_of(cache, needs, source)
    sums, sizes = release_sums(release), release_sizes(release)
    found = []
    for component in source.components:
        folder = f"{component}/binary-{arch}"
        text = _add_index(cache, needs, source, f"{folder}/Packages", sums, sizes)
        if text is not None:
            found.append(PackageIndex(source.root, source.suite, component, text))
        elif component == source.components[0]:
            raise Problem(f"the suite {source.suite} of {source.root} has no packages for {arch}: check the profile")
        for more in (f"{component}/i18n/Translation-en",):
            _add_listed(needs, source, more, sums, sizes)
    return found


def _head_of(cache: PackageCache, needs: Needs, source: Source) -> str:
    text = ""
    for name in ("InRelease", "Release", "Release.gpg"):
        try:
            content = _read(cache, f"{source.place}/{name}")
        except NotFound:
            continue
        needs.add(f"{source.place}/{name}", len(content))
        text = text or content.decode("utf-8", "replace")
    if not text:
        raise NotFound(f"{source.root} has no suite {source.suite}: check the profile's image and `mirror`")
    return text


def _add_index(
    cache: PackageCache, needs: Needs, source: Source, path: str, sums: Mapping[str, str], sizes: Mapping[str, int]
) -> bytes | None:
    """The index, plain, in the best form that the suite lists; None where it lists none."""
    names = _add_listed(needs, source, path, sums, sizes)
    for ending, opened in _OPENERS.items():
        if path + ending not in sums:
            continue
        content = _read(cache, f"{source.place}/{path}{ending}")
        if hashlib.sha256(content).hexdigest() != sums[path + ending]:
            raise Problem(f"{source.place}/{path}{ending} does not fit its Release: try again in a while")
        needs.add(names[0], len(content))
        try:
            return opened(content)
        except (OSError, EOFError, lzma.LZMAError) as problem:
            raise Problem(f"{source.place}/{path}{ending} cannot be unpacked: {problem}") from None
    return None


def _add_listed(
    needs: Needs, source: Source, path: str, sums: Mapping[str, str], sizes: Mapping[str, int]
) -> list[str]:
    """The best form of an index, by its name and by its hash (apt asks so, debian-installer by name)."""
    for ending in _OPENERS:
        listed = path + ending
        if listed in sums:
            names = [
                f"{source.place}/{listed}", f"{source.place}/{path.rpartition('/')[0]}/by-hash/SHA256/{sums[listed]}",
            ]  # fmt: skip
            for name in names:
                needs.add(name, sizes.get(listed), sums[listed])
            return names
    return []


def _add_installer(
    cache: PackageCache, needs: Needs, source: Source, image: ImportedImage, parameters: Mapping[str, Any]
) -> None:
    """The udebs of the image's kernel, and those that fit any."""
    if image.kernel_version is None:
        return
    suite = parameters.get("udeb_suite") or source.suite
    place = Source(source.root, suite, ("main",))
    release = _head_of(cache, needs, place)
    path = f"main/debian-installer/binary-{image.arch}/Packages"
    text = _add_index(cache, needs, place, path, release_sums(release), release_sizes(release))
    entries = [entry for entry in _paragraphs(text or b"") if "Filename" in entry]
    kernels = {entry["Kernel-Version"] for entry in entries if "Kernel-Version" in entry}
    if kernels and image.kernel_version not in kernels:
        needs.notes.append(
            f"the mirror has no modules for the kernel {image.kernel_version} of the image: import it again"
        )
    for entry in entries:
        if entry.get("Kernel-Version") in (None, image.kernel_version):
            needs.add(f"{source.root}/{entry['Filename']}", int(entry.get("Size", 0)), entry.get("SHA256"))


def _sets(
    entries: Sequence[Mapping[str, str]], image: ImportedImage, parameters: Mapping[str, Any], wanted: Sequence[str]
) -> list[tuple[Sequence[str], bool]]:
    """(wishes, with recommended packages): the base system alone, and everything with each kind of boot loader."""
    names = {entry["Package"] for entry in entries if "Package" in entry}
    base = [entry["Package"] for entry in entries
            if entry.get("Priority") in _BASE_PRIORITIES or entry.get("Essential") == "yes"]  # fmt: skip
    if "standard" in parameters.get("tasks", ()) and not parameters.get("light"):
        base += [entry["Package"] for entry in entries if entry.get("Priority") == "standard"]
    kernel = parameters.get("kernel_package") or _KERNELS.get(image.distribution or "debian", {}).get(image.arch)
    tasks = [f"task-{task}" for task in parameters.get("tasks", ())]
    more = [name for name in (*tasks, *_MAY_ADD) if name in names]
    base = list(dict.fromkeys(name for name in base if name in names))
    every = [*base, *more, *([kernel] if kernel else []), *wanted, "python3"]
    loaders = [[name for name in loader if name in names] for loader in _LOADERS.get(image.arch, ((),))]
    return [(base, False), *((list(dict.fromkeys([*every, *loader])), True) for loader in loaders)]


def _check_known(entries: Sequence[Mapping[str, str]], wanted: Sequence[str], suite: str) -> None:
    known = {entry["Package"] for entry in entries if "Package" in entry}
    for entry in entries:
        known.update(part.split("(")[0].strip() for part in entry.get("Provides", "").split(","))
    unknown = [name for name in wanted if name.split(":")[0].split("/")[0] not in known]
    if unknown:
        raise Problem(f"the suite {suite} has no package {', '.join(unknown)}: check the profile and the plan")


_FIELDS: Final = frozenset(
    {"Package", "Filename", "Size", "SHA256", "Priority", "Essential", "Provides", "Kernel-Version"}
)


def _paragraphs(text: bytes) -> list[dict[str, str]]:
    """The few fields that are needed of each paragraph of a Packages file."""
    found = []
    for paragraph in text.decode("utf-8", "replace").split("\n\n"):
        entry = {}
        for line in paragraph.split("\n"):
            key, colon, value = line.partition(":")
            if colon and key in _FIELDS:
                entry[key] = value.strip()
        if entry:
            found.append(entry)
    return found


def _image(ctx: Context, name: str) -> ImportedImage:
    image = latest_image(ctx.data_dir, name)
    if image is None:
        raise NotFound(f"there is no image {name}: run `pxeforge image import {name}`")
    return image


# ---------------------------------------------------------------------------------------------- further repositories


def _add_repository(cache: PackageCache, needs: Needs, entry: Mapping[str, Any]) -> None:
    """The indexes of an extra repository that goes through our cache."""
    found = re.search(r"//[^/]+/mirror/([a-z0-9-]+)(/[^?#]*)?$", str(entry.get("url", "")))
    if found is None or found[1] not in cache.names:
        needs.notes.append(f"the repository {entry.get('name')} is no mirror of ours: hosts fetch from it directly")
        return
    root = found[1] + (found[2] or "").rstrip("/")
    if entry.get("suite"):
        needs.notes.append(f"of the repository {entry.get('name')} only the packages that hosts ask for are kept")
        return
    head = f"{root}/repodata/repomd.xml"
    content = _read(cache, head)
    needs.add(head, len(content))
    for path, sha256 in repomd_sums(content.decode("utf-8", "replace")).items():
        needs.add(f"{root}/{path}", None, sha256)

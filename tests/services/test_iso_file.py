"""What an ISO may not hold: names and links that lead out, devices, files beyond its end, one name twice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.image_store import ImportProblem, list_images
from pxeforge.services.iso_file import IsoFile, checked, open_iso
from pxeforge.services.iso_import import import_isos
from pxeforge.services.iso_index import RawEntry, RawIndex
from pxeforge.services.media_checks import Trust
from tests.services import small_media
from tests.services.small_media import make_iso


def look(*entries: RawEntry, size: int = 1000) -> tuple[dict[str, object], dict[str, str]]:
    return checked(RawIndex(created="", size_bytes=size, entries=entries), size, "x.iso")  # type: ignore[return-value]


def plain(path: str, *extents: tuple[int, int]) -> RawEntry:
    return RawEntry(path=path, kind="file", extents=extents)


def link(path: str, target: str) -> RawEntry:
    return RawEntry(path=path, kind="link", target=target)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "..", "a/.", "a\\..\\b", "a\0b", "a\nb", "a\x1b[2J",
     "x" * 300, "/".join(["folder"] * 300), "\udcff"],
)  # fmt: skip
def test_a_name_that_leads_out_or_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(ImportProblem, match="unsafe name"):
        look(plain(name))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "..", "../", "d/../../../x", "/"])
def test_a_link_that_leads_out_is_refused(target: str) -> None:
    with pytest.raises(ImportProblem, match=r"the link d/l in x\.iso leads out of it"):
        look(link("d/l", "../" + target if not target.startswith("/") else target))


def test_links_within_lead_to_files_and_those_to_folders_are_left_out() -> None:
    entries = [plain("d/file"), link("one", "d/file"), link("d/two", "../one"), link("folder", "d"), link("top", ".")]
    files, links = look(*entries, link("nothing", "d/none"), link("round", "about"), link("about", "round"))
    assert set(files) == {"d/file"}
    assert links == {"one": "d/file", "d/two": "d/file"}


@pytest.mark.parametrize("extents", [((900, 101),), ((0, 10), (1000, 1)), ((-1, 5),), ((5, -1),), ((2**40, 2**40),)])
def test_a_file_beyond_the_end_is_refused(extents: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ImportProblem, match=r"beyond the end of x\.iso"):
        look(plain("a", *extents))


def test_devices_doubles_and_files_that_are_folders_are_refused() -> None:
    with pytest.raises(ImportProblem, match="is a device or a pipe"):
        look(RawEntry(path="dev/sda", kind="other"))
    with pytest.raises(ImportProblem, match="holds a twice"):
        look(plain("a"), link("a", "b"))
    with pytest.raises(ImportProblem, match="holds a as a file and as a folder"):
        look(plain("a/b/c"), link("a", "z"))


names = st.lists(st.sampled_from(["..", ".", "a", "b", "", "/", "\\", "c+~@d"]), max_size=5).map("/".join)


@given(st.lists(st.one_of(names.map(plain), st.builds(link, names, names)), max_size=6))
def test_what_is_accepted_stays_inside(entries: list[RawEntry]) -> None:
    try:
        files, links = look(*entries)
    except ImportProblem:
        return
    for name in [*files, *links]:
        assert os.path.normpath(f"/top/{name}") == f"/top/{name}"
    assert set(links.values()) <= set(files)


def patched(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    assert len(old) == len(new)
    return lambda data: data.replace(old, new)


needs_xorriso = pytest.mark.skipif(not small_media.HAS_XORRISO, reason="needs xorriso")


@needs_xorriso
@pytest.mark.parametrize("name", [b"../../../zzz", b"/tmp/pxe/zzz", b"aa/../../zzz"])
def test_an_iso_with_a_hostile_name_is_refused_and_leaves_nothing(tmp_path: Path, name: bytes) -> None:
    iso = make_iso(tmp_path / "x.iso", {**small_media.rocky(), "q" * 12: b"evil"}, None, "-r")
    iso.write_bytes(iso.read_bytes().replace(b"q" * 12, name))
    with pytest.raises(ImportProblem, match="unsafe name"):
        import_isos("x", [iso], data_dir=tmp_path / "data", trust=Trust(unverified=True))
    assert list_images(tmp_path / "data") == []
    assert list((tmp_path / "data").rglob("zzz")) == []


@needs_xorriso
@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd"])
def test_an_iso_with_a_link_out_of_it_is_refused(tmp_path: Path, target: str) -> None:
    iso = make_iso(tmp_path / "x.iso", small_media.rocky(), {"images/evil": target})
    with pytest.raises(ImportProblem, match="leads out of it"):
        import_isos("x", [iso], data_dir=tmp_path / "data", trust=Trust(unverified=True))


@needs_xorriso
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a device: needs root")
def test_an_iso_with_a_device_is_refused(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", tmp_path / "x.iso", top], check=True)
    with pytest.raises(ImportProblem, match=r"null in x\.iso is a device or a pipe"), open_iso(tmp_path / "x.iso"):
        pass


@needs_xorriso
def test_a_huge_file_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """Ten thousand names for the same bytes are more than the disk has, however small the ISO is."""
    many = {f"copy{number}": b"x" * 100_000 for number in range(30)}
    iso = make_iso(tmp_path / "x.iso", {**small_media.rocky(), **many})
    before = iso.stat().st_size
    with pytest.raises(ImportProblem, match=r"needs 3\.\d MB"):
        import_isos(
            "x", [iso], data_dir=tmp_path / "data", trust=Trust(unverified=True), free_bytes=lambda _: before // 10
        )


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_bytes_that_cannot_be_read_are_not_taken_for_a_full_disk() -> None:
    mem = Path("/proc/self/mem")
    files, links = look(plain("a", (0, 10)))
    with mem.open("rb") as stream:
        iso = IsoFile(path=mem, stream=stream, created="", modified_ns=0, files=files, links=links)  # type: ignore[arg-type]
        with pytest.raises(ImportProblem, match=r"mem cannot be read .*: copy it anew"):
            iso.text("a")


@needs_xorriso
def test_small_texts_are_small(tmp_path: Path) -> None:
    iso = make_iso(tmp_path / "x.iso", {".treeinfo": b"[general]\n" + b"x" * 2_000_000})
    with pytest.raises(ImportProblem, match="too large for what it is"):
        import_isos("x", [iso], data_dir=tmp_path / "data", trust=Trust(unverified=True))

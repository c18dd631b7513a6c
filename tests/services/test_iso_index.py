"""Listing ISO files: Rock Ridge, Joliet, plain and UDF; whatever the bytes are, it ends in bounded time."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pycdlib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.services import iso_index
from pxeforge.services.image_store import ImportProblem
from pxeforge.services.iso_file import checked
from pxeforge.services.iso_index import RawEntry, Unreadable, index_of, read_index
from tests.services.small_media import HAS_XORRISO, make_iso

pytestmark = pytest.mark.skipif(not HAS_XORRISO, reason="needs xorriso")
FILES = {"Folder/a file.txt": b"one", "Folder/deeper/x": b"two" * 2000, "empty": b""}


def contents(iso: Path) -> dict[str, bytes]:
    data = iso.read_bytes()
    return {
        entry.path: b"".join(data[at : at + length] for at, length in entry.extents)
        for entry in index_of(iso).entries
    }  # fmt: skip


def test_names_and_bytes_are_those_that_went_in(tmp_path: Path) -> None:
    assert contents(make_iso(tmp_path / "x.iso", FILES)) == FILES


def test_joliet_is_read_where_there_is_no_rock_ridge(tmp_path: Path) -> None:
    iso = pycdlib.PyCdlib()
    iso.new(joliet=3)
    iso.add_fp(io.BytesIO(b"text"), 4, "/README.;1", joliet_path="/Read me \N{SNOWMAN}.txt")
    iso.write(tmp_path / "x.iso")
    assert contents(tmp_path / "x.iso") == {"Read me \N{SNOWMAN}.txt": b"text"}


def test_a_plain_iso_has_names_in_lower_case(tmp_path: Path) -> None:
    iso = pycdlib.PyCdlib()
    iso.new()
    iso.add_directory("/FOLDER")
    for name in ("/FOLDER/README.TXT;1", "/LINUX.;1"):
        iso.add_fp(io.BytesIO(b"text"), 4, name)
    iso.write(tmp_path / "x.iso")
    assert contents(tmp_path / "x.iso") == {"folder/readme.txt": b"text", "linux": b"text"}


def test_udf_is_read_where_nothing_better_is_there(tmp_path: Path) -> None:
    iso = pycdlib.PyCdlib()
    iso.new(udf="2.60")
    iso.add_directory("/DIR", udf_path="/A folder")
    iso.add_fp(io.BytesIO(b"text"), 4, "/DIR/A.;1", udf_path="/A folder/a name.txt")
    iso.write(tmp_path / "udf.iso")
    assert contents(tmp_path / "udf.iso") == {"A folder/a name.txt": b"text"}


def test_links_and_devices_are_told_as_such(tmp_path: Path) -> None:
    iso = make_iso(tmp_path / "x.iso", {"a": b"1"}, {"d/link": "../a"})
    assert RawEntry(path="d/link", kind="link", target="../a") in index_of(iso).entries
    top = tmp_path / "pipes"
    top.mkdir()
    os.mkfifo(top / "pipe")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", tmp_path / "p.iso", top], check=True)
    assert index_of(tmp_path / "p.iso").entries == (RawEntry(path="pipe", kind="other"),)


def relocated(tmp_path: Path) -> Path:
    """Ten folders deep, which ISO 9660 does not allow: Rock Ridge moves the last ones away and links to them."""
    deep = tmp_path / "top" / "a/b/c/d/e/f/g/h/i/j"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    iso = tmp_path / "deep.iso"
    strict = ["-compliance", "deep_paths_off:long_paths_off", "-rr_reloc_dir", "rr_moved"]
    command = ["xorriso", "-outdev", f"stdio:{iso}", *strict]
    subprocess.run([*command, "-map", tmp_path / "top", "/", "-commit"], check=True, capture_output=True)
    return iso


def test_a_folder_that_rock_ridge_moved_away_is_where_it_belongs(tmp_path: Path) -> None:
    assert contents(relocated(tmp_path)) == {"a/b/c/d/e/f/g/h/i/j/file": b"deep"}


def test_a_moved_folder_that_contains_itself_has_an_end(tmp_path: Path) -> None:
    iso = relocated(tmp_path)
    data = bytearray(iso.read_bytes())
    link = data.index(b"CL\x0c\x01")
    root = struct.unpack_from("<I", data, 16 * 2048 + 156 + 2)[0]
    for target in (root, root + 1, 0, 0xFFFFFFF0):
        data[link + 4 : link + 12] = struct.pack("<I", target) + struct.pack(">I", target)
        iso.write_bytes(data)
        with pytest.raises(ImportProblem, match="cannot be read as an ISO file"):
            index_of(iso)


def test_a_reader_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iso = make_iso(tmp_path / "x.iso", FILES)
    monkeypatch.setattr(iso_index, "WALL_LIMIT_S", 0.01)
    with pytest.raises(ImportProblem, match="have no end"):
        index_of(iso)


@pytest.mark.parametrize("work", ["while True: pass", "bytearray(1 << 32)"])
def test_time_and_memory_of_the_reader_are_bounded(work: str) -> None:
    code = f"from pxeforge.services import iso_index; iso_index.CPU_LIMIT_S = 1; iso_index._limit(); {work}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode not in (0, 4)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Without the padding: only what is read."""
    iso = make_iso(tmp_path_factory.mktemp("fuzz") / "x.iso", FILES, {"link": "Folder/deeper/x"})
    return iso.read_bytes()


def reads(data: bytes) -> None:
    """What the process of its own and its caller do, with nothing but their own errors."""
    try:
        index = read_index(io.BytesIO(data))
    except Unreadable:
        return
    try:
        checked(index, len(data), "x.iso")
    except ImportProblem:
        return


def ends_well(data: bytes) -> bool:
    """`reads` in a process with limits; a limit that is reached is a good end as well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            reads(data)
            code = 0
        except MemoryError:
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0


# Where the structure of a small ISO lies: descriptors, path tables and folders. Bytes of files say nothing.
_PLACES = st.one_of(
    st.integers(16 * 2048, 16 * 2048 + 300), st.integers(17 * 2048, 20 * 2048), st.integers(20 * 2048, 60 * 2048)
)  # fmt: skip
_CHANGES = st.lists(st.tuples(_PLACES, st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=_CHANGES, cut=st.one_of(st.none(), st.integers(0, 60 * 2048)))
def test_a_mutated_iso_is_read_or_refused(small: bytes, changes: list[tuple[int, bytes]], cut: int | None) -> None:
    data = bytearray(small)
    for at, content in changes:
        data[at : at + len(content)] = content
    assert ends_well(bytes(data[:cut]))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=4096))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_index(io.BytesIO(data))


def test_the_process_of_its_own_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "x.iso").write_bytes(b"\xff" * 50_000)
    code = f"import sys; from pxeforge.services.iso_index import main; sys.exit(main({str(tmp_path / 'x.iso')!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.strip()

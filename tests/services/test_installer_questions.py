"""The questions of an installer are read from its initrd, whatever is in it, and kept."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.lint import NO_QUESTIONS
from pxeforge.services import images, installer_questions
from pxeforge.services.context import Context
from pxeforge.services.image_store import QUESTIONS, verify_image
from pxeforge.services.installer_questions import InitrdProblem, known_questions, read_questions
from tests.conftest import write_image

TEMPLATES = "Template: netcfg/hostname\nType: string\nDescription: x\n Template: no/such\n\nTemplate: netcfg/enable\n"


def member(name: str, content: bytes) -> bytes:
    """A file of a cpio archive in the format `newc`."""
    numbers = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    padded = head + b"\0" * (-len(head) % 4) + content
    return padded + b"\0" * (-len(padded) % 4)


def initrd(*members: bytes) -> bytes:
    return gzip.compress(b"".join(members) + member("TRAILER!!!", b""))


GOOD = initrd(
    member("bin/busybox", b"x" * 1001), member("var/lib/dpkg/info/netcfg.templates", TEMPLATES.encode()),
    member("var/lib/dpkg/info/netcfg.postinst", b"Template: a/b\n"),
)  # fmt: skip


def test_the_templates_of_an_initrd_are_its_questions(tmp_path: Path) -> None:
    (tmp_path / "initrd.gz").write_bytes(GOOD)
    assert read_questions(tmp_path / "initrd.gz") == {"netcfg/hostname", "netcfg/enable"}


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_what_cpio_makes_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/dpkg/info"
    folder.mkdir(parents=True)
    (folder / "x.templates").write_text(TEMPLATES)
    names = b"var\nvar/lib/dpkg/info/x.templates\n"
    made = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names, capture_output=True, cwd=tmp_path, check=True
    )
    (tmp_path / "initrd.gz").write_bytes(gzip.compress(made.stdout))
    assert read_questions(tmp_path / "initrd.gz") == {"netcfg/hostname", "netcfg/enable"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no gzip", GOOD[:-30], gzip.compress(b"no cpio"), gzip.compress(member("a", b"x")[:60]),
        gzip.compress(member("var/lib/dpkg/info/a.templates", b"x" * 100)[:150]),
        gzip.compress(b"070701" + b"zzzzzzzz" * 13), gzip.compress(b"070701" + b"FFFFFFFF" * 13),
    ],
    ids=["nothing", "text", "cut", "no archive", "a cut head", "a cut file", "no number", "a huge number"],
)  # fmt: skip
def test_a_damaged_initrd_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "initrd.gz").write_bytes(content)
    with pytest.raises(InitrdProblem):
        read_questions(tmp_path / "initrd.gz")


@given(st.binary(max_size=400), st.integers(0, len(gzip.decompress(GOOD)) - 1))
def test_no_bytes_make_it_fall_over(noise: bytes, at: int) -> None:
    whole = gzip.decompress(GOOD)
    stream = io.BytesIO(whole[:at] + noise + whole[at + len(noise) :])
    try:
        found = list(installer_questions._files(stream))
    except InitrdProblem:
        return
    assert all(isinstance(content, bytes) for _, content in found)


def test_an_image_is_read_once(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_image(ctx.data_dir)
    (folder / "initrd.gz").write_bytes(GOOD)
    image = images.newest(ctx, "debian-13")
    assert known_questions(image).asked == {"netcfg/hostname", "netcfg/enable"}
    assert {"partman/confirm", "grub-installer/bootdev"} <= known_questions(image).others
    assert (folder / QUESTIONS).read_text() == "netcfg/enable\nnetcfg/hostname\n"
    monkeypatch.setattr(installer_questions, "read_questions", lambda _: pytest.fail("read again"))
    assert known_questions(image).asked == {"netcfg/hostname", "netcfg/enable"}
    assert image.file(QUESTIONS) is None  # nobody can fetch it
    assert not [fault for fault in verify_image(folder) if QUESTIONS in fault]


def test_an_image_that_cannot_be_read_knows_no_questions(ctx: Context) -> None:
    write_image(ctx.data_dir)
    assert known_questions(images.newest(ctx, "debian-13")) == NO_QUESTIONS

"""What kernels tell of themselves, for PCs and for ARM."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.kernel_version import is_abi, kernel_version, starts_by_uefi
from tests.services.small_media import KERNEL

BANNER = b"Linux version 6.12.107+deb13-arm64 (debian-kernel@example) (gcc-14)"
ARM = b"MZ\0\0" + b"\0" * ((1 << 20) - 30) + BANNER + b"\0" * 100  # the banner lies across two chunks


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (KERNEL, "5.14.0-427.13.1.el9_4.x86_64"), (ARM, "6.12.107+deb13-arm64"),
        (gzip.compress(ARM), "6.12.107+deb13-arm64"), (gzip.compress(ARM)[:500], None), (b"", None),
        (b"Linux version %s (x)", None), (b"\x1f\x8bnonsense", None),
    ],
)  # fmt: skip
def test_the_version_is_found(tmp_path: Path, content: bytes, version: str | None) -> None:
    path = tmp_path / "linux"
    path.write_bytes(content)
    assert kernel_version(path) == version


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_version_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-kernel"
    for start in (b"", b"\x1f\x8b\x08\0", b"\0" * 0x202 + b"HdrS"):
        path.write_bytes(start + content)
        assert isinstance(kernel_version(path), str | None)


def test_a_version_with_a_flavour_names_modules() -> None:
    assert all(map(is_abi, ("6.12.107+deb13-amd64", "3.13.0-170-generic", "6.1.0-50-arm64")))
    assert not any(map(is_abi, (None, "6.12.107-1", "5.14.0-427.13.1.el9_4.x86_64", "", "amd64")))


def test_uefi_starts_what_is_a_program(tmp_path: Path) -> None:
    path = tmp_path / "linux"
    for content, starts in ((KERNEL, True), (b"\xea\x05", False), (b"", False)):
        path.write_bytes(content)
        assert starts_by_uefi(path) is starts

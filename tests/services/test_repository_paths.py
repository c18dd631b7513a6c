from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.problems import NotFound
from pxeforge.services.repository_paths import checked_path, is_fixed


@pytest.mark.parametrize(
    ("path", "fixed"),
    [
        ("pool/main/b/bash/bash_5.2-1_amd64.deb", True),
        ("pool/main/b/bash/bash_5.2-1.dsc", True),
        ("dists/trixie/main/binary-amd64/by-hash/SHA256/ab", True),
        ("9/BaseOS/x86_64/os/Packages/b/bash-5.1.8-9.el9.x86_64.rpm", True),
        ("9/os/repodata/" + "a" * 64 + "-primary.xml.gz", True),
        ("9/os/repodata/repomd.xml", False),
        ("9/os/repodata/primary.xml.gz", False),
        ("9/os/repodata/repomd.xml.asc", False),
        ("9/os/images/pxeboot/vmlinuz", False),
        ("9/os/.treeinfo", False),
        ("dists/trixie/InRelease", False),
        ("dists/trixie/main/binary-amd64/Packages.xz", False),
        ("dists/trixie/main/installer-amd64/current/images/SHA256SUMS", False),
        ("dists/carpool/InRelease", False),
    ],
)
def test_packages_and_what_is_named_by_its_checksum_never_change(path: str, fixed: bool) -> None:
    assert is_fixed(checked_path(path)) is fixed


@pytest.mark.parametrize("path", ["pool/g/g++_1~rc1+b1_amd64.deb", "x/foo-1.0^git1-1.fc40.x86_64.rpm", ".disk/info"])
def test_the_names_of_real_packages_are_let_through(path: str) -> None:
    assert checked_path(path) == path


@given(st.lists(st.sampled_from(["..", ".", "a", "/", "%2e", "\0", "\\", "pool", "~", "\n", "é"]), max_size=8))
def test_whatever_is_let_through_leads_down(parts: list[str]) -> None:
    path = "".join(parts)
    with contextlib.suppress(NotFound):
        found = checked_path(path)
        assert os.path.normpath(f"/cache/{found}") == f"/cache/{found}"

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services.repository_index import release_date, release_sizes, release_sums, repomd_sums
from pxeforge.services.repository_paths import checked_path, is_fixed

RELEASE = """-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Origin: Debian
Date: Sat, 12 Sep 2026 07:55:41 UTC
MD5Sum:
 0123456789abcdef0123456789abcdef     1234 main/binary-amd64/Packages
SHA256:
 {0}     1234 main/binary-amd64/Packages
 {1} 99 main/i18n/Translation-en.xz
-----BEGIN PGP SIGNATURE-----
 {1} 98 main/forged
""".format("a" * 64, "b" * 64)
REPOMD = f"""<?xml version="1.0"?>
<repomd xmlns="x"><revision>1</revision>
<data type="primary"><checksum type="sha256">{"c" * 64}</checksum>
<open-checksum type="sha256">{"d" * 64}</open-checksum>
<location href="repodata/{"c" * 64}-primary.xml.gz"/></data>
<data type="group"><location href='repodata/comps.xml'/><checksum type='sha256'> {"e" * 64} </checksum></data>
<data type="old"><checksum type="sha">{"1" * 40}</checksum><location href="repodata/old.xml"/></data></repomd>
"""


def test_a_release_lists_sums_and_sizes_by_path() -> None:
    paths = ["main/binary-amd64/Packages", "main/i18n/Translation-en.xz"]
    assert release_sums(RELEASE) == dict(zip(paths, ["a" * 64, "b" * 64], strict=True))
    assert release_sizes(RELEASE) == dict(zip(paths, [1234, 99], strict=True))
    assert release_date(RELEASE) == 1_789_199_741.0


def test_repomd_lists_its_files_by_sha256() -> None:
    assert repomd_sums(REPOMD) == {f"repodata/{'c' * 64}-primary.xml.gz": "c" * 64, "repodata/comps.xml": "e" * 64}


@pytest.mark.skipif(shutil.which("createrepo_c") is None, reason="needs createrepo_c")
@pytest.mark.parametrize("naming", ["--unique-md-filenames", "--simple-md-filenames"])
def test_the_indexes_of_a_real_rpm_repository_are_known_by_their_sums(tmp_path: Path, naming: str) -> None:
    subprocess.run(["createrepo_c", "--quiet", naming, str(tmp_path)], check=True, capture_output=True)
    sums = repomd_sums((tmp_path / "repodata/repomd.xml").read_text())
    assert {"primary", "filelists", "other"} <= {re.split(r"[-./]", path)[-3] for path in sums if "xml" in path}
    for path, sha256 in sums.items():
        assert hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() == sha256
        assert is_fixed(checked_path(path)) is (naming == "--unique-md-filenames")


@given(st.text() | st.text("SHA256: \n<data>location href=\"'checksum type=sha256/0af9,Date").map(lambda t: t * 3))
def test_no_text_is_trouble(text: str) -> None:
    for sums in (release_sums(text), repomd_sums(text)):
        assert all(len(digest) == 64 for digest in sums.values())
    assert set(release_sizes(text)) == set(release_sums(text))
    assert release_date(text) is None or isinstance(release_date(text), float)

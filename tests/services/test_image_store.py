"""Manifests of images: older ones are read as Debian's, odd ones are refused, files have names only inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pxeforge.services.image_store import ImportProblem, Installer, Verified, load_image
from tests.conftest import write_image


def manifest(folder: Path, **changes: Any) -> None:
    path = folder / "image.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_image_of_an_older_release_is_debians_from_a_signed_mirror(tmp_path: Path) -> None:
    image = load_image(write_image(tmp_path))
    assert (image.installer, image.distribution, image.release) == (Installer.DEBIAN, "debian", "13")
    assert (image.tree, image.live_image, image.verified) == (None, None, Verified.SIGNATURE)
    program = load_image(write_image(tmp_path, name="memtest", more={"memtest.bin": b"x"}))
    assert (program.installer, program.distribution) == (None, None)


NEW = {
    "installer": "anaconda", "distribution": "rocky", "release": "9.4", "tree": "tree", "live_image": None,
    "verified": "checksum", "tree_bytes": 10,
}  # fmt: skip


def test_a_newer_manifest_tells_the_family(tmp_path: Path) -> None:
    folder = write_image(tmp_path)
    manifest(folder, **NEW)
    image = load_image(folder)
    assert (image.installer, image.verified, image.tree) == (Installer.ANACONDA, Verified.CHECKSUM, "tree")
    assert image.size_bytes == 10 + sum(file.size for file in image.files.values())


@pytest.mark.parametrize(
    "odd",
    [{"installer": "windows"}, {"verified": "maybe"}, {"tree": "../x"}, {"tree": "/etc"}, {"live_image": "a/../../b"},
     {"tree": ""}, {"tree_bytes": "many"}, {"files": []}],
)  # fmt: skip
def test_an_odd_manifest_is_refused(tmp_path: Path, odd: dict[str, Any]) -> None:
    folder = write_image(tmp_path)
    manifest(folder, **{**NEW, **odd})
    with pytest.raises(ImportProblem, match="holds no readable image"):
        load_image(folder)


def test_files_of_the_tree_have_names_and_nothing_else_has(tmp_path: Path) -> None:
    folder = write_image(tmp_path)
    (tmp_path / "secret.key").write_text("secret")
    (folder / "tree" / "deep").mkdir(parents=True)
    (folder / "tree" / "deep" / "a+b~c@d").write_text("x")
    (folder / "tree" / "link").symlink_to(tmp_path / "secret.key")
    (folder / "tree" / "linked").symlink_to(tmp_path)
    assert load_image(folder).file("tree/deep/a+b~c@d") is None  # this image tells of no tree
    manifest(folder, **NEW)
    image = load_image(folder)
    assert image.file("tree/deep/a+b~c@d") == folder / "tree" / "deep" / "a+b~c@d"
    assert image.file("linux") == folder / "linux"
    for name in (
        "tree", "tree/", "tree/deep", "tree/link", "tree/linked/secret.key", "tree/../linux", "tree//deep/a+b~c@d",
        "tree/./deep/a+b~c@d", "tree/\0", "image.json", "treetop", "tree/" + "x" * 300, "../../../secret.key",
    ):  # fmt: skip
        assert image.file(name) is None, name

"""What installers are given, kept as files: a change of any template shows in the review what it does to whom.

`PXEFORGE_RENEW_GOLDEN=1 .venv/bin/pytest tests/render/test_golden.py --no-cov` writes them anew; look at `git diff`.
A variant's folder holds what differs from the plain one of its system.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pxeforge.render.answers import AnswersContext, render_answers, render_disks, render_early, render_late
from pxeforge.render.install_source import InstallSource
from pxeforge.render.lint import lint_preseed
from pxeforge.render.lint_kernel_args import lint_kernel_args
from pxeforge.services.answers import answers_context, check_parameters, effective, kernel_args
from pxeforge.services.answers_check import debconf_complaints
from pxeforge.services.context import Addresses
from tests.render.variants import KEPT, OPS, SYSTEMS, VARIANTS

GOLDEN = Path(__file__).parent / "golden" / "preseed"
ADDRESSES = Addresses(boot_address="192.0.2.1")
TOKEN = "0123456789abcdef" * 2
RENEW = "PXEFORGE_RENEW_GOLDEN"


def context_of(system: str, parameters: dict[str, Any]) -> AnswersContext:
    _, suite, distribution, release, squashfs = SYSTEMS[system]
    image = f"{ADDRESSES.boot_url}/images/{system}/1/tree/{squashfs}" if squashfs else None
    source = InstallSource(distribution=distribution, release=release, live_image_url=image)
    return answers_context(
        parameters, hostname="node1", suite=suite, addresses=ADDRESSES, token=TOKEN, agent_sha256="a" * 64,
        luks_passphrase="correct-horse-battery", source=source,
    )  # fmt: skip


def texts_of(system: str, variant: str, dirs: tuple[Path, ...]) -> dict[str, str]:
    """Everything the installer fetches, by file name."""
    own = {"accounts": [OPS], "domain": "rack.example.org", **VARIANTS[variant]}
    if SYSTEMS[system][2] == "ubuntu":
        own["mirror_directory"] = "/mirror/ubuntu"  # as the profile that comes with such an image
    check_parameters(own)
    parameters = effective(own)
    context = context_of(system, parameters)
    args = kernel_args(
        parameters, hostname="node1", addresses=ADDRESSES, token=TOKEN, boot_mac="52:54:00:00:00:01"
    )  # fmt: skip
    return {
        "answers.cfg": render_answers(SYSTEMS[system][0], context, dirs),
        "early.sh": render_early(context, dirs),
        "disks.sh": render_disks(context, dirs),
        "late.sh": render_late(context, dirs),
        "kernel-args.txt": args + "\n",
    }


def kept_of(system: str, variant: str, dirs: tuple[Path, ...]) -> dict[str, str]:
    texts = texts_of(system, variant, dirs)
    if variant == "plain":
        return texts
    plain = texts_of(system, "plain", dirs)
    return {name: text for name, text in texts.items() if text != plain[name]}


@pytest.mark.parametrize(("system", "variant"), KEPT)
def test_what_an_installer_is_given_is_what_was_reviewed(
    preseed_dirs: tuple[Path, ...], system: str, variant: str
) -> None:
    folder, texts = GOLDEN / system / variant, kept_of(system, variant, preseed_dirs)
    if os.environ.get(RENEW):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, text in texts.items():
            (folder / name).write_text(text)
    kept = {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    assert texts == kept, f"changed on purpose? Renew with {RENEW}=1 (see this file) and look at the difference"


def test_no_golden_folder_is_left_over() -> None:
    found = {(path.parent.name, path.name) for path in GOLDEN.glob("*/*")}
    assert found == set(KEPT)


@pytest.mark.parametrize(("system", "variant"), KEPT)
def test_every_kept_text_passes_its_checks(preseed_dirs: tuple[Path, ...], parses, system: str, variant: str) -> None:
    texts = texts_of(system, variant, preseed_dirs)
    assert lint_preseed(texts["answers.cfg"]) == []
    assert not debconf_complaints(texts["answers.cfg"])
    assert lint_kernel_args(texts["kernel-args.txt"].strip()) == []
    assert all(parses(texts[name]) for name in ("early.sh", "disks.sh", "late.sh"))


def test_the_squashfs_is_named_for_trees_that_need_it_only(preseed_dirs: tuple[Path, ...]) -> None:
    """R-23: live-installer/net-image."""
    """R-23: live-installer/net-image where the image has a squashfs, and nowhere else."""
    line = "d-i live-installer/net-image string http://192.0.2.1:8080/images/ubuntu-14.04/1/tree/install/filesystem.squashfs\n"
    assert line in texts_of("ubuntu-14.04", "plain", preseed_dirs)["answers.cfg"]
    assert "live-installer" not in texts_of("debian-13", "plain", preseed_dirs)["answers.cfg"]


def test_shell_of_the_answers_parses_in_busybox(preseed_dirs: tuple[Path, ...]) -> None:
    for system, variant in KEPT:
        for line in texts_of(system, variant, preseed_dirs)["answers.cfg"].splitlines():
            words = line.split(" ", 3)
            if len(words) > 3 and words[1].endswith("_command"):
                done = subprocess.run(["sh", "-n", "-c", words[3]], check=False)
                assert done.returncode == 0, line

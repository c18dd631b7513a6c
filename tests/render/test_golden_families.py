"""What Red Hat's and Ubuntu's installers are given, kept as files: a change of a template shows in the review.

`PXEFORGE_RENEW_GOLDEN=1 .venv/bin/pytest tests/render/test_golden_families.py --no-cov` writes them anew; look at
`git diff`. A variant's folder holds what differs from the plain one of its system.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pxeforge.domain.installer import Installer
from pxeforge.render.lint_answers import ANSWERS, lint_text
from pxeforge.render.lint_kernel_args import lint_kernel_args
from pxeforge.render.lint_kickstart import scripts_of
from tests.render.families import KICKSTART, UBUNTU, source_of, texts_of, variants_of

GOLDEN = Path(__file__).parent / "golden"
RENEW = "PXEFORGE_RENEW_GOLDEN"
# Every variant for one system of each syntax that differs much, for the others what differs by system.
FULL = ("centos-6", "rocky-9", "ubuntu-24.04")
KEPT = [
    (system, variant)
    for system in (*KICKSTART, *UBUNTU)
    for variant in (variants_of(system) if system in FULL else ("plain", "raid1", "repositories"))
]


def folder_of(system: str, variant: str) -> Path:
    return GOLDEN / ("autoinstall" if system in UBUNTU else "kickstart") / system / variant


def kept_of(system: str, variant: str) -> dict[str, str]:
    texts = texts_of(system, variants_of(system)[variant])
    if variant == "plain":
        return texts
    plain = texts_of(system, variants_of(system)["plain"])
    return {name: text for name, text in texts.items() if text != plain[name]}


@pytest.mark.parametrize(("system", "variant"), KEPT)
def test_what_an_installer_is_given_is_what_was_reviewed(system: str, variant: str) -> None:
    """R-50: CentOS 6 minimal and with a desktop and virtualization, CentOS 7, and the current releases."""
    folder, texts = folder_of(system, variant), kept_of(system, variant)
    if os.environ.get(RENEW):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, text in texts.items():
            (folder / name).write_text(text)
    kept = {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    assert texts == kept, f"changed on purpose? Renew with {RENEW}=1 (see this file) and look at the difference"


def test_no_golden_folder_is_left_over() -> None:
    found = {path for kind in ("kickstart", "autoinstall") for path in GOLDEN.glob(f"{kind}/*/*")}
    assert found == {folder_of(*one) for one in KEPT}


@pytest.mark.parametrize("system", [*KICKSTART, *UBUNTU])
def test_every_text_of_every_variant_passes_its_checks(parses, system: str) -> None:
    """Not a warning: what we ship is what we ask of others."""
    source = source_of(system)
    for variant, parameters in variants_of(system).items():
        texts = texts_of(system, parameters)
        answers = texts["user-data" if system in UBUNTU else "answers.ks"]
        assert lint_text(ANSWERS[source.installer], answers, source) == [], variant
        assert lint_kernel_args(texts["kernel-args.txt"].strip(), source.installer) == [], variant
        scripts = [texts[name] for name in ("early.sh", "disks.sh", "late.sh")]
        if source.installer is Installer.ANACONDA:
            scripts += [script.text for script in scripts_of(answers)]
        assert all(parses(script) for script in scripts), variant
        assert answers.isascii()

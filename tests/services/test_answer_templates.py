"""The templates a profile can name are those that stand on their own."""

from __future__ import annotations

import dataclasses

import pytest

from pxeforge.domain.installer import Installer
from pxeforge.services.answer_templates import default_template, templates
from pxeforge.services.context import Context
from pxeforge.services.image_store import load_image
from tests.conftest import write_image


def test_parts_of_a_template_are_not_offered(ctx: Context) -> None:
    found = templates(ctx)["debian-installer"]
    assert "debian.cfg.j2" in found
    assert not {"accounts.cfg.j2", "partman.cfg.j2", "light.cfg.j2", "early.sh.j2"} & set(found)


def test_the_operators_own_templates_are_offered(ctx: Context) -> None:
    folder = ctx.operator_dir / "preseed"
    folder.mkdir(parents=True)
    (folder / "mine.cfg.j2").write_text('{% include "part.cfg.j2" %}')
    (folder / "part.cfg.j2").write_text("")
    (folder / "broken.cfg.j2").write_bytes(b"\xff")
    found = templates(ctx)["debian-installer"]
    assert {"mine.cfg.j2", "broken.cfg.j2", "debian.cfg.j2"} <= set(found)
    assert "part.cfg.j2" not in found


@pytest.mark.parametrize(
    ("distribution", "release", "installer", "template"),
    [
        ("debian", "13", "debian-installer", "debian.cfg.j2"),
        ("ubuntu", "14.04.6", "debian-installer", "ubuntu.cfg.j2"),
        ("ubuntu", "24.04.1", "subiquity", "user-data.j2"),
        ("centos", "6.2", "anaconda", "centos-6.ks.j2"), ("centos", "7", "anaconda", "centos-7.ks.j2"),
        ("centos", "9", "anaconda", "centos.ks.j2"),
        ("rocky", "9.4", "anaconda", "rocky.ks.j2"),
        ("almalinux", "10.0", "anaconda", "almalinux.ks.j2"),
        ("fedora", "42", "anaconda", "fedora.ks.j2"), ("opensuse", "15.6", "autoyast", None),
        (None, None, None, None),
    ],
)  # fmt: skip
def test_an_image_gets_the_template_that_answers_its_installer(
    ctx: Context, distribution: str, release: str, installer: str, template: str | None
) -> None:
    image = load_image(write_image(ctx.data_dir))
    about = {"distribution": distribution, "release": release, "installer": installer and Installer(installer)}
    assert default_template(ctx, dataclasses.replace(image, **about)) == template

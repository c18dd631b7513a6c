"""Hosts are installed by Red Hat's and Ubuntu's installers as by Debian's: armed, asked, told, registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pxeforge.domain.mac import MacAddress
from pxeforge.render.environment import TemplateProblem, render_template
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    arming,
    hosts,
    images,
    install_ends,
    install_tokens,
    previews,
    profiles,
    wire_answers,
    wire_menus,
)
from pxeforge.services.answer_lint import lint_host, lint_profile
from pxeforge.services.answer_templates import templates
from pxeforge.services.context import Context
from pxeforge.services.install_sources import source_of
from pxeforge.services.problems import Forbidden, NotFound, Problem
from pxeforge.webapp.boot_plane import create_boot_plane
from tests.conftest import ACCOUNT, MAC, write_image

SYSTEMS = {
    "rocky-9": ("anaconda", "rocky", "9.4", "rocky.ks.j2"),
    "centos-6": ("anaconda", "centos", "6.10", "centos-6.ks.j2"),
    "ubuntu-24.04": ("subiquity", "ubuntu", "24.04", "user-data.j2"),
}


def write_installer(data_dir: Path, name: str) -> Path:
    """An image as an import of its medium leaves it."""
    installer, distribution, release, _ = SYSTEMS[name]
    live = {"live.iso": b"iso"} if installer == "subiquity" else {}
    folder = write_image(data_dir, name=name, version="1", more={"linux": b"kernel", "initrd.gz": b"initrd", **live})
    manifest = json.loads((folder / "image.json").read_text())
    manifest |= {
        "installer": installer, "distribution": distribution, "release": release, "verified": "checksum",
        "tree": "tree", "live_image": "live.iso" if installer == "subiquity" else None,
    }  # fmt: skip
    (folder / "image.json").write_text(json.dumps(manifest))
    for repository in ("BaseOS", "AppStream", "Packages"):
        (folder / "tree" / repository / "repodata").mkdir(parents=True)
        if repository != "Packages":
            (folder / "tree" / repository / "repodata" / "repomd.xml").write_text("<repomd/>")
    return folder


@pytest.fixture(params=sorted(SYSTEMS))
def system(request: pytest.FixtureRequest, ctx: Context) -> str:
    """A host n1, and an image with a profile of this name."""
    name: str = request.param
    make(ctx, name)
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    return name


def make(ctx: Context, name: str, **parameters: Any) -> None:
    write_installer(ctx.data_dir, name)
    profiles.create(
        ctx, name, image=name, template=SYSTEMS[name][3], parameters={"accounts": [ACCOUNT], **parameters}, who="test"
    )  # fmt: skip


@pytest.fixture
def client(ctx: Context) -> FlaskClient:
    return create_boot_plane(ctx, None).test_client()


@pytest.fixture
def token(ctx: Context) -> Callable[[str], str]:
    def make_token(purpose: str) -> str:
        attempt = hosts.show(ctx, "n1")["attempt"]
        assert attempt is not None
        return install_tokens.token_of(ctx, attempt["id"], purpose)

    return make_token


def test_the_source_tells_installer_release_and_addresses(ctx: Context) -> None:
    write_installer(ctx.data_dir, "rocky-9")
    source = source_of(ctx, images.newest(ctx, "rocky-9"))
    assert (source.installer.value, source.distribution, source.release, source.major) == (
        "anaconda",
        "rocky",
        "9.4",
        9,
    )
    assert source.tree_url == "http://192.0.2.1:8080/images/rocky-9/1/tree"
    assert source.repositories == ("AppStream",)
    write_image(ctx.data_dir, name="memtest", more={"memtest.bin": b"x"})
    with pytest.raises(Problem, match="no installer"):
        source_of(ctx, images.newest(ctx, "memtest"))


def test_a_host_is_installed_from_the_menu_to_the_registration(
    ctx: Context, system: str, client: FlaskClient, token: Callable[[str], str]
) -> None:
    """R-50, R-56: every family goes the same way, under the same tokens."""
    arming.arm(ctx, "n1", profile=system, who="test")
    answers, installer = token("answers"), token("installer")
    mac = MacAddress.parse(MAC)
    menu = wire_menus.menu(ctx, mac, MenuKind.GRUB, peer="192.0.2.50")
    is_ubuntu = system.startswith("ubuntu")
    words = {
        "rocky-9": f"'inst.ks=http://192.0.2.1:8080/answers/{answers}'",
        "centos-6": f"'ks=http://192.0.2.1:8080/answers/{answers}'",
        "ubuntu-24.04": f"'ds=nocloud;s=http://192.0.2.1:8080/answers/{answers}/'",
    }
    assert words[system] in menu
    if is_ubuntu:
        assert client.get(f"/answers/{answers}/meta-data").text.startswith('instance-id: "pxeforge-n1"')
        assert hosts.show(ctx, "n1")["state"] == "booting"
        assert client.get(f"/answers/{answers}/vendor-data").status_code == 200
    reply = client.get(f"/answers/{answers}/user-data" if is_ubuntu else f"/answers/{answers}")
    assert reply.text.startswith("#cloud-config\n" if is_ubuntu else "# Answers of Red Hat's installer for n1")
    assert hosts.show(ctx, "n1")["state"] == "installing"
    for what, said in (
        ("early", "installer started"),
        ("disks", "ignoredisk" if not is_ubuntu else "/autoinstall.yaml"),
    ):
        assert said in client.get(f"/installer/{installer}/{what}").text
    late = client.get(f"/installer/{installer}/late").text
    assert ("register_by_shell" in late) == (system == "centos-6")
    facts = {"hostname": "n1", "nics": [{"name": "eth0", "mac": MAC}], "ssh_host_keys": [], "disks": []}
    assert client.post(f"/installer/{installer}/register", json=facts).status_code == 200
    assert hosts.show(ctx, "n1")["state"] == "registered"


def test_seed_files_are_for_the_holder_of_the_token_and_nothing_else_is_in_the_folder(
    ctx: Context, client: FlaskClient, token: Callable[[str], str]
) -> None:
    make(ctx, "ubuntu-24.04")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm(ctx, "n1", profile="ubuntu-24.04", who="test")
    good = token("answers")
    for name in ("network-config", "late", "disks", "early", "x"):
        assert client.get(f"/answers/{good}/{name}").status_code == 404
    for name in ("user-data", "meta-data", "vendor-data", "x"):
        assert client.get(f"/answers/{'0' * 32}/{name}").status_code == 403
        assert client.get(f"/answers/{token('installer')}/{name}").status_code == 403
    install_ends.disarm(ctx, "n1", who="test")
    assert client.get(f"/answers/{good}/meta-data").status_code == 403
    with pytest.raises(Forbidden):
        wire_answers.seed(ctx, good, "vendor-data", peer="192.0.2.50")


def test_only_ubuntu_has_seed_files(ctx: Context, client: FlaskClient, token: Callable[[str], str]) -> None:
    make(ctx, "rocky-9")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm(ctx, "n1", profile="rocky-9", who="test")
    assert client.get(f"/answers/{token('answers')}/meta-data").status_code == 404


def test_the_menu_offers_a_rescue_system_where_the_installer_has_one(ctx: Context) -> None:
    make(ctx, "rocky-9")
    make(ctx, "ubuntu-24.04")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    arming.arm_menu(ctx, "n1", profiles=["rocky-9"], who="test")
    menu = wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer="")
    assert "inst.rescue inst.repo=" in menu
    arming.arm_menu(ctx, "n1", profiles=["ubuntu-24.04", "rocky-9"], who="test")
    menu = wire_menus.menu(ctx, MacAddress.parse(MAC), MenuKind.IPXE, peer="")
    assert "rescue" not in menu.lower()
    with pytest.raises(Problem, match="cannot be started as a rescue system"):
        arming.arm_program(ctx, "n1", boot="rescue", profile="ubuntu-24.04", who="test")


def test_answers_that_the_linter_rejects_name_template_line_and_text(ctx: Context) -> None:
    """R-51: refused before the machine sees it."""
    make(ctx, "rocky-9")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    folder = ctx.operator_dir / "kickstart"
    folder.mkdir(parents=True)
    (folder / "mine.ks.j2").write_text("{# mine #}\ninstall\n{% include 'system.ks.j2' %}\nreboot\n")
    profiles.change(ctx, "rocky-9", parameters={}, template="mine.ks.j2", who="test")
    with pytest.raises(Problem) as refused:
        arming.arm(ctx, "n1", profile="rocky-9", who="test")
    said = str(refused.value)
    assert "answers:1: error: install has been removed" in said
    assert "«install»" in said
    assert "[from kickstart/mine.ks.j2:2]" in said
    assert hosts.show(ctx, "n1")["state"] == "known"


def test_a_kickstart_template_for_ubuntu_is_refused(ctx: Context) -> None:
    """R-56: Ubuntu by kickstart is not offered; its installer has autoinstall."""
    make(ctx, "ubuntu-24.04")
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    profiles.change(ctx, "ubuntu-24.04", parameters={}, template="centos-7.ks.j2", who="test")
    with pytest.raises(Problem, match="template not found"):
        arming.arm(ctx, "n1", profile="ubuntu-24.04", who="test")


def test_every_shipped_profile_lints_without_a_word(ctx: Context, system: str) -> None:
    assert [str(one) for one in lint_profile(ctx, system)] == []
    assert [str(one) for one in lint_host(ctx, "n1", profile=system)] == []


def test_lint_of_a_profile_names_the_template_of_a_mistake(ctx: Context) -> None:
    make(ctx, "rocky-9", extra_lines=["firstboot --enable"])
    [found] = lint_profile(ctx, "rocky-9")
    assert found.origin.startswith("kickstart/whole.ks.j2:")
    assert found.text == "firstboot --enable"
    assert "asks its questions" in found.message


def test_the_shipped_templates_are_offered_and_their_parts_are_not(ctx: Context) -> None:
    """R-50."""
    offered = templates(ctx)
    assert offered["anaconda"] == [
        "almalinux.ks.j2", "centos-6-desktop-kvm.ks.j2", "centos-6.ks.j2", "centos-7-desktop-kvm.ks.j2",
        "centos-7.ks.j2", "centos.ks.j2", "fedora.ks.j2", "rocky.ks.j2",
    ]  # fmt: skip
    assert offered["subiquity"] == ["user-data.j2"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}", "{{ users.__class__ }}", "{{ disks.__init__.__globals__ }}",
        "{{ source.__dataclass_fields__ }}", "{{ ''.format.__globals__ }}", "{% include '../secret.key' %}",
        "{% include '/etc/passwd' %}", "{% include 'link' %}", "{{ lipsum.__globals__ }}", "{{ cycler }}",
        "{{ range.__self__ }}", "{{ self._TemplateReference__context }}", "{% import 'os' as os %}{{ os }}",
        "{{ users.append(1) }}", "{{ disks.rule.__setattr__('value', 'x') }}",
    ],
)  # fmt: skip
def test_a_template_gets_out_of_its_sandbox_in_no_way(ctx: Context, text: str) -> None:
    """No attributes of Python, no files outside the folders, nothing that could be changed."""
    make(ctx, "rocky-9")
    folder = ctx.operator_dir / "kickstart"
    folder.mkdir(parents=True)
    (ctx.operator_dir / "outside").write_text("outside")
    (folder / "link").symlink_to(ctx.operator_dir / "outside")
    (folder / "mine.ks.j2").write_text(text)
    profiles.change(ctx, "rocky-9", parameters={}, template="mine.ks.j2", who="test")
    with pytest.raises(Problem, match=r"mine\.ks\.j2"):
        previews.preview(ctx, None, what="answers", profile="rocky-9")


def test_what_comes_from_the_wire_is_never_a_template(ctx: Context, client: FlaskClient, system: str) -> None:
    """Reports, facts and names with template syntax stay what they are, wherever they are shown or rendered."""
    trap = "{{ 7 * 7 }}{% include 'late.sh.j2' %}"
    arming.arm(ctx, "n1", profile=system, who="test")
    attempt = hosts.show(ctx, "n1")["attempt"]
    assert attempt is not None
    wire_answers.answers(ctx, install_tokens.token_of(ctx, attempt["id"], "answers"), peer="192.0.2.50")
    token = install_tokens.token_of(ctx, attempt["id"], "installer")
    assert client.post(f"/installer/{token}/progress?stage={trap}", data=trap).status_code == 200
    facts = {"hostname": trap, "serial": trap, "nics": [{"name": trap[:20], "mac": MAC}], "disks": []}
    assert client.post(f"/installer/{token}/register", json=facts).status_code == 200
    shown = hosts.show(ctx, "n1")
    assert shown["facts"]["hostname"] == trap
    assert "49" not in str(shown["facts"])
    text = previews.preview(ctx, "n1", what="late", profile=system)
    assert "7 * 7" not in text
    assert "{{ 7 * 7 }}" in render_template(_wire_template(ctx), {"said": trap}, [ctx.operator_dir])


def _wire_template(ctx: Context) -> str:
    ctx.operator_dir.mkdir(exist_ok=True)
    (ctx.operator_dir / "wire.j2").write_text("{{ said }}")
    return "wire.j2"


def test_a_template_that_does_not_end_is_stopped(ctx: Context) -> None:
    folder = ctx.operator_dir
    folder.mkdir()
    (folder / "long.j2").write_text(
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}"
    )
    with pytest.raises(TemplateProblem, match="shorten its loops"):
        render_template("long.j2", {}, [folder])
    (folder / "self.j2").write_text("{% include 'self.j2' %}")
    with pytest.raises(TemplateProblem):
        render_template("self.j2", {}, [folder])


def test_no_file_of_a_seed_is_rendered_under_another_name(ctx: Context) -> None:
    with pytest.raises((NotFound, Forbidden)):
        wire_answers.seed(ctx, "0" * 32, "../../secret.key", peer="")

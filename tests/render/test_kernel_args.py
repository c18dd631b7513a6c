"""The installer's command line: the facts d-i needs before its answers, within the kernel's limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.kernel_args import KernelArgsProblem, init_words, installer_args
from pxeforge.render.lint import lint_kernel_args


def args(**changes: object) -> str:
    values: dict[str, object] = {"answers_url": "http://192.0.2.1:8080/answers/t0", "hostname": "n1", "domain": "rack"}
    return installer_args(**{**values, **changes})  # type: ignore[arg-type]


def test_the_line_answers_what_d_i_asks_before_the_network_is_up() -> None:
    words = args(log_host="192.0.2.1").split()
    for word in (
        "auto=true",
        "priority=critical",
        "url=http://192.0.2.1:8080/answers/t0",
        "hostname=n1",
        "netcfg/hostname=n1",
        "domain=rack",
        "language=C",
        "country=US",
        "locale=C",
        "keymap=us",
        "interface=auto",
        "log_host=192.0.2.1",
    ):
        assert word in words
    assert words[-1] == "---"


def test_the_console_is_given_to_installer_and_installed_system_but_extra_words_to_one_of_them() -> None:
    before, _, after = args(console="ttyS0,115200n8", extra="mitigations=off", installed_extra="quiet").partition(
        " --- "
    )
    assert before.split()[-2:] == ["console=ttyS0,115200n8", "mitigations=off"]
    assert after.split() == ["console=ttyS0,115200n8", "quiet"]


def test_an_overlay_of_udebs_is_named() -> None:
    words = args(udeb_suite="trixie-lab", allow_unauthenticated_udebs=True).split()
    assert "mirror/udeb/suite=trixie-lab" in words
    assert "debian-installer/allow_unauthenticated=true" in words


def test_the_line_lints_clean() -> None:
    assert lint_kernel_args(args(console="ttyS0,115200n8", log_host="192.0.2.1")) == []


@pytest.mark.parametrize(
    "changes", [{"extra": "a=1; reboot"}, {"hostname": "n 1"}, {"domain": "x\ny"}, {"extra": "a=${x}"}]
)
def test_unsafe_values_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(KernelArgsProblem):
        args(**changes)


@pytest.mark.parametrize("changes", [{"extra": "x ---"}, {"installed_extra": "--- quiet"}, {"extra": "--"}])
def test_a_second_separator_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(KernelArgsProblem, match="---"):
        args(**changes)


def test_a_line_the_kernel_would_cut_is_refused() -> None:
    with pytest.raises(KernelArgsProblem, match="1900 are allowed: shorten"):
        args(extra=" ".join(f"a.b{number}=xxxxxxxxxxxxxxx" for number in range(90)))


def test_more_words_than_the_kernel_gives_to_init_are_refused() -> None:
    assert init_words("a=1 b.c=2 console=tty0 quiet --- d/e=3") == 2
    with pytest.raises(KernelArgsProblem, match="panics above 32"):
        args(extra=" ".join(f"a{number}=1" for number in range(25)))


@given(st.text(), st.text())
def test_no_value_adds_a_line_or_a_word(hostname: str, domain: str) -> None:
    try:
        line = args(hostname=hostname, domain=domain)
    except KernelArgsProblem:
        return
    assert len(line.splitlines()) == 1
    assert len(line.split()) == len(args().split())

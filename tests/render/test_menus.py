"""Boot menus for iPXE and PXELINUX: the local disk is always there, and no value becomes a command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.domain.mac import MacAddress
from pxeforge.render.environment import TemplateProblem
from pxeforge.render.kernel_args import installer_args
from pxeforge.render.menus import (
    LOCAL_ENTRY,
    EntryKind,
    Menu,
    MenuEntry,
    MenuKind,
    MenuProblem,
    armed_menu,
    local_menu,
    render_grub_start,
    render_menu,
    retry_pauses,
)

MAC = MacAddress.parse("52:54:00:12:34:56")
URL = "http://192.0.2.1:8080"
DIRS = (Path(__file__).parents[2] / "boot_templates",)
ARGS = installer_args(answers_url=f"{URL}/answers/t0ken", hostname="node1", domain="rack", console="ttyS0,115200n8")


def install(**changes: object) -> MenuEntry:
    values: dict[str, object] = {
        "id": "1",
        "title": "Install Debian 13",
        "kind": EntryKind.INSTALL,
        "kernel_path": "images/debian-13/20250803+deb13u7/linux",
        "initrd_paths": ("images/debian-13/20250803+deb13u7/initrd.gz",),
        "kernel_args": ARGS,
    }
    return MenuEntry(**{**values, **changes})  # type: ignore[arg-type]


def memtest() -> MenuEntry:
    base = "images/memtest/7.20"
    return MenuEntry(
        id="99", title="Test the memory", kind=EntryKind.PROGRAM, kernel_path=f"{base}/memtest.bin",
        efi_path=f"{base}/memtest.efi",
    )  # fmt: skip


def text_of(kind: MenuKind, menu: Menu) -> str:
    return render_menu(kind, menu, boot_url=URL, dirs=DIRS)


def test_an_armed_host_installs_at_once_by_pxelinux() -> None:
    lines = text_of(MenuKind.PXELINUX, armed_menu("node1", MAC, install())).splitlines()
    assert lines[1:5] == ["DEFAULT 1", "PROMPT 0", "# in 1/10 s", "TIMEOUT 0"]
    at = lines.index("LABEL 1")
    assert lines[at + 1 : at + 5] == [
        "  LINUX images/debian-13/20250803+deb13u7/linux",
        "  INITRD images/debian-13/20250803+deb13u7/initrd.gz",
        f"  APPEND {ARGS}",
        "  SYSAPPEND 2",
    ]
    assert lines[lines.index("LABEL 100") + 1] == "  LOCALBOOT 0"


def test_lpxelinux_gets_the_same_with_kernel_and_initrd_by_http() -> None:
    menu = armed_menu("node1", MAC, install(initrd_paths=("images/a/initrd.gz", "images/a/more.gz")))
    plain, http = text_of(MenuKind.PXELINUX, menu), text_of(MenuKind.LPXELINUX, menu)
    assert f"  LINUX {URL}/images/debian-13/20250803+deb13u7/linux" in http.splitlines()
    assert f"  INITRD {URL}/images/a/initrd.gz,{URL}/images/a/more.gz" in http.splitlines()
    assert http.replace(f"{URL}/images/", "images/") == plain


def test_an_armed_host_installs_at_once_by_ipxe() -> None:
    text = text_of(MenuKind.IPXE, armed_menu("node1", MAC, install()))
    lines = text.splitlines()
    assert lines[0] == "#!ipxe"
    assert next(line for line in lines if line.startswith("goto")) == "goto entry_1"
    (kernel,) = [line for line in lines if line.startswith("kernel ")]
    assert kernel.startswith(f"kernel {URL}/images/debian-13/20250803+deb13u7/linux initrd=initrd1 ")
    # In front of '---', and taken from the NIC that netbooted.
    assert kernel.index("BOOTIF=01-${netX/mac:hexhyp}") < kernel.index(" --- ")
    assert f"initrd --name initrd1 {URL}/images/debian-13/20250803+deb13u7/initrd.gz || goto failed_1" in lines
    assert not any(line.startswith("menu ") for line in lines)


def test_an_armed_host_installs_at_once_by_grub() -> None:
    lines = text_of(MenuKind.GRUB, armed_menu("node1", MAC, install())).splitlines()
    assert lines[1:3] == ["set default=entry_1", "set timeout=0"]
    (linux,) = [line for line in lines if line.startswith("      if linux")]
    words = linux.removeprefix("      if ").removesuffix("; then").split()
    # The server by name: to GRUB the boot server is whoever sent the DHCP lease.
    assert "set boot_root=tftp,192.0.2.1" in text_of(MenuKind.GRUB, armed_menu("node1", MAC, install()))
    assert "    for server in http,192.0.2.1:8080 $boot_root; do" in lines
    assert words[1] == "($server)/images/debian-13/20250803+deb13u7/linux"
    assert [word.strip("'") for word in words[2:]] == ["BOOTIF=01-52-54-00-12-34-56", *ARGS.split()]
    assert all(word == f"'{word[1:-1]}'" for word in words[2:])
    assert "        if initrd ($server)/images/debian-13/20250803+deb13u7/initrd.gz; then boot; fi" in lines
    local = lines.index("menuentry '100  Boot from the local disk' --id entry_100 {")
    assert lines[local + 1 : local + 3] == ["  local_disk", "}"]


@pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="needs the package grub-common")
def test_grub_can_read_every_menu(tmp_path: Path) -> None:
    asking = Menu(host_name="n", mac=MAC, entries=(install(), memtest()), prompt=True, timeout_s=90)
    for menu in (asking, armed_menu("n", MAC, install()), local_menu("n", MAC)):
        path = tmp_path / "grub.cfg"
        path.write_text(text_of(MenuKind.GRUB, menu))
        done = subprocess.run(["grub-script-check", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_grub_starts_the_loader_on_the_disk_before_it_gives_the_machine_back() -> None:
    lines = text_of(MenuKind.GRUB, local_menu("n", MAC)).splitlines()
    local = lines[lines.index("function local_disk {") :]
    assert "/EFI/debian/shimx64.efi /EFI/BOOT/BOOTX64.EFI" in local[2]
    assert local[local.index("}") - 1] == "  exit 1"  # an end with success would stop the firmware at its own menu


def test_a_program_starts_by_the_file_for_its_firmware() -> None:
    menu = armed_menu("n", MAC, memtest())
    pxelinux = text_of(MenuKind.PXELINUX, menu).splitlines()
    at = pxelinux.index("LABEL 99")
    assert pxelinux[at + 1 : at + 3] == ["  LINUX images/memtest/7.20/memtest.bin", ""]
    assert "if chainloader ($server)/images/memtest/7.20/memtest.efi; then boot; fi" in text_of(MenuKind.GRUB, menu)
    ipxe = text_of(MenuKind.IPXE, menu).splitlines()
    assert ipxe.index("iseq ${platform} efi && goto efi_99 ||") < ipxe.index(
        f"kernel {URL}/images/memtest/7.20/memtest.bin || goto failed_99"
    )
    assert f"kernel {URL}/images/memtest/7.20/memtest.efi && boot || goto failed_99" in ipxe


def test_the_grub_menu_waits_for_ever_or_for_its_time() -> None:
    for timeout_s, said in ((0, "-1"), (90, "90")):
        menu = Menu(host_name="n", mac=MAC, entries=(install(),), prompt=True, timeout_s=timeout_s)
        assert text_of(MenuKind.GRUB, menu).splitlines()[1:3] == ["set default=entry_100", f"set timeout={said}"]


def test_the_shared_grub_file_sends_each_host_to_its_own_menu() -> None:
    text = render_grub_start(boot_url=URL, dirs=DIRS)
    assert "set boot_root=tftp,192.0.2.1\nsource ($boot_root)/boot/$net_default_mac/grub.cfg\n" in text
    by_http = render_grub_start(boot_url=URL, dirs=DIRS, by_http=True)
    assert "set boot_root=http,192.0.2.1:8080\n" in by_http
    with pytest.raises(MenuProblem, match="not a boot URL"):
        render_grub_start(boot_url="http://x; reboot", dirs=DIRS)


def test_the_ipxe_menu_makes_sure_of_an_address_first() -> None:
    lines = text_of(MenuKind.IPXE, armed_menu("node1", MAC, install())).splitlines()
    assert lines[3] == "isset ${ip} || dhcp || goto gave_up"


def test_ipxe_tries_again_after_growing_pauses_and_then_boots_the_disk() -> None:
    lines = text_of(MenuKind.IPXE, armed_menu("node1", MAC, install())).splitlines()
    failed, pauses = lines[lines.index(":failed_1") :], retry_pauses(MAC)
    assert failed[1] == "inc attempt"
    for number, pause in enumerate(pauses, start=1):
        assert failed[1 + number] == f"iseq ${{attempt}} {number} && set pause {pause} ||"
    assert failed[2 + len(pauses)] == f"iseq ${{attempt}} {len(pauses) + 1} && goto gave_up ||"
    assert "sleep ${pause}" in failed
    assert lines[-2:] == ["iseq ${platform} efi && exit 1 ||", "sanboot --no-describe --drive 0x80 || exit"]


@given(st.binary(min_size=6, max_size=6))
def test_the_pauses_grow_and_come_to_an_end(octets: bytes) -> None:
    pauses = retry_pauses(MacAddress(octets))
    assert all(1 <= pause <= 64 for pause in pauses)
    assert pauses[0] < pauses[-1]
    assert sum(pauses) <= 200


def test_a_rack_that_failed_at_once_does_not_come_back_at_once() -> None:
    pauses = [retry_pauses(MacAddress(bytes((2, 0, 0, 0, 0, n)))) for n in range(200)]
    assert len(set(pauses)) > 190
    for each in zip(*pauses, strict=True):
        assert max(each.count(pause) for pause in set(each)) < 100


def test_every_ipxe_jump_has_a_label() -> None:
    for menu in (armed_menu("n", MAC, install()), Menu(host_name="n", mac=MAC, entries=(install(),), prompt=True)):
        text = text_of(MenuKind.IPXE, menu)
        labels = set(re.findall(r"^:(\S+)$", text, re.MULTILINE))
        jumps = set(re.findall(r"goto ([a-z0-9_]+)(?:\s|$)", text))
        assert jumps <= labels


@pytest.mark.parametrize("kind", list(MenuKind))
def test_a_host_that_is_not_armed_boots_its_disk(kind: MenuKind) -> None:
    text = text_of(kind, local_menu("node1", MAC))
    assert "kernel" not in text.lower().replace("# ", "")
    assert "linux" not in text.lower()
    does = {MenuKind.PXELINUX: "LOCALBOOT 0", MenuKind.IPXE: "goto entry_100", MenuKind.GRUB: "set default=entry_100",
            MenuKind.LPXELINUX: "LOCALBOOT 0"}  # fmt: skip
    assert does[kind] in text


def test_a_prompt_shows_numbered_entries_and_takes_the_local_disk_in_time() -> None:
    menu = Menu(host_name="node1", mac=MAC, entries=(install(),), timeout_s=90, prompt=True)
    pxelinux = text_of(MenuKind.PXELINUX, menu).splitlines()
    assert pxelinux[1:5] == ["DEFAULT 100", "PROMPT 1", "# in 1/10 s", "TIMEOUT 900"]
    assert "TOTALTIMEOUT 6900" in pxelinux
    assert "SAY    1  Install Debian 13" in pxelinux
    assert "SAY  100  Boot from the local disk" in pxelinux
    ipxe = text_of(MenuKind.IPXE, menu).splitlines()
    assert "item --key 1 1 1  Install Debian 13" in ipxe
    assert "item 100 100  Boot from the local disk" in ipxe
    choose = ipxe.index("choose --default 100 --timeout 90000 selected || goto entry_100")
    assert ipxe[choose + 1] == "goto entry_${selected} || goto entry_100"
    grub = text_of(MenuKind.GRUB, menu)
    assert "--id entry_1 --hotkey=1 {" in grub
    assert "--id entry_100 {" in grub


def test_an_ipxe_without_its_menu_command_asks_for_the_number_in_time() -> None:
    menu = Menu(host_name="node1", mac=MAC, entries=(install(),), timeout_s=90, prompt=True)
    lines = text_of(MenuKind.IPXE, menu).splitlines()
    assert next(line for line in lines if line.startswith("menu ")).endswith("|| goto ask")
    ask = lines[lines.index(":ask") :]
    assert "echo    1  Install Debian 13" in ask
    assert "prompt --timeout 90000 Press a key to type a number || goto entry_100" in ask
    assert "goto entry_${selected} || goto ask" in ask


def test_the_words_above_the_prompt_are_the_operators(tmp_path: Path) -> None:
    (tmp_path / "boot.msg.j2").write_text("Rack 7: ask `Ops`!\n")
    menu = Menu(host_name="n", mac=MAC, entries=(install(),), timeout_s=9, prompt=True)
    text = render_menu(MenuKind.PXELINUX, menu, boot_url=URL, dirs=[tmp_path, *DIRS])
    assert "SAY Rack 7: ask ?Ops??" in text.splitlines()


def test_a_line_too_long_for_pxelinux_is_refused() -> None:
    long_path = "images/" + "x" * 700
    with pytest.raises(MenuProblem, match="shorten"):
        text_of(MenuKind.PXELINUX, armed_menu("n", MAC, install(initrd_paths=(long_path, long_path, long_path))))
    with pytest.raises(MenuProblem, match="1900 are allowed"):
        install(kernel_args="a=" + "x" * 2000)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1\nx"},
        {"id": ""},
        {"kernel_path": "../linux"},
        {"kernel_path": "/linux"},
        {"kernel_path": "a b"},
        {"initrd_paths": ("a;b",)},
        {"kernel_path": ""},
        {"efi_path": "../x"},
        {"kernel_args": "a=1\nboot"},
        {"kernel_args": "a=${net0/ip}"},
        {"kernel_args": "a; shell"},
    ],
)
def test_an_unsafe_entry_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MenuProblem):
        install(**changes)


def test_a_menu_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(MenuProblem, match="different ids"):
        Menu(host_name="n", mac=MAC, entries=(install(), install()))
    with pytest.raises(MenuProblem, match="not in the menu"):
        Menu(host_name="n", mac=MAC, entries=(install(),), default_id="7")
    with pytest.raises(MenuProblem, match="timeout"):
        Menu(host_name="n", mac=MAC, entries=(install(),), timeout_s=9999)
    assert Menu(host_name="n", mac=MAC, entries=(install(),)).local_id == LOCAL_ENTRY.id


@pytest.mark.parametrize("url", ["http://x y", "http://x\nshell", "ftp://x", "http://${net0/ip}", ""])
def test_an_unsafe_boot_url_is_refused(url: str) -> None:
    with pytest.raises(MenuProblem, match="not a boot URL"):
        render_menu(MenuKind.IPXE, local_menu("n", MAC), boot_url=url, dirs=DIRS)


@pytest.mark.parametrize("kind", list(MenuKind))
@settings(max_examples=60, deadline=None)
@given(name=st.text(), title=st.text())
def test_no_host_name_or_title_becomes_a_command(kind: MenuKind, name: str, title: str) -> None:
    def shape(host_name: str, entry_title: str) -> list[str]:
        menu = Menu(host_name=host_name, mac=MAC, entries=(install(title=entry_title),), prompt=True, timeout_s=9)
        return [line.split(" ")[0] for line in text_of(kind, menu).split("\n")]

    assert shape(name, title) == shape("n", "t")
    menu = Menu(host_name=name, mac=MAC, entries=(install(title=title),), prompt=True, timeout_s=9)
    assert len(text_of(kind, menu).splitlines()) == len(shape("n", "t")) - 1


@settings(max_examples=200, deadline=None)
@given(args=st.text(st.characters(codec="utf-8"), max_size=40))
def test_kernel_args_stay_on_their_line_or_are_refused(args: str) -> None:
    try:
        menu = armed_menu("n", MAC, install(kernel_args=args))
    except MenuProblem:
        return
    for kind in MenuKind:
        expected = text_of(kind, armed_menu("n", MAC, install(kernel_args="x")))
        assert len(text_of(kind, menu).splitlines()) == len(expected.splitlines())
    assert not set(args) & set("\n\r$;{}|&\"'`\\#")


def test_a_broken_menu_template_of_the_operator_is_told(tmp_path: Path) -> None:
    (tmp_path / "menu.ipxe.j2").write_text("#!ipxe\n{{ oops }}\n")
    with pytest.raises(TemplateProblem, match=r"menu\.ipxe\.j2:2: 'oops' is undefined"):
        render_menu(MenuKind.IPXE, local_menu("n", MAC), boot_url=URL, dirs=[tmp_path, *DIRS])

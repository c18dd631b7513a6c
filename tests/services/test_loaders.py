"""Names of boot loaders: whose they are, and that none leads anywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.domain.boot import LoaderChoice
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.dhcp.bootfile import BootFiles
from pxeforge.services import loaders
from pxeforge.services.context import Context
from tests.conftest import MAC, PEER, write_image

HOST = MacAddress.parse(MAC)


@pytest.mark.parametrize("spelling", [MAC, HOST.dashed, MAC.upper()])
def test_a_name_below_a_mac_is_that_hosts(spelling: str) -> None:
    assert loaders.own_name(f"boot/{spelling}/snponly.efi") == (HOST, "snponly.efi")


@pytest.mark.parametrize("name", ["boot", "boot/", f"boot/{MAC}", f"boot/{MAC}/", "boot/x/y", f"x/{MAC}/y", ""])
def test_every_other_name_is_nobodys(name: str) -> None:
    assert loaders.own_name(name) is None


@given(st.text(max_size=60))
def test_no_name_is_too_strange_to_be_read(name: str) -> None:
    loaders.own_name(name)
    own = loaders.own_name(f"boot/{MAC}/{name}")
    assert own is None or own[0] == HOST


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "loaders", "grub", "linux", "image.json", "", "pxelinux.0"]), max_size=5))
def test_only_loaders_that_the_image_lists_are_found(ctx: Context, pieces: list[str]) -> None:
    image = write_image(ctx.data_dir)
    found = loaders.loader_file(ctx, "/".join(pieces), PEER)
    assert found is None or found == image / "loaders" / "pxelinux.0"
    assert loaders.loader_file(ctx, loaders.GRUB_PREFIX + "/".join(pieces), PEER) is None
    for prefix in loaders.GRUB_PREFIXES.values():
        assert loaders.loader_file(ctx, prefix + "/".join(pieces), PEER) is None


def files_with(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> BootFiles:
    for name in names:
        (folder / name).write_bytes(b"loader")
    monkeypatch.setattr(loaders, "IPXE_DIR", folder)
    monkeypatch.setattr(loaders, "LPXELINUX_FILES", {loaders.LPXELINUX: folder / "lpxelinux.0"})
    return loaders.boot_files(folder, 8081)


def test_every_uefi_loader_has_a_name_of_its_own_per_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = files_with(monkeypatch, tmp_path, "snponly.efi", "ipxe.efi", "undionly.kpxe", "lpxelinux.0")
    assert files.grub_files == {
        Firmware.UEFI_X64: "boot/{dashed}/bootnetx64.efi",
        Firmware.HTTP_X64: "http://{server}:8081/boot/{mac}/bootnetx64.efi",
        Firmware.UEFI_ARM64: "boot/{dashed}/bootnetaa64.efi",
        Firmware.HTTP_ARM64: "http://{server}:8081/boot/{mac}/bootnetaa64.efi",
    }
    assert files.ipxe_files == {
        Firmware.UEFI_X64: "boot/{dashed}/snponly.efi",
        Firmware.HTTP_X64: "http://{server}:8081/boot/{mac}/snponly.efi",
    }
    assert files.bios_files == {
        LoaderChoice.IPXE: "boot/{dashed}/undionly.kpxe", LoaderChoice.LPXELINUX: "boot/{dashed}/lpxelinux/lpxelinux.0",
    }  # fmt: skip


def test_without_ipxe_and_lpxelinux_on_the_server_none_is_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = files_with(monkeypatch, tmp_path)
    assert (files.ipxe_files, files.bios_files) == ({}, {})


def test_an_imported_ipxe_is_taken_before_the_installed_one(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "snponly.efi").write_bytes(b"installed")
    monkeypatch.setattr(loaders, "IPXE_DIR", tmp_path)
    assert loaders.loader_file(ctx, "snponly.efi", PEER) == tmp_path / "snponly.efi"
    image = write_image(ctx.data_dir, more={"loaders/ipxe-arm64.efi": b"a", "loaders/snponly.efi": b"s"}, name="ipxe")
    assert loaders.loader_file(ctx, "snponly.efi", PEER) == image / "loaders" / "snponly.efi"
    assert Firmware.HTTP_ARM64 in loaders.boot_files(ctx.data_dir, 8080).ipxe_files


def test_each_processor_has_its_own_shim_and_grub(ctx: Context) -> None:
    pc = write_image(ctx.data_dir, more={"loaders/bootnetx64.efi": b"s", "loaders/grub/x86_64-efi/fs.lst": b"x"})
    arm = write_image(
        ctx.data_dir, name="debian-13-arm64",
        more={"loaders/bootnetaa64.efi": b"s", "loaders/grubaa64.efi": b"g", "loaders/grub/arm64-efi/fs.lst": b"a"},
    )  # fmt: skip
    assert loaders.loader_file(ctx, "bootnetx64.efi", PEER) == pc / "loaders/bootnetx64.efi"
    assert loaders.loader_file(ctx, "bootnetaa64.efi", PEER) == arm / "loaders/bootnetaa64.efi"
    assert loaders.loader_file(ctx, "grubaa64.efi", PEER) == arm / "loaders/grubaa64.efi"
    for arch, folder, image in (("amd64", "x86_64-efi", pc), ("arm64", "arm64-efi", arm)):
        found = loaders.loader_file(ctx, f"debian-installer/{arch}/grub/{folder}/fs.lst", PEER)
        assert found == image / f"loaders/grub/{folder}/fs.lst"
    assert "debian-installer/arm64/grub/arm64-efi/grub.cfg" in loaders.GRUB_STARTS


def test_lpxelinux_and_its_module_come_from_one_build(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    image = write_image(ctx.data_dir, more={"loaders/ldlinux.c32": b"of the image"})
    monkeypatch.setattr(loaders, "LPXELINUX_FILES", {"lpxelinux/ldlinux.c32": Path(__file__)})
    assert loaders.loader_file(ctx, "lpxelinux/ldlinux.c32", PEER) == Path(__file__)
    assert loaders.loader_file(ctx, "ldlinux.c32", PEER) == image / "loaders/ldlinux.c32"

"""Assets are found in the operator's folder first, and a miss names every place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.assets import ASSET_KINDS, AssetMissing, asset_dirs, find_asset


def test_the_operators_folder_comes_first(tmp_path: Path) -> None:
    assert asset_dirs("preseed")[0] == Path("/etc/pxeforge/preseed")
    assert asset_dirs("preseed", tmp_path)[0] == tmp_path
    (tmp_path / "debian.cfg.j2").write_text("mine")
    assert find_asset("preseed", "debian.cfg.j2", tmp_path) == tmp_path / "debian.cfg.j2"


def test_what_the_operator_does_not_have_comes_from_pxeforge(tmp_path: Path) -> None:
    for kind, name in (("preseed", "debian.cfg.j2"), ("boot_templates", "menu.ipxe.j2")):
        found = find_asset(kind, name, tmp_path)
        assert found.is_file()
        assert not found.is_relative_to(tmp_path)


def test_a_miss_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing) as caught:
        find_asset("roles", "none/role.yaml", tmp_path)
    for place in asset_dirs("roles", tmp_path):
        assert str(place) in str(caught.value)


@pytest.mark.parametrize("name", ["", "../preseed/debian.cfg.j2", "/etc/passwd", "a/../../b"])
def test_no_name_leads_out_of_its_kind(name: str) -> None:
    with pytest.raises(AssetMissing, match="not a name inside"):
        find_asset("web", name)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=ASSET_KINDS[-1]):
        asset_dirs("secrets")

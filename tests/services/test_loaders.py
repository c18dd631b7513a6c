"""Names of boot loaders: whose they are, and that none leads anywhere else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.domain.mac import MacAddress
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

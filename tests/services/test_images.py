"""Images are removed whole, and never from under a host that needs them."""

import pytest

from pxeforge.services import images, profiles
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound
from tests.conftest import write_image


def test_an_image_in_use_stays_and_one_out_of_use_goes_whole(ctx: Context, profile: str) -> None:
    with pytest.raises(Conflict, match="uses the image"):
        images.remove(ctx, "debian-13", who="test")
    profiles.remove(ctx, profile, who="test")
    images.remove(ctx, "debian-13", who="test")
    assert images.list_images(ctx) == []
    assert list((ctx.data_dir / "images").rglob("image.json")) == []


def test_a_removal_that_was_killed_half_way_is_ended_at_the_next_start(ctx: Context) -> None:
    folder = write_image(ctx.data_dir)
    folder.rename(folder.parent.with_name(".removed-debian-13-20250803"))
    assert images.list_images(ctx) == []
    images.sweep(ctx)
    assert list((ctx.data_dir / "images").rglob("image.json")) == []


@pytest.mark.parametrize("reference", ["a" * 300 + "/1", "debian-13/" + "1" * 300, "../x", "x/..", "/1", "x"])
def test_an_odd_reference_is_no_image(ctx: Context, reference: str) -> None:
    with pytest.raises(NotFound):
        images.by_reference(ctx, reference)

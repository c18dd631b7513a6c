"""What a host would be given."""

from collections.abc import Callable
from typing import Any

import pytest

from pxeforge.services import (
    previews,
)
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound

Tokens = Callable[[str], str]


def test_a_preview_shows_no_token(ctx: Context, tokens: Tokens) -> None:
    for what in ("menu", "menu.pxelinux", "answers", "early", "disks", "late"):
        text = previews.preview(ctx, "n1", what=what)
        assert tokens("answers") not in text
        assert tokens("installer") not in text


def test_what_cannot_be_rendered_is_named(ctx: Context, armed: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="'nonsense' cannot be rendered"):
        previews.preview(ctx, "n1", what="nonsense")

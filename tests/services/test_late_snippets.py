"""Late snippets come from the server's folders, the profile, the roles and the host, and all of them run."""

from pathlib import Path
from typing import Any

import pytest

from pxeforge.services import arming, hosts, install_ends, late_snippets, previews, profiles
from pxeforge.services.context import Context
from pxeforge.services.problems import Problem


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.fixture
def with_all(ctx: Context, armed: dict[str, Any]) -> Context:
    """A host with late snippets from every source."""
    write(ctx.data_dir / "late.d", "20-time.sh", "echo data\n")
    write(ctx.data_dir / "late.d", "10-motd.sh", "echo hidden by the operator's\n")
    write(ctx.operator_dir / "late.d", "10-motd.sh", "echo operator\n")
    write(ctx.operator_dir / "late.d", "readme.txt", "no snippet\n")
    write(ctx.operator_dir / "roles" / "base", "late.sh", "echo role\n")
    own = {"late_snippets": [{"name": "mark", "text": "echo host"}]}
    profile = {"late_snippets": [{"name": "mark", "text": "echo profile"}]}
    profiles.change(ctx, "debian-13", parameters=profile, who="test")
    hosts.change(ctx, "n1", settings={"parameters": own}, who="test")
    hosts.assign(ctx, ["n1"], ["base"], known_roles=["base"], who="test")
    install_ends.disarm(ctx, "n1", who="test")
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    return ctx


def test_all_sources_are_merged_in_their_order(with_all: Context) -> None:
    """R-33: every snippet runs, in a fixed order."""
    text = previews.preview(with_all, "n1", what="late")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("snippet ")]
    assert lines == [
        "snippet server/10-motd 'echo operator",
        "snippet server/20-time 'echo data",
        "snippet profile/mark 'echo profile'",
        "snippet role/base/late 'echo role",
        "snippet host/mark 'echo host'",
    ]


def test_the_answers_themselves_hold_no_snippet(with_all: Context) -> None:
    for what in ("answers", "early", "disks"):
        assert "echo profile" not in previews.preview(with_all, "n1", what=what)


def test_a_snippet_that_cannot_be_read_refuses_the_arming_with_its_path(ctx: Context, armed: dict[str, Any]) -> None:
    folder = ctx.data_dir / "late.d"
    folder.mkdir()
    (folder / "bad.sh").write_bytes(b"\xff\xfe")
    with pytest.raises(Problem, match=r"late.d/bad\.sh cannot be read"):
        previews.preview(ctx, "n1", what="late")
    write(folder, "bad.sh", "true\n")
    write(folder, "a b.sh", "true\n")
    with pytest.raises(Problem, match="late snippet name"):
        late_snippets.of_host(ctx, hosts_row(ctx), {})


def hosts_row(ctx: Context) -> Any:
    """The host as the wire has it."""
    from pxeforge.domain.mac import MacAddress
    from pxeforge.services import wire_hosts
    from tests.conftest import MAC

    return wire_hosts.by_mac(ctx, MacAddress.parse(MAC))

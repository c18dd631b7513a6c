from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution
from pxeforge.agent.file_steps import set_ini_key
from pxeforge.agent.task import run_step

OWNER = {"owner": "root", "group": "root"}
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="files are given to root")


def do(root: Path, kind: str, params: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    changes = Changes(root / "state/changes.json", dry=check)
    execution = Execution(root=root, check_only=check)
    return run_step({"name": "x", "id": "r.t.x", "type": kind, "params": params}, execution, changes)


def changed_then_ok(root: Path, kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """Does the step twice: the dry run changes nothing, the first time changes, the second time does not."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert do(root, kind, params, check=True)["status"] == "changed"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    first, second = do(root, kind, params), do(root, kind, params)
    assert (first["status"], second["status"]) == ("changed", "ok"), first
    assert first["before"] != first["after"] == second["before"]
    return first


def write(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@needs_root
def test_a_file_gets_its_content_mode_and_a_backup(tmp_path: Path) -> None:
    file = write(tmp_path, "etc/x", "old\n")
    params = {"path": "/etc/x", "content": "new\n", "mode": "0600", "backup": True, **OWNER}
    assert "-old\n+new" in changed_then_ok(tmp_path, "file", params)["diff"]
    assert file.read_text() == "new\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.read_text() for path in file.parent.glob("x.*.pxeforge")] == ["old\n"]


@needs_root
def test_a_file_in_a_new_folder_and_a_directory_are_made(tmp_path: Path) -> None:
    changed_then_ok(tmp_path, "file", {"path": "/a/b/c", "content": "x"})
    changed_then_ok(tmp_path, "file", {"path": "/d/e", "state": "directory", "mode": "0750"})
    assert (tmp_path / "d/e").stat().st_mode & 0o777 == 0o750


@needs_root
def test_a_symbolic_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target = write(tmp_path, "elsewhere", "keep\n")
    (tmp_path / "link").symlink_to(target)
    changed_then_ok(tmp_path, "file", {"path": "/link", "content": "mine\n"})
    assert target.read_text() == "keep\n"
    assert not (tmp_path / "link").is_symlink()


def test_an_absent_file_is_removed_but_never_a_tree(tmp_path: Path) -> None:
    write(tmp_path, "etc/x", "")
    changed_then_ok(tmp_path, "file", {"path": "/etc/x", "state": "absent"})
    write(tmp_path, "tree/leaf", "")
    result = do(tmp_path, "file", {"path": "/tree", "state": "absent"})
    assert result["status"] == "failed"
    assert (tmp_path / "tree/leaf").exists()


def test_an_unknown_owner_is_named(tmp_path: Path) -> None:
    result = do(tmp_path, "file", {"path": "/x", "content": "", "owner": "nobody-by-that-name"})
    assert result["message"].startswith("there is no user nobody-by-that-name on this host")


def test_ini_keys_change_in_place_and_everything_else_stays(tmp_path: Path) -> None:
    text = "# top\n[a]\nx = 1 \n# note\ny=2\n\n[b]\nx = 3\nx = 4\n"
    file = write(tmp_path, "etc/i", text)
    params = {"path": "/etc/i", "settings": {"a": {"x": "1", "z": "9"}, "b": {"x": "5"}, "c": {"k": "v"}}}
    changed_then_ok(tmp_path, "ini", params)
    assert file.read_text() == "# top\n[a]\nx = 1 \n# note\ny=2\nz = 9\n\n[b]\nx = 5\n\n[c]\nk = v\n"


KEYS = st.from_regex(r"\A[a-z][a-z_]{0,5}\Z")
LINES = st.lists(
    st.one_of(
        st.builds("[{}]".format, KEYS),
        st.builds("{} = {}".format, KEYS, KEYS),
        st.builds("# {} = {}".format, KEYS, KEYS),
        st.just(""),
    ),
    max_size=15,
)


@settings(deadline=None)  # a busy machine is no failure
@given(LINES, KEYS, KEYS, KEYS)
def test_setting_an_ini_key_holds_and_is_idempotent(lines: list[str], section: str, key: str, value: str) -> None:
    once = set_ini_key(list(lines), section, key, value)
    assert set_ini_key(list(once), section, key, value) == once
    inside = False
    values = []
    for line in once:
        if line.startswith("["):
            inside = line == f"[{section}]"
        elif inside and line.partition(" = ")[0] == key:
            values.append(line.partition(" = ")[2])
    assert values == [value]
    assert [line for line in lines if line.startswith("#")] == [line for line in once if line.startswith("#")]


def test_a_line_is_replaced_added_or_removed(tmp_path: Path) -> None:
    file = write(tmp_path, "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 db1.example db1\n")
    changed_then_ok(tmp_path, "line", {"path": "/etc/hosts", "match": r"^\s*127\.0\.1\.1\s", "state": "absent"})
    assert file.read_text() == "127.0.0.1 localhost\n"
    changed_then_ok(tmp_path, "line", {"path": "/etc/hosts", "line": "10.0.0.1 a"})
    changed_then_ok(tmp_path, "line", {"path": "/etc/hosts", "line": "10.0.0.2 a", "match": " a$"})
    assert file.read_text() == "127.0.0.1 localhost\n10.0.0.2 a\n"


def test_removing_a_line_of_a_file_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    assert do(tmp_path, "line", {"path": "/none", "line": "x", "state": "absent"})["status"] == "ok"
    assert not (tmp_path / "none").exists()


def test_a_block_is_kept_between_its_markers(tmp_path: Path) -> None:
    file = write(tmp_path, "etc/hosts", "127.0.0.1 localhost\n")
    block = {"path": "/etc/hosts", "label": "hosts", "position": "start"}
    changed_then_ok(tmp_path, "block", {**block, "content": "10.0.0.1 a\n"})
    changed_then_ok(tmp_path, "block", {**block, "content": "10.0.0.1 a\n10.0.0.2 b\n"})
    assert file.read_text() == (
        "# BEGIN pxeforge hosts\n10.0.0.1 a\n10.0.0.2 b\n# END pxeforge hosts\n127.0.0.1 localhost\n"
    )
    changed_then_ok(tmp_path, "block", {"path": "/etc/hosts", "label": "hosts", "state": "absent"})
    assert file.read_text() == "127.0.0.1 localhost\n"


def test_a_block_without_its_end_is_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path, "x", "# BEGIN pxeforge b\nmine\n")
    result = do(tmp_path, "block", {"path": "/x", "label": "b", "content": "y"})
    assert "repair the file by hand" in result["message"]
    assert file.read_text() == "# BEGIN pxeforge b\nmine\n"


def test_sysctl_writes_its_file_and_the_running_kernel(tmp_path: Path) -> None:
    now = write(tmp_path, "proc/sys/net/ipv4/ip_forward", "0\n")
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    params = {"name": "60-x", "settings": {"net.ipv4.ip_forward": "1"}}
    changed_then_ok(tmp_path, "sysctl", params)
    assert now.read_text() == "1\n"
    assert (tmp_path / "etc/sysctl.d/60-x.conf").read_text() == "net.ipv4.ip_forward = 1\n"
    now.write_text("0\n")  # changed by hand since
    assert do(tmp_path, "sysctl", params)["status"] == "changed"


def test_a_host_name_below_another_root_leaves_the_kernel_alone(tmp_path: Path) -> None:
    before = socket.gethostname()
    write(tmp_path, "etc/hostname", "old\n")
    changed_then_ok(tmp_path, "hostname", {"name": "db1"})
    assert (tmp_path / "etc/hostname").read_text() == "db1\n"
    assert socket.gethostname() == before


def test_a_change_is_marked_before_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    result = do(tmp_path, "file", {"path": "/etc", "content": "a directory stands there"})
    assert result["status"] == "failed"
    changes = Changes(tmp_path / "state/changes.json")
    assert changes.unseen(["r.t", "other"], "r.t.unit") == ["r.t"]
    changes.seen("r.t.unit")
    assert Changes(tmp_path / "state/changes.json").unseen(["r.t.x"], "r.t.unit") == []
    assert Changes(tmp_path / "state/changes.json").unseen(["r.t.x"], "r.t.second-unit") == ["r.t.x"]


def test_commands_do_not_escape_from_another_root(tmp_path: Path) -> None:
    result = do(tmp_path, "command", {"shell": f"touch {tmp_path}/no", "always": True})
    assert "commands need the host itself" in result["message"]
    assert not (tmp_path / "no").exists()

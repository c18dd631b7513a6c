"""db, host import and export, lint, inventory and completion on the command line."""

from __future__ import annotations

import gc
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.main import main
from tests.conftest import KEY, MAC, write_image

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)

    def call(*words: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words], input=stdin)

    return call


def test_backup_and_restore_from_the_command_line(run: Run, tmp_path: Path) -> None:
    assert "upgraded from none to" in run("db", "upgrade").output
    assert "already" in run("db", "upgrade").output
    run("host", "add", "--mac", MAC, "--name", "n1")
    file = str(tmp_path / "safe.tar")
    assert "written" in run("db", "backup", file).output
    again = run("db", "backup", file)
    assert (again.exit_code, "--force" in again.stderr) == (1, True)
    run("host", "forget", "n1")
    gc.collect()  # each command above was a process of its own in real life: none holds the database open
    restored = run("db", "restore", file)
    assert restored.exit_code == 0, restored.stderr
    assert ".before-restore-" in restored.output
    assert "n1" in run("host", "list").output
    checked = run("db", "check")
    assert (checked.exit_code, "WRONG" in checked.output) == (0, False)
    assert {row["check"] for row in json.loads(run("db", "check", "--json").output)} > {"database", "key", "images"}
    (tmp_path / "data" / "secret.key").write_text("x" * 5)
    assert run("db", "check").exit_code == 1


def test_a_backup_elsewhere_is_refused_in_one_sentence(run: Run) -> None:
    for words in (("db", "check"), ("db", "backup", "x"), ("--server", "https://192.0.2.1", "db", "check")):
        answer = run(*words)
        assert (answer.exit_code, answer.stderr.count("\n")) == (1, 1)


def test_a_table_of_hosts_goes_in_and_out(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "hosts.csv"
    table.write_bytes(b"\xef\xbb\xbfmac;name;roles\r\n52:54:00:12:34:56;n1;base\r\n")
    assert "1 hosts would be created" in run("host", "import", str(table), "--dry-run").output
    assert json.loads(run("host", "list", "--json").output) == []
    done = run("host", "import", str(table))
    assert f"line 2: create n1: loader auto; macs {MAC}; name n1; roles base; state known\n" in done.output
    assert "1 hosts created, 0 changed, 0 are as the file says already" in done.output
    out = run("host", "export").output
    assert out == f"mac,name,tags,roles,disk,wipe,loader,address,rack,unit,height,profile\n{MAC},n1,,base,,,auto,,,,,\n"
    assert "0 hosts created, 0 changed, 1 are as the" in run("host", "import", "-", stdin=out.encode()).output
    assert "1 hosts written" in run("host", "export", "--csv", str(tmp_path / "out.csv")).output
    assert (tmp_path / "out.csv").read_text() == out
    assert json.loads(run("host", "import", str(table), "--json").output)[0]["action"] == "none"


def test_each_wrong_line_of_a_table_is_named(run: Run) -> None:
    answer = run("host", "import", "-", stdin=f"mac,roles\n{MAC},ghost\nx,\n".encode())
    assert answer.exit_code == 1
    assert "line 2: there is no role 'ghost'" in answer.stderr
    assert "line 3: 'x' is not a MAC address" in answer.stderr
    assert "CSV UTF-8" in run("host", "import", "-", stdin=b"mac\n\xff").stderr
    assert "there is no file" in run("host", "import", "/nonexistent.csv").stderr


def test_lint_tells_file_and_line_and_fails_on_errors(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.cfg", tmp_path / "bad.cfg"
    good.write_text("d-i mirror/country string manual\n")
    bad.write_text("# x\nd-i a/b boolean maybe\n")
    assert run("lint", str(good)).output == "nothing to complain about\n"
    answer = run("lint", str(good), str(bad))
    assert (answer.exit_code, answer.output.startswith(f"{bad}:2: error: ")) == (1, True)
    [row] = json.loads(run("lint", "--json", str(bad)).output)
    assert set(row) == {"file", "line", "severity", "message", "template", "text"}
    assert row["text"] == "d-i a/b boolean maybe"
    assert run("lint", "-", stdin=b"nonsense\n").output.startswith("-:1: error:")
    assert "cannot be read" in run("lint", str(tmp_path / "none")).output
    assert run("lint").exit_code == 2
    assert run("lint", "--profile", "p", str(good)).exit_code == 2


def test_lint_holds_files_against_what_they_are_for(run: Run, tmp_path: Path) -> None:
    kickstart, menu = tmp_path / "a.ks", tmp_path / "default"
    kickstart.write_text(
        "install\nlang en_US.UTF-8\nrootpw --lock\nuser --name=a\nautopart\nurl --url=http://h/\nreboot\n"
    )
    menu.write_text("LABEL 1\n  LOCALBOOT 0x80\n")
    assert "install has been removed" in run("lint", str(kickstart)).output
    assert "install has been removed" not in run("lint", "--os", "centos-7", str(kickstart)).output
    assert "localboot 0x80" in run("lint", str(menu)).output
    assert "too few words" in run("lint", "--kind", "preseed", str(menu)).output
    assert run("lint", "--os", "debian-13", str(kickstart)).exit_code == 2
    assert run("lint", "--kind", "grub").exit_code == 2


def test_lint_renders_for_a_host_and_for_every_profile(run: Run, tmp_path: Path) -> None:
    run("host", "add", "--mac", MAC, "--name", "n1")
    write_image(tmp_path / "data")
    account = f"accounts=[{{name: ops, ssh_keys: ['{KEY}']}}]"
    assert run("profile", "create", "p", "--image", "debian-13", account).exit_code == 0
    assert run("lint", "--host", "n1", "--profile", "p").exit_code == 0
    assert run("lint", "--all").exit_code == 0
    unarmed = run("lint", "--host", "n1")
    assert (unarmed.exit_code, "name a profile" in unarmed.stderr) == (1, True)
    run("profile", "set", "p", "extra_lines=['d-i a/b boolean maybe']")
    assert "profile/p/answers:" in run("lint", "--all").output
    assert run("lint", "--host", "n1", "--profile", "p").exit_code == 1


def test_the_inventory_speaks_to_ansible(run: Run) -> None:
    run("host", "add", "--mac", MAC, "--name", "n1", "--role", "base")
    assert json.loads(run("inventory", "--list").output)["role_base"] == {"hosts": ["n1"]}
    assert json.loads(run("inventory", "--host", "n1").output)["pxeforge_state"] == "known"
    assert run("inventory", "--known-hosts").output == ""
    assert run("inventory", "--host", "ghost").exit_code == 1
    assert run("inventory").exit_code == 2
    assert run("inventory", "--list", "--known-hosts").exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion_script(run: Run, shell: str) -> None:
    script = run("completion", shell)
    assert script.exit_code == 0
    assert "_PXEFORGE_COMPLETE" in script.output


def test_bash_takes_the_completion_script(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(run("completion", "bash").output)
    done = subprocess.run(["bash", "-n", str(file)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

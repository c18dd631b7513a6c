"""The command line without a server: the same routes on the data directory."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.durations import duration_s
from pxeforge.cli.main import main
from pxeforge.cli.output import say
from tests.conftest import KEY, MAC, write_image

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("PXEFORGE_CONFIG", raising=False)
    return lambda *words: CliRunner().invoke(main, ["--data-dir", str(tmp_path / "data"), *words])


def test_a_list_of_hosts_is_searched_filtered_and_sorted(run: Run) -> None:
    for number in range(3):
        mac = f"52:54:00:00:00:0{number}"
        run("host", "add", "--mac", mac, "--name", f"n{number}", "--tag", "odd" if number % 2 else "even")

    def listed(*words: str) -> list[str]:
        done = run("host", "list", *words, "--json")
        assert done.exit_code == 0, done.output
        return [row["name"] for row in json.loads(done.output)]

    assert listed("even") == listed("--tag", "even") == ["n0", "n2"]
    assert listed("even", "n2", "--state", "ready", "--state", "known", "--rack", "-", "--role", "-") == ["n2"]
    assert listed("--sort", "created_at", "--reverse", "--firmware", "-") == ["n2", "n1", "n0"]
    assert listed("--attention") == listed("--serial", "x") == []
    for words in (["--tag", "nope"], ["--attention"], ["nowhere"]):
        assert "No host fits" in run("host", "list", *words).output
    assert "No host" not in run("host", "list", "--reverse").output
    for option, said in (("--role", "there is no role 'nope'"), ("--state", "'nope' is not a state")):
        refused = run("host", "list", option, "nope")
        assert (refused.exit_code, said in refused.stderr) == (1, True)


def test_an_empty_place_says_what_to_do_next(run: Run) -> None:
    assert "let one netboot" in run("host", "list").output
    assert "pxeforge image import debian-13" in run("image", "list").output
    assert json.loads(run("host", "list", "--json").output) == []


def test_a_server_that_finds_no_room_on_its_disk_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pxeforge.app.start.start", full)
    refused = run("serve", "--interface", "lo")
    assert refused.exit_code == 1
    assert "data takes nothing more (No space left on device): make room on its disk" in refused.stderr.replace(
        "\n", " "
    )


def test_a_host_on_its_way_to_armed(run: Run, tmp_path: Path) -> None:
    assert run("host", "add", "--mac", MAC, "--name", "n1", "--role", "base").exit_code == 0
    write_image(tmp_path / "data")
    assert (
        run(
            "profile", "create", "p", "--image", "debian-13", f"accounts=[{{name: ops, ssh_keys: ['{KEY}']}}]"
        ).exit_code
        == 0
    )
    armed = run("host", "arm", "n1", "--profile", "p", "--for", "30m")
    assert armed.exit_code == 0, armed.stderr
    assert "host n1 is armed for p until" in armed.output
    told = run("host", "explain", MAC.upper().replace(":", "-"))
    assert "decision  install" in told.output
    assert "d-i netcfg/hostname string n1" in run("render", "n1", "answers").output
    assert "our ACK from port 4011" in run("host", "explain", "n1", "--firmware", "uefi-x64").output
    timeline = json.loads(run("host", "timeline", "n1", "--json").output)
    assert [event["kind"] for event in timeline][-1] == "arm"
    menu = run("host", "arm", "n1", "--menu", "--profile", "p", "--timeout", "2m")
    assert "host n1 is armed for a menu of p until" in menu.output
    assert "TIMEOUT 1200" in run("render", "n1", "menu.pxelinux").output
    assert "is armed for rescue until" in run("host", "arm", "n1", "--boot", "rescue", "--profile", "p").output
    assert "LINUX http://" in run("render", "n1", "menu.lpxelinux").output
    refused = run("host", "arm", "n1", "--boot", "memtest")
    assert (refused.exit_code, "pxeforge image import memtest" in refused.stderr) == (1, True)
    assert run("host", "disarm", "n1").output == "host n1 is known\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("host", "show", "ghost"), "pxeforge: no host is known as 'ghost': see `pxeforge host list`\n"),
        (("host", "add", "--mac", "nonsense"), "is not a MAC address"),
        (("host", "arm", "ghost", "--profile", "p"), "no host is known"),
        (("run", "show", "abc"), "there is no run 'abc'"),
        (("image", "show", "x"), "there is no image x"),
        (("image", "import", "windows-95", "--mirror", "http://127.0.0.1:9/debian"), "'windows-95' comes from an ISO"),
        (("image", "import", "debian-13", "--mirror", "http://127.0.0.1:9/debian"), "127.0.0.1:9"),
        (("deploy",), "nothing to deploy"),
        (("lab", "status", "--dir", "/nonexistent"), "no lab runs in /nonexistent"),
    ],
)
def test_a_refusal_is_one_sentence_on_stderr_and_exit_code_1(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_wrong_usage_is_exit_code_2(run: Run) -> None:
    assert run("host", "arm").exit_code == 2
    for words in (
        ("--discover", "--profile", "a"),
        ("--menu",),
        ("--boot", "rescue"),
        ("--profile", "a", "--profile", "b"),
        ("--boot", "memtest", "--menu", "--profile", "a"),
        ("--menu", "--profile", "a", "--timeout", "soon"),
    ):
        assert run("host", "arm", "n1", *words).exit_code == 2
    assert run("host", "arm", "x", "--profile", "p", "--for", "soon").exit_code == 2
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)])
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


def test_every_command_explains_itself(run: Run) -> None:
    import click

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        assert command.help, path
        if isinstance(command, click.Group):
            for name, sub in command.commands.items():
                walk(sub, (*path, name))

    walk(main, ())
    assert "lab" in main.commands


def test_a_bad_setting_is_one_sentence(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "pxeforge.toml"
    config.write_text("boot_prot = 1\n")
    result = run("--config", str(config), "host", "list")
    assert result.exit_code == 1
    assert "unknown setting 'boot_prot'" in result.stderr


def test_serve_without_an_interface_says_which_flag(run: Run) -> None:
    result = run("serve")
    assert result.exit_code == 1
    assert "--interface eth0" in result.stderr


def test_what_does_not_exist_is_one_sentence_and_exit_code_one(run: Run) -> None:
    for words in (("role", "show", "x"), ("secret", "show", "x"), ("image", "show", "x"), ("host", "show", "x")):
        answer = run(*words)
        assert (answer.exit_code, answer.output.count("\n")) == (1, 1), words
        assert answer.output.startswith("pxeforge: ")


def test_a_name_with_odd_characters_is_a_name(run: Run) -> None:
    assert "'a?b#c%zz'" in run("host", "show", "a?b#c%zz").output
    assert "a name is empty" in run("host", "show", "").output


def test_nothing_to_set_is_a_usage_error(run: Run) -> None:
    run("host", "add", "--mac", MAC, "--name", "n1")
    assert run("host", "set", "n1").exit_code == 2


def test_a_profile_that_nothing_is_set_of_is_a_usage_error_and_no_entry_of_the_audit_log(
    run: Run, tmp_path: Path
) -> None:  # fmt: skip
    write_image(tmp_path / "data")
    assert run("profile", "create", "p", "--image", "debian-13").exit_code == 0
    nothing = run("profile", "set", "p")
    assert (nothing.exit_code, "say what to set" in nothing.stderr) == (2, True)
    run("profile", "set", "p", "light=true")
    run("profile", "set", "p", "light=true")
    kinds = [row["kind"] for row in json.loads(run("audit", "--json").output)]
    assert kinds == ["profile_changed", "profile_created"]


def test_what_is_for_one_host_names_what_is_in_its_way(run: Run) -> None:
    for words, said in (
        (("a", "b", "--name", "x"), "--name can be set for one host at a time, and these are 2: a, b"),
        (("a", "--name", "x", "--where", "tag=t"), "not together with --where"),
        (("a", "--name", "x", "--dry-run"), "not together with --dry-run"),
        (("a", "--name", "x", "--add-tag", "t"), "not together with --add-…"),
    ):
        refused = run("host", "set", *words)
        assert refused.exit_code == 2
        assert said in " ".join(refused.stderr.split())


def test_a_host_and_an_image_are_shown_for_people(run: Run, tmp_path: Path) -> None:
    write_image(tmp_path / "data")
    run("host", "add", "--mac", MAC, "--name", "n1", "--role", "base")
    for shown in (run("host", "show", "n1").output, run("image", "show", "debian-13").output):
        assert "None" not in shown
        assert "{" not in shown
    assert f"mac {MAC}" in run("host", "show", "n1").output
    assert " MB\n" in run("image", "show", "debian-13").output


def test_a_value_that_is_no_json_is_a_usage_error(run: Run) -> None:
    for value in ("2020-01-01", ".nan", "!!set {a, b}"):
        assert run("profile", "create", "p", "--image", "i", f"timezone={value}").exit_code == 2


def test_a_broken_database_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pxeforge.db").write_text("this is no database, and long enough to look at")
    answer = run("host", "list")
    assert answer.exit_code == 1
    assert answer.output.startswith("pxeforge: the database ")


def test_a_folder_that_only_root_may_read_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", refuse)
    answer = run("host", "list")
    assert answer.exit_code == 1
    assert "run as root" in answer.output


def test_an_address_that_is_no_url_is_named(run: Run) -> None:
    assert "write it like https://" in run("--server", "10.0.0.1", "host", "list").output


def test_what_a_host_reported_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("serial \x1b]0;owned\x07\n\tnext")
    assert capsys.readouterr().out == "serial ?]0;owned?\n\tnext\n"

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from pxeforge.agent import package_steps, unit_step
from pxeforge.agent.changes import Changes

from .fake_host import do, program


def test_a_command_runs_only_while_its_guard_says_so(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for guard in ({"creates": str(made)}, {"unless": f"test -e {made}"}, {"onlyif": f"test ! -e {made}"}):
        made.unlink(missing_ok=True)
        params = {"shell": f"echo $WORD > {made}", "env": {"WORD": "hi"}, **guard}
        assert [do(tmp_path, "command", params)["status"] for _ in range(2)] == ["changed", "ok"]
        assert made.read_text() == "hi\n"


def test_a_command_that_does_not_reach_its_goal_fails(tmp_path: Path) -> None:
    result = do(tmp_path, "command", {"argv": ["true"], "creates": f"{tmp_path}/never"})
    assert result["status"] == "failed"
    assert "did not create" in result["message"]


def test_a_command_gets_its_stdin_and_a_daemon_does_not_hold_it_up(tmp_path: Path) -> None:
    began = time.monotonic()
    result = do(tmp_path, "command", {"shell": "cat; sleep 20 &", "stdin": "fed", "always": True})
    assert (result["status"], result["output"]) == ("changed", "fed")
    assert time.monotonic() - began < 5


def test_a_missing_program_and_an_own_timeout_are_named(tmp_path: Path) -> None:
    assert (
        "no-such-program cannot be run"
        in do(tmp_path, "command", {"argv": ["no-such-program"], "always": True})["message"]
    )
    result = do(tmp_path, "command", {"shell": "echo so far; sleep 30", "always": True, "timeout_s": 0.3})
    assert result["message"] == "/bin/sh took longer than 0.3 s"
    assert result["output"].splitlines()[1:] == ["so far"]


def test_a_step_that_hangs_is_killed_with_all_that_it_started_and_named(tmp_path: Path) -> None:
    hangs = (
        f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/child; echo waiting for nobody; while :; do sleep 300; done"
    )
    began = time.monotonic()
    result = do(tmp_path, "command", {"shell": hangs, "always": True, "timeout_s": 1})
    assert time.monotonic() - began < 60
    assert result["message"] == "/bin/sh took longer than 1 s"
    assert "waiting for nobody" in result["output"]
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/cmdline")
    until = time.monotonic() + 30
    while child.exists() and b"sleep" in child.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_output_may_be_huge_and_of_any_bytes(tmp_path: Path) -> None:
    prints = "head -c 30000000 /dev/urandom; printf '\\377\\000the end\\n'; exit 3"
    result = do(tmp_path, "command", {"shell": prints, "always": True})
    assert result["message"] == "the command ended with exit code 3"
    assert result["output"].endswith("the end")
    assert len(json.dumps(result)) < 200_000


def test_an_unknown_type_or_parameter_asks_for_a_newer_agent(tmp_path: Path) -> None:
    assert "no step type dance" in do(tmp_path, "dance", {})["message"]
    assert "no parameter colour of command" in do(tmp_path, "command", {"colour": 1})["message"]


def test_wait_sees_a_port_open_and_fails_at_its_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = {"host": "127.0.0.1", "port": listener.getsockname()[1]}
        assert do(tmp_path, "wait", {"tcp": target})["status"] == "ok"
    result = do(tmp_path, "wait", {"tcp": target, "deadline_s": 0.3, "interval_s": 0.1})
    assert (result["status"], "does not answer" in result["message"]) == ("failed", True)
    assert do(tmp_path, "wait", {"tcp": target}, check_only=True)["status"] == "waiting"


def test_a_probe_compares_the_answer_and_tries_until_its_deadline(tmp_path: Path) -> None:
    counter = f"echo x >> {tmp_path}/n; wc -l < {tmp_path}/n"
    probe = {"shell": counter, "expect": "3", "deadline_s": 5, "interval_s": 0.05}
    assert do(tmp_path, "probe", probe)["status"] == "ok"
    assert do(tmp_path, "probe", {"shell": "echo @@nonce@@", "expect": "@@nonce@@"})["status"] == "ok"
    wrong = do(tmp_path, "probe", {"shell": "echo it is bad", "expect_match": "good"})
    assert wrong["status"] == "failed"
    assert wrong["output"].splitlines()[1:] == ["it is bad"]
    assert do(tmp_path, "probe", {"shell": "exit 1", "expect": ""}, check_only=True)["status"] == "waiting"


DPKG_QUERY = r"""
for name in "$@"; do case $name in -*) continue;; esac
  grep -q "^$name$" installed && printf 'ii \t%s\t%s\t1.0\n' $name $name
done
"""
APT = r"""
echo "$DEBIAN_FRONTEND $*" >> apt.log
case "$*" in
*" update"*) test -e network || { echo "E: Failed to fetch" >&2; exit 100; }; touch fresh;;
*" install"*) test -e fresh || { echo "E: Unable to locate package" >&2; exit 100; }
  for name in "$@"; do case $name in -*|install) ;; *) echo $name >> installed;; esac; done;;
esac
"""


def packages_host(folder: Path) -> None:
    program(folder, "dpkg-query", DPKG_QUERY)
    program(folder, "apt-get", APT)
    program(folder, "dpkg", "case $1 in --audit) cat broken 2>/dev/null;; *) echo $* >> dpkg.log; rm -f broken;; esac")
    (folder / "installed").touch()
    (folder / "network").touch()


def test_packages_are_installed_once_with_old_configuration_kept(tmp_path: Path) -> None:
    packages_host(tmp_path)
    params = {"names": ["a-a", "b-b"]}
    assert [do(tmp_path, "packages", params)["status"] for _ in range(2)] == ["changed", "ok"]
    log = (tmp_path / "apt.log").read_text().splitlines()
    assert [line.split(" ")[-1] for line in log] == ["update", "b-b"]
    assert "noninteractive" in log[1]
    for option in ("--force-confold", "DPkg::Lock::Timeout=", "--no-install-recommends"):
        assert option in log[1]


def test_a_long_list_of_packages_is_read_to_its_end(tmp_path: Path) -> None:
    packages_host(tmp_path)
    names = [f"package-with-a-long-name-{number}" for number in range(400)]
    (tmp_path / "installed").write_text("".join(f"{name}\n" for name in names))
    assert do(tmp_path, "packages", {"names": names})["status"] == "ok"


def test_a_mirror_that_is_away_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_steps, "_MIRROR_PAUSES_S", (0.01, 0.01, 0.01))
    packages_host(tmp_path)
    away = "case $* in *' install '*) echo x >> tries; if [ $(wc -l < tries) -le {times} ]; then\n"
    away += "echo 'E: Failed to fetch http://m/x.deb  Unable to connect to m:80:' >&2; exit 100; fi;; esac\n"
    program(tmp_path, "apt-get", away.replace("{times}", "3") + APT)
    assert do(tmp_path, "packages", {"names": ["a-a"]})["status"] == "changed"
    assert (tmp_path / "tries").read_text().count("x") == 4
    program(tmp_path, "apt-get", away.replace("{times}", "99") + APT)
    result = do(tmp_path, "packages", {"names": ["b-b"]})
    assert (result["status"], "Failed to fetch" in result["message"]) == ("failed", True)


def test_a_package_that_does_not_exist_is_not_waited_for(tmp_path: Path) -> None:
    packages_host(tmp_path)
    program(tmp_path, "apt-get", "echo x >> tries; case $* in *' install '*) "
            "echo 'E: Unable to locate package nope' >&2; exit 100;; esac\n")  # fmt: skip
    assert do(tmp_path, "packages", {"names": ["nope"]})["status"] == "failed"
    assert (tmp_path / "tries").read_text().count("x") <= 3


def test_stale_package_lists_are_refreshed_when_a_package_is_not_found(tmp_path: Path) -> None:
    packages_host(tmp_path)
    (tmp_path / "package-lists-refreshed").touch()  # looks fresh, but the package is newer
    result = do(tmp_path, "packages", {"names": ["a-a"]})
    assert result["status"] == "changed", result


def test_a_dpkg_that_was_interrupted_is_finished_first(tmp_path: Path) -> None:
    packages_host(tmp_path)
    (tmp_path / "broken").write_text("half installed")
    assert do(tmp_path, "packages", {"names": ["a-a"]})["status"] == "changed"
    assert (tmp_path / "dpkg.log").read_text() == "--force-confdef --force-confold --configure -a\n"
    assert "--fix-broken" in (tmp_path / "apt.log").read_text()


SYSTEMCTL = r"""
echo "$*" >> systemctl.log
case $1 in
show) printf 'LoadState=loaded\nActiveState=%s\nSubState=x\nUnitFileState=%s\nNRestarts=0\nInvocationID=%s\n' \
  $(cat active) $(cat enabled) $(cat start);;
enable) echo enabled > enabled;;
start|restart) echo $(($(cat start) + 1)) > start; cat after-start > active;;
disable) echo disabled > enabled;;
stop) echo failed > active;;
reset-failed) grep -qx failed active && echo inactive > active;;
status) echo "why it died";;
esac
"""


def unit_host(folder: Path, *, active: str = "inactive", after_start: str = "active") -> None:
    program(folder, "systemctl", SYSTEMCTL)
    for name, text in (("active", active), ("enabled", "disabled"), ("start", "0"), ("after-start", after_start)):
        (folder / name).write_text(text + "\n")


UNIT = {"name": "db.service", "running": True, "enabled": True, "settle_s": 0.3, "restart_on": ["r.t.config"]}


def test_a_unit_is_enabled_and_started_once(tmp_path: Path) -> None:
    unit_host(tmp_path)
    assert [do(tmp_path, "unit", UNIT)["status"] for _ in range(2)] == ["changed", "ok"]
    verbs = [line.split()[0] for line in (tmp_path / "systemctl.log").read_text().splitlines()]
    assert [verb for verb in verbs if verb != "show"] == ["enable", "reset-failed", "start"]


def test_a_unit_that_does_not_stay_active_fails_with_its_status(tmp_path: Path) -> None:
    unit_host(tmp_path, after_start="failed")
    result = do(tmp_path, "unit", UNIT)
    assert (result["status"], result["message"]) == ("failed", "db.service did not become active: it is failed")
    assert "why it died" in result["output"]


def test_a_unit_that_ends_badly_when_it_is_stopped_is_not_left_as_failed(tmp_path: Path) -> None:
    for before in ("active", "failed"):
        unit_host(tmp_path, active=before)
        stopped = {"name": "db.service", "running": False, "enabled": False}
        assert [do(tmp_path, "unit", stopped)["status"] for _ in range(2)] == ["changed", "ok"]
        assert (tmp_path / "active").read_text() == "inactive\n"


def test_a_unit_is_restarted_once_for_a_change_also_one_of_an_earlier_task_or_life(tmp_path: Path) -> None:
    unit_host(tmp_path, active="active")
    (tmp_path / "enabled").write_text("enabled\n")
    assert do(tmp_path, "unit", UNIT)["status"] == "ok"
    Changes(tmp_path / "changes.json").mark("r.t.config")
    assert [do(tmp_path, "unit", UNIT)["status"] for _ in range(2)] == ["changed", "ok"]
    verbs = [line.split()[0] for line in (tmp_path / "systemctl.log").read_text().splitlines()]
    assert verbs.count("restart") == 1


@pytest.mark.parametrize(("dropped", "status"), [(2, "ok"), (3, "failed")])
def test_a_systemd_that_drops_who_asks_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropped: int, status: str
) -> None:
    monkeypatch.setattr(unit_step, "_ASKED_AGAIN_S", (0.0, 0.0))
    unit_host(tmp_path, active="active")
    (tmp_path / "enabled").write_text("enabled\n")
    (tmp_path / "left").write_text("x\n" * dropped)
    deaf = '[ -s left ] && { sed -i 1d left; echo "Transport endpoint is not connected" >&2; exit 1; }\n'
    program(tmp_path, "systemctl", deaf + SYSTEMCTL)
    result = do(tmp_path, "unit", {**UNIT, "settle_s": 0.0})
    assert result["status"] == status, result
    if status == "failed":
        assert result["message"] == "systemctl cannot tell the state of db.service"
        assert "not connected" in result["output"]


def test_a_password_is_never_on_a_command_line(tmp_path: Path) -> None:
    program(
        tmp_path, "mariadb", 'tr "\\0" " " < /proc/$$/cmdline >> argv; echo "$MYSQL_PWD" >> env; cat >> sql; echo 1'
    )
    params = {"user": "app", "password": "pa'ss\\word", "database": "app_db"}
    result = do(tmp_path, "sql", params, secrets=("pa'ss\\word",))
    assert "PASSWORD('pa''ss\\\\word')" in (tmp_path / "sql").read_text()
    assert result["message"].startswith("after the change it is still not right")  # the stand-in never changes
    probe = {"sql": ["SELECT 1"], "host": "127.0.0.1", "user": "app", "password": "pa'ss\\word", "expect": "1"}
    assert do(tmp_path, "probe", probe)["status"] == "ok"
    assert "pa'ss" in (tmp_path / "env").read_text()
    assert "pa'ss" not in (tmp_path / "argv").read_text()
    assert "pa'ss" not in json.dumps(result)


def test_a_database_is_made_from_another_host_by_whom_may(tmp_path: Path) -> None:
    program(
        tmp_path,
        "mariadb",
        'tr "\\0" " " < /proc/$$/cmdline >> argv; echo "$MYSQL_PWD" >> env; cat >> sql; echo utf8mb4',
    )
    login = {"host": "10.0.0.5", "port": 3307, "user": "maker", "password": "who-may-make"}
    assert do(tmp_path, "sql", {"database": "app", "login": login}, secrets=("who-may-make",))["status"] == "ok"
    words = (tmp_path / "argv").read_text()
    assert all(word in words for word in ("--protocol=tcp", "--host=10.0.0.5", "--port=3307", "--user=maker"))
    assert "who-may-make" not in words
    assert (tmp_path / "env").read_text().strip() == "who-may-make"

from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.agent.execution import Execution
from pxeforge.agent.start_guard import nothing_starts

from .fake_host import do, program

DPKG_QUERY = r"""
for name in "$@"; do case $name in -*) continue;; esac
  grep -q "^$name$" installed 2>/dev/null && printf 'ii \t%s\t%s\t1.0\n' $name $name
done
exit 0
"""
# What invoke-rc.d does before it starts a service.
APT = r"""
if [ -x usr/sbin/policy-rc.d ]; then usr/sbin/policy-rc.d; echo "policy $?" >> asked; else echo "no policy" >> asked; fi
test -e fails && exit 100
for name in "$@"; do case $name in -*|install|update) ;; *) echo $name >> installed;; esac; done
"""
OTHERS = "#!/bin/sh\nexit 104\n"
QUIET = {"names": ["db"], "start": False}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    program(tmp_path, "dpkg-query", DPKG_QUERY)
    program(tmp_path, "apt-get", APT)
    program(tmp_path, "dpkg", "")
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "var/lib/apt/lists").mkdir(parents=True)
    (tmp_path / "var/lib/apt/lists/m_Packages").touch()
    (tmp_path / "package-lists-refreshed").touch()
    return tmp_path


def policy(host: Path) -> Path:
    return host / "usr/sbin/policy-rc.d"


def asked(host: Path) -> list[str]:
    return (host / "asked").read_text().splitlines()


def test_nothing_is_started_while_packages_are_installed_and_only_then(host: Path) -> None:
    assert do(host, "packages", QUIET, root=host)["status"] == "changed"
    assert asked(host) == ["policy 101"]
    assert list((host / "usr/sbin").iterdir()) == []
    assert do(host, "packages", {"names": ["web"]}, root=host)["status"] == "changed"
    assert asked(host) == ["policy 101", "no policy"]


def test_the_policy_goes_when_the_installation_fails(host: Path) -> None:
    (host / "fails").touch()
    assert do(host, "packages", QUIET, root=host)["status"] == "failed"
    assert asked(host) == ["policy 101"]
    assert list((host / "usr/sbin").iterdir()) == []


def test_somebody_elses_policy_is_back_afterwards(host: Path) -> None:
    policy(host).write_text(OTHERS)
    policy(host).chmod(0o755)
    assert do(host, "packages", QUIET, root=host)["status"] == "changed"
    assert asked(host) == ["policy 101"]
    assert (policy(host).read_text(), policy(host).stat().st_mode & 0o777) == (OTHERS, 0o755)


@pytest.mark.parametrize("others", [None, OTHERS], ids=["none", "another"])
def test_what_a_killed_agent_left_is_removed_by_the_next_run(host: Path, others: str | None) -> None:
    if others is not None:
        policy(host).write_text(others)
    guard = nothing_starts(Execution(root=host))
    guard.__enter__()  # and then the agent is killed
    left = policy(host).read_text()
    guard.__exit__(None, None, None)
    if others is not None:
        policy(host).replace(host / "usr/sbin/policy-rc.d.pxeforge-kept")
    policy(host).write_text(left)
    (host / "installed").write_text("db\n")
    result = do(host, "packages", {"names": ["db"]}, root=host)
    assert (result["status"], "cut short" in result["message"]) == ("changed", True)
    assert (policy(host).read_text() if policy(host).exists() else None) == others
    assert do(host, "packages", QUIET, root=host)["status"] == "ok"

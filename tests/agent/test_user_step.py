from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .fake_host import do, program

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE me@desk"
HASH = "$y$j9T$abcdefghijklmnop$0123456789"
# What the programs of passwd(1) do to the files, as far as the step asks for it.
USERADD = r"""
uid=2000 home= shell=/bin/sh comment= gid=2000 make=
for word in "$@"; do case $word in
--uid=*) uid=${word#*=};; --home-dir=*) home=${word#*=};;
--shell=*) shell=${word#*=};; --comment=*) comment=${word#*=};;
--gid=*) gid=$(grep "^${word#*=}:" etc/group | cut -d: -f3);; --create-home) make=1;; -*) ;; *) name=$word;; esac; done
home=${home:-/home/$name}
echo "$name:x:$uid:$gid:$comment:$home:$shell" >> etc/passwd; echo "$name:!:::::::" >> etc/shadow
test -z "$make" || mkdir -p .$home
echo "useradd $*" >> log
"""
USERMOD = r"""
for word in "$@"; do name=$word; done
for word in "$@"; do case $word in
--groups=*) for group in $(echo ${word#*=} | tr , ' '); do
  sed -i "s/^\($group:.*:\)\(.*\)/\1\2,$name/; s/:,/:/" etc/group; done;;
--shell=*) sed -i "s#^\($name:.*:\)[^:]*\$#\1${word#*=}#" etc/passwd;;
esac; done
echo "usermod $*" >> log
"""
CHPASSWD = r"""
echo "chpasswd $*" >> log; IFS=: read -r name hash
grep -v "^$name:" etc/shadow > new; echo "$name:$hash:::::::" >> new; mv new etc/shadow
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "etc/sudoers.d").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nadm:x:4:\nusers:x:100:\n")
    (tmp_path / "etc/shadow").write_text("root:*:::::::\n")
    program(tmp_path, "useradd", USERADD)
    program(tmp_path, "usermod", USERMOD)
    program(tmp_path, "userdel", 'sed -i "/^$1:/d" etc/passwd etc/shadow; echo "userdel $*" >> log')
    program(tmp_path, "chpasswd", CHPASSWD)
    return tmp_path


def user(host: Path, **account: Any) -> dict[str, Any]:
    return do(host, "user", {"accounts": [{"name": "ann", **account}]}, root=host)


def log(host: Path) -> str:
    return (host / "log").read_text() if (host / "log").exists() else ""


@pytest.mark.skipif(os.getuid() != 0, reason="keys are given to their user, which needs root")
def test_an_account_is_made_once_with_all_that_belongs_to_it(host: Path) -> None:
    wanted = {
        "groups": ["adm", "users"], "shell": "/bin/bash", "sudo": True,
        "password_hash": HASH, "authorized_keys": [KEY],
    }  # fmt: skip
    assert [user(host, **wanted)["status"] for _ in range(2)] == ["changed", "ok"]
    assert "ann:x:2000:2000::/home/ann:/bin/bash" in (host / "etc/passwd").read_text()
    assert (host / "etc/group").read_text() == "root:x:0:\nadm:x:4:ann\nusers:x:100:ann\n"
    keys = host / "home/ann/.ssh/authorized_keys"
    assert (keys.read_text(), keys.stat().st_uid, keys.stat().st_mode & 0o777) == (f"{KEY}\n", 2000, 0o600)
    sudo = host / "etc/sudoers.d/pxeforge-ann"
    assert (sudo.read_text(), sudo.stat().st_mode & 0o777) == ("ann ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    assert f"ann:{HASH}:" in (host / "etc/shadow").read_text()
    assert HASH not in log(host)
    assert user(host, sudo=False)["status"] == "changed"
    assert not sudo.exists()


def test_only_what_differs_is_changed(host: Path) -> None:
    user(host)
    (host / "log").unlink()
    assert user(host, shell="/bin/false")["status"] == "changed"
    assert log(host) == "usermod --shell=/bin/false ann\n"


def test_an_account_that_is_to_be_absent_goes(host: Path) -> None:
    assert user(host, state="absent")["status"] == "ok"
    user(host, sudo=True)
    assert [user(host, state="absent")["status"] for _ in range(2)] == ["changed", "ok"]
    assert "ann" not in (host / "etc/passwd").read_text()
    assert list((host / "etc/sudoers.d").iterdir()) == []


def test_a_group_that_is_not_there_is_named(host: Path) -> None:
    result = user(host, groups=["kvm"])
    assert (result["status"], "no group kvm" in result["message"]) == ("failed", True)


def test_a_link_of_the_user_leads_nowhere(host: Path) -> None:
    user(host)
    (host / "secret").mkdir()
    (host / "home/ann/.ssh").symlink_to(host / "secret")
    result = user(host, authorized_keys=[KEY])
    assert (result["status"], "is a link" in result["message"]) == ("failed", True)
    assert list((host / "secret").iterdir()) == []

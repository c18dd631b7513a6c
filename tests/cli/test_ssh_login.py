"""A command over SSH: a real sshd on the loopback, the recorded host key and none other."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pxeforge.cli.ssh_login import Login, keys_for, run_as_root
from pxeforge.cli.transport import Refusal

ADDRESS = "127.0.0.1"
_SSHD = os.environ.get("PXEFORGE_SSHD") or shutil.which(
    "sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
)


def _is_there() -> bool:
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        return False
    return bool(_SSHD and shutil.which("ssh") and shutil.which("ssh-keygen") and os.geteuid() == 0)


def made_key(path: Path) -> str:
    """The public part."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    kind, key, *_ = path.with_suffix(".pub").read_text().split()
    return f"{kind} {key}"


@dataclass
class Server:
    login: Login
    folder: Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if not _is_there():
        pytest.skip("needs root, ssh and sshd with its user")
    host_key, mine = made_key(tmp_path / "host"), made_key(tmp_path / "mine")
    (tmp_path / "authorized").write_text(mine + "\n")
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress {ADDRESS}\nHostKey {tmp_path / 'host'}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path / 'authorized'}\nStrictModes no\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
    with subprocess.Popen(
        [str(_SSHD), "-D", "-e", "-f", str(tmp_path / "config")], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            _wait(port, process)
            known = f"n1,{ADDRESS} {host_key}\n"
            yield Server(
                Login(
                    address=ADDRESS, user="root", known_hosts=keys_for(known, ADDRESS), port=port, key=tmp_path / "mine"
                ),
                tmp_path,
            )
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "sshd ended at its start"
        try:
            socket.create_connection((ADDRESS, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("sshd does not listen")


def test_a_command_runs_as_root_and_is_in_nobodys_list_of_processes(server: Server) -> None:
    said = run_as_root(server.login, "id -u; tr '\\0' ' ' </proc/$$/cmdline; echo; echo 'token-4711' >/dev/null")
    lines = said.splitlines()
    assert lines[0] == "0"
    assert "token-4711" not in lines[1]


def test_another_host_key_gets_nothing(server: Server) -> None:
    wrong = made_key(server.folder / "other")
    mark = server.folder / "mark"
    with pytest.raises(Refusal, match="another SSH host key than the one it registered with"):
        run_as_root(replace(server.login, known_hosts=f"{ADDRESS} {wrong}\n"), f"touch {mark}")
    assert not mark.exists()


def test_an_unknown_host_gets_nothing(server: Server) -> None:
    with pytest.raises(Refusal, match="another SSH host key"):
        run_as_root(replace(server.login, known_hosts=""), "true")


def test_who_is_not_let_in_is_told_so(server: Server) -> None:
    made_key(server.folder / "stranger")
    with pytest.raises(Refusal, match="does not let you in"):
        run_as_root(replace(server.login, key=server.folder / "stranger"), "true")


def test_a_command_that_fails_is_told_with_its_last_words(server: Server) -> None:
    with pytest.raises(Refusal, match=r"ended with 3 on 127\.0\.0\.1: the agent has a wrong digest"):
        run_as_root(server.login, "echo 'the agent has a wrong digest' >&2; exit 3")


def test_a_host_that_is_away_is_told_so(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("needs ssh")
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        login = Login(address=ADDRESS, user="root", known_hosts="", port=free.getsockname()[1], key=tmp_path / "none")
        with pytest.raises(Refusal, match="cannot be reached by SSH"):
            run_as_root(login, "true")


def test_only_the_keys_of_the_address_count() -> None:
    text = "n1,192.0.2.1 ssh-ed25519 AAAA\nn1,192.0.2.1 ssh-rsa BBBB\nn2,192.0.2.11 ssh-ed25519 CCCC\n"
    assert keys_for(text, "192.0.2.1") == "192.0.2.1 ssh-ed25519 AAAA\n192.0.2.1 ssh-rsa BBBB\n"
    assert keys_for(text, "192.0.2.2") == ""

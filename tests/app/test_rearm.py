"""`pxeforge host rearm` as a whole: a server, a host whose agent died, and its SSH server with the recorded key.

In a network namespace; the host is a folder in which what runs by SSH has its own /etc and /usr/local.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_serve import Served
from tests.app.test_serve import namespace as namespace

ADDRESS, PORT = "10.99.0.1", 2222
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _can() -> bool:
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        return False
    return os.geteuid() == 0 and bool(SSHD and shutil.which("ssh") and shutil.which("ssh-keygen"))


pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(not _can(), reason="needs root, ssh and sshd with its user"),
    pytest.mark.timeout(900),
]
# All that a login runs sees these files in the place of the computer's own.
ENTER = """\
#!/bin/sh
set -e
cd {root}
mount --rbind /usr usr
mount --bind {root}/local usr/local
mount --rbind /proc proc
mount --rbind /sys sys
mount --rbind /dev dev
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH
exec chroot {root} /bin/sh -c "${{SSH_ORIGINAL_COMMAND:-sh}}"
"""
# Of systemd what an enrolment needs: the unit's program is started anew.
SYSTEMCTL = """\
#!/bin/sh
case "$1" in
daemon-reload) ;;
restart)
    test "$2" = pxeforge-agent.service || exit 5
    program=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/$2)
    setsid $program >/agent.log 2>&1 </dev/null &
    echo $! >>/agents;;
*) exit 4;;
esac
"""


class OwnHost:
    """A host with a system of its own."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder, self.namespace, self.root = folder, namespace, folder / "root"
        for name in (
            "usr",
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "var/lib",
            "etc/ssh",
            "etc/systemd/system",
            "local/bin",
        ):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        for path, text in ((self.root / "local/bin/systemctl", SYSTEMCTL), (folder / "enter", ENTER)):
            path.write_text(text.format(root=self.root) if path.name == "enter" else text)
            path.chmod(0o755)
        self.key_of(self.root / "etc/ssh/ssh_host_ed25519_key")
        mine = self.key_of(folder / "mine")
        (folder / "authorized").write_text(mine)

    @staticmethod
    def key_of(path: Path) -> str:
        """A new key; its public part."""
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        return path.with_name(f"{path.name}.pub").read_text()

    def console(self, command: str) -> str:
        """As root there, without SSH."""
        words = ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--propagation", "private"]
        words.append(str(self.folder / "enter"))
        done = subprocess.run(words, input=command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def sshd(self, host_key: Path) -> Iterator[None]:
        (self.folder / "config").write_text(
            f"Port {PORT}\nListenAddress {ADDRESS}\nHostKey {host_key}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"ForceCommand exec unshare --mount --propagation private {self.folder / 'enter'}\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
        words = ["ip", "netns", "exec", self.namespace, str(SSHD), "-D", "-e", "-f", str(self.folder / "config")]
        log = (self.folder / "sshd.log").open("ab")
        with log, subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log) as process:
            try:
                _until(lambda: b"Server listening" in (self.folder / "sshd.log").read_bytes(), "sshd listens")
                yield
            finally:
                process.terminate()
                process.wait(timeout=10)
                (self.folder / "sshd.log").write_bytes(b"")

    def agents(self) -> list[int]:
        """The process ids of all agents that were ever started there."""
        file = self.root / "agents"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def kill_agents(self) -> None:
        for pid in self.agents():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        (self.root / "agents").unlink(missing_ok=True)


def _until(condition: Callable[[], Any], what: str, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def own_host(namespace: str, tmp_path: Path) -> Iterator[OwnHost]:
    made = OwnHost(tmp_path / "host", namespace)
    yield made
    made.kill_agents()


@pytest.fixture
def site(namespace: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`pxeforge` beside a server that runs."""
    served = Served(namespace, tmp_path / "data", "--interface", "br0", "--dhcp", "off")

    def cli(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pxeforge", "--data-dir", str(tmp_path / "data"), *words]
        return subprocess.run(
            ["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, timeout=120, check=False
        )

    try:
        served.wait_ready(300)
        yield cli
    finally:
        assert served.stop() == 0


def test_a_dead_agent_is_replaced_over_ssh_and_only_where_the_recorded_key_is_shown(
    own_host: OwnHost, site: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def shown() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(site("host", "show", "n1", "--json").stdout)
        return found

    assert site("host", "add", "--mac", "52:54:00:12:34:56", "--name", "n1").returncode == 0
    own_host.console(json.loads(site("host", "enrol", "n1", "--json").stdout)["command"])
    _until(lambda: shown()["agent_seen_at"], "the first agent connects")
    before = shown()
    assert (before["state"], before["address"]) == ("registered", ADDRESS)
    own_host.kill_agents()
    config = own_host.root / "etc/pxeforge/agent.json"
    credential = config.read_bytes()
    words = ("host", "rearm", "n1", "--key", str(own_host.folder / "mine"), "--port", str(PORT))

    own_host.key_of(own_host.folder / "another")
    with own_host.sshd(own_host.folder / "another"):
        refused = site(*words)
    assert refused.returncode == 1
    assert f"{ADDRESS} shows another SSH host key than the one it registered with" in refused.stderr
    assert (config.read_bytes(), own_host.agents()) == (credential, [])

    with own_host.sshd(own_host.root / "etc/ssh/ssh_host_ed25519_key"):
        done = site(*words)
    assert done.returncode == 0, done.stderr
    assert "n1 has a new agent" in done.stdout
    assert config.read_bytes() != credential
    [pid] = own_host.agents()
    _until(lambda: (shown()["agent_seen_at"] or 0) > before["agent_seen_at"], "the new agent connects")
    os.kill(pid, 0)  # it is this one, and it goes on

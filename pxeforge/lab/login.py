"""Logs in to an installed machine of the lab by SSH, as an operator would: with a key, then sudo with a password."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from pxeforge.lab.session import Lab, LabProblem

PASSWORD: Final = "lab-password"
PASSWORD_HASH: Final = (
    "$6$pxeforgelab$FvaSsTvjPztqWwb99YckIM.oTEm2SgsYb7eJYTu5CEi1dZLY0HvCu5HAmP9wSlKD9SOs7KTXChUH2xoKAu4VS0"
)


class LoginFailed(LabProblem):
    """The machine did not let us in, or the command failed; the message shows what was said."""


class Login:
    """A key of its own for each lab; the machine must have the SSH host keys that it registered with."""

    def __init__(self, lab: Lab, user: str) -> None:
        self._lab, self._user = lab, user
        self._key = lab.folder / "login-key"
        if shutil.which("ssh-keygen") is None:
            raise LoginFailed("there is no ssh-keygen: install the package openssh-client")
        if not self._key.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self._key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    @property
    def public_key(self) -> str:
        return Path(f"{self._key}.pub").read_text().strip()

    def run(self, host: str, address: str, command: str) -> str:
        """What a shell command, run as root, says; raises LoginFailed."""
        keys = self._lab.json("host", "show", host)["facts"]["ssh_host_keys"]
        known = self._lab.folder / "login-known-hosts"
        known.write_text("".join(f"{address} {key['public_key']}\n" for key in keys))
        ssh = [
            "ssh", "-i", str(self._key), "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes",
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=60", f"{self._user}@{address}",
            "sudo", "-S", "-p", "''", "sh", "-c", f"'{command}'",
        ]  # fmt: skip
        assert "'" not in command
        done = subprocess.run(
            self._lab.rack().inside(ssh),
            input=f"{PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode != 0:
            raise LoginFailed(f"{command!r} ended with {done.returncode}: {(done.stdout + done.stderr).strip()}")
        return done.stdout

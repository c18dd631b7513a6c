"""The user step: accounts with their groups, SSH keys and sudo rights; what is not asked for stays as it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import StepFailed
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.whole_file import write_whole

_BY_OPTION = {"uid": "--uid", "group": "--gid", "home": "--home-dir", "shell": "--shell", "comment": "--comment"}
_ALL_RIGHTS = "{name} ALL=(ALL:ALL) NOPASSWD: ALL\n"


class UserStep(Step):
    """Reads the files of passwd(5) themselves: they are what has to be right, not a directory service."""

    type = "user"
    parameters = frozenset({"accounts"})

    def check(self) -> Finding:
        todo = [(account, self._differing(account)) for account in self.params["accounts"]]
        reasons = [f"{account['name']}: {', '.join(what)}" for account, what in todo if what]
        return Finding(bool(reasons), reasons, "; ".join(reasons))

    def change(self, found: Finding) -> str:  # noqa: ARG002
        printed = []
        for account in self.params["accounts"]:
            what = self._differing(account)
            if account.get("state") == "absent":
                if what:
                    printed.append(self._must("userdel", [account["name"]]))
                    self._sudoers(account).unlink(missing_ok=True)
                continue
            printed.append(self._make(account, what))
            if "SSH keys" in what:
                self._write_keys(account)
            if "sudo" in what:
                self._write_sudo(account)
        return "\n".join(text for text in printed if text)

    def _differing(self, account: Mapping[str, Any]) -> list[str]:
        """What of the account is not as it should be, in words."""
        name, now = account["name"], self._passwd().get(account["name"])
        if account.get("state") == "absent":
            return ["is there"] if now is not None else []
        if now is None:
            given = ["SSH keys"] if account.get("authorized_keys") is not None else []
            return ["is missing", *given, *(["sudo"] if account.get("sudo") is not None else [])]
        what = [key for key, value in self._wanted(account).items() if now[key] != value]
        groups = self._groups()
        lacking = [
            group for group in account.get("groups") or [] if name not in groups.get(group, {"members": []})["members"]
        ]
        what += [f"not in group {group}" for group in lacking]
        wanted_hash = account.get("password_hash")
        if wanted_hash is not None and self._password_hash(name) != wanted_hash:
            what.append("password")
        keys = account.get("authorized_keys")
        if keys is not None and self._keys(account) != [_joined(keys), 0o600, int(now["uid"])]:
            what.append("SSH keys")
        if account.get("sudo") is not None and self._sudo_text(account) != self._wanted_sudo(account):
            what.append("sudo")
        return what

    def _wanted(self, account: Mapping[str, Any]) -> dict[str, str]:
        wanted = {key: str(account[key]) for key in _BY_OPTION if account.get(key) is not None and key != "group"}
        if account.get("group") is not None:
            group = self._groups().get(account["group"])
            wanted["gid"] = group["gid"] if group else ""
        return wanted

    def _make(self, account: Mapping[str, Any], what: list[str]) -> str:
        name, printed = account["name"], ""
        if "is missing" in what:
            options = [f"{_BY_OPTION[key]}={account[key]}" for key in _BY_OPTION if account.get(key) is not None]
            options += ["--system"] if account.get("system") else []
            options.append("--no-create-home" if account.get("system") else "--create-home")
            if account.get("group") is None and name in self._groups():
                options.append(f"--gid={name}")
            printed = self._must("useradd", [*options, name])
        else:
            changed = {"group" if key == "gid" else key for key in what}
            options = [f"{_BY_OPTION[key]}={account[key]}" for key in _BY_OPTION if key in changed]
            if options:
                options = [option.replace("--home-dir=", "--home=") for option in options]
                printed = self._must("usermod", [*options, name])
        lacking = [group for group in account.get("groups") or [] if name not in self._members(group)]
        if lacking:
            printed += self._must("usermod", ["--append", f"--groups={','.join(lacking)}", name])
        if account.get("password_hash") is not None and self._password_hash(name) != account["password_hash"]:
            # By standard input: command lines are public, and a hash can be worked on.
            printed += self._must("chpasswd", ["--encrypted"], f"{name}:{account['password_hash']}\n")
        return printed

    def _must(self, program: str, arguments: list[str], stdin: str | None = None) -> str:
        ran = self.execution.run([program, *arguments], stdin=stdin, timeout_s=60)
        if ran.code != 0:
            said = (ran.stderr or ran.stdout).strip().splitlines()
            raise StepFailed(f"{program} did not succeed: {said[-1] if said else f'exit code {ran.code}'}", ran.output)
        return ran.output

    def _passwd(self) -> dict[str, dict[str, str]]:
        keys = ("name", "password", "uid", "gid", "comment", "home", "shell")
        lines = [line for line in self._lines("/etc/passwd") if len(line) == len(keys)]
        return {line[0]: {key: line[at] for at, key in enumerate(keys)} for line in lines}

    def _groups(self) -> dict[str, dict[str, Any]]:
        lines = [line for line in self._lines("/etc/group") if len(line) == 4]
        return {line[0]: {"gid": line[2], "members": line[3].split(",")} for line in lines}

    def _members(self, group: str) -> list[str]:
        found = self._groups().get(group)
        if found is None:
            raise StepFailed(f"there is no group {group} on this host: install what brings it in an earlier step")
        members: list[str] = found["members"]
        return members

    def _password_hash(self, name: str) -> str:
        return next((line[1] for line in self._lines("/etc/shadow") if len(line) > 1 and line[0] == name), "")

    def _lines(self, path: str) -> list[list[str]]:
        try:
            text = self.execution.path(path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise StepFailed(f"{path} cannot be read: {error.strerror}") from None
        return [line.split(":") for line in text.splitlines()]

    def _keys_file(self, account: Mapping[str, Any]) -> Path:
        return self.execution.path(self._passwd()[account["name"]]["home"]) / ".ssh/authorized_keys"

    def _keys(self, account: Mapping[str, Any]) -> list[Any]:
        file = self._keys_file(account)
        try:
            info = file.lstat()
            text = file.read_text(errors="replace") if stat.S_ISREG(info.st_mode) else ""
        except OSError:
            return ["", None, None] if account["authorized_keys"] else ["", 0o600, self._uid(account)]
        return [text, stat.S_IMODE(info.st_mode), info.st_uid]

    def _uid(self, account: Mapping[str, Any]) -> int:
        return int(self._passwd()[account["name"]]["uid"])

    def _write_keys(self, account: Mapping[str, Any]) -> None:
        """The folder may belong to the user: nothing in it is followed, so that no link of theirs leads us astray."""
        entry, file = self._passwd()[account["name"]], self._keys_file(account)
        uid, gid = int(entry["uid"]), int(entry["gid"])
        try:
            if not file.parent.parent.is_dir():
                raise StepFailed(f"{entry['home']}, the home of {account['name']}, is not there: make it first")
            if file.parent.is_symlink():
                raise StepFailed(f"{entry['home']}/.ssh is a link: remove it")
            if not file.parent.exists():
                file.parent.mkdir(mode=0o700)
                os.chown(file.parent, uid, gid)
            write_whole(file, _joined(account["authorized_keys"]).encode(), 0o600, uid, gid)
        except OSError as error:
            raise StepFailed(f"{file} cannot be written: {error.strerror}") from None

    def _sudoers(self, account: Mapping[str, Any]) -> Path:
        # sudo(8) skips files whose name has a dot.
        return self.execution.path(f"/etc/sudoers.d/pxeforge-{account['name'].replace('.', '_')}")

    def _wanted_sudo(self, account: Mapping[str, Any]) -> str:
        return _ALL_RIGHTS.format(name=account["name"]) if account["sudo"] else ""

    def _sudo_text(self, account: Mapping[str, Any]) -> str:
        try:
            return self._sudoers(account).read_text()
        except OSError:
            return ""

    def _write_sudo(self, account: Mapping[str, Any]) -> None:
        file = self._sudoers(account)
        if not account["sudo"]:
            file.unlink(missing_ok=True)
            return
        if not file.parent.is_dir():
            raise StepFailed(f"{file.parent} is not there: install the package sudo in an earlier step")
        write_whole(file, self._wanted_sudo(account).encode(), 0o440)


def _joined(keys: list[str]) -> str:
    return "".join(f"{key}\n" for key in keys)

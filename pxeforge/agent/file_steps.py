"""Steps on files: file, ini, line, block, sysctl and hostname; each writes its file whole or not at all."""

from __future__ import annotations

import difflib
import grp
import hashlib
import os
import pwd
import re
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import StepFailed
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.whole_file import write_whole

_LONGEST_DIFF = 200


def unified_diff(path: str, before: str, after: str) -> str:
    """At most 200 lines of difference."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), path, path, lineterm="", n=2))
    if len(lines) > _LONGEST_DIFF:
        lines = [*lines[:_LONGEST_DIFF], f"… and {len(lines) - _LONGEST_DIFF} more lines"]
    return "\n".join(lines)


def read_text(path: Path) -> str | None:
    """The text of a regular file, None when there is none; raises StepFailed."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StepFailed(f"{path} cannot be read: {error.strerror}") from None


class _TextStep(Step):
    """A step that edits a text file: subclasses say what the text is to become (None: no file)."""

    def place(self) -> str:
        return str(self.params["path"])

    def target(self, text: str | None) -> str | None:
        raise NotImplementedError

    def check(self) -> Finding:
        path = self.execution.path(self.place())
        before = read_text(path)
        after = self.target(before)
        mode = self.wanted_mode(path)
        mode_now = stat.S_IMODE(path.stat().st_mode) if before is not None else None
        needed = before != after or (after is not None and mode_now != mode)
        digest = None if before is None else hashlib.sha256(before.encode("utf-8", "surrogateescape")).hexdigest()
        reason = f"{self.place()} differs" if needed else ""
        return Finding(needed, [digest, mode_now], reason, unified_diff(self.place(), before or "", after or ""))

    def change(self, found: Finding) -> str:  # noqa: ARG002
        path = self.execution.path(self.place())
        after = self.target(read_text(path))
        if after is None:
            path.unlink()
            return ""
        owner = (path.stat().st_uid, path.stat().st_gid) if path.exists() else (-1, -1)
        try:
            write_whole(path.resolve(), after.encode("utf-8", "surrogateescape"), self.wanted_mode(path), *owner)
        except OSError as error:
            raise StepFailed(f"{self.place()} cannot be written: {error.strerror}") from None
        return ""

    def wanted_mode(self, path: Path) -> int:
        if self.params.get("mode"):
            return int(self.params["mode"], 8)
        return stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644


class FileStep(Step):
    """A file with exactly this content, a directory, or nothing."""

    type = "file"
    parameters = frozenset({"path", "content", "mode", "owner", "group", "backup", "state"})

    def check(self) -> Finding:
        wanted = self.params.get("state", "file")
        path = self.execution.path(self.params["path"])
        now = self._state(path)
        if wanted == "absent":
            return Finding(now is not None, now, f"{self.params['path']} is there" if now else "")
        target = {"kind": wanted, "mode": self._mode(), "uid": self._uid(), "gid": self._gid()}
        diff = ""
        if wanted == "file":
            content = str(self.params["content"])
            target["sha256"] = hashlib.sha256(content.encode()).hexdigest()
            is_file = now is not None and now["kind"] == "file"
            diff = unified_diff(self.params["path"], (read_text(path) or "") if is_file else "", content)
        differing = [key for key, value in target.items() if (now or {}).get(key) != value]
        reason = f"{self.params['path']}: {', '.join(differing)} differ" if now else f"{self.params['path']} is missing"
        return Finding(bool(differing), now, reason if differing else "", diff)

    def change(self, found: Finding) -> str:
        path = self.execution.path(self.params["path"])
        wanted = self.params.get("state", "file")
        try:
            if self.params.get("backup") and found.state is not None and found.state["kind"] == "file":
                shutil.copy2(path, path.with_name(f"{path.name}.{int(time.time())}.pxeforge"))
            if wanted == "absent":
                _remove(path)
            elif wanted == "directory":
                path.mkdir(parents=True, exist_ok=True)
                os.chown(path, self._uid(), self._gid())
                path.chmod(self._mode())
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, str(self.params["content"]).encode(), self._mode(), self._uid(), self._gid())
        except OSError as error:
            raise StepFailed(f"{self.params['path']} cannot be changed: {error.strerror or error}") from None
        return ""

    def _state(self, path: Path) -> dict[str, Any] | None:
        try:
            info = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind = "file" if stat.S_ISREG(info.st_mode) else "directory" if stat.S_ISDIR(info.st_mode) else "other"
        state = {"kind": kind, "mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid}
        if kind == "file":
            state["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return state

    def _mode(self) -> int:
        default = "0755" if self.params.get("state") == "directory" else "0644"
        return int(self.params.get("mode") or default, 8)

    def _uid(self) -> int:
        name = self.params.get("owner", "root")
        try:
            return 0 if name == "root" else pwd.getpwnam(name).pw_uid
        except KeyError:
            return self._unknown(f"user {name}")

    def _gid(self) -> int:
        name = self.params.get("group", "root")
        try:
            return 0 if name == "root" else grp.getgrnam(name).gr_gid
        except KeyError:
            return self._unknown(f"group {name}")

    def _unknown(self, who: str) -> int:
        if self.execution.check_only:
            return -1  # a package that an earlier step would install may bring it
        raise StepFailed(f"there is no {who} on this host: install what brings it in an earlier step")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()  # only an empty directory: a role must not be able to remove a tree by a slip
    else:
        path.unlink()


class IniStep(_TextStep):
    """Keys in sections; comments, order and everything else stay."""

    type = "ini"
    parameters = frozenset({"path", "settings", "mode"})

    def target(self, text: str | None) -> str | None:
        lines = (text or "").splitlines()
        for section, keys in self.params["settings"].items():
            for key, value in keys.items():
                lines = set_ini_key(lines, section, key, str(value))
        return "\n".join(lines) + "\n"


def set_ini_key(lines: list[str], section: str, key: str, value: str) -> list[str]:
    """The lines with `key = value` once in the section (the first of several stays, in its place)."""
    header = re.compile(r"^\s*\[([^\]]*)\]")
    assignment = re.compile(rf"^\s*{re.escape(key)}\s*(=|:|$)")
    result: list[str] = []
    inside = written = section_seen = False
    for line in lines:
        match = header.match(line)
        if match:
            if inside and not written:
                _insert_before_blank(result, f"{key} = {value}")
                written = True
            inside = match.group(1).strip() == section
            section_seen = section_seen or inside
        elif inside and assignment.match(line):
            if written:
                continue
            written = True
            same = re.match(rf"^\s*{re.escape(key)}\s*[=:]\s*(.*?)\s*$", line)
            line = line if same and same.group(1) == value else f"{key} = {value}"
        result.append(line)
    if not written:
        if not section_seen:
            result += ([""] if result and result[-1].strip() else []) + [f"[{section}]"]
            result.append(f"{key} = {value}")
        else:
            _insert_before_blank(result, f"{key} = {value}")
    return result


def _insert_before_blank(lines: list[str], line: str) -> None:
    position = len(lines)
    while position > 0 and not lines[position - 1].strip():
        position -= 1
    lines.insert(position, line)


class LineStep(_TextStep):
    """One line: replaced, added, or removed."""

    type = "line"
    parameters = frozenset({"path", "line", "match", "state"})

    def target(self, text: str | None) -> str | None:
        lines = (text or "").splitlines()
        wanted, match = self.params.get("line"), self.params.get("match")

        def hit(line: str) -> bool:
            return bool(re.search(match, line)) if match else line == wanted

        if self.params.get("state", "present") == "absent":
            kept = [line for line in lines if not hit(line)]
            return text if len(kept) == len(lines) else _joined(kept)
        hits = [index for index, line in enumerate(lines) if hit(line)]
        if hits:
            lines[hits[-1]] = str(wanted)
        elif wanted not in lines:
            lines.append(str(wanted))
        return _joined(lines)


class BlockStep(_TextStep):
    """Lines between two markers."""

    type = "block"
    parameters = frozenset({"path", "label", "content", "comment", "position", "state"})

    def target(self, text: str | None) -> str | None:
        comment, label = self.params.get("comment", "#"), self.params["label"]
        begin, end = f"{comment} BEGIN pxeforge {label}", f"{comment} END pxeforge {label}"
        lines = (text or "").splitlines()
        absent = self.params.get("state", "present") == "absent"
        block = [] if absent else [begin, *str(self.params["content"]).splitlines(), end]
        if begin in lines:
            start = lines.index(begin)
            if end not in lines[start:]:
                raise StepFailed(f"{self.place()} has {begin!r} without its end: repair the file by hand")
            stop = lines.index(end, start) + 1
            lines[start:stop] = block
        elif absent:
            return text
        elif self.params.get("position", "end") == "start":
            lines[0:0] = block
        else:
            lines += block
        return _joined(lines)


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


class SysctlStep(_TextStep):
    """Kernel parameters in a file of /etc/sysctl.d and, on the running kernel, in /proc/sys."""

    type = "sysctl"
    parameters = frozenset({"name", "settings"})

    def place(self) -> str:
        return f"/etc/sysctl.d/{self.params['name']}.conf"

    def target(self, text: str | None) -> str | None:  # noqa: ARG002
        return "".join(f"{key} = {value}\n" for key, value in self.params["settings"].items()) or None

    def check(self) -> Finding:
        file = super().check()
        now = {key: self._current(key) for key in self.params["settings"]}
        differing = [key for key, value in self.params["settings"].items() if now[key] != " ".join(str(value).split())]
        reason = file.reason or (f"{', '.join(differing)} differ" if differing else "")
        return Finding(file.needed or bool(differing), [file.state, now], reason, file.diff)

    def change(self, found: Finding) -> str:
        if super().check().needed:
            super().change(found)
        for key, value in self.params["settings"].items():
            try:
                self._entry(key).write_text(f"{value}\n")
            except OSError as error:
                raise StepFailed(f"the kernel refuses {key} = {value}: {error.strerror}") from None
        return ""

    def _entry(self, key: str) -> Path:
        # sysctl(8): when the first separator is a slash, dots are part of a name (as in eth0.100)
        slash, dot = key.find("/"), key.find(".")
        plain_path = slash >= 0 and (dot < 0 or slash < dot)
        return self.execution.path(f"/proc/sys/{key if plain_path else key.replace('.', '/')}")

    def _current(self, key: str) -> str | None:
        try:
            return " ".join(self._entry(key).read_text().split())
        except OSError:
            return None


class HostnameStep(_TextStep):
    """The short host name in /etc/hostname and in the kernel."""

    type = "hostname"
    parameters = frozenset({"name"})

    def place(self) -> str:
        return "/etc/hostname"

    def target(self, text: str | None) -> str | None:  # noqa: ARG002
        return f"{self.params['name']}\n"

    def check(self) -> Finding:
        file = super().check()
        now = socket.gethostname() if self._is_this_host() else self.params["name"]
        differs = now != self.params["name"]
        reason = f"the kernel's host name is {now}" if differs else file.reason
        return Finding(file.needed or differs, [file.state, now], reason, file.diff)

    def change(self, found: Finding) -> str:
        super().change(found)
        if self._is_this_host():
            try:
                socket.sethostname(self.params["name"])
            except OSError as error:
                raise StepFailed(f"the kernel refuses the host name: {error.strerror}") from None
        return ""

    def _is_this_host(self) -> bool:
        return self.execution.root == Path("/")

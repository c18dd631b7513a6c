"""The fetch step: a file from an HTTP(S) address, there only when its digest is the one that was asked for."""

from __future__ import annotations

import grp
import hashlib
import http.client
import os
import pwd
import stat
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.step import Finding, Step

_PIECE_BYTES = 1 << 20


class FetchStep(Step):
    """No proxy of the environment is asked: what the plan says is where it comes from."""

    type = "fetch"
    parameters = frozenset({"url", "path", "sha256", "mode", "owner", "group", "timeout_s"})

    def check(self) -> Finding:
        path = self.execution.path(self.params["path"])
        try:
            info = path.lstat()
            is_file = stat.S_ISREG(info.st_mode)
        except OSError:
            return Finding(True, None, f"{self.params['path']} is missing")
        if not is_file:
            raise StepFailed(f"{self.params['path']} is no file: remove it or choose another path")
        now = {"sha256": self._digest(path), "mode": stat.S_IMODE(info.st_mode), "owner": [info.st_uid, info.st_gid]}
        wanted = {"sha256": self.params["sha256"], "mode": self._mode(), "owner": list(self._owner())}
        differing = [key for key, value in wanted.items() if now[key] != value]
        reason = f"{self.params['path']}: {', '.join(differing)} differ" if differing else ""
        return Finding(bool(differing), now, reason)

    def change(self, found: Finding) -> str:
        path = self.execution.path(self.params["path"])
        if found.state is not None and found.state["sha256"] == self.params["sha256"]:
            os.chown(path, *self._owner())
            path.chmod(self._mode())
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                size = receive(self.params["url"], self.params["sha256"], file, self.execution)
                os.fchown(file.fileno(), *self._owner())
                os.fchmod(file.fileno(), self._mode())
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink()
                raise
        return f"{size} bytes from {self.params['url']}"

    def _digest(self, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for piece in _pieces(file):
                self.execution.check_interrupted()
                digest.update(piece)
        return digest.hexdigest()

    def _mode(self) -> int:
        return int(self.params.get("mode") or "0644", 8)

    def _owner(self) -> tuple[int, int]:
        owner, group = self.params.get("owner", "root"), self.params.get("group", "root")
        try:
            uid = 0 if owner == "root" else pwd.getpwnam(owner).pw_uid
            gid = 0 if group == "root" else grp.getgrnam(group).gr_gid
        except KeyError as error:
            if self.execution.check_only:
                return -1, -1  # a package that an earlier step would install may bring it
            raise StepFailed(f"{error.args[0]}: make the account in an earlier step") from None
        return uid, gid


def receive(url: str, sha256: str, file: IO[bytes], execution: Execution, proxy: str = "") -> int:
    """Into the file; returns how many bytes. `proxy`: by which it is fetched. Raises StepFailed, Interrupted."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {}))
    digest, size = hashlib.sha256(), 0
    try:
        with opener.open(url, timeout=60) as answer:
            for piece in _pieces(answer):
                execution.check_interrupted()
                digest.update(piece)
                size += len(piece)
                file.write(piece)
    except urllib.error.HTTPError as error:
        raise StepFailed(f"{url} answers {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise StepFailed(f"{url} cannot be fetched: {reason or type(error).__name__}") from None
    if digest.hexdigest() != sha256:
        told = digest.hexdigest()
        raise StepFailed(f"{url} gives {size} bytes with sha256 {told}, not the one asked for: check which is right")
    return size


def _pieces(file: IO[bytes]) -> Any:
    return iter(lambda: file.read(_PIECE_BYTES), b"")

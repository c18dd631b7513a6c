"""Where steps work: the host's root folder, commands with deadline and cancel, secrets that never leave."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_READ_BYTES = 1 << 20  # of what a command prints, for steps that read it
_SHOWN_CHARACTERS = 3500  # of each stream in reports: both and a message fit into what the server keeps
_REDACTED = "[secret]"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StepFailed(Exception):
    """A step could not do its work; the message says why in one sentence, `output` is what a command printed."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class Interrupted(Exception):
    """The task was cancelled, its time is over or its lease is lost; the message says which."""


class Rebooting(Exception):
    """The host goes down for a reboot that a step asked for; the task goes on after it. The message says why."""


@dataclass(frozen=True)
class Ran:
    """A finished command: exit code and what it printed (the last MiB of each stream)."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """The ends of both streams, for people."""
        return shown(self.stdout, self.stderr)


def shown(*streams: str) -> str:
    """The ends of what was printed, one stream after the other."""
    return "\n".join(text.rstrip()[-_SHOWN_CHARACTERS:] for text in streams if text.rstrip())


class Execution:
    """One task's surroundings. `interrupt` may be called from another thread."""

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        timeout_s: float = 1800.0,
        check_only: bool = False,
        secrets: Iterable[str] = (),
        path_env: str = _PATH,
        state_folder: Path | None = None,
        remembered: dict[str, Any] | None = None,
    ) -> None:
        """`remembered`: what steps know from earlier tasks of this agent, in memory only; theirs to read and write."""
        self.root = root
        self.remembered: dict[str, Any] = {} if remembered is None else remembered
        self.check_only = check_only
        self.state_folder = state_folder
        self._path_env = path_env
        self._may_run = root == Path("/") or path_env != _PATH
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._interrupted = threading.Event()
        self._reason = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._printing: IO[bytes] | None = None
        self._lock = threading.Lock()

    def calm(self, timeout_s: float = 300.0) -> Execution:
        """The same surroundings, without the end of this task: for what must be put right whatever happens."""
        return Execution(
            root=self.root,
            timeout_s=timeout_s,
            check_only=self.check_only,
            secrets=self._secrets,
            path_env=self._path_env,
            state_folder=self.state_folder,
            remembered=self.remembered,
        )

    def path(self, absolute: str) -> Path:
        """The place of a host's path below the root folder."""
        return self.root / absolute.lstrip("/")

    def redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _REDACTED)
        return text

    def interrupt(self, reason: str) -> None:
        """Stops the running command (with its children) and every later one."""
        self._reason = self._reason or reason
        self._interrupted.set()
        with self._lock:
            if self._process is not None:
                _kill_group(self._process, signal.SIGTERM)

    def check_interrupted(self) -> None:
        """Raises Interrupted when the task must stop."""
        if self._interrupted.is_set():
            raise Interrupted(self._reason)
        if time.monotonic() >= self._deadline:
            raise Interrupted(f"the task took longer than its {self._timeout_s:g} s")

    def pause(self, seconds: float) -> None:
        """Sleeps, but wakes up when interrupted; raises Interrupted."""
        self._interrupted.wait(max(0.0, min(seconds, self._deadline - time.monotonic())))
        self.check_interrupted()

    def last_line(self) -> str:
        """The newest line that the running command has printed, redacted ('' when none runs)."""
        with self._lock:
            lines = _tail(self._printing).strip().splitlines() if self._printing is not None else []
        return self.redact(lines[-1][:200]) if lines else ""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout_s: float | None = None,
    ) -> Ran:
        """Runs a command to its end; raises StepFailed (not found, own timeout) and Interrupted.

        Output goes to files, not pipes: a daemon that keeps them open must not hold us up.
        """
        self.check_interrupted()
        if not self._may_run:  # it would act on this host, not below the root folder
            raise StepFailed(f"{argv[0]} cannot run below {self.root}: commands need the host itself")
        deadline = self._deadline if timeout_s is None else min(self._deadline, time.monotonic() + timeout_s)
        environment = {"PATH": self._path_env, "LC_ALL": "C.UTF-8", "HOME": "/root", **(env or {})}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as feed:
            feed.write((stdin or "").encode())
            feed.seek(0)
            try:
                process = subprocess.Popen(
                    list(argv),
                    stdin=feed,
                    stdout=out,
                    stderr=err,
                    env=environment,
                    cwd=self.path(cwd),
                    start_new_session=True,
                )
            except OSError as error:
                raise StepFailed(f"{argv[0]} cannot be run: {error.strerror or error}") from None
            with self._lock:
                self._process, self._printing = process, out
            try:
                code = self._wait(process, deadline)
            finally:
                with self._lock:
                    self._process = self._printing = None
            if code is None:
                self.check_interrupted()
                raise StepFailed(
                    f"{argv[0]} took longer than {timeout_s:g} s",
                    shown(self.redact(_tail(out)), self.redact(_tail(err))),
                )
            self.check_interrupted()
            return Ran(code, self.redact(_tail(out)), self.redact(_tail(err)))

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> int | None:
        while not self._interrupted.is_set():
            if _has_ended(process, max(0.0, min(0.5, deadline - time.monotonic()))):
                return process.returncode
            if time.monotonic() >= deadline:
                break
        _kill_group(process, signal.SIGTERM)
        if not _has_ended(process, 5):
            _kill_group(process, signal.SIGKILL)
            process.wait()
        return None


def _has_ended(process: subprocess.Popen[bytes], within_s: float) -> bool:
    """Whether it ends in time; known at once where the kernel tells (Linux 5.3), else by looking now and then."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within_s)
        return process.returncode is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            selector.select(within_s)
    finally:
        os.close(handle)
    return process.poll() is not None


def _kill_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _tail(file: IO[bytes] | None) -> str:
    """The end of a file that somebody else may be writing; does not move the writer's position."""
    if file is None:
        return ""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), _READ_BYTES, max(0, size - _READ_BYTES)).decode("utf-8", "replace")

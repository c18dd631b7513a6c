"""A real PostgreSQL for tests: a cluster of its own on a unix socket, and a fresh database for each test."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pxeforge.store.location import Location, parse

TEMPLATE = "template_pxeforge"
_STARTED_S = 60.0
_GONE_S = 5.0
_SETTINGS = {
    "listen_addresses": "", "max_connections": "60", "shared_buffers": "32MB", "log_min_messages": "fatal",
    "autovacuum": "off", "unix_socket_directories": "",
}  # fmt: skip


def programs() -> Path | None:
    """Where Debian's package keeps `initdb` and `postgres`; None: it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    return found[-1].parent if found else None


class Cluster:
    """Ends with the process that made it, whatever ends that. PostgreSQL does not run as root: then as its own user."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        self._run(
            "initdb", "--pgdata", "data", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", self.user
        )

    def start(self) -> None:
        settings = {**_SETTINGS, "unix_socket_directories": str(self._folder)}
        told = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self._server = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", "data", *told], cwd=self._folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=_die_with_parent, **self._who,
        )  # fmt: skip
        until = time.monotonic() + _STARTED_S
        while not self._answers():
            assert self._server.poll() is None, "PostgreSQL ended at its start"
            assert time.monotonic() < until, "PostgreSQL does not start"
            time.sleep(0.02)
        self._sync("off")  # for every test alike, whichever came before

    def stop(self, *, at_once: bool = False) -> None:
        """`at_once`: as if it were killed; its next start recovers what was committed."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._server.wait(60)
            self._server = None

    @contextlib.contextmanager
    def syncing(self) -> Iterator[None]:
        """With fsync, as a real server has it."""
        self._sync("on")
        try:
            yield
        finally:
            self._sync("off")

    def _sync(self, value: str) -> None:
        self.ask(f"ALTER SYSTEM SET fsync = {value}")
        self.ask("SELECT pg_reload_conf()")
        until = time.monotonic() + _STARTED_S
        while self.ask("SHOW fsync") != [(value,)]:
            assert time.monotonic() < until
            time.sleep(0.01)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@/{database}?host={self._folder}"

    def location(self, database: str) -> Location:
        return parse(self.url(database))

    @contextlib.contextmanager
    def fresh(self, template: str = TEMPLATE) -> Iterator[Location]:
        """A database of its own, gone afterwards. That nobody is connected to it any more is part of the test."""
        name = f"test_{next(self._numbers)}"
        self.ask(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.location(name)
        finally:
            left = self._left_open(name)
            self.ask(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        assert not left, f"{left} connections to the database were left open"

    def _left_open(self, name: str) -> int:
        """How many connections there are to the database; one that was closed takes a moment to go."""
        until = time.monotonic() + _GONE_S
        while left := self.ask(f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'"):
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        return len(left)

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        with contextlib.closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words], cwd=self._folder, capture_output=True, text=True, check=False,
            **self._who,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """One that runs; raises LookupError where PostgreSQL is not installed."""
    where = programs()
    if where is None:
        raise LookupError("PostgreSQL is not installed")
    # Not below pytest's own folder: the user that PostgreSQL runs as may not enter it.
    with tempfile.TemporaryDirectory(prefix="pxeforge-pg-") as folder:
        Path(folder).chmod(0o755)  # the children of `serve` have given up root's rights
        made = Cluster(Path(folder), where)
        try:
            made.start()
            yield made
        finally:
            made.stop(at_once=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGINT)

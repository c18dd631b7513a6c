"""Stores leases in a thread of its own while the loop goes on; what waited meanwhile shares the next transaction."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Final, Generic, TypeVar

from pxeforge.protocol.dhcp.lease import Lease

T = TypeVar("T")
MOST_WAITING: Final = 20_000  # answers; a store that stands still must not fill the memory


class LeaseWriter(Generic[T]):
    """put() answers with the leases they depend on; collect() gives them back once those are on disk.

    `socket` is readable when there is something to collect. All methods but the thread's own belong to one thread.
    """

    def __init__(self, save: Callable[[Sequence[Lease]], None]) -> None:
        self._save = save
        self._changed = threading.Condition()
        self._waiting: list[tuple[T, tuple[Lease, ...]]] = []
        self._done: list[tuple[list[T], Exception | None]] = []
        self._unsaved: dict[IPv4Address, Lease] = {}  # from transactions that failed: they go with the next one
        self._closing = False
        self.socket, self._bell = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self._bell.setblocking(False)
        # Started by the first put(): a thread from before would keep the capabilities that the process gives up.
        self._thread: threading.Thread | None = None

    def put(self, answer: T, leases: tuple[Lease, ...]) -> bool:
        """False where too many wait already: the client asks again."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append((answer, leases))
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="leases", daemon=True)
            self._thread.start()
        return True

    def collect(self) -> list[tuple[list[T], Exception | None]]:
        """Batches of answers that may leave, or the reason why their leases were not stored."""
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(1)
        with self._changed:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Stores what waits and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self.socket.close()
        self._bell.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                batch, self._waiting = self._waiting, []
            if not batch:
                return
            problem = self._store(batch)
            with self._changed:
                self._done.append(([answer for answer, _ in batch], problem))
            with contextlib.suppress(BlockingIOError):  # the bell rings already
                self._bell.send(b"!")

    def _store(self, batch: list[tuple[T, tuple[Lease, ...]]]) -> Exception | None:
        self._unsaved.update({lease.address: lease for _, leases in batch for lease in leases})
        try:
            self._save(list(self._unsaved.values()))
        except Exception as problem:
            return problem
        self._unsaved.clear()
        return None

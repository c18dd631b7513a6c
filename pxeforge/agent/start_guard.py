"""Keeps packages from starting their services while they are installed (policy-rc.d), and always takes that back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.whole_file import write_whole

_POLICY = "/usr/sbin/policy-rc.d"  # asked by invoke-rc.d and deb-systemd-invoke; 101 says: do not start it
_KEPT = ".pxeforge-kept"
_MARK = "# Written by pxeforge while packages are installed; it goes with the end of that."
_SCRIPT = f"#!/bin/sh\n{_MARK}\nexit 101\n"


def is_left(execution: Execution) -> bool:
    """Whether an installation that was killed has left its guard behind."""
    try:
        return _MARK in execution.path(_POLICY).read_text(errors="replace")
    except OSError:
        return False


def take_back(execution: Execution) -> None:
    """Removes our guard, if it is there, and puts back what was in its place; somebody else's stays."""
    policy = execution.path(_POLICY)
    kept = _kept(policy)
    try:
        if kept.exists():
            kept.replace(policy)
        elif is_left(execution):
            policy.unlink()
    except OSError as error:
        raise StepFailed(f"{policy} cannot be put back ({error.strerror}): remove it, else no service starts") from None


@contextlib.contextmanager
def nothing_starts(execution: Execution) -> Iterator[None]:
    """No package's installation starts a service within; what was at policy-rc.d's place is there again afterwards."""
    take_back(execution)
    policy = execution.path(_POLICY)
    try:
        if policy.exists():
            _keep(policy)
        policy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(policy, _SCRIPT.encode(), 0o755)
    except OSError as error:
        raise StepFailed(f"{policy} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        take_back(execution)


def _keep(policy: Path) -> None:
    policy.replace(_kept(policy))


def _kept(policy: Path) -> Path:
    return policy.with_name(policy.name + _KEPT)

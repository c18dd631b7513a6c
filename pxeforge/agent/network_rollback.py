"""Puts the former network back, unless it is called off: a timer of systemd that outlives the agent and a reboot."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.whole_file import write_json, write_whole

UNIT = "pxeforge-network-rollback"
_UNITS = "/etc/systemd/system"
_RESTORED_S = 120.0


class NetworkRollback:
    """What was, in a folder of the agent's state, with the script that brings it back.

    `armed` there says that a change of the network is under way and not confirmed yet.
    """

    def __init__(self, execution: Execution) -> None:
        if execution.state_folder is None:
            raise StepFailed("this agent keeps no state: it could not put the network back")
        self._execution = execution
        self._folder = execution.state_folder / "network"

    @property
    def is_armed(self) -> bool:
        return (self._folder / "armed").exists()

    def arm(self, files: Mapping[str, str | None], words: Sequence[Sequence[str]], after_s: float) -> None:
        """Keeps these files (text by path, None: there was none) and starts the timer.

        `words`: commands that apply the former files, one after the other.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        former = self._folder / "former"
        former.mkdir(parents=True, mode=0o700)
        lines = ["#!/bin/sh", "# Written by pxeforge: puts the former network back."]
        for number, (path, text) in enumerate(files.items()):
            place = shlex.quote(str(self._execution.path(path)))
            if text is None:
                lines.append(f"rm -f {place}")
                continue
            kept = former / str(number)
            write_whole(kept, text.encode("utf-8", "surrogateescape"), 0o644)
            lines.append(f"cp -a {shlex.quote(str(kept))} {place}.pxeforge && mv {place}.pxeforge {place}")
        lines += [shlex.join(command) for command in words]
        done = shlex.quote(str(self._folder / "rolled-back"))
        lines += [f"touch {done}", f"rm -f {shlex.quote(str(self._folder / 'armed'))}", *self._undo_units()]
        script = self._folder / "rollback.sh"
        write_whole(script, "".join(f"{line}\n" for line in lines).encode(), 0o700)
        write_json(self._folder / "files.json", sorted(files))
        self._write_units(script, after_s)
        write_whole(self._folder / "armed", b"", 0o600)
        self._systemctl("daemon-reload")
        self._systemctl("enable", f"{UNIT}.timer")
        self._systemctl("restart", f"{UNIT}.timer")

    def kept_files(self) -> list[str]:
        try:
            found = json.loads((self._folder / "files.json").read_text())
        except (OSError, ValueError):
            return []
        return [str(path) for path in found] if isinstance(found, list) else []

    def disarm(self) -> None:
        """All is well: nothing is put back any more."""
        (self._folder / "armed").unlink(missing_ok=True)
        self._systemctl("stop", f"{UNIT}.timer")
        for path in self._unit_files():
            path.unlink(missing_ok=True)
        self._systemctl("daemon-reload")

    def run(self) -> None:
        """Puts all back now, as the timer would: by the same unit, so that it goes on if we end."""
        ran = self._execution.run(["systemctl", "start", f"{UNIT}.service"], timeout_s=_RESTORED_S)
        if ran.code != 0:
            raise StepFailed("the former network could not be put back", ran.output)

    def _write_units(self, script: Path, after_s: float) -> None:
        service = (
            "[Unit]\nDescription=pxeforge puts the former network back\n\n"
            f"[Service]\nType=oneshot\nExecStart=/bin/sh {script}\n"
        )
        timer = (
            "[Unit]\nDescription=pxeforge puts the former network back, unless the change is confirmed\n\n"
            f"[Timer]\nOnActiveSec={after_s:g}s\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
        )
        folder = self._execution.path(_UNITS)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{UNIT}.service", service.encode(), 0o644)
        write_whole(folder / f"{UNIT}.timer", timer.encode(), 0o644)

    def _unit_files(self) -> list[Path]:
        folder = self._execution.path(_UNITS)
        names = (f"{UNIT}.service", f"{UNIT}.timer", f"timers.target.wants/{UNIT}.timer")
        return [folder / name for name in names]

    def _undo_units(self) -> list[str]:
        files = " ".join(shlex.quote(str(path)) for path in self._unit_files())
        return [f"systemctl stop --no-block {UNIT}.timer", f"rm -f {files}", "systemctl daemon-reload"]

    def _systemctl(self, *words: str) -> None:
        ran = self._execution.run(["systemctl", *words], timeout_s=60)
        if ran.code != 0:
            raise StepFailed(f"systemctl {' '.join(words)} did not succeed", ran.output)

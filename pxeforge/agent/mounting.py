"""A file system's place: a line of fstab by UUID, and mounted now."""

from __future__ import annotations

from pathlib import Path

from pxeforge.agent.execution import Execution, StepFailed
from pxeforge.agent.whole_file import write_whole

_FSTAB = "/etc/fstab"


def fstab_line(uuid: str, place: str, filesystem: str, options: str) -> str:
    """One line of fstab(5); swap has no place."""
    if filesystem == "swap":
        return f"UUID={uuid} none swap {'sw' if options == 'defaults' else options} 0 0"
    # A boot does not stop for a data disk that has died; XFS has no fsck.
    safe = options if "nofail" in options.split(",") else f"{options},nofail"
    return f"UUID={uuid} {place} {filesystem} {safe} 0 {0 if filesystem == 'xfs' else 2}"


def has_line(execution: Execution, line: str) -> bool:
    return line in _lines(execution)


def write_line(execution: Execution, line: str) -> None:
    """Puts the line in; another one for the same UUID, or the same place, is replaced."""
    uuid, place = line.split()[:2]
    kept = [one for one in _lines(execution) if not _is_for(one, uuid, place)]
    file = execution.path(_FSTAB)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, "".join(f"{one}\n" for one in [*kept, line]).encode(), 0o644)
    except OSError as error:
        raise StepFailed(f"{_FSTAB} cannot be written: {error.strerror}") from None


def other_owner(execution: Execution, line: str) -> str:
    """The fstab line that mounts something else at the same place; '' when there is none."""
    uuid, place = line.split()[:2]
    others = [one for one in _lines(execution) if _is_for(one, "", place) and not _is_for(one, uuid, "")]
    return others[0] if others else ""


def mount_now(execution: Execution, device: str, place: str, filesystem: str, options: str) -> str:
    """Mounts it (or takes it as swap); refuses a folder that holds something, which would be hidden."""
    if filesystem == "swap":
        return _must(execution, ["swapon", device])
    target: Path = execution.path(place)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise StepFailed(f"{place} is not empty, and would be hidden: move what is in it away first")
    except OSError as error:
        raise StepFailed(f"{place} cannot be made: {error.strerror}") from None
    return _must(execution, ["mount", "-t", filesystem, "-o", options, device, str(target)])


def _must(execution: Execution, argv: list[str]) -> str:
    ran = execution.run(argv, timeout_s=300)
    if ran.code != 0:
        raise StepFailed(f"{argv[0]} did not succeed", ran.output)
    return ran.output


def _is_for(line: str, uuid: str, place: str) -> bool:
    fields = line.split()
    if len(fields) < 2 or line.lstrip().startswith("#"):
        return False
    return fields[0] == uuid or (fields[1] == place and place not in ("none", ""))


def _lines(execution: Execution) -> list[str]:
    try:
        return execution.path(_FSTAB).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StepFailed(f"{_FSTAB} cannot be read: {error.strerror}") from None

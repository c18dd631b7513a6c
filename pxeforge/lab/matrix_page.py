"""Results of the firmware matrix: kept in a file from run to run, and shown as a table in Markdown."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pxeforge.lab.matrix import COLUMNS, ROWS, Cell, Outcome
from pxeforge.lab.newer_qemu import Processor, QemuMissing, find_qemu
from pxeforge.lab.site_dhcp import PROGRAMS
from pxeforge.services.context import write_whole

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
RESULTS: Final = "results.json"
_LONGEST: Final = 400  # letters of a reason: the whole is in the log folder
_FIRMWARE: Final = ("ovmf", "qemu-efi-aarch64")  # Debian packages of this computer
_WITH_QEMU: Final = ("seabios", "ipxe-qemu")  # of this computer, or of the root that has its own QEMU
_LOADERS: Final = ("ipxe", "pxelinux", "syslinux-common")


class NoMarks(Exception):
    """The page has no place for the table; the message says what to do."""


def merged(folder: Path, cells: Iterable[Cell], versions: Mapping[str, str]) -> tuple[list[Cell], dict[str, str]]:
    """The cells of this run over those of earlier runs, written to the folder's file; and all versions."""
    path = folder / RESULTS
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"cells": [], "versions": {}}
    both = {(cell["row"], cell["column"]): cell for cell in (*kept["cells"], *(as_json(cell) for cell in cells))}
    everything = {**kept["versions"], **versions}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"cells": list(both.values()), "versions": everything}, indent=2).encode())
    return [Cell(**{**cell, "outcome": Outcome(cell["outcome"])}) for cell in both.values()], everything


def as_json(cell: Cell) -> dict[str, Any]:
    return {
        "row": cell.row, "column": cell.column, "outcome": cell.outcome.value, "reason": cell.reason,
        "menu_s": cell.menu_s, "kernel_s": cell.kernel_s, "note": cell.note,
    }  # fmt: skip


def markdown(cells: Sequence[Cell], versions: Mapping[str, str]) -> str:
    """The table of all rows and columns, the reasons below it, and what it was made with."""
    found = {(cell.row, cell.column): cell for cell in cells}
    reasons: list[str] = []
    lines = [
        f"| | {' | '.join(column.title for column in COLUMNS)} |",
        f"| --- |{' --- |' * len(COLUMNS)}",
        *(
            f"| {row.title} | {' | '.join(_box(found.get((row.name, column.name)), reasons) for column in COLUMNS)} |"
            for row in ROWS
        ),
    ]
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([*lines, "", *reasons, *([""] if reasons else []), f"Made with {made_with}.", ""])


def _box(cell: Cell | None, reasons: list[str]) -> str:
    """What stands in the table; a reason or note gets a number and a line below."""
    if cell is None:
        return "not run"
    text = cell.outcome.value
    if cell.outcome is Outcome.GREEN:
        text = f"**yes** {cell.menu_s:.0f} / {cell.kernel_s:.0f} s"
    for words in (cell.reason, cell.note):
        if words:
            line = f"{words[0].upper()}{' '.join(words[1:].split()).rstrip('.')[:_LONGEST]}.".replace("|", "\\|")
            known = [at for at, reason in enumerate(reasons) if reason.endswith(f". {line}")]
            if not known:
                reasons.append(f"{len(reasons) + 1}. {line}")
            text += f" ({known[0] + 1 if known else len(reasons)})"
    return text


def replace_table(path: Path, text: str) -> None:
    """Puts the text between the two marks of the page; raises NoMarks."""
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(END) < page.index(BEGIN):
        raise NoMarks(f"{path} has no place for the table: put a line {BEGIN} and a line {END} where it belongs")
    before, rest = page.split(BEGIN)
    write_whole(
        path, f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}".encode(), mode=path.stat().st_mode & 0o777
    )


def versions_in_use(cache: Path, folder: Path) -> dict[str, str]:
    """What the labs below `folder` are made with, by name: QEMU, firmware, neighbours, loaders, images. What is not
    installed is left out.
    """
    found: dict[str, str] = {}
    for processor in Processor:
        try:
            qemu = find_qemu(cache, processor)
        except QemuMissing:
            continue
        found[f"QEMU ({processor.value})"] = ".".join(map(str, qemu.version))
        if processor is Processor.AMD64:
            found |= {name: version for name in _WITH_QEMU if (version := package_version(name, qemu.root))}
    packages = (*_FIRMWARE, *(program.package for program in PROGRAMS.values()), *_LOADERS)
    found |= {name: version for name in packages if (version := package_version(name))}
    images = sorted(folder.glob("*/data/images/[!.]*/*/image.json"))
    return found | {f"image {path.parts[-3]}": path.parts[-2] for path in images}


def package_version(name: str, root: Path | None = None) -> str | None:
    """The version of an installed Debian package, of this computer or of a root; None where it is not installed."""
    admin = (root or Path("/")) / "var/lib/dpkg"
    command = ["dpkg-query", f"--admindir={admin}", "--show", "--showformat=${db:Status-Status} ${Version}", name]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return None
    return said[1] if said[:1] == ["installed"] and len(said) == 2 else None

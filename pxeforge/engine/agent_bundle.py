"""Packs the agent into one zipapp; the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from importlib import resources
from pathlib import Path

_MAIN = "import sys\n\nfrom pxeforge.agent.command import main\n\nsys.exit(main())\n"
_PACKAGE = '"""Namespace of the agent inside its zipapp."""\n'
_SHEBANG = b"#!/usr/bin/env python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def agent_bytes() -> bytes:
    """The zipapp. Stored, not compressed: another zlib would give other bytes."""
    sources = {
        f"pxeforge/agent/{entry.name}": entry.read_bytes()
        for entry in resources.files("pxeforge").joinpath("agent").iterdir()
        if entry.is_file() and entry.name.endswith(".py")
    }
    files = {"__main__.py": _MAIN.encode(), "pxeforge/__init__.py": _PACKAGE.encode(), **sources}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name])
    return _SHEBANG + buffer.getvalue()


def build_agent(target: Path) -> str:
    """Writes the zipapp whole or not at all (mode 0644) and returns its SHA-256 in hex."""
    content = agent_bytes()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return hashlib.sha256(content).hexdigest()

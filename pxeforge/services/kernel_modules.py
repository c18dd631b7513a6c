"""Which kernel modules an initrd needs, and the lists by which modprobe finds them (what depmod would write)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

# Entries of the section .modinfo, each behind a NUL: key=value. Whoever looks for them in the whole file finds them.
_INFO: Final = re.compile(rb"(?<=\0)(alias|depends|name)=([^\0]*)(?=\0)")
_NAME: Final = re.compile(r"([^/]+)\.ko(?:\.(?:xz|zst|gz))?$")


@dataclass(frozen=True, slots=True)
class Module:
    """`path` below the folder of the kernel's modules, unpacked: kernel/drivers/net/virtio_net.ko."""

    path: str
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def module_name(path: str) -> str:
    """How the kernel calls a module: its file's name, with _ for -."""
    found = _NAME.search(path)
    return (found[1] if found else path).replace("-", "_")


def read_module(path: str, content: bytes) -> Module:
    """What an unpacked module says of itself."""
    depends: tuple[str, ...] = ()
    aliases = []
    for key, value in _INFO.findall(content):
        text = value.decode("ascii", "replace")
        if key == b"depends":
            depends = tuple(one.replace("-", "_") for one in text.split(",") if one)
        elif key == b"alias" and text.isprintable() and " " not in text:
            aliases.append(text)
    return Module(path, depends, tuple(dict.fromkeys(aliases)))


def needed_by(modules: Iterable[str], depends: Mapping[str, Iterable[str]]) -> list[str]:
    """All that these modules need, each behind what it needs itself; they are not among them."""
    found: list[str] = []

    def add(name: str, above: frozenset[str]) -> None:
        for one in depends.get(name, ()):
            if one not in found and one not in above:
                add(one, above | {one})
                found.append(one)

    for name in modules:
        add(name, frozenset({name}))
    return found


def lists_of(modules: Mapping[str, Module]) -> dict[str, bytes]:
    """modules.dep and modules.alias, by their names."""
    depends = {name: module.depends for name, module in modules.items()}
    lines = []
    for name, module in sorted(modules.items()):
        # The one that is needed last comes first, as depmod writes it.
        needs = [modules[one].path for one in reversed(needed_by([name], depends)) if one in modules]
        lines.append(f"{module.path}: {' '.join(needs)}".rstrip())
    aliases = [f"alias {alias} {name}" for name, module in sorted(modules.items()) for alias in module.aliases]
    return {
        "modules.dep": "".join(f"{line}\n" for line in lines).encode(),
        "modules.alias": "".join(f"{line}\n" for line in aliases).encode(),
    }

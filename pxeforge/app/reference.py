"""Reference pages made from the code: lifecycle, profile parameters, settings. A test holds the committed pages to it.

`python -m pxeforge.app.reference docs/reference` writes them; the commands' page is made by pxeforge/cli/reference.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pxeforge.app.settings import DEFAULT_CONFIG, Settings, SubnetSettings
from pxeforge.domain.lifecycle import NEXT, HostState
from pxeforge.services.answers import DEFAULTS
from pxeforge.services.context import write_whole

_MADE_BY: Final = (
    "<!-- Made by `python -m pxeforge.app.reference docs/reference`: change the code, then run it again. -->"
)
STATE_WORDS: Final[Mapping[HostState, str]] = {
    HostState.DISCOVERED: "seen on the wire; nobody vouched for it",
    HostState.KNOWN: "named or added by an operator",
    HostState.ARMED: "its next netboot gets what it was armed for, once: mostly an install",
    HostState.BOOTING: "armed, and it has fetched its menu",
    HostState.INSTALLING: "it has fetched its answers: from now on every netboot is local",
    HostState.REGISTERED: "installed; its bootstrap has called back",
    HostState.CONFIGURING: "a deploy works on it",
    HostState.READY: "every task of its last deploy ended well",
    HostState.FAILED: "install or deploy did not end well; the timeline says where",
}
PARAMETER_WORDS: Final[Mapping[str, str]] = {
    "accounts": "users of the installed system: a list of {name, password_hash, ssh_keys: […], sudo}; a password is a "
    "crypt hash, never plain text",
    "root_password_hash": "root's password as a crypt hash; without it root has no password",
    "disk": "the install disk: first | serial=… | by-path=… | name=/dev/vda | size=20G..500G (powers of 1000)",
    "wipe": "a chosen disk that carries data is refused, unless this is true or a list that holds its serial number, "
    "by-path name or device",
    "layout": "how the install disk is divided: plain | lvm",
    "filesystem": "file system of the installed system: ext4, xfs …",
    "packages": "installed with the system; python3 is always added, the agent needs it",
    "kernel_package": "kernel to install; without it the installer chooses",
    "domain": "DNS domain of the host; without it `internal`",
    "timezone": "time zone of the installed system, like Europe/Berlin",
    "language": "language of the installer",
    "country": "country of the installer",
    "locale": "locale of installer and installed system",
    "keymap": "keyboard of the console",
    "ntp_server": "asked once, during the install",
    "mirror_host": "package mirror (host or host:port, plain HTTP); without it our own boot plane, which pulls through "
    "from the upstream mirror",
    "mirror_directory": "folder of Debian on the mirror; another mirror_host mostly needs /debian",
    "udeb_suite": "another suite for the installer's own packages only",
    "allow_unauthenticated": "true: the installer checks no signature at all; for a lab only",
    "light": "true: fewer installer packages and a minimal base, for virtual hosts in a lab",
    "late_snippets": "list of {name, text}: shell (busybox sh, new system in $TARGET) run at the end of the install; "
    "one that fails is told and stops nothing",
    "extra_lines": "further preseed lines, each whole",
    "kernel_args": "further kernel arguments, for the installer only",
    "installed_kernel_args": "further kernel arguments, kept by the installed system",
    "console": "serial console of installer and installed system, like ttyS0,115200n8",
    "power_action": "what the installer does at its end: reboot | poweroff",
}
_SETTING_WORDS: Final[Mapping[str, str]] = {
    "router": "router offered in server mode; default: our own address",
    "dns": "DNS servers offered in server mode; default: our own address",
    "ntp": "time servers offered in server mode; default: none",
    "domain": "DNS domain offered in server mode; answers take the profile's parameter `domain`",
    "search": "domains in which hosts look names up, offered in server mode; default: none",
    "options": "further DHCP options in server mode, by number: text, `ip:ADDRESS,…` or `hex:BYTES`",
    "subnets": "further networks to lend addresses in: tables `[[subnets]]`, see below",
    "address_check": "server mode asks by ARP, for 0.4 s at most, whether somebody uses an address it never lent to "
    "this host",
    "lease_time_s": "how long an address is lent in server mode, in seconds",
    "boot_port": "TCP port of the boot plane (plain HTTP)",
    "agent_port": "TCP port of the agent plane (TLS)",
    "tftp_port": "UDP port of TFTP",
    "tftp_blksize": (
        "largest TFTP blocks, for firmware that asks for more than it bears: `1024` for all, `10.0.0.7=1024` for an "
        "address, `52:54:00=1024` for the MAC addresses that begin so; default: what fits into a packet"
    ),
    "syslog_port": "UDP port where installers log",
    "mirror": "upstream package mirror behind /mirror of the boot plane; default: the one that apt uses here",
}


def lifecycle_mermaid() -> str:
    """The page of the lifecycle: states with their meaning, and the transition table as a picture."""
    states = "\n".join(f"| {state.value} | {_cell(meaning)} |" for state, meaning in STATE_WORDS.items())
    labels: dict[tuple[HostState, HostState], list[str]] = {}
    for (before, signal), after in NEXT.items():
        labels.setdefault((before, after), []).append(signal.value)
    order = {state: position for position, state in enumerate(HostState)}
    pairs = sorted(labels, key=lambda pair: (order[pair[0]], order[pair[1]]))
    arrows = "\n".join(f"    {a.value} --> {b.value}: {', '.join(sorted(labels[a, b]))}" for a, b in pairs)
    return (
        f"# The life of a host\n\n{_MADE_BY}\n\n"
        "Drawn from the one transition table in `pxeforge/domain/lifecycle.py`. "
        "A signal that has no arrow in a state is refused.\n\n"
        f"| State | Meaning |\n| --- | --- |\n{states}\n\n"
        f"```mermaid\nstateDiagram-v2\n    [*] --> discovered\n{arrows}\n```\n"
    )


def parameters_table() -> str:
    """The page of the parameters of a profile, with defaults and the form of the values."""
    rows = "\n".join(
        f"| `{key}` | {_code(default)} | {_cell(PARAMETER_WORDS[key])} |" for key, default in DEFAULTS.items()
    )
    return (
        f"# Parameters of a profile\n\n{_MADE_BY}\n\n"
        "Set with `pxeforge profile set PROFILE KEY=VALUE …` (values are YAML), for one host with "
        "`pxeforge host set HOST disk=… wipe=… 'parameters={…}'`. "
        "The host's own values lie over the profile's, these over the defaults. "
        "Arming is refused until a profile lets somebody log in: set `accounts` or `root_password_hash`.\n\n"
        f"| Parameter | Default | Meaning |\n| --- | --- | --- |\n{rows}\n"
    )


def settings_table() -> str:
    """The page of the settings of `pxeforge serve`."""
    rows = "\n".join(
        f"| `{key}` | `PXEFORGE_{key.upper()}` | {_code(_plain(field.default))} | {_cell(_setting_meaning(key))} |"
        for key, field in Settings.model_fields.items()
    )
    return (
        f"# Settings\n\n{_MADE_BY}\n\n"
        "Flags of `pxeforge serve` win over the environment, the environment over the file, the file over the "
        "defaults. "
        f"The file is `{DEFAULT_CONFIG}`, or the one named by `--config` or `PXEFORGE_CONFIG`. "
        "In the environment lists like `interfaces` and `dns` are written with commas. "
        "An unknown key or a value that cannot be is refused with the place where it stands.\n\n"
        f"| Key in `pxeforge.toml` | Environment | Default | Meaning |\n| --- | --- | --- | --- |\n{rows}\n\n"
        f"{_subnet_settings()}"
    )


def _subnet_settings() -> str:
    """The part about `[[subnets]]`."""
    rows = "\n".join(
        f"| `{key}` | {'' if field.is_required() else _code(field.default)} | {_cell(field.description or '')} |"
        for key, field in SubnetSettings.model_fields.items()
    )
    return (
        "## Tables `[[subnets]]`\n\n"
        "One for each further network in which server mode lends addresses: that of another interface (a VLAN "
        "interface is one like others), or one behind a relay. What a table leaves out is as in the settings above, "
        "but for router and routes. In the environment `subnets` and `options` are written as JSON.\n\n"
        f"| Key | Default | Meaning |\n| --- | --- | --- |\n{rows}\n\n"
        "    [[subnets]]\n"
        '    network = "10.88.0.0/24"\n'
        '    range = "10.88.0.50-10.88.0.200"\n'
        '    router = "10.88.0.1"\n'
        '    options = { 150 = "ip:10.88.0.9", 43 = "hex:01:02", 252 = "http://wpad/" }\n'
    )


PAGES: Final = {
    "lifecycle.md": lifecycle_mermaid,
    "parameters.md": parameters_table,
    "settings.md": settings_table,
}


def write_pages(folder: Path) -> None:
    """Writes every page of PAGES, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        write_whole(folder / name, make().encode())


def _setting_meaning(key: str) -> str:
    field = Settings.model_fields[key]
    limits = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)}
    meaning = _SETTING_WORDS.get(key) or field.description or ""
    return f"{meaning} ({limits['ge']} to {limits['le']})" if len(limits) == 2 else meaning


def _plain(value: object) -> Any:
    return str(value) if isinstance(value, Path) else value


def _code(value: object) -> str:
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    """Text that stays in its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))

"""Reference pages made from the code: answers, API, lifecycle, metrics, parameters, roles, settings, step types.

A test holds the committed pages to it. `python -m pxeforge.app.reference docs/reference` writes them; the page of the
commands is made by pxeforge/cli/reference.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pxeforge.app.api_reference import api_page
from pxeforge.app.logs import FIELDS
from pxeforge.app.roles_reference import roles_page
from pxeforge.app.settings import DEFAULT_CONFIG, MirrorSettings, Settings, SubnetSettings
from pxeforge.app.steps_reference import steps_page
from pxeforge.domain.diagnosis import WORDS
from pxeforge.domain.lifecycle import NEXT, HostState
from pxeforge.render.answers_words import FAMILY_WORDS, VARIABLE_WORDS
from pxeforge.services.answers import DEFAULTS
from pxeforge.services.budgets import BUDGET_WORDS, DEFAULT_BUDGETS
from pxeforge.services.context import write_whole
from pxeforge.services.metric_table import METRICS, label_words
from pxeforge.services.milestones import BOUNDS_S
from pxeforge.services.parameter_words import PARAMETER_WORDS

_MADE_BY: Final = (
    "<!-- Made by `python -m pxeforge.app.reference docs/reference`: change the code, then run it again. -->"
)
STATE_WORDS: Final[Mapping[HostState, str]] = {
    HostState.DISCOVERED: "seen on the wire; nobody vouched for it",
    HostState.KNOWN: "named or added by an operator",
    HostState.ARMED: "its next netboot gets what it was armed for, once: mostly an install",
    HostState.BOOTING: "armed, and it has fetched its menu",
    HostState.INSTALLING: "it has fetched its answers: from now on every netboot is local",
    HostState.INSTALLED: "its installer has finished; the new system has not registered yet",
    HostState.REGISTERED: "installed; its bootstrap has called back",
    HostState.CONFIGURING: "a deploy works on it",
    HostState.READY: "every task of its last deploy ended well",
    HostState.FAILED: "install, wipe or deploy did not end well; the timeline says where",
    HostState.RESCUE: "a rescue system or a memory test was handed out; ends when the operator says so, after its "
    "time, or when the host is seen elsewhere",
    HostState.WIPING: "the disks that were named by their serials are being erased",
    HostState.RETIRED: "out of use: it cannot be armed, nothing runs on it, its netboots are local; can come back",
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
    "mirror": "upstream package mirror behind /mirror/debian of the boot plane; default: the one that apt uses here",
    "mirrors": "further package repositories (Debian, Ubuntu, RPM) behind /mirror/NAME: tables `[mirrors.NAME]`, see "
    "below",
    "mirror_proxy": "HTTP proxy on the way to package mirrors; default: none",
    "mirror_offline": "no package mirror is asked: hosts get what is in the cache",
    "cache_max_bytes": "most bytes that the package cache keeps; then what was not asked for the longest goes",
    "cache_reserve_bytes": "bytes that the package cache leaves free on its disk",
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
    diagnoses = "\n".join(
        f"| `{name}` | {_cell(sentence)} | {_cell(remedy)} |" for name, (sentence, remedy) in WORDS.items()
    )
    return (
        f"# The life of a host\n\n{_MADE_BY}\n\n"
        "Drawn from the one transition table in `pxeforge/domain/lifecycle.py`. "
        "A signal that has no arrow in a state is refused.\n\n"
        f"| State | Meaning |\n| --- | --- |\n{states}\n\n"
        f"```mermaid\nstateDiagram-v2\n    [*] --> discovered\n{arrows}\n```\n\n"
        "## Diagnoses\n\n"
        "What is said of a host that something holds up: `pxeforge host show` and `host list`, the API, the pages "
        "and the metric `pxeforge_diagnoses`. Each becomes true when a [time budget](settings.md#table-budgets) is "
        "over or an event proves it, is written into the timeline once, and goes away when it is over.\n\n"
        f"| Name | Sentence | Remedy |\n| --- | --- | --- |\n{diagnoses}\n"
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


def variables_table() -> str:
    """The page of what answer templates may use."""
    rows = _word_rows(VARIABLE_WORDS)
    families = "".join(
        f"\nIn `{folder}/` also:\n\n| Variable | What it holds |\n| --- | --- |\n{_word_rows(words)}\n"
        for folder, words in FAMILY_WORDS.items()
    )
    return (
        f"# Variables of the answer templates\n\n{_MADE_BY}\n\n"
        "What the templates in `preseed/`, `kickstart/` and `autoinstall/` may use; an unknown name is an error with "
        "file and line. Every text goes through the filter of its place: `debconf`, `ks`, `json` (for YAML "
        "too), `sh`, `kargs`, `display`.\n\n"
        f"| Variable | What it holds |\n| --- | --- |\n{rows}\n{families}"
    )


def _word_rows(words: Mapping[str, str]) -> str:
    return "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in words.items())


def metrics_table() -> str:
    """The page of what /metrics tells and of the fields of the log."""
    rows = "\n".join(
        f"| `{metric.name}` | {metric.kind.value} | {_cell(metric.words)} | {_cell(label_words(metric))} |"
        for metric in METRICS
    )
    fields = "\n".join(f"| `{name}` | {_cell(words)} |" for name, words in FIELDS.items())
    return (
        f"# Metrics and log\n\n{_MADE_BY}\n\n"
        "## Metrics\n\n"
        "In the text format of Prometheus at `/metrics`; how to get at it: "
        "[Watching it](../operations.md#watching-it). Counters go on over restarts. "
        "Labels have the values named here and `other`, whatever hosts send: the number of series is bounded.\n\n"
        f"| Metric | Kind | What it is | Labels |\n| --- | --- | --- | --- |\n{rows}\n\n"
        f"Buckets of histograms, in seconds: {', '.join(map(str, BOUNDS_S))}.\n\n"
        "## Fields of a line of the log\n\n"
        "Beside `timestamp` (UTC), `level`, `process` and `event`; each line has those that it is about.\n\n"
        f"| Field | What it is |\n| --- | --- |\n{fields}\n"
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
        f"{_subnet_settings()}\n{_mirror_settings()}\n{_budget_settings()}"
    )


def _mirror_settings() -> str:
    """The part about `[mirrors.NAME]`."""
    rows = "\n".join(
        f"| `{key}` | {'' if field.is_required() else _code(field.default)} | {_cell(field.description or '')} |"
        for key, field in MirrorSettings.model_fields.items()
    )
    return (
        "## Tables `[mirrors.NAME]`\n\n"
        "One for each further package repository; NAME is of a-z, 0-9 and -. Hosts find it at "
        "`http://SERVER:8080/mirror/NAME`. In the environment `mirrors` is written as JSON.\n\n"
        f"| Key | Default | Meaning |\n| --- | --- | --- |\n{rows}\n\n"
        "    [mirrors.ubuntu]\n"
        '    url = "http://mirror.example/ubuntu"\n'
        '    proxy = "http://proxy.example:3128"\n'
    )


def _budget_settings() -> str:
    """The part about `[budgets]`."""
    rows = "\n".join(
        f"| `{name}` | {seconds:.0f} | {_cell(BUDGET_WORDS[name])} |" for name, seconds in DEFAULT_BUDGETS.items()
    )
    return (
        "## Table `[budgets]`\n\n"
        "How long a host may take for each part of its way, in seconds. What takes longer gets a "
        "[diagnosis](../operations.md#where-did-it-hang), or is ended where it says so. "
        "A profile's parameter `budgets` wins over it. In the environment `budgets` is written as JSON.\n\n"
        f"| Key | Default | Meaning |\n| --- | --- | --- |\n{rows}\n\n"
        "    [budgets]\n"
        "    step = 5400\n"
        "    install = 21600\n"
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


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "api.md": lambda: api_page(_MADE_BY),
    "answers.md": variables_table,
    "lifecycle.md": lifecycle_mermaid,
    "metrics.md": metrics_table,
    "parameters.md": parameters_table,
    "roles.md": lambda: roles_page(_MADE_BY),
    "settings.md": settings_table,
    "steps.md": lambda: steps_page(_MADE_BY),
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

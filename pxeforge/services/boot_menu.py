"""What an armed host is offered when it netboots: an install at once, a rescue system, a memory test, or a menu."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import LOCAL_ENTRY, EntryKind, Menu, MenuEntry, MenuKind, local_menu
from pxeforge.services import images
from pxeforge.services.answers import effective, kernel_args, rescue_args
from pxeforge.services.context import Context
from pxeforge.services.discovery_entry import discovery_entry
from pxeforge.services.install_sources import source_of

PLAN: Final = "boot"  # the key of an attempt's parameters that holds a plan; an install at once has none
MEMTEST_IMAGE: Final = "memtest"
MENU_TIMEOUT_S: Final = 90
RESCUE_NUMBER: Final = "98"
MEMTEST_NUMBER: Final = "99"
ERASE: Final = "erase"  # the key of an attempt's parameters that says what a wipe erases
_NO_PARAMETERS: Final = frozenset({"template", PLAN, ERASE})
# A wipe partitions nothing, whatever profile and host say of their installs.
_NO_PARTITIONS: Final[Mapping[str, Any]] = {"layout": "plain", "partitions": [], "reserve": None, "mirror_disk": None}


class Purpose(enum.Enum):
    """What a choice starts."""

    INSTALL = "install"
    RESCUE = "rescue"
    MEMTEST = "memtest"
    WIPE = "wipe"
    DISCOVER = "discover"


class NamedHost(Protocol):
    """A host as the wire or the store has it."""

    @property
    def name(self) -> str | None: ...

    @property
    def settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One thing the host may start. `image` is `name/version`, `parameters` those of the profile."""

    number: str
    purpose: Purpose
    attempt_id: str
    profile: str
    image: str
    arch: str
    suite: str
    parameters: Mapping[str, Any]


def plan_of(choices: Iterable[Choice], timeout_s: int | None) -> dict[str, Any]:
    """A plan as an attempt keeps it; `timeout_s` None: the one choice starts at once, without asking."""
    return {"timeout_s": timeout_s, "choices": [{**asdict(one), "purpose": one.purpose.value} for one in choices]}


def choices_of(layer: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The choices in an attempt's parameters; none where it is an install at once."""
    found = (layer.get(PLAN) or {}).get("choices", ())
    return tuple(Choice(**{**one, "purpose": Purpose(one["purpose"])}) for one in found)


def ends_when_served(layer: Mapping[str, Any]) -> bool:
    """Whether nobody will call back: a rescue system or a memory test that starts at once."""
    plan = layer.get(PLAN)
    return plan is not None and plan["timeout_s"] is None


def asks(layer: Mapping[str, Any]) -> bool:
    """Whether somebody at the console chooses."""
    return layer.get(PLAN) is not None and not ends_when_served(layer)


def host_parameters(host: NamedHost, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Profile parameters, then the host's own; `disk` and `wipe` of the host are short for parameters."""
    own = {key: value for key, value in host.settings.items() if key in ("disk", "wipe")}
    base = {key: value for key, value in layer.items() if key not in _NO_PARAMETERS}
    return effective(base, host.settings.get("parameters", {}), own, _NO_PARTITIONS if ERASE in layer else {})


def build_menu(
    ctx: Context, host: NamedHost, choices: tuple[Choice, ...], timeout_s: int | None, kind: MenuKind,
    mac: MacAddress, tokens: Mapping[str, str],
) -> Menu:  # fmt: skip
    """The host's menu. `tokens` opens the answers of each attempt; raises MenuProblem and Problem.

    Where the loader's processor cannot run any of it, that is the local disk.
    """
    name = host.name or str(mac)
    for_pcs = [one for one in choices if not kind.is_for_pcs or one.arch == "amd64"]
    entries = tuple(_entry(ctx, host, one, tokens, mac) for one in for_pcs)
    if not entries:
        return local_menu(name, mac)
    if timeout_s is None:
        return Menu(host_name=name, mac=mac, entries=(*entries, LOCAL_ENTRY), default_id=entries[0].id)
    return Menu(host_name=name, mac=mac, entries=(*entries, LOCAL_ENTRY), prompt=True, timeout_s=timeout_s)


def _entry(
    ctx: Context, host: NamedHost, choice: Choice, tokens: Mapping[str, str], mac: MacAddress
) -> MenuEntry:  # fmt: skip
    base = f"images/{choice.image}"
    if choice.purpose is Purpose.MEMTEST:
        return MenuEntry(
            id=choice.number, title="Test the memory", kind=EntryKind.PROGRAM, kernel_path=f"{base}/memtest.bin",
            efi_path=f"{base}/memtest.efi",
        )  # fmt: skip
    if choice.purpose is Purpose.DISCOVER:
        return discovery_entry(ctx, choice.number, choice.image, tokens[choice.attempt_id], host.settings)
    parameters, hostname = host_parameters(host, choice.parameters), host.name or ""
    source = source_of(ctx, images.by_reference(ctx, choice.image))
    if choice.purpose is Purpose.RESCUE:
        title = f"Rescue system of {choice.profile}"
        args = rescue_args(
            parameters, hostname=hostname, addresses=ctx.addresses, suite=choice.suite, source=source
        )  # fmt: skip
    else:
        is_wipe = ERASE in choice.parameters
        title = f"Erase disks of {host.name}" if is_wipe else f"Install {choice.profile} on {host.name}"
        token = tokens[choice.attempt_id]
        args = kernel_args(
            parameters, hostname=hostname, addresses=ctx.addresses, token=token, boot_mac=str(mac), source=source
        )  # fmt: skip
    return MenuEntry(
        id=choice.number, title=title, kind=EntryKind.INSTALL, kernel_path=f"{base}/linux",
        initrd_paths=(f"{base}/initrd.gz",), kernel_args=args,
    )  # fmt: skip

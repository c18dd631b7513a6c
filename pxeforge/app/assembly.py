"""Puts the product together: data directory, database, keys and the context that every process shares."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from pxeforge.app.setting_values import BadSettings
from pxeforge.app.subnets import lent_subnets
from pxeforge.servers.interfaces import NoInterface, interface_named
from pxeforge.services.context import Addresses, Context, load_master_key, write_news
from pxeforge.services.mirror_udebs import MirrorUdebs
from pxeforge.services.neighbours import Neighbours
from pxeforge.services.run_limits import effective as effective_limits
from pxeforge.store import swap
from pxeforge.store.database import Database, StoreUnavailable

if TYPE_CHECKING:
    from pxeforge.app.settings import Settings

_SUBFOLDERS = ("images", "cache", "logs", "tls", "agent", "metrics")


def open_data_dir(data_dir: Path) -> None:
    """Makes the folders (0700: keys and answers live here); raises BadSettings."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        swap.finish(data_dir)  # a restore that was killed half-way
        for name in _SUBFOLDERS:
            (data_dir / name).mkdir(exist_ok=True, mode=0o700)
    except OSError as problem:
        raise BadSettings(
            f"the data directory {data_dir} cannot be made ({problem.strerror}): choose one with --data-dir"
        ) from None


def addresses_of(settings: Settings) -> Addresses:
    """Our address on the first boot interface; without an interface, what the last `serve` used."""
    if settings.interfaces:
        found = interface_named(settings.interfaces[0])
        return Addresses(
            boot_address=str(found.address), boot_port=settings.boot_port, agent_port=settings.agent_port,
            tftp_port=settings.tftp_port,
        )  # fmt: skip
    remembered = settings.data_dir / "addresses.json"
    if remembered.exists():
        return Addresses(**json.loads(remembered.read_text()))
    return Addresses(boot_address="127.0.0.1", boot_port=settings.boot_port, agent_port=settings.agent_port)


def remember_addresses(settings: Settings, addresses: Addresses) -> None:
    """So that `pxeforge host explain` and friends tell the truth when no server runs."""
    text = json.dumps({
        "boot_address": addresses.boot_address, "boot_port": addresses.boot_port,
        "agent_port": addresses.agent_port, "tftp_port": addresses.tftp_port,
    })  # fmt: skip
    write_news(settings.data_dir / "addresses.json", text.encode())


def open_context(settings: Settings, *, upgrade: bool = False) -> Context:
    """The context of one process; `upgrade` also brings the database up to this release. Raises BadSettings."""
    open_data_dir(settings.data_dir)
    _end_restore(settings)
    database = Database(settings.location)
    try:
        if upgrade:
            database.upgrade()
    except StoreUnavailable as problem:
        raise BadSettings(str(problem)) from problem
    neighbours = Neighbours()
    return Context(
        database=database,
        data_dir=settings.data_dir,
        operator_dir=settings.operator_dir,
        addresses=addresses_of(settings),
        master_key=load_master_key(settings.data_dir),
        clock=time.time,
        neighbour=neighbours,
        source=_source(settings, neighbours),
        interfaces=lambda: _addresses(settings),
        dhcp=settings.dhcp,
        unknown_hosts=settings.unknown_hosts,
        discovery_end=settings.discovery_end,
        subnets=lambda: lent_subnets(settings, [interface_named(name) for name in settings.interfaces]),
        boot_networks=lambda: _networks(settings),
        webhook_networks=settings.webhook_networks,
        budgets=settings.budgets,
        limits=effective_limits(settings.limits),
        verify_every_s=settings.verify_every_s,
        drift_every_s=settings.drift_every_s,
        mirrors=frozenset(settings.mirrors),
        udebs=MirrorUdebs(),
    )


def _end_restore(settings: Settings) -> None:
    """One that was killed before the rows were in a database elsewhere. Raises BadSettings."""
    if (settings.data_dir / swap.RESTORED).exists():
        from pxeforge.services import backups

        try:
            backups.load_restored(settings.data_dir, settings.location)
        except StoreUnavailable as problem:
            raise BadSettings(f"a restore is not ended yet: {problem}") from problem


def refuse_second_server(settings: Settings) -> None:
    """Two that serve from one database would hand out the same addresses. A lock tells of one on the same data
    directory, the database of one elsewhere. Raises BadSettings.
    """
    database = Database(settings.location)
    try:
        if database.others():
            raise BadSettings(f"another pxeforge uses the database {settings.location}: stop it, or name another one")
    except StoreUnavailable as problem:
        raise BadSettings(str(problem)) from problem
    finally:
        database.close()


def _addresses(settings: Settings) -> dict[str, str]:
    """Our address on each boot interface that is there now."""
    found = {}
    for name in settings.interfaces:
        with contextlib.suppress(NoInterface):
            found[name] = str(interface_named(name).address)
    return found


def _networks(settings: Settings) -> list[IPv4Network]:
    """Those of the boot interfaces that are there now, and the subnets behind relays."""
    found = [table.network for table in settings.subnets]
    for name in settings.interfaces:
        with contextlib.suppress(NoInterface):
            interface = interface_named(name)
            found += interface.networks or (interface.network,)
    return found


def _source(settings: Settings, neighbours: Neighbours) -> Callable[[str], str | None]:
    """Our address as a peer sees us, if it is one of a boot interface (else the first one's is told)."""
    interfaces = [interface_named(name) for name in settings.interfaces]
    ours = {str(interface.address) for interface in interfaces}

    def source(peer: str) -> str | None:
        found = neighbours.source(peer) if len(ours) > 1 and peer else None
        return found if found in ours else None

    return source

"""A data directory with a fleet in it: any number of armed hosts, made as the product makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, inspect, select

from bench.scene import write_files
from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.domain.mac import MacAddress
from pxeforge.services import arming, hosts, install_tokens, profiles
from pxeforge.services.context import Context, digest, new_id
from pxeforge.store.tables import Attempt, Base, Event, Host, Nic, Token

PROFILE = "bench"
_ARMED_FOR_S = 7 * 86400


def mac_of(number: int) -> str:
    """The MAC of host `number`, as the load generators count them."""
    return str(MacAddress(b"\x52\x54\x01" + number.to_bytes(3, "big")))


def name_of(number: int) -> str:
    return f"bench-{number:05d}"


@dataclass(frozen=True)
class Fleet:
    """`hosts` armed hosts in `folder`, and the paths that each of them asks the boot plane for."""

    folder: Path
    hosts: int

    @property
    def menus(self) -> Path:
        return self.folder / "menus.txt"

    @property
    def answers(self) -> Path:
        return self.folder / "answers.txt"


def make_fleet(folder: Path, count: int) -> Fleet:
    """The first host is added and armed by the product itself; the others are copies of its rows.

    One by one they would take minutes, for each arming renders and checks every text. Identities and tokens are each
    host's own.
    """
    write_files(folder, {"linux": 8_000_000, "initrd.gz": 2_000_000})
    ctx = open_context(Settings.model_validate({"data_dir": folder}), upgrade=True)
    account = {"name": "ops", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ bench"], "sudo": True}
    profiles.create(ctx, PROFILE, image="bench", parameters={"accounts": [account]}, who="bench")
    hosts.add(ctx, macs=[mac_of(0)], name=name_of(0), who="bench")
    hosts.change(ctx, mac_of(0), loader="ipxe", who="bench")
    arming.arm(ctx, mac_of(0), profile=PROFILE, for_s=_ARMED_FOR_S, who="bench")
    attempts = _multiply(ctx, count)
    fleet = Fleet(folder, count)
    fleet.menus.write_text("".join(f"/boot/{mac_of(number)}/menu.ipxe\n" for number in range(count)))
    fleet.answers.write_text("".join(f"/answers/{install_tokens.token_of(ctx, one, 'answers')}\n" for one in attempts))
    ctx.database.close()
    return fleet


def _multiply(ctx: Context, count: int) -> list[str]:
    """Copies everything that hangs on the first host; returns the attempt of each host."""
    rows: dict[type[Base], list[dict[str, Any]]] = {Host: [], Nic: [], Attempt: [], Token: [], Event: []}
    with ctx.database.write() as session:
        host = session.scalars(select(Host)).one()
        attempt = session.get_one(Attempt, host.attempt_id)
        events = [_columns(event, but="id") for event in session.scalars(select(Event).where(Event.host_id == host.id))]
        attempts = [attempt.id]
        for number in range(1, count):
            own = {"host_id": new_id(), "attempt_id": new_id()}
            attempts.append(own["attempt_id"])
            rows[Host].append(
                _columns(host) | {"id": own["host_id"], "attempt_id": own["attempt_id"], "name": name_of(number)}
            )
            rows[Nic].append(_columns(host.nics[0]) | {"mac": mac_of(number), "host_id": own["host_id"]})
            rows[Attempt].append(_columns(attempt) | {"id": own["attempt_id"], "host_id": own["host_id"]})
            for purpose in ("answers", "installer"):
                token = install_tokens.token_of(ctx, own["attempt_id"], purpose)
                rows[Token].append({"digest": digest(token), "attempt_id": own["attempt_id"], "purpose": purpose})
            rows[Event].extend(event | {"host_id": own["host_id"]} for event in events)
        for table, values in rows.items():
            if values:
                session.execute(insert(table), values)
    return attempts


def _columns(row: Base, but: str = "") -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs if column.key != but}

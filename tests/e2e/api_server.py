"""A real admin plane on the loopback with a rack behind it, for whoever wants to ask it much: `python -m … FOLDER`.

It says one line of JSON, its port and a token for each role, and ends when its standard input does.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from pxeforge.app.certificate import ensure_certificate
from pxeforge.app.web_server import Plane, _server
from pxeforge.domain.user_role import UserRole
from pxeforge.services import (
    accounts,
    api_tokens,
    arming,
    deploys,
    hosts,
    install_tokens,
    power,
    profiles,
    registration,
    rules,
    webhooks,
    wire_answers,
)
from pxeforge.services.acting import LOCAL, Actor
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.store.database import Database
from pxeforge.webapp import event_stream
from pxeforge.webapp.admin import create_admin
from tests.conftest import ACCOUNT, FACTS, PEER, write_image

ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
MACS = [f"52:54:00:00:00:{number:02x}" for number in range(1, 9)]

# A machine is on while there is a file: what is asked of it comes true at once.
POWER = """
[commands.switch]
on = ["/bin/touch", "{folder}/on"]
off = ["/bin/rm", "-f", "{folder}/on"]
cycle = ["/bin/touch", "{folder}/on"]
status = ["/bin/sh", "-c", "test -e {folder}/on && echo on || echo off"]
pxe = ["/bin/touch", "{folder}/on"]
"""


def fill(ctx: Context) -> dict[str, list[str]]:
    """Hosts, profiles, an image, users, a run; gives what may stand in paths, by the name of its argument."""
    write_image(ctx.data_dir)
    for name in ("debian-13", "other"):
        profiles.create(ctx, name, image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    for number, mac in enumerate(MACS, start=1):
        hosts.add(ctx, macs=[mac], name=f"n{number}", roles=["base"] if number < 4 else [], tags=["rack1"], who="test")
    attempt = _install(ctx, "n1")
    arming.arm(ctx, "n2", profile="debian-13", who="test")
    for name in ("n4", "n5"):
        power.set_power(ctx, name, {"driver": "command", "command": "switch"}, password=None, who="test")
    run = deploys.deploy(ctx, who="test")["id"]
    deploys.cancel(ctx, run, who="test")
    accounts.add(ctx, "ann", "correct horse battery", role=UserRole.OPERATOR, who="test")
    hook = webhooks.add(ctx, "http://127.0.0.1:1/hook", events=["operator.arm"], who="test")["id"]
    rules.add(ctx, "by-vendor", when={"vendor": "Dell*"}, gives={"tags": ["dell"]}, who="test")
    return {
        "host": MACS, "profile": ["debian-13", "other"], "name": ["debian-13", "ann"], "what": ["answers", "menu.ipxe"],
        "run": [run], "webhook": [hook], "mac": MACS, "attempt": [attempt], "rule": ["by-vendor"],
    }  # fmt: skip


def _install(ctx: Context, name: str) -> str:
    """The host after its install, with its agent; gives the attempt."""
    arming.arm(ctx, name, profile="debian-13", who="test")
    attempt = hosts.show(ctx, name)["attempt"]
    assert attempt is not None
    token = {one: install_tokens.token_of(ctx, attempt["id"], one) for one in ("answers", "installer")}
    wire_answers.answers(ctx, token["answers"], peer=PEER)
    mac = hosts.show(ctx, name)["macs"][0]
    nics = [{"name": "ens3", "mac": mac, "addresses": [f"{PEER}/24"]}]
    registration.register(ctx, token["installer"], {**FACTS, "hostname": name, "nics": nics}, peer=PEER)
    return str(attempt["id"])


def main(folder: Path) -> None:
    event_stream.LONGEST_S = 0.2
    for name in ("images", "cache", "logs", "tls", "agent"):
        (folder / name).mkdir()
    ensure_certificate(folder, ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    (folder / "agent" / "pxeforge-agent.pyz").write_bytes(b"agent")
    database = Database(folder / "pxeforge.db")
    database.upgrade()
    ctx = Context(
        database=database, data_dir=folder, addresses=Addresses(boot_address="192.0.2.1"),
        master_key=load_master_key(folder), operator_dir=folder / "etc",
        webhook_networks=[ipaddress.IPv4Network("127.0.0.0/8")],
    )  # fmt: skip
    (folder / "etc").mkdir()
    nobody = "networks = []\n"  # is to connect anywhere
    (folder / "etc" / "power.toml").write_text(nobody + POWER.format(folder=folder))
    known = fill(ctx)
    tokens = {role.value: api_tokens.create(ctx, name=role.value, role=role.value, actor=ROOT) for role in UserRole}
    listener = socket.create_server(("127.0.0.1", 0))
    app: Any = create_admin(ctx)
    server = _server(Plane(name="admin", app=app, listener=listener, threads=16))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    clear = {role: made["token"] for role, made in tokens.items()}
    print(json.dumps({"port": listener.getsockname()[1], "tokens": clear, "known": known}), flush=True)
    sys.stdin.read()
    server.should_exit = True
    thread.join(10)
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A process that sends webhooks, for whoever wants to kill it: `python -m … FOLDER`; it says `ready` and goes on."""

from __future__ import annotations

import ipaddress
import sys
import threading
from pathlib import Path

from pxeforge.app.webhook_sender import WebhookSender
from pxeforge.services.context import Addresses, Context, load_master_key
from pxeforge.store.database import Database


def open_folder(folder: Path) -> Context:
    """May send to the loopback."""
    return Context(
        database=Database(folder / "pxeforge.db"), data_dir=folder, addresses=Addresses(boot_address="192.0.2.1"),
        master_key=load_master_key(folder), webhook_networks=[ipaddress.IPv4Network("127.0.0.0/8")],
    )  # fmt: skip


if __name__ == "__main__":
    sender = WebhookSender(open_folder(Path(sys.argv[1])), every_s=0.05)
    sender.start()
    print("ready", flush=True)
    threading.Event().wait()

"""`pxeforge inventory`: the hosts for Ansible and for SSH."""

from __future__ import annotations

import sys
from typing import Any

import click

from pxeforge.cli.output import show_json

FORMATS = ("ansible", "kolla-ansible")  # as in services/inventory.py, which is loaded by the server


@click.command()
@click.option("--list", "everything", is_flag=True, help="All groups and hosts, with their variables.")
@click.option("--host", "host", metavar="HOST", help="The variables of one host.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True,
    help="Whose groups: role_…, tag_… and state_…, or kolla-ansible's control, network, compute, storage, monitoring.",
)  # fmt: skip
@click.option("--known-hosts", is_flag=True, help="A known_hosts file for SSH, with the keys that hosts registered.")
@click.pass_obj
def inventory(session: Any, everything: bool, host: str | None, form: str, known_hosts: bool) -> None:
    """Be a dynamic inventory of Ansible: groups role_…, tag_… and state_….

    Ansible takes an executable file that calls `exec pxeforge inventory "$@"`. With --format kolla-ansible a host is in
    a group by a tag of that name, or by its roles; kolla-ansible's own multinode file has the groups below these.
    """
    if [everything, host is not None, known_hosts].count(True) != 1:
        raise click.UsageError("give one of --list, --host HOST or --known-hosts")
    if known_hosts:
        sys.stdout.write(session.api.call("GET", "/inventory/known-hosts")["text"])
        return
    show_json(session.api.call("GET", "/inventory", query={"host": host} if host is not None else {"format": form}))


COMMANDS = (inventory,)

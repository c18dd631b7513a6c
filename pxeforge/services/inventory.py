"""The hosts as an Ansible inventory (dynamic inventory JSON) and as a known_hosts file for SSH.

Much of this was reported by the hosts themselves, and Ansible runs templates found in variables: only values of a
known shape get in.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import select

from pxeforge.domain.lifecycle import HostState
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.store.tables import Attempt, Host

# sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": hosts, key type, base64 key.
_KEY = re.compile(r"(ssh-[a-z0-9-]{1,32}|ecdsa-sha2-nistp[0-9]{3}|sk-[a-z0-9@.-]{1,48}) ([A-Za-z0-9+/]{32,2048}={0,2})")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# The groups at the top of kolla-ansible's multinode inventory (kolla-ansible, ansible/inventory/multinode), and which
# of our roles say that a host is meant for one.
_KOLLA_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "control": frozenset(
        {"mariadb", "rabbitmq", "memcached", "haproxy", "keystone", "glance", "placement", "horizon", "cinder",
         "nova-controller", "neutron-server"}
    ),
    "network": frozenset({"neutron-l3", "neutron-dhcp", "neutron-metadata"}),
    "compute": frozenset({"nova-compute"}),
    "storage": frozenset({"cinder-volume", "cinder-lvm", "cinder-nfs", "cinder-backup", "nfs-server"}),
    "monitoring": frozenset(),
}  # fmt: skip
_KOLLA_ALL: Final = "baremetal"
_NOT_IN_A_GROUP: Final = re.compile(r"[^A-Za-z0-9_]")


class Form(enum.StrEnum):
    """Whose groups the hosts are put in."""

    ANSIBLE = "ansible"  # role_…, tag_… and state_…
    KOLLA = "kolla-ansible"  # control, network, compute, storage, monitoring: what its own multinode file builds on


def ansible_inventory(ctx: Context, form: Form = Form.ANSIBLE) -> dict[str, Any]:
    """Groups with their hosts, and `_meta.hostvars`. Strangers (discovered) are not in it.

    kolla-ansible: a host is in a group by a tag of this name, or by its roles; empty groups are there too.
    """
    kolla = form is Form.KOLLA
    groups: dict[str, list[str]] = {group: [] for group in _KOLLA_GROUPS} if kolla else {}
    hostvars: dict[str, dict[str, Any]] = {}
    for host, attempt in _hosts(ctx):
        name = host.name or host.id
        hostvars[name] = _variables(host, attempt)
        for group in _kolla_groups(host) if kolla else _groups(host):
            groups.setdefault(group, []).append(name)
    above = {_KOLLA_ALL: {"children": list(_KOLLA_GROUPS)}} if kolla else {}
    return {
        "_meta": {"hostvars": hostvars},
        "all": {"hosts": sorted(hostvars), "children": sorted([*groups, *above])},
        **{group: {"hosts": members} for group, members in sorted(groups.items())},
        **above,
    }


def host_variables(ctx: Context, name: str) -> dict[str, Any]:
    """The variables of one host of the inventory; raises NotFound."""
    with ctx.database.read() as session:
        host = hosts.find(session, name)
        if host.state == HostState.DISCOVERED.value:
            raise NotFound(f"nobody vouched for the host {name} yet: add it with `pxeforge host add`")
        return _variables(host, session.get(Attempt, host.attempt_id) if host.attempt_id else None)


def known_hosts(ctx: Context) -> str:
    """One line `name,address type key` for each SSH host key that a host reported at its registration."""
    lines = []
    for host, _ in _hosts(ctx):
        names = ",".join(filter(None, (host.name, _address(host))))
        lines += [f"{names} {key}" for key in _ssh_host_keys(host) if names]
    return "".join(f"{line}\n" for line in lines)


def _hosts(ctx: Context) -> list[tuple[Host, Attempt | None]]:
    known = (
        select(Host, Attempt)
        .outerjoin(Attempt, Attempt.id == Host.attempt_id)
        .where(Host.state != HostState.DISCOVERED.value)
        .order_by(Host.name, Host.id)
    )
    with ctx.database.read() as session:
        return [(host, attempt) for host, attempt in session.execute(known)]


def _variables(host: Host, attempt: Attempt | None) -> dict[str, Any]:
    given = {
        "ansible_host": _address(host),
        "ansible_user": _user(attempt) if host.registered_at else None,
        "pxeforge_id": host.id,
        "pxeforge_state": host.state,
        "pxeforge_roles": [row.role for row in host.roles],
        "pxeforge_tags": host.tags,
        "pxeforge_macs": [nic.mac for nic in host.nics],
        "pxeforge_ssh_host_keys": _ssh_host_keys(host),
    }
    return {key: value for key, value in given.items() if value is not None}


def _groups(host: Host) -> list[str]:
    words = [f"state_{host.state}", *(f"role_{row.role}" for row in host.roles), *(f"tag_{tag}" for tag in host.tags)]
    return list(dict.fromkeys(_NOT_IN_A_GROUP.sub("_", word) for word in words))


def _kolla_groups(host: Host) -> list[str]:
    roles = {row.role for row in host.roles}
    return [group for group, ours in _KOLLA_GROUPS.items() if group in host.tags or roles & ours]


def _address(host: Host) -> str | None:
    try:
        return str(ipaddress.ip_address(host.address or ""))
    except ValueError:
        return None


def _user(attempt: Attempt | None) -> str | None:
    """The first account with a key that the host was installed with."""
    accounts = attempt.parameters.get("accounts", []) if attempt else []
    return next((one["name"] for one in accounts if one.get("ssh_keys") and _USER.fullmatch(one["name"])), None)


def _ssh_host_keys(host: Host) -> list[str]:
    reported: Iterable[Mapping[str, Any]] = host.facts.get("ssh_host_keys") or []
    keys = [str(one.get("public_key", "")) for one in reported]
    return sorted({key for key in keys if _KEY.fullmatch(key)})

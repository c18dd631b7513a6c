"""Whether what a blueprint says fits together: networks, addresses, VIPs, roles, variables and tolerance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pxeforge.engine.blueprint_form import Merged, RawNetwork, RawRule, Sourced
from pxeforge.engine.document import Finding
from pxeforge.engine.layout import PURPOSES, Address
from pxeforge.engine.plan_problem import PlanProblem
from pxeforge.engine.role_order import role_order
from pxeforge.engine.roles import Role, absent


def check(merged: Merged, roles: Mapping[str, Role], releases: Collection[str] | None) -> list[Finding]:
    """All that is wrong; `releases` None: nothing is known of release packs."""
    return list(_Checks(merged, roles, releases).all())


def purposes_of(name: str, network: RawNetwork) -> tuple[str, ...]:
    return tuple(network.purposes) if network.purposes is not None else (name,)


class _Checks:
    def __init__(self, merged: Merged, roles: Mapping[str, Role], releases: Collection[str] | None) -> None:
        self._merged, self._roles, self._releases = merged, roles, releases
        self._by_purpose = {
            purpose: (name, network)
            for name, network in merged.networks.items()
            for purpose in (*purposes_of(name, network.value), name)
        }
        self._used: set[str] = set()  # roles that hosts have, required ones too

    def all(self) -> Iterator[Finding]:
        yield from self._release()
        yield from self._networks()
        yield from self._overlaps()
        for rule in self._merged.hosts:
            yield from self._rule(rule)
        yield from self._members()
        yield from self._variables()
        yield from self._vips()
        yield from self._tolerance()
        yield from self._clashes()

    def _release(self) -> Iterator[Finding]:
        wanted = self._merged.release
        if wanted is not None and self._releases is not None and wanted.value not in self._releases:
            fix = f"choose from {', '.join(sorted(self._releases)) or 'none (releases/ is empty)'}"
            yield wanted.finding(f"there is no release pack {wanted.value}", fix)

    # ------------------------------------------------------------------------------------------ networks

    def _networks(self) -> Iterator[Finding]:
        owners: dict[str, str] = {}
        for name, network in self._merged.networks.items():
            for purpose in purposes_of(name, network.value):
                if owners.setdefault(purpose, name) != name:
                    message = f"networks {owners[purpose]} and {name} both serve purpose {purpose}"
                    yield network.finding(message, "name it under one of them", "purposes")
            yield from self._network(name, network)

    def _network(self, name: str, network: Sourced[RawNetwork]) -> Iterator[Finding]:
        cidr, gateway, pool = network.value.cidr, network.value.gateway, network.value.pool
        if cidr is None:
            for key in ("gateway", "pool"):
                if getattr(network.value, key) is not None:
                    yield network.finding(f"network {name} has a {key} and no cidr", "add cidr", key)
            return
        if gateway is not None and gateway not in cidr:
            yield network.finding(f"gateway {gateway} is outside network {name}", f"choose one in {cidr}", "gateway")
        if pool is None:
            return
        first, last = pool
        if first not in cidr or last not in cidr or int(first) > int(last):
            message = f"the pool {first} to {last} does not lie in network {name}"
            yield network.finding(message, f"write two addresses of {cidr}, the lower one first", "pool")
        elif gateway is not None and _within(gateway, network):
            yield network.finding(f"the pool of network {name} holds its gateway {gateway}", "leave it out", "pool")

    def _overlaps(self) -> Iterator[Finding]:
        seen: list[tuple[str, Sourced[RawNetwork]]] = []
        for name, network in self._merged.networks.items():
            cidr = network.value.cidr
            if cidr is None:
                continue
            for other_name, other in seen:
                if other.value.cidr is not None and cidr.overlaps(other.value.cidr):
                    message = f"network {name} ({cidr}) overlaps network {other_name} ({other.value.cidr})"
                    yield network.finding(message, "give each its own addresses, or one of them both purposes", "cidr")
            seen.append((name, network))

    # ------------------------------------------------------------------------------------------ hosts

    def _rule(self, rule: Sourced[RawRule]) -> Iterator[Finding]:
        unknown = [(index, name) for index, name in enumerate(rule.value.roles) if name not in self._roles]
        for index, name in unknown:
            yield rule.finding(*absent(name, self._roles), "roles", index)
        if not unknown:
            try:
                names = role_order(rule.value.roles, self._roles)
            except PlanProblem as problem:
                yield rule.finding("these roles do not go together", str(problem), "roles")
                names = ()
            self._used.update(names)
            yield from self._needed_networks(rule, names)
        yield from self._known_purposes(rule)
        yield from self._addresses(rule)

    def _needed_networks(self, rule: Sourced[RawRule], names: Collection[str]) -> Iterator[Finding]:
        if not self._merged.networks:
            return  # then every purpose is served by the host's own address
        for name in names:
            for purpose in self._roles[name].networks:
                if purpose not in self._by_purpose:
                    message = f"role {name} needs a network for {purpose}, and this blueprint has none"
                    yield rule.finding(message, f"add {purpose} under `networks`, or to the purposes of one", "roles")

    def _known_purposes(self, rule: Sourced[RawRule]) -> Iterator[Finding]:
        known = {*PURPOSES, *self._by_purpose}
        for key in ("nics", "addresses"):
            for purpose in getattr(rule.value, key):
                if purpose not in known:
                    fix = f"known are {', '.join(sorted(known))}"
                    yield rule.finding(f"there is no network {purpose}", fix, key, purpose)

    def _addresses(self, rule: Sourced[RawRule]) -> Iterator[Finding]:
        given = rule.value.addresses
        if given and rule.value.count not in (None, 1):
            message = f"one address for {rule.value.count} hosts"
            yield rule.finding(message, "write a rule for each of these hosts", "addresses")
        for purpose, address in given.items():
            if purpose in self._by_purpose:
                name, network = self._by_purpose[purpose]
                yield from self._placed(rule, address, name, network, ("addresses", purpose))

    def _placed(
        self, what: Sourced[Any], address: Address, name: str, network: Sourced[RawNetwork], at: tuple[str, ...]
    ) -> Iterator[Finding]:
        cidr = network.value.cidr
        if cidr is None:
            yield what.finding(f"network {name} has no cidr for {address}", "add it to the network", *at)
        elif address not in cidr:
            yield what.finding(f"{address} is outside network {name}", f"choose an address in {cidr}", *at)
        elif _within(address, network):
            yield what.finding(f"{address} is in the pool of network {name}", "choose one outside the pool", *at)
        elif cidr.num_addresses > 2 and address in (cidr.network_address, cidr.broadcast_address):
            yield what.finding(f"{address} stands for network {name} as a whole", "choose an address of a host", *at)
        elif address == network.value.gateway:
            yield what.finding(f"{address} is the gateway of network {name}", "choose another", *at)

    def _members(self) -> Iterator[Finding]:
        """Whether roles that only `count` rules give are on as many hosts as they can be."""
        for name, role in self._roles.items():
            rules = [rule for rule in self._merged.hosts if name in rule.value.roles]
            counts = [rule.value.count for rule in rules]
            if not counts or None in counts:
                continue
            total = sum(count or 0 for count in counts)
            problem = role.members.problem(total)
            if problem is not None:
                yield rules[-1].finding(f"role {name} is on {total} hosts", problem, "count")

    # ------------------------------------------------------------------------------------------ the rest

    def _variables(self) -> Iterator[Finding]:
        declared = {
            name: item for role in self._roles.values() for name, item in role.variables.items() if not item.secret
        }
        places: list[tuple[Sourced[Any], tuple[str, ...], str, Any]]
        places = [(item, (), name, item.value) for name, item in self._merged.variables.items()]
        places += [
            (rule, ("variables", name), name, value)
            for rule in self._merged.hosts for name, value in rule.value.variables.items()
        ]  # fmt: skip
        for source, at, name, value in places:
            if name not in declared:
                fix = f"known are {', '.join(sorted(declared)) or 'none'}"
                yield source.finding(f"no role declares variable {name}", fix, *at)
                continue
            try:
                declared[name].check(value)
            except ValueError as error:
                yield source.finding(f"variable {name} is wrong", str(error), *at)

    def _vips(self) -> Iterator[Finding]:
        owners: dict[str, str] = {}
        keepers = sorted(name for name, role in self._roles.items() if role.keeps_vips)
        for name, vip in self._merged.vips.items():
            if keepers and not self._used.intersection(keepers):
                message = f"no host has role {' or '.join(keepers)}, so that nobody would answer at VIP {name}"
                yield vip.finding(message, "give it to the hosts behind the VIP, or drop the VIP", "address")
            if vip.value.network not in self._merged.networks:
                fix = f"known are {', '.join(self._merged.networks) or 'none: add it under `networks`'}"
                yield vip.finding(f"VIP {name} is in network {vip.value.network}, which is not there", fix, "network")
            else:
                network = self._merged.networks[vip.value.network]
                yield from self._placed(vip, vip.value.address, vip.value.network, network, ("address",))
            for index, role in enumerate(vip.value.roles):
                if role not in self._roles:
                    yield vip.finding(*absent(role, self._roles), "roles", index)
                elif role not in self._used:
                    message = f"no host has role {role}, which VIP {name} is for"
                    yield vip.finding(message, "give it to a host or drop it here", "roles", index)
                if owners.setdefault(role, name) != name:
                    message = f"role {role} is reached at VIP {owners[role]} and at VIP {name}"
                    yield vip.finding(message, "keep one of them", "roles", index)

    def _tolerance(self) -> Iterator[Finding]:
        given = {name for rule in self._merged.hosts for name in rule.value.roles}
        for role, item in self._merged.tolerance.items():
            if role not in self._roles:
                yield item.finding(*absent(role, self._roles))
            elif role not in given:
                message = f"no rule gives role {role}, so that no host can be lost for it"
                yield item.finding(message, "name a role that stands under `hosts`")

    def _clashes(self) -> Iterator[Finding]:
        """Addresses that are given twice."""
        seen: Counter[Address] = Counter()
        for rule in self._merged.hosts:
            for purpose, address in rule.value.addresses.items():
                seen[address] += 1
                if seen[address] > 1:
                    yield rule.finding(f"{address} is given twice", "keep one of them", "addresses", purpose)
        for name, vip in self._merged.vips.items():
            seen[vip.value.address] += 1
            if seen[vip.value.address] > 1:
                yield vip.finding(f"{vip.value.address} of VIP {name} is given twice", "choose another", "address")


def _within(address: Address, network: Sourced[RawNetwork]) -> bool:
    """Whether the address lies in the network's pool."""
    pool = network.value.pool
    return pool is not None and pool[0].version == address.version and int(pool[0]) <= int(address) <= int(pool[1])

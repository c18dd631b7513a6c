"""The network step: all interfaces as a whole; the former network comes back when the server is not reached."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pxeforge.agent import ovs
from pxeforge.agent.execution import Execution, Interrupted, StepFailed
from pxeforge.agent.file_steps import unified_diff
from pxeforge.agent.foreign_json import read_json
from pxeforge.agent.network_rollback import NetworkRollback
from pxeforge.agent.networkd_files import (
    FOLDER,
    interfaces,
    networkd_files,
    resolv_conf,
)
from pxeforge.agent.registration import CONFIG_PATH
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.whole_file import write_whole

_IFUPDOWN = "/etc/network/interfaces"
_RESOLV = "/etc/resolv.conf"
_LO_ONLY = (
    "# The network of this host is in /etc/systemd/network, written by pxeforge.\n\nauto lo\niface lo inet loopback\n"
)
_SLACK_S = 30.0  # applying takes its time, and then the agent itself has the first word
_LOOK_S = 0.5


class NetworkStep(Step):
    """Owns all *.network and *.netdev in /etc/systemd/network, and takes NICs over from ifupdown."""

    type = "network"
    parameters = frozenset({"nics", "bonds", "vlans", "vxlans", "bridges", "dns", "search", "check", "deadline_s"})

    def check(self) -> Finding:
        if not interfaces(self.params):
            return Finding(False, [])
        self._refuse_netplan()
        nics = _Nics(self.execution, self.params)
        reasons, diff = self._differing(nics)
        if NetworkRollback(self.execution).is_armed:
            reasons.append("an earlier change is not confirmed yet")
        return Finding(bool(reasons), reasons, "; ".join(reasons), diff)

    def change(self, found: Finding) -> str:  # noqa: ARG002
        rollback = NetworkRollback(self.execution)
        nics = _Nics(self.execution, self.params)
        if rollback.is_armed:
            if not self._files_differ(nics):
                return self._confirm(rollback, nics)  # we were cut short after applying
            rollback.run()
        wanted = self._files(nics)
        former = {path: _text(self.execution.path(path)) for path in wanted}
        now, then = self._bridges(nics)
        words = [*self._words_before(former, wanted), *self._leftovers(former, nics)]
        rollback.arm(former, self._way_back(former, wanted, now, then, nics), self._deadline_s + _SLACK_S)
        try:
            self._write(wanted)
            self._apply(words, ovs.transaction(now, then))
            return self._confirm(rollback, nics)
        except BaseException:
            if rollback.is_armed:
                _put_back(self.execution)
            raise

    # --- looking ---

    @property
    def _deadline_s(self) -> float:
        return float(self.params.get("deadline_s", 60))

    def _refuse_netplan(self) -> None:
        if any(self.execution.path("/etc/netplan").glob("*.yaml")):
            raise StepFailed("this host's network is configured by netplan (/etc/netplan): remove its files first")

    def _files(self, nics: _Nics) -> dict[str, str | None]:
        """What each file is to become, None for files that go: all of networkd, and what takes NICs elsewhere."""
        wanted: dict[str, str | None] = {
            f"{FOLDER}/{name}": text for name, text in networkd_files(self.params, nics.macs).items()
        }
        for path in sorted(self.execution.path(FOLDER).glob("*")):
            if path.suffix in (".network", ".netdev"):
                wanted.setdefault(f"{FOLDER}/{path.name}", None)
        if _ifupdown_names(_text(self.execution.path(_IFUPDOWN)) or ""):
            wanted[_IFUPDOWN] = _LO_ONLY
        resolv = resolv_conf(self.params)
        if resolv is not None and not self.execution.path(_RESOLV).is_symlink():
            wanted[_RESOLV] = resolv
        return wanted

    def _files_differ(self, nics: _Nics) -> list[str]:
        files = self._files(nics).items()
        return [path for path, text in files if _text(self.execution.path(path)) != text]

    def _differing(self, nics: _Nics) -> tuple[list[str], str]:
        files = self._files(nics)
        paths = self._files_differ(nics)
        reasons = [f"{path} {'differs' if files[path] is not None else 'has to go'}" for path in paths]
        diffs = [unified_diff(path, _text(self.execution.path(path)) or "", files[path] or "") for path in paths]
        now, then = self._bridges(nics)
        if ovs.transaction(now, then):
            reasons.append("the bridges of Open vSwitch differ")
        for unit_state in ("is-enabled", "is-active"):
            if self.execution.run(["systemctl", "--quiet", unit_state, "systemd-networkd.service"]).code != 0:
                reasons.append(f"systemd-networkd {unit_state.replace('is-', 'is not ')}")
        reasons += self._missing_addresses(nics)
        return reasons, "\n".join(diffs)

    def _missing_addresses(self, nics: _Nics) -> list[str]:
        """Addresses that are not where they belong, or somewhere else too."""
        live = _addresses(self.execution)
        problems = []
        for name, wanted in nics.addresses.items():
            problems += [f"{name} has not {text}" for text in wanted if text not in live.get(name, [])]
            others = [
                (text, other) for text in wanted for other, held in live.items() if other != name and text in held
            ]
            problems += [f"{other} has {text}, which belongs to {name}" for text, other in others]
        return problems

    def _bridges(self, nics: _Nics) -> tuple[dict[str, ovs.OvsBridge], dict[str, ovs.OvsBridge]]:
        """Those of Open vSwitch: (what is there, what is to be)."""
        then = ovs.wanted_bridges(self.params, nics.names, nics.macs)
        if then:
            return ovs.current(self.execution), then
        try:  # none are asked for; ours from earlier go
            return ovs.current(self.execution), then
        except StepFailed:
            return {}, then

    # --- changing ---

    def _write(self, wanted: Mapping[str, str | None]) -> None:
        for path, text in wanted.items():
            place = self.execution.path(path)
            try:
                if text is None:
                    place.unlink(missing_ok=True)
                elif _text(place) != text:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(place, text.encode(), 0o644)
            except OSError as error:
                raise StepFailed(f"{path} cannot be written: {error.strerror}") from None

    def _links_to_delete(self, before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[str]:
        """Links whose .netdev changes or goes: networkd does not change the kind of a link that is there."""
        paths = [path for path, text in before.items() if path.endswith(".netdev") and text is not None]
        names = [_netdev_name(str(before[path])) for path in paths if after[path] != before[path]]
        return [name for name in names if name]

    def _words_before(self, former: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> list[list[str]]:
        """Commands that end what the former files started, before the new ones count."""
        names = _ifupdown_names(former.get(_IFUPDOWN) or "")
        words = [["ifdown", "--force", name] for name in names]  # ends its dhclient too
        return words + [["ip", "link", "delete", name] for name in self._links_to_delete(former, wanted)]

    def _leftovers(self, former: Mapping[str, str | None], nics: _Nics) -> list[list[str]]:
        """Commands that take away addresses and routes which the new files do not give; networkd would keep them.

        Where networkd ran, the addresses are those of its former files: others (a VIP of keepalived) are not ours.
        """
        own, managed = _addresses_in(former), self._networkd_runs()
        live, words = _addresses(self.execution), []
        for name, wanted in nics.addresses.items():
            for text in live.get(name, []):
                if _is_global(text) and text not in wanted and (not managed or text in own):
                    words.append(["ip", "address", "del", text, "dev", name])
            if name in live:
                flush = [["route", "flush", "dev", name, "proto", origin] for origin in ("boot", "static", "dhcp")]
                words += [["ip", family, *word] for family in ("-4", "-6") for word in flush]
        return words

    def _networkd_runs(self) -> bool:
        return self.execution.run(["systemctl", "--quiet", "is-active", "systemd-networkd.service"]).code == 0

    def _apply(self, words: list[list[str]], transaction: list[str]) -> None:
        for command in words:
            with contextlib.suppress(StepFailed):  # a host without ifupdown has no ifdown
                self.execution.run(command, timeout_s=60)
        ovs.apply(self.execution, transaction)
        self._must(["systemctl", "enable", "--quiet", "systemd-networkd.service"])
        self._must(["systemctl", "restart", "systemd-networkd.service"])

    def _way_back(
        self,
        former: Mapping[str, str | None],
        wanted: Mapping[str, str | None],
        now: Mapping[str, ovs.OvsBridge],
        then: Mapping[str, ovs.OvsBridge],
        nics: _Nics,
    ) -> list[list[str]]:
        """The commands that apply the former files."""
        commands = [["ip", "link", "delete", name] for name in self._links_to_delete(wanted, former)]
        back = ovs.transaction(then, now) if then or now else []
        if back:
            commands.append(["ovs-vsctl", "--timeout=30", *back])
        if self._networkd_runs():
            given = [(name, text) for name, addresses in nics.addresses.items() for text in addresses]
            commands += [["ip", "address", "del", text, "dev", name] for name, text in given]
            commands.append(["systemctl", "restart", "systemd-networkd.service"])
        else:
            # Its socket would start it again with the next change of an address.
            units = ["systemd-networkd.socket", "systemd-networkd.service"]
            commands.append(["systemctl", "disable", "--quiet", "--now", *units])
            commands += self._what_others_set()
        for name in _ifupdown_names(former.get(_IFUPDOWN) or ""):
            commands.append(["sh", "-c", f"ifdown --force {name}; ifup --force {name}"])
        return commands + self._routes_of_others()

    def _what_others_set(self) -> list[list[str]]:
        """Addresses as they are now, where no networkd will set them again."""
        commands = []
        for name, addresses in _addresses(self.execution).items():
            if name != "lo":
                commands.append(["ip", "address", "flush", "dev", name, "scope", "global"])
                commands += [["ip", "address", "add", text, "dev", name] for text in addresses if _is_global(text)]
        return commands

    def _routes_of_others(self) -> list[list[str]]:
        commands = []
        for family in ("-4", "-6"):
            ran = self.execution.run(["ip", family, "route", "show", "proto", "boot"], timeout_s=30)
            for line in ran.stdout.splitlines() if ran.code == 0 else []:
                words = [word for word in line.split() if word not in ("linkdown", "dead")]
                commands.append(["ip", family, "route", "replace", *words])
        return commands

    def _confirm(self, rollback: NetworkRollback, nics: _Nics) -> str:
        """Until the server is reached over the new network; else puts the former one back and raises StepFailed."""
        end = time.monotonic() + self._deadline_s
        while True:
            problem = self._unreached() or "; ".join(self._missing_addresses(nics))
            if not problem:
                rollback.disarm()
                return "the server is reached over the new network"
            if time.monotonic() >= end:
                rollback.run()
                raise StepFailed(f"{problem}, for {self._deadline_s:g} s: the former network is back")
            self.execution.pause(_LOOK_S)

    def _unreached(self) -> str:
        for host, port in self._targets():
            try:
                socket.create_connection((host, port), timeout=3).close()
            except OSError as error:
                return f"{host} port {port} is not reached over the new network ({error})"
        return ""

    def _targets(self) -> list[tuple[str, int]]:
        """The agent plane, and what the step asks for."""
        targets = [(str(one["host"]), int(one["port"])) for one in self.params.get("check") or []]
        try:
            url = json.loads(self.execution.path(CONFIG_PATH).read_text())["agent_url"]
            parts = urllib.parse.urlsplit(url)
            targets.insert(0, (str(parts.hostname), parts.port or 443))
        except (OSError, ValueError, KeyError, TypeError):
            if not targets:
                raise StepFailed(
                    f"{CONFIG_PATH} does not say where the server is: without that the network is not changed"
                ) from None
        return targets

    def _must(self, argv: list[str]) -> None:
        ran = self.execution.run(argv, timeout_s=90)
        if ran.code != 0:
            raise StepFailed(f"{' '.join(argv)} did not succeed", ran.output)


class _Nics:
    """The NICs of the host for those of the step: kernel names and MACs by the step's names, and all addresses that are
    to be by the kernel's names. Raises StepFailed."""

    def __init__(self, execution: Execution, params: Mapping[str, Any]) -> None:
        folder = execution.path("/sys/class/net")
        there = {path.name: (_text(path / "address") or "").strip() for path in folder.glob("*")}
        self.names: dict[str, str] = {}
        self.macs: dict[str, str] = {}
        for one in params.get("nics") or []:
            name = one["name"]
            if one.get("mac"):
                found = [nic for nic, mac in there.items() if mac == one["mac"] and (folder / nic / "device").exists()]
                found = found or [nic for nic, mac in there.items() if mac == one["mac"]]
                if not found:
                    raise StepFailed(f"no NIC here has the MAC {one['mac']}: there is {_listed(there)}")
                self.names[name] = found[0]
            elif name in there:
                self.names[name] = name
            elif one.get("optional"):
                continue
            else:
                raise StepFailed(f"there is no NIC {name} here: there is {_listed(there)}")
            self.macs[name] = one.get("mac") or there[self.names[name]]
        self.addresses = {
            self.names.get(one["name"], one["name"]): list(one.get("addresses") or []) for _, one in interfaces(params)
        }
        # A bond gives its MAC to all of its NICs: only ports of bridges keep their own.
        bonded = {name for bond in params.get("bonds") or [] for name in bond["nics"]}
        self.macs = {name: mac for name, mac in self.macs.items() if name not in bonded}


def _listed(there: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({mac})" for name, mac in sorted(there.items()) if name != "lo") or "none"


def _put_back(execution: Execution) -> None:
    """Although the task was cancelled or failed; if even that fails, the timer is still armed."""
    with contextlib.suppress(StepFailed, Interrupted):
        NetworkRollback(execution.calm()).run()


def _ifupdown_names(text: str) -> list[str]:
    """Interfaces other than lo that interfaces(5) configures."""
    names = re.findall(r"^\s*iface\s+(\S+)\s", text, re.MULTILINE)
    return [name for name in dict.fromkeys(names) if name != "lo"]


def _is_global(text: str) -> bool:
    return not ipaddress.ip_interface(text).is_link_local


def _addresses_in(files: Mapping[str, str | None]) -> set[str]:
    """All that .network files give."""
    texts = [text for path, text in files.items() if path.endswith(".network") and text is not None]
    return {found for text in texts for found in re.findall(r"^Address=(\S+)$", text, re.MULTILINE)}


def _netdev_name(text: str) -> str:
    match = re.search(r"^Name=(\S+)$", text, re.MULTILINE)
    return match[1] if match else ""


def _addresses(execution: Execution) -> dict[str, list[str]]:
    """What each link holds now, as address/prefix length."""
    ran = execution.run(["ip", "-json", "address"], timeout_s=30)
    try:
        return parse_addresses(ran.stdout)
    except ValueError as error:
        raise StepFailed(f"ip cannot tell the addresses of this host ({error})", ran.output) from None


def parse_addresses(text: str) -> dict[str, list[str]]:
    """address/prefix length by link, of `ip -json address`; raises ValueError."""
    links = read_json(text)
    if not isinstance(links, list):
        raise ValueError("no list of links")
    found: dict[str, list[str]] = {}
    for link in links:
        if isinstance(link, dict) and "ifname" in link:
            listed = link.get("addr_info")
            items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
            found[str(link["ifname"])] = [f"{item.get('local')}/{item.get('prefixlen')}" for item in items]
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StepFailed(f"{path} cannot be read: {error.strerror}") from None

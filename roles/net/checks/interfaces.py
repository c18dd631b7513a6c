"""Every interface that is asked for ({nics, bonds, vlans, vxlans, bridges} on standard input) is there, up and has its
addresses; ports are in their bonds and bridges; controllers of Open vSwitch are connected."""

import json
import subprocess
import sys


def run(*argv):
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {(ran.stderr or ran.stdout).strip()}")
    return ran.stdout


def kernel_name(one, links):
    """A NIC may be named by its MAC."""
    mac = str(one.get("mac") or "").lower()
    return next((name for name, link in links.items() if mac and link.get("address") == mac), one["name"])


def own_problems(one, link):
    if link is None:
        return [] if one.get("optional") else [f"{one['name']} is not there"]
    problems = [] if "UP" in link.get("flags", []) else [f"{one['name']} is down"]
    held = {f"{item['local']}/{item['prefixlen']}" for item in link.get("addr_info", [])}
    return problems + [f"{one['name']} has not {text}" for text in one.get("addresses") or [] if text not in held]


def port_problems(one, ports, links, names):
    if one.get("kind") == "ovs":
        there = run("ovs-vsctl", "list-ports", one["name"]).split()
        problems = [f"{port} is no port of {one['name']}" for port in ports if names.get(port, port) not in there]
        for target in one.get("controller") or []:
            if target not in connected(one["name"]):
                problems.append(f"{one['name']} is not connected to its controller {target}")
        return problems
    return [
        f"{port} is no port of {one['name']}"
        for port in ports
        if links.get(names.get(port, port), {}).get("master") != one["name"]
    ]


def connected(bridge):
    """Targets of the controllers that Open vSwitch speaks with."""
    uuids = run("ovs-vsctl", "get", "bridge", bridge, "controller").strip("[]\n ").split(",")
    found = set()
    for uuid in (text.strip() for text in uuids if text.strip()):
        told = run("ovs-vsctl", "get", "controller", uuid, "target", "is_connected").split()
        if told[1] == "true":
            found.add(told[0].strip('"'))
    return found


def main():
    given = json.load(sys.stdin)
    links = {link["ifname"]: link for link in json.loads(run("ip", "-json", "address"))}
    all_of_them = [one for kind in ("nics", "bonds", "vlans", "vxlans", "bridges") for one in given[kind]]
    names = {one["name"]: kernel_name(one, links) for one in given["nics"]}
    problems = []
    for one in all_of_them:
        problems += own_problems(one, links.get(names.get(one["name"], one["name"])))
    for one in given["bonds"]:
        problems += port_problems(one, one["nics"], links, names)
    for one in given["bridges"]:
        problems += port_problems(one, one.get("ports") or [], links, names)
    if problems:
        print("; ".join(problems))
        return 1
    print(f"{len(all_of_them)} interfaces are as they were asked for")
    return 0


try:
    sys.exit(main())
except RuntimeError as error:
    print(error)
    sys.exit(1)

"""Gates of a host before services come on it: release, names, routes, clock. Input as JSON on standard input."""

import email.utils
import http.client
import ipaddress
import json
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path


def release_problem(codename):
    """The packages that the plan names are those of one release."""
    facts = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    here = facts.get("VERSION_CODENAME", "").strip('"')
    return "" if here == codename else f"this host runs {here or 'an unknown release'}, the plan is for {codename}"


def addresses_of(name):
    return {item[4][0] for item in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}


def name_problem(own_name, own_address, names):
    """Every host of the plan resolves, and our own name to an address that others can use."""
    for name in names:
        try:
            found = addresses_of(name)
        except OSError:
            return f"the name {name} does not resolve"
        loopback = sorted(item for item in found if ipaddress.ip_address(item.partition("%")[0]).is_loopback)
        if loopback:
            return f"the name {name} resolves to {loopback[0]}: take it out of that line of /etc/hosts"
    if own_name not in names:
        return f"this host calls itself {own_name}, which is not in the plan"
    held = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True).stdout
    mine = {info["local"] for link in json.loads(held) for info in link.get("addr_info", [])}
    return "" if own_address in mine else f"no interface has the address {own_address}"


def route_problem():
    """Two default routes of one metric send answers out of the wrong interface."""
    listed = subprocess.run(
        ["ip", "-json", "-4", "route", "show", "default"], capture_output=True, text=True, check=True
    )
    metrics = [route.get("metric", 0) for route in json.loads(listed.stdout or "[]")]
    twice = [metric for metric in metrics if metrics.count(metric) > 1]
    return f"there are {len(twice)} default routes of metric {twice[0]}: keep one" if twice else ""


def clock_problem(max_offset_ms):
    """Tokens and heartbeats of services die of wrong clocks; without any source there is nothing to compare here."""
    ran = subprocess.run(["chronyc", "-n", "-c", "tracking"], capture_output=True, text=True, check=False)
    fields = ran.stdout.strip().split(",")
    if ran.returncode != 0 or len(fields) < 5:
        return f"chronyd does not answer: {(ran.stdout + ran.stderr).strip()}"
    if fields[0] in ("00000000", "7F7F0101"):
        return ""
    offset_ms = abs(float(fields[4])) * 1000
    return "" if offset_ms <= max_offset_ms else f"the clock is {offset_ms:.0f} ms off (at most {max_offset_ms} ms)"


def server_clock_problem(url, most_s):
    """Also where chrony has no source, or one that is as wrong; the server tells whole seconds (HTTP's Date)."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=5)
    try:
        began = time.time()
        connection.request("HEAD", "/")
        told = email.utils.parsedate_to_datetime(connection.getresponse().getheader("Date", "")).timestamp()
        took = time.time() - began
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        return f"{url} does not tell its time: {error}"
    finally:
        connection.close()
    ahead_s = began + took / 2 - (told + 0.5)
    if abs(ahead_s) <= most_s + 0.5 + took / 2:
        return ""
    way = "ahead of" if ahead_s > 0 else "behind"
    return f"the clock is {abs(ahead_s):.0f} s {way} the server's: set it, or give ntp_servers that this host reaches"


def main():
    wanted = json.load(sys.stdin)
    problem = (
        release_problem(wanted["distribution"])
        or name_problem(wanted["own_name"], wanted["own_address"], wanted["names"])
        or route_problem()
        or clock_problem(wanted["max_clock_offset_ms"])
        or server_clock_problem(wanted["server_url"], wanted["max_server_offset_s"])
    )
    print(problem or "release, names, routes and clock are right")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())

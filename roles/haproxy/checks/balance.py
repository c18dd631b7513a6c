"""haproxy: every server behind every address is up, and the addresses are held by somebody. JSON on standard input."""

import csv
import json
import socket
import subprocess
import sys

CONTROL = "/run/haproxy/admin.sock"


def servers():
    """Rows of haproxy's own table, one per server."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(10)
        control.connect(CONTROL)
        control.sendall(b"show stat\n")
        told = b""
        while piece := control.recv(65536):
            told += piece
    rows = csv.DictReader(told.decode().removeprefix("# ").splitlines())
    return [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]


def problem(addresses):
    down = [
        f"{row['pxname']} on {row['svname']} ({row['status']})"
        for row in servers()
        if not row["status"].startswith("UP")
    ]
    if down:
        return f"down: {', '.join(sorted(down))}"
    for address in addresses:
        if subprocess.run(["ping", "-c", "1", "-W", "2", "-q", address], capture_output=True, check=False).returncode:
            return f"nobody holds the address {address}"
    return ""


def main():
    try:
        found = problem(json.load(sys.stdin)["addresses"].split())
    except OSError as error:
        found = f"haproxy does not answer: {error}"
    print(found or "all servers are up")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""chrony follows one of the servers ({"servers": […], "most_ms": …} on standard input): its line has ^ and *."""

import json
import socket
import subprocess
import sys


def addresses(servers):
    """The servers as chrony shows them; a name that does not resolve stands for itself."""
    found = set(servers)
    for name in servers:
        try:
            found.update(entry[4][0] for entry in socket.getaddrinfo(name, 123, type=socket.SOCK_DGRAM))
        except OSError:
            continue
    return found


def main():
    given = json.load(sys.stdin)
    ran = subprocess.run(["chronyc", "-n", "-c", "sources"], capture_output=True, text=True, check=False)
    rows = [line.split(",") for line in ran.stdout.splitlines() if line.count(",") >= 9]
    if ran.returncode != 0 or not rows:
        print(f"chrony has no sources: {(ran.stderr or ran.stdout).strip() or 'none are configured'}")
        return 1
    known = addresses(given["servers"])
    chosen = next((row for row in rows if row[0] == "^" and row[1] == "*"), None)
    if chosen is None or chosen[2] not in known:
        shown = ", ".join(f"{row[0]}{row[1]} {row[2]} (reach {row[6]})" for row in rows)
        print(f"none of {', '.join(given['servers'])} is followed yet: {shown}")
        return 1
    off_ms = abs(float(chosen[7])) * 1000
    print(f"^* {chosen[2]}, stratum {chosen[3]}, {off_ms:.3f} ms away")
    return 0 if off_ms <= given["most_ms"] else 1


sys.exit(main())

"""There is exactly one IPv4 default route: with two, answers leave by a way they did not come."""

import subprocess
import sys


def main():
    ran = subprocess.run(["ip", "-4", "route", "show", "default"], capture_output=True, text=True, check=False)
    routes = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    if ran.returncode == 0 and len(routes) == 1:
        print(routes[0])
        return 0
    shown = "; ".join(routes) or ran.stderr.strip() or "none"
    print(f"there are {len(routes)} default routes ({shown}): leave exactly one gateway among this host's interfaces")
    return 1


sys.exit(main())

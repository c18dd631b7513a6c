"""Every wanted unit runs, now and after a reboot, and no unwanted one does. Input as JSON on standard input.

`on` and `off`: names of units, between spaces; `console`: which of nova's consoles is wanted, empty for none.
"""

import json
import subprocess
import sys

CONSOLES = {"novnc": "nova-novncproxy", "spice": "nova-spicehtml5proxy"}
SHOWN = "Id,LoadState,ActiveState,UnitFileState"
# Units that are made of scripts of old are `generated`, and these start at boot.
STARTS_AT_BOOT = ("enabled", "enabled-runtime", "static", "indirect", "alias", "generated")


def states(names):
    """By name what systemd knows of each unit."""
    if not names:
        return {}
    ran = subprocess.run(
        ["systemctl", "show", f"--property={SHOWN}", "--", *names], capture_output=True, text=True, check=True
    )
    told = [dict(line.split("=", 1) for line in part.splitlines()) for part in ran.stdout.strip().split("\n\n")]
    return dict(zip(names, told, strict=True))


def problems(wanted_on, wanted_off):
    for name, state in states(wanted_on).items():
        if state["LoadState"] != "loaded":
            yield f"{name} is {state['LoadState']}"
        elif state["ActiveState"] != "active":
            yield f"{name} is {state['ActiveState']}"
        elif state["UnitFileState"] not in STARTS_AT_BOOT:
            yield f"{name} will not start at boot ({state['UnitFileState']})"
    for name, state in states(wanted_off).items():
        if state["ActiveState"] in ("active", "activating", "reloading"):
            yield f"{name} runs, and nobody wants it"
        elif state["UnitFileState"] in ("enabled", "enabled-runtime"):
            yield f"{name} will start at boot, and nobody wants it"


def main():
    given = json.load(sys.stdin)
    on, off = dict.fromkeys(given["on"].split()), dict.fromkeys(given["off"].split())
    if given["console"]:
        for kind, unit in CONSOLES.items():
            on.pop(unit, None)
            (on if kind == given["console"] else off)[unit] = None
    found = list(problems(list(on), list(off)))
    print("; ".join(found) or f"{len(on)} units run, {len(off)} do not, as wanted")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every name on standard input ({"hosts": […]}) answers a ping; one line tells how many."""

import concurrent.futures
import json
import subprocess
import sys

_AT_ONCE = 32


def answer(name):
    """What is wrong with a name, '' when it answers."""
    ran = subprocess.run(["ping", "-n", "-q", "-c", "1", "-W", "3", name], capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else f"{name} does not answer ({(ran.stderr or 'no reply').strip()})"


def main():
    names = json.load(sys.stdin)["hosts"]
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        problems = [problem for problem in pool.map(answer, names) if problem]
    if problems:
        print("\n".join([*problems[1:], problems[0]]))
        return 1
    print(f"{len(names)} of {len(names)} hosts answer by their names")
    return 0


sys.exit(main())

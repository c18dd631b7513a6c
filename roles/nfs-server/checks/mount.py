"""The share is mounted as a client does it, and a file written and read. JSON on standard input: share."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 40


def mounted(share, folder):
    """What went wrong, '' for nothing."""
    done = subprocess.run(
        ["mount", "-t", "nfs", "-o", "soft,timeo=50,retrans=2", share, folder],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return f"{share} cannot be mounted: {done.stderr.strip()}"
    try:
        return written(Path(folder) / f".pxeforge-verify-{os.getpid()}")
    except OSError as error:
        return f"{share} does not take a file: {error.strerror}"
    finally:
        subprocess.run(["umount", "-l", folder], timeout=TIMEOUT_S, check=False)


def written(path):
    content = os.urandom(65536)
    try:
        with path.open("xb") as file:
            file.write(content)
            os.fsync(file.fileno())
        return "" if path.read_bytes() == content else "a file that was written reads otherwise"
    finally:
        path.unlink(missing_ok=True)


def main():
    share = json.load(sys.stdin)["share"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            problem = mounted(share, folder)
        except subprocess.TimeoutExpired:
            problem = f"{share} does not answer within {TIMEOUT_S} s"
    if problem:
        sys.exit(f"nfs: {problem}")
    print(f"{share} was mounted, and keeps what is written")


main()

"""memcached: a value is kept and given back. Input as JSON on standard input."""

import json
import secrets
import socket
import sys


def round_trip(address):
    """What a second connection finds under the key that the first one has set; None without an answer."""
    key, value = f"pxeforge-{secrets.token_hex(8)}", secrets.token_hex(16)
    with socket.create_connection((address, 11211), timeout=10) as first, first.makefile("rb") as answers:
        first.sendall(f"set {key} 0 30 {len(value)}\r\n{value}\r\n".encode())
        if answers.readline().strip() != b"STORED":
            return "memcached does not keep a value"
    with socket.create_connection((address, 11211), timeout=10) as second, second.makefile("rb") as answers:
        second.sendall(f"get {key}\r\n".encode())
        found = answers.readline().strip().decode() if answers.readline().startswith(b"VALUE ") else None
        second.sendall(f"delete {key}\r\n".encode())
    return "" if found == value else "memcached does not give back what it was given"


def main():
    try:
        problem = round_trip(json.load(sys.stdin)["address"])
    except OSError as error:
        problem = f"memcached does not answer: {error}"
    print(problem or "a value was kept and given back")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())

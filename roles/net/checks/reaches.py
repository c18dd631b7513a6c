"""The server ({"url": …} on standard input) answers, and the way to it leaves by an address of this host."""

import json
import socket
import sys
import urllib.parse


def main():
    parts = urllib.parse.urlsplit(json.load(sys.stdin)["url"])
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=5) as connection:
            print(f"{parts.hostname} answers; this host is {connection.getsockname()[0]} to it")
    except OSError as error:
        print(f"{parts.hostname} port {parts.port or 80} is not reached: {error}")
        return 1
    return 0


sys.exit(main())

"""This host's clock differs from the server's by less than `most_s` ({"url": …, "most_s": …} on standard input).

The server tells its time in whole seconds (HTTP's Date): asked again and again, the moment when the second changes is
when its clock stands at .0.
"""

import email.utils
import http.client
import json
import sys
import time
import urllib.parse

_PATIENCE_S = 10.0
_PAUSE_S = 0.01


def server_second(connection):
    """(the server's time in whole seconds, ours in the middle of the exchange, how long that took)."""
    began = time.time()
    connection.request("HEAD", "/")
    answer = connection.getresponse()
    answer.read()
    took = time.time() - began
    told = email.utils.parsedate_to_datetime(answer.getheader("Date", ""))
    return told.timestamp(), began + took / 2, took


def offset(url):
    """(ours minus the server's, how sure that is), both in seconds; raises OSError, ValueError."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=5)
    try:
        last, before, _ = server_second(connection)
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            time.sleep(_PAUSE_S)
            second, ours, took = server_second(connection)
            if second != last:
                gap = ours - before
                return (before + ours) / 2 - second, gap / 2 + took / 2
            before = ours
        raise ValueError("the server's clock stands still")
    finally:
        connection.close()


def main():
    given = json.load(sys.stdin)
    try:
        differs, unsure = offset(given["url"])
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        print(f"{given['url']} does not tell its time: {error}")
        return 1
    print(
        f"this clock is {abs(differs):.3f} s {'ahead of' if differs > 0 else 'behind'} the server's (± {unsure:.3f} s)"
    )
    return 0 if abs(differs) < given["most_s"] + unsure else 1


sys.exit(main())

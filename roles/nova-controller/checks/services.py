"""nova: APIs read their databases; conductors and schedulers report and answer by the queue. JSON on standard input."""

import datetime
import json
import signal
import sys
import time

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session, request

BINARIES = ("nova-conductor", "nova-scheduler")
FRESH_S = 90  # services report every 10 s
SETTLE_S = 60
QUEUE_S = 40  # the library itself waits for a lost queue for ever


class Wrong(Exception):
    """nova answers, but not as it should."""


def check_reported(session, url, controllers):
    """Each controller's services are up by their own report, and that report is not old.

    With the database away this list is empty and its status still 200: what is in it counts.
    """
    _, _, answer = session.call("GET", f"{url}/os-services")
    listed = {(item["binary"], item["host"]): item for item in json.loads(answer)["services"]}
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    for binary in BINARIES:
        for host in controllers:
            found = listed.get((binary, host))
            if found is None or found["state"] != "up":
                raise Wrong(f"{binary} on {host} is {found['state'] if found else 'not there'}")
            age_s = (now - datetime.datetime.fromisoformat(found["updated_at"].rstrip("Z"))).total_seconds()
            if age_s > FRESH_S:
                raise Wrong(f"{binary} on {host} has not reported for {age_s:.0f} s")


def check_queue(own_name):
    """Our conductor and scheduler answer a call over the queue: what they report needs only the database."""
    import oslo_messaging
    from oslo_config import cfg

    def late(*_):
        raise Wrong(f"nova's conductor and scheduler on {own_name} do not answer over the queue within {QUEUE_S} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(QUEUE_S)
    conf = cfg.CONF  # oslo.messaging registers some of its options at this one only
    conf([], default_config_files=["/etc/nova/nova.conf"], project="nova")
    oslo_messaging.set_transport_defaults("nova")
    transport = oslo_messaging.get_rpc_transport(conf)
    make = getattr(oslo_messaging, "get_rpc_client", None) or oslo_messaging.RPCClient
    try:
        for topic in ("conductor", "scheduler"):
            client = make(transport, oslo_messaging.Target(topic=topic, server=own_name), timeout=20)
            if client.call({}, "oslo_rpc_server_ping") != "pong":
                raise Wrong(f"nova-{topic} on {own_name} gives a strange answer over the queue")
    except oslo_messaging.MessagingException as error:
        raise Wrong(f"nova-{topic} on {own_name} does not answer over the queue: {type(error).__name__}") from None
    finally:
        signal.alarm(0)


def check_pages(console_url, metadata_url):
    _, _, page = request("GET", console_url)
    if b"<html" not in page.lower():
        raise Wrong("the console proxy does not show its page")
    _, _, versions = request("GET", metadata_url)
    if b"latest" not in versions:
        raise Wrong("the metadata service does not list its versions")


def settled(check, *arguments):
    """Tried again for a while: services report some seconds after they started."""
    end = time.monotonic() + SETTLE_S
    while True:
        try:
            return check(*arguments)
        except (Wrong, Refused):
            if time.monotonic() > end:
                raise
        time.sleep(3)


def main():
    wanted = json.load(sys.stdin)
    try:
        session = Session(wanted["auth"], wanted["region"])
        session.call("GET", f"{wanted['own_url']}/flavors")
        session.get("compute", "/servers")
        settled(check_reported, session, wanted["own_url"], wanted["controllers"])
        check_queue(wanted["own_name"])
        check_pages(wanted["console_url"], wanted["metadata_url"])
    except (Refused, Wrong, KeyError, ValueError) as problem:
        print(f"nova: {problem}")
        return 1
    print(f"{len(wanted['controllers'])} controllers report and answer over the queue")
    return 0


if __name__ == "__main__":
    sys.exit(main())

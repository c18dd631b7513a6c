"""RabbitMQ: every member runs, none is cut off, a message goes through it by AMQP. JSON on standard input."""

import json
import socket
import struct
import subprocess
import sys
import urllib.request

FRAME_END = b"\xce"
CLOSE = {(10, 50): "the server closes the connection", (20, 40): "the server closes the channel"}


class Wrong(Exception):
    """The queue does not work; the message says what it did."""


def ctl(*words):
    ran = subprocess.run(["rabbitmqctl", "-q", *words], capture_output=True, text=True, timeout=40, check=False)
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip().partition("\n")[0]
        raise Wrong(f"rabbitmqctl {' '.join(words)}: {said or f'exit code {ran.returncode}'}")
    return ran.stdout


def check_members(members):
    """All hosts of the plan are running members, none is cut off, none is short of memory or disk."""
    told = json.loads(ctl("cluster_status", "--formatter", "json"))
    running = {name.partition("@")[2] for name in told["running_nodes"]}
    lacking = sorted(set(members) - running)
    if lacking:
        raise Wrong(f"not running members: {', '.join(lacking)}")
    if told.get("partitions"):
        raise Wrong(f"the cluster is split: {told['partitions']}")
    if told.get("alarms"):
        raise Wrong(f"alarms: {told['alarms']}")


def short(text):
    data = text.encode()
    return bytes([len(data)]) + data


def long(data):
    return struct.pack(">I", len(data)) + data


class Client:
    """As much of AMQP 0-9-1 as one message through one queue takes."""

    def __init__(self, address, user, password):
        self.socket = socket.create_connection((address, 5672), timeout=15)
        self.stream = self.socket.makefile("rb")
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.expect(0, (10, 10))
        answer = long(b"") + short("PLAIN") + long(f"\0{user}\0{password}".encode()) + short("en_US")
        self.method(0, (10, 11), answer)
        tune = self.expect(0, (10, 30))
        self.method(0, (10, 31), tune[:6] + struct.pack(">H", 0))
        self.method(0, (10, 40), short("/") + short("") + b"\0")
        self.expect(0, (10, 41))
        self.method(1, (20, 10), short(""))
        self.expect(1, (20, 11))

    def frame(self, kind, channel, payload):
        self.socket.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + FRAME_END)

    def method(self, channel, number, arguments):
        self.frame(1, channel, struct.pack(">HH", *number) + arguments)

    def read(self):
        head = self.stream.read(7)
        if len(head) < 7:
            raise Wrong("the server ended the connection: the user or its password is not accepted")
        kind, channel, size = struct.unpack(">BHI", head)
        payload = self.stream.read(size + 1)
        if len(payload) != size + 1 or payload[-1:] != FRAME_END:
            raise Wrong("the server sent half a frame")
        return kind, channel, payload[:-1]

    def expect(self, channel, number):
        kind, came_on, payload = self.read()
        got = struct.unpack(">HH", payload[:4])
        if kind != 1 or came_on != channel or got != number:
            size = payload[6] if got in CLOSE else 0
            reason = payload[7 : 7 + size].decode("utf-8", "replace")
            raise Wrong(f"{CLOSE.get(got, f'the server answers {got}')}: {reason}")
        return payload[4:]

    def round_trip(self, message):
        """Sends the message into a queue of its own and reads it back."""
        # Bits: exclusive and auto-delete, so that nothing is left of it.
        self.method(1, (50, 10), struct.pack(">H", 0) + short("") + b"\x0c" + long(b""))
        declared = self.expect(1, (50, 11))
        name = declared[1 : 1 + declared[0]].decode()
        self.method(1, (60, 40), struct.pack(">H", 0) + short("") + short(name) + b"\0")
        self.frame(2, 1, struct.pack(">HHQH", 60, 0, len(message), 0))
        self.frame(3, 1, message)
        self.method(1, (60, 70), struct.pack(">H", 0) + short(name) + b"\x01")
        self.expect(1, (60, 71))
        self.read()  # the message's header
        _, _, body = self.read()
        return body

    def close(self):
        self.stream.close()
        self.socket.close()


def check_message(address, user, password):
    client = Client(address, user, password)
    try:
        if client.round_trip(b"pxeforge verify") != b"pxeforge verify":
            raise Wrong("the message that came back is another one")
    finally:
        client.close()


def check_pages(address):
    """Who has no right to see the management's API is told so by itself, not by a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}:15672/", timeout=15) as answer:
        if b"RabbitMQ" not in answer.read():
            raise Wrong("port 15672 does not show the management pages")


def main():
    wanted = json.load(sys.stdin)
    try:
        check_members(wanted["members"])
        check_message(wanted["address"], wanted["user"], wanted["password"])
        if wanted["management"]:
            check_pages(wanted["address"])
    except (Wrong, OSError, subprocess.TimeoutExpired, ValueError) as problem:
        print(problem)
        return 1
    print(f"{len(wanted['members'])} members, one message sent and read")
    return 0


if __name__ == "__main__":
    sys.exit(main())

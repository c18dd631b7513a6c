"""glance: an image goes up to this host's API and comes down by the catalog's, byte by byte. JSON on standard input."""

import contextlib
import hashlib
import http.server
import json
import secrets
import sys
import threading
import time

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

SIZE_BYTES = 1 << 20
COPIED_S = 60  # hosts with stores of their own copy what came in at another


class Wrong(Exception):
    """glance answers, but not as it should."""


def create(session, url, name):
    """The id of a new image without content."""
    body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    _, _, answer = session.call("POST", f"{url}/v2/images", body)
    return json.loads(answer)["id"]


def upload(session, url, name, content):
    """The id of a new image with this content."""
    image_id = create(session, url, name)
    kind = {"Content-Type": "application/octet-stream"}
    try:
        session.call("PUT", f"{url}/v2/images/{image_id}/file", content, kind)
    except Refused:
        delete(session, url, image_id)
        raise
    return image_id


def delete(session, url, image_id):
    session.call("DELETE", f"{url}/v2/images/{image_id}")


def came_back(session, image_id, digest):
    """Whether the image comes by the catalog's address, from whichever host that is, as it went up."""
    end = time.monotonic() + COPIED_S
    while True:
        try:
            _, _, back = session.call("GET", f"{session.endpoint('image')}/v2/images/{image_id}/file")
            if hashlib.md5(back).hexdigest() == digest:
                return
            problem = Wrong(f"the image that came back has {len(back)} bytes, or others")
        except Refused as refused:
            problem = refused
        if time.monotonic() > end:
            raise problem
        time.sleep(2)


def check(session, own_url, name):
    """What goes up is active and comes down with the same digest; nothing is left of it."""
    content = secrets.token_bytes(SIZE_BYTES)
    digest = hashlib.md5(content).hexdigest()
    image_id = upload(session, own_url, name, content)
    try:
        told = session.get("image", f"/v2/images/{image_id}")
        if told["status"] != "active" or told["checksum"] != digest:
            raise Wrong(f"the image is {told['status']} with checksum {told['checksum']}, not active with {digest}")
        came_back(session, image_id, digest)
    finally:
        delete(session, own_url, image_id)


@contextlib.contextmanager
def lying_at(address, content):
    """The URL of this content at a web server on this host."""
    path = f"/{secrets.token_hex(16)}"

    class Answer(http.server.BaseHTTPRequestHandler):
        timeout = 20

        def do_HEAD(self):
            self.send_response(200 if self.path == path else 404)
            self.send_header("Content-Length", str(len(content) if self.path == path else 0))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            if self.path == path:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer((address, 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        try:
            yield f"http://{address}:{server.server_address[1]}{path}"
        finally:
            server.shutdown()


def check_web(session, own_url, name, address):
    """An image that lies at a web server of this host is active by its address alone, and comes from there."""
    content = secrets.token_bytes(SIZE_BYTES)
    with lying_at(address, content) as url:
        image_id = create(session, own_url, name)
        try:
            change = [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}]
            kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
            session.call("PATCH", f"{own_url}/v2/images/{image_id}", json.dumps(change).encode(), kind)
            told = session.get("image", f"/v2/images/{image_id}")
            if told["status"] != "active" or told["size"] != SIZE_BYTES:
                raise Wrong(f"the image at {url} is {told['status']} with {told['size']} bytes, not {SIZE_BYTES}")
            came_back(session, image_id, hashlib.md5(content).hexdigest())
        finally:
            delete(session, own_url, image_id)


def remove_leftovers(session, own_url, name):
    """Of checks that were killed on this host; other hosts check at the same time."""
    for image in session.get("image", f"/v2/images?name={name}&owner={session.project_id}")["images"]:
        delete(session, own_url, image["id"])


def main():
    wanted = json.load(sys.stdin)
    try:
        session = Session(wanted["auth"], wanted["region"], timeout_s=60)
        name = f"pxeforge-verify-{wanted['own_name']}"
        remove_leftovers(session, wanted["own_url"], name)
        check(session, wanted["own_url"], name)
        if wanted["web_address"]:
            check_web(session, wanted["own_url"], name, wanted["web_address"])
    except (Refused, Wrong, OSError, KeyError, ValueError) as problem:
        print(f"glance: {problem}")
        return 1
    more = "; another lies at a web server and came from there" if wanted["web_address"] else ""
    print(f"an image of 1 MiB went up and came down the same{more}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

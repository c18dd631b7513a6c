"""glance: an image goes up to this host's API and comes down by the catalog's, byte by byte. JSON on standard input."""

import hashlib
import json
import secrets
import sys
import time

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

SIZE_BYTES = 1 << 20
COPIED_S = 60  # hosts with stores of their own copy what came in at another


class Wrong(Exception):
    """glance answers, but not as it should."""


def upload(session, url, name, content):
    """The id of a new image with this content."""
    body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    _, _, answer = session.call("POST", f"{url}/v2/images", body)
    image_id = json.loads(answer)["id"]
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
    except (Refused, Wrong, KeyError, ValueError) as problem:
        print(f"glance: {problem}")
        return 1
    print("an image of 1 MiB went up and came down the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())

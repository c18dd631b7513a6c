"""An imported installation tree over the boot plane, as an installer fetches from it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest

from pxeforge.servers.http import HttpServer, HttpSettings
from pxeforge.servers.tcp_listener import listen_tcp
from pxeforge.services.context import Context
from pxeforge.services.image_store import ImportedImage
from pxeforge.services.iso_import import import_isos
from pxeforge.services.media_checks import Trust
from pxeforge.webapp.boot_plane import create_boot_plane
from tests.services import small_media

pytestmark = pytest.mark.skipif(not small_media.HAS_XORRISO, reason="needs xorriso")


@pytest.fixture
def image(ctx: Context) -> ImportedImage:
    iso = small_media.make_iso(ctx.data_dir / "x.iso", small_media.rocky(), {"images/same.img": "install.img"})
    return import_isos("rocky-9", [iso], data_dir=ctx.data_dir, trust=Trust(unverified=True))


@pytest.fixture
def wire(ctx: Context) -> Iterator[http.client.HTTPConnection]:
    listener = listen_tcp("127.0.0.1", 0)
    server = HttpServer(listener, HttpSettings(quick_threads=1, slow_threads=1))
    thread = Thread(target=server.run, args=(create_boot_plane(ctx, None),))
    thread.start()
    with closing(http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)) as connection:
        yield connection
    server.stop()
    thread.join(30)
    listener.close()


def over(wire: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    wire.putrequest(method, path)
    for name, value in headers.items():
        wire.putheader(name, value)
    wire.endheaders()
    reply = wire.getresponse()
    return reply.status, reply.read()


def test_every_file_of_the_tree_is_there_under_its_name(image: ImportedImage, wire: http.client.HTTPConnection) -> None:
    """R-24: the tree has a fixed route with HEAD and Range."""
    base = f"/{image.boot_path}/tree"
    for name, content in small_media.rocky().items():
        assert over(wire, f"{base}/{name}") == (200, content)
    odd = "AppStream/Packages/g/gcc-c++-11.4.1-3.el9~1.x86_64.rpm"
    for spelling in (odd.replace("+", "%2B"), odd.replace("~", "%7E"), f"/{odd}"):
        assert over(wire, f"{base}/{spelling}") == (200, small_media.rocky()[odd])
    assert over(wire, f"{base}/images/same.img") == (200, small_media.rocky()["images/install.img"])
    assert over(wire, f"{base}/.treeinfo", "HEAD") == (200, b"")
    assert over(wire, f"{base}/images/install.img", Range="bytes=0-3") == (206, b"hsqs")
    assert over(wire, f"/{image.boot_path}/linux") == (200, small_media.KERNEL)


ODD = (
    "", "/", "/images", "/images/", "/../image.json", "/../../../../secret.key", "/..%2f..%2fimage.json", "/link",
    "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret.key", "/images/../../image.json", "/nothing", "/.treeinfo/",
    "/.treeinfo%00", "/..%5c..%5cx",
)  # fmt: skip


def test_folders_and_whatever_leads_out_are_refused(
    image: ImportedImage, ctx: Context, wire: http.client.HTTPConnection
) -> None:
    (image.path / "tree" / "link").symlink_to(ctx.data_dir / "secret.key")
    for path in ODD:
        status, body = over(wire, f"/{image.boot_path}/tree{path}")
        assert status in (400, 404), path
        assert len(body) < 100

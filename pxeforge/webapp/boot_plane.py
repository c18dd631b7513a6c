"""The boot plane: what firmware, boot loaders and installers may fetch and report. No login; per-host tokens.

Everything that is not one of these routes is 404. Replies have an exact length, HEAD works, and nothing redirects
(UEFI HTTP Boot and shim cannot follow; edk2#9714, smee#229). Files are sent by the server (`wsgi.file_wrapper`).
"""

from __future__ import annotations

import datetime
import functools
import os
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO, cast

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper, LimitedStream

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.render.menus import MenuKind
from pxeforge.services import (
    discovery,
    images,
    installer_reports,
    loaders,
    prepared,
    registration,
    wipe_reports,
    wire_answers,
    wire_menus,
)
from pxeforge.services.context import Context
from pxeforge.services.package_cache import Growing, PackageCache, Passed
from pxeforge.services.problems import NotFound, Problem
from pxeforge.webapp.json_body import json_object
from pxeforge.webapp.unavailable import answer_unavailable

_MAX_REPORT = 256 * 1024
_SLOW_PREFIX = "/mirror/"
_IMAGES_PREFIX = "/images/"
_CONDITIONS = frozenset({"range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_GRUB_FOLDERS = tuple(loaders.GRUB_PREFIXES.values())  # built into the signed GRUBs


def is_slow(path: str, mirror: PackageCache | None = None) -> bool:
    """Whether the answer to a path may have to wait for somebody else: upstream, in our case."""
    if not path.startswith(_SLOW_PREFIX):
        return False
    return mirror is None or not mirror.is_warm(*_mirror_and_path(path))


AtOnce = tuple[list[tuple[str, str]], IO[bytes], int]  # headers, open file, its length


def file_at_once(ctx: Context, cache: PackageCache, path: str, headers: Mapping[str, str]) -> AtOnce | None:
    """The answer to a plain GET for a file that is here: nothing has to be waited for, and no thread is needed.

    None for everything else: whoever wants a part, or only what is new, takes the long way, and so do kernel and
    initrd, which the host's timeline tells of. `headers` are in lower case. Thousands of packages are what an install
    consists of, so this is the shortest way there is.
    """
    if not _CONDITIONS.isdisjoint(headers):
        return None
    if path.startswith(_SLOW_PREFIX):
        whole = cache.warm(*_mirror_and_path(path))
        if whole is None:
            return None
        return _headers(whole.modified, whole.modified, whole.size), whole.stream, whole.size
    if path.startswith(_IMAGES_PREFIX):
        return _image_file_at_once(ctx, path)
    return None


def _image_file_at_once(ctx: Context, path: str) -> AtOnce | None:
    name, _, rest = path.removeprefix(_IMAGES_PREFIX).partition("/")
    version, _, file = rest.partition("/")
    try:
        image = images.by_reference(ctx, f"{name}/{version}")
        place = None if file in wire_menus.TOLD_FILES else image.file(file)
        if place is None:
            return None
        stream = place.open("rb", buffering=0)
    except (Problem, OSError):
        return None  # the long way says why
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode) or not _is_below(stream.fileno(), image.path):
        stream.close()
        return None
    return _headers(int(found.st_mtime), found.st_mtime_ns, found.st_size), stream, found.st_size


def _is_below(descriptor: int, folder: Path) -> bool:
    """Whether an open file lies in the folder, whatever links led to it."""
    return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder.resolve())


def _headers(seconds: int, modified: int, size: int) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(size)),
        ("Last-Modified", _http_date(seconds)),
        ("ETag", f'"{_etag(modified, size)}"'),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "no-cache"),
    ]


def _mirror_and_path(path: str) -> tuple[str, str]:
    name, _, rest = path.removeprefix(_SLOW_PREFIX).partition("/")
    return name, rest


def create_boot_plane(
    ctx: Context, mirror: PackageCache | None, counts: Callable[[], Mapping[str, int]] = dict
) -> Flask:
    """`mirror` None: no upstream is configured, and /mirror says so. `counts`: what the server is busy with."""
    app = Flask("pxeforge.boot", static_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REPORT
    app.register_error_handler(Problem, _refused)
    app.register_error_handler(HTTPException, _http_error)
    answer_unavailable(app, lambda _: _text("the server cannot write just now: try again\n", 503))

    @app.get("/healthz")
    def healthz() -> Response:
        return _text("".join(["ok\n", *(f"{name} {count}\n" for name, count in counts().items())]))

    @app.get("/boot/<mac>/menu.ipxe")
    def ipxe_menu(mac: str) -> Response:
        return _menu(ctx, mac, MenuKind.IPXE)

    @app.get("/boot/<mac>/autoexec.ipxe")
    def autoexec(mac: str) -> Response:
        script = wire_menus.autoexec(ctx, _mac(mac), peer=_peer(), head=_head())
        if script is None:
            raise NotFound("no such menu")
        return _text(script)

    @app.get("/boot/<mac>/grub.cfg")
    def grub_menu(mac: str) -> Response:
        return _menu(ctx, mac, MenuKind.GRUB)

    @app.get("/grub/<path:name>")
    def grub_start(name: str) -> Response:
        return _grub_file(ctx, f"grub/{name}")

    @app.get("/debian-installer/<path:name>")
    def signed_grub_file(name: str) -> Response:
        return _grub_file(ctx, f"debian-installer/{name}")

    @app.get("/boot/<mac>/<name>")
    def loader(mac: str, name: str) -> Response:
        nic = _mac(mac)
        path = loaders.loader_file(ctx, name, _peer()) if name.endswith(".efi") else None
        if path is None:
            raise NotFound("no such boot loader")
        wire_menus.loader_fetched(ctx, nic, name, peer=_peer(), head=_head())
        return _file(path, "application/efi")

    @app.get("/images/<name>/<version>/<path:path>")
    def image_file(name: str, version: str, path: str) -> Response:
        image = images.by_reference(ctx, f"{name}/{version}")
        found = image.file(path)
        if found is None:
            raise NotFound("no such file in the image")
        wire_menus.image_fetched(ctx, path, peer=_peer(), head=_head())
        return _file(found, within=image.path)

    @app.get("/answers/<token>")
    def answers(token: str) -> Response:
        return _prepared(partial(wire_answers.prepare_answers, ctx, token, peer=_peer(), head=_head()))

    @app.get("/answers/<token>/<name>")
    def seed(token: str, name: str) -> Response:
        """Where cloud-init looks: a folder with user-data, which are the answers, and files beside it."""
        if name == "user-data":
            return _prepared(partial(wire_answers.prepare_answers, ctx, token, peer=_peer(), head=_head()))
        return _text(wire_answers.seed(ctx, token, name, peer=_peer()))

    @app.get("/installer/<token>/early")
    def early(token: str) -> Response:
        return _text(wire_answers.early(ctx, token, peer=_peer(), head=_head()))

    @app.get("/installer/<token>/disks")
    def disks(token: str) -> Response:
        return _text(wire_answers.disks(ctx, token, peer=_peer(), head=_head()))

    @app.get("/installer/<token>/late")
    def late(token: str) -> Response:
        return _text(wire_answers.late(ctx, token, peer=_peer(), head=_head()))

    @app.get("/installer/<token>/wipe")
    def wipe(token: str) -> Response:
        return _text(wire_answers.wipe(ctx, token, peer=_peer(), head=_head()))

    @app.post("/installer/<token>/progress")
    def progress(token: str) -> Response:
        installer_reports.progress(ctx, token, _said(), peer=_peer())
        return _text("ok\n")

    @app.post("/installer/<token>/finished")
    def finished(token: str) -> Response:
        installer_reports.finished(ctx, token, _said(), peer=_peer())
        return _text("ok\n")

    @app.post("/installer/<token>/wiped")
    def wiped(token: str) -> Response:
        wipe_reports.wiped(ctx, token, _said(), peer=_peer())
        return _text("ok\n")

    @app.post("/installer/<token>/failed")
    def failed(token: str) -> Response:
        installer_reports.failed(ctx, token, request.args.get("stage", "installer")[:32], _said(), peer=_peer())
        return _text("noted\n")

    @app.post("/installer/<token>/register")
    def register(token: str) -> Response:
        facts = json_object(request)
        if facts is None:
            raise Problem("registration needs a JSON object of facts")
        return jsonify(registration.register(ctx, token, facts, peer=_peer()))

    @app.post("/discovery/<token>/report")
    def report_hardware(token: str) -> Response:
        facts = json_object(request)
        if facts is None:
            raise Problem("a report of hardware needs a JSON object of facts")
        return _text(f"{discovery.report(ctx, token, facts, peer=_peer())}\n")

    @app.get("/agent/pxeforge-agent.pyz")
    def agent() -> Response:
        return _file(ctx.data_dir / "agent" / "pxeforge-agent.pyz", "application/zip")

    @app.get("/mirror/<name>/<path:path>")
    def package_mirror(name: str, path: str) -> Response:
        if mirror is None:
            raise NotFound("no package mirror is configured: set `mirror`")
        found = mirror.head(name, path) if _head() else mirror.get(name, path)
        if isinstance(found, Passed):
            response = Response(found.body, status=found.status, headers=dict(found.headers))
            response.call_on_close(getattr(found.body, "close", lambda: None))
            return response
        stream = found if isinstance(found, Growing) else found.stream
        return _sent(cast("IO[bytes]", stream), found.size, found.modified, "application/octet-stream")

    return app


def _menu(ctx: Context, mac: str, kind: MenuKind) -> Response:
    return _prepared(partial(wire_menus.prepare_menu, ctx, _mac(mac), kind, peer=_peer(), head=_head()))


def _prepared(prepare: Callable[[], prepared.Prepared]) -> Response:
    """The text; it leaves when the database agrees. Our own server waits for that, for any other one we do."""
    defer: Callable[[Future[bool]], None] | None = request.environ.get("pxeforge.defer")
    if defer is None:
        return _text(prepared.settled(prepare))
    one = prepare()
    if one.agreed is not None:
        defer(one.agreed)
    return _text(one.text)


def _grub_file(ctx: Context, name: str) -> Response:
    """What GRUB asks for in the folder that is built into it: the start of its configuration and lists of modules."""
    if name in loaders.GRUB_STARTS:
        return _text(loaders.grub_start_by_http(ctx, _peer()))
    path = loaders.loader_file(ctx, name, _peer()) if name.startswith(_GRUB_FOLDERS) else None
    if path is None:
        raise NotFound("no such file of GRUB")
    return _file(path)


def _file(path: Path, mimetype: str = "application/octet-stream", *, within: Path | None = None) -> Response:
    """A file with exact length, HEAD, one range, and validators; the server sends it without reading it.

    `within`: the folder that no link may lead out of.
    """
    try:
        if not path.is_file() or (within is not None and not path.resolve().is_relative_to(within.resolve())):
            raise NotFound("no such file")
        stream = path.open("rb")
    except OSError:
        raise NotFound("no such file") from None
    about = os.fstat(stream.fileno())
    return _sent(stream, about.st_size, about.st_mtime_ns, mimetype, per_second=10**9)


def _sent(stream: IO[bytes], size: int, modified: int, mimetype: str, *, per_second: int = 1) -> Response:
    """The answer with an open file, or the part of it that was asked for; closes it where it is not sent."""
    try:
        response = _described(size, modified, mimetype, per_second)
        if request.method == "HEAD" or response.status_code not in (200, 206):
            stream.close()
            return response
        stream.seek(response.content_range.start or 0)
        offered = request.environ.get("wsgi.file_wrapper")
        part = cast("IO[bytes]", LimitedStream(stream, response.content_length or 0))
        response.response = offered(stream) if offered else FileWrapper(part)
    except BaseException:
        stream.close()
        raise
    return response


def _described(size: int, modified: int, mimetype: str, per_second: int) -> Response:
    """The head of the answer: 200, 206 or 304. Raises 416 for a range that the file does not have."""
    response = Response(mimetype=mimetype, direct_passthrough=True)
    response.content_length = size
    response.last_modified = datetime.datetime.fromtimestamp(modified // per_second, datetime.UTC)
    response.set_etag(_etag(modified, size))
    response.cache_control.no_cache = True
    response.make_conditional(request, accept_ranges=True, complete_length=size)
    return response


def _etag(modified: int, size: int) -> str:
    return f"{modified:x}-{size:x}"


@functools.lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _peer() -> str:
    return request.remote_addr or ""


def _head() -> bool:
    return request.method == "HEAD"


def _said() -> str:
    """What the installer wrote in its report, cut and stripped of control characters (it ends in a timeline)."""
    text = request.get_data(cache=False)[:4000].decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()


def _mac(text: str) -> MacAddress:
    try:
        return MacAddress.parse(text)
    except NotAMac:
        raise NotFound("no such menu") from None


def _text(content: str, status: int = 200) -> Response:
    return Response(content, status=status, mimetype="text/plain", headers={"Cache-Control": "no-store"})


def _refused(problem: Exception) -> Response:
    status = problem.status if isinstance(problem, Problem) else 500
    return _text(f"{problem}\n", status)


def _http_error(problem: Exception) -> Response:
    code = (problem.code if isinstance(problem, HTTPException) else None) or 500
    response = _text(f"{HTTPStatus(code).phrase}\n", code)
    if isinstance(problem, RequestedRangeNotSatisfiable) and problem.length is not None:
        response.headers["Content-Range"] = f"bytes */{problem.length}"
    return response

"""The boot plane: what firmware, boot loaders and installers may fetch and report. No login; per-host tokens.

Everything that is not one of these routes is 404. Replies have an exact length, HEAD works, and nothing redirects
(UEFI HTTP Boot and shim cannot follow; edk2#9714, smee#229). Files are sent by the server (`wsgi.file_wrapper`).
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO, cast

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper, LimitedStream

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import images, installs, loaders
from pxeforge.services.context import Context
from pxeforge.services.mirror import Mirror
from pxeforge.services.problems import NotFound, Problem
from pxeforge.webapp.json_body import json_object

_MAX_REPORT = 256 * 1024
_SLOW_PREFIX = "/mirror/"
_GRUB_FOLDERS = tuple(loaders.GRUB_PREFIXES.values())  # built into the signed GRUBs


def is_slow(path: str) -> bool:
    """Whether the answer to a path may have to wait for somebody else: upstream, in our case."""
    return path.startswith(_SLOW_PREFIX)


def create_boot_plane(ctx: Context, mirror: Mirror | None, counts: Callable[[], Mapping[str, int]] = dict) -> Flask:
    """`mirror` None: no upstream is configured, and /mirror says so. `counts`: what the server is busy with."""
    app = Flask("pxeforge.boot", static_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REPORT
    app.register_error_handler(Problem, _refused)
    app.register_error_handler(HTTPException, _http_error)

    @app.get("/healthz")
    def healthz() -> Response:
        return _text("".join(["ok\n", *(f"{name} {count}\n" for name, count in counts().items())]))

    @app.get("/boot/<mac>/menu.ipxe")
    def ipxe_menu(mac: str) -> Response:
        return _text(installs.menu(ctx, _mac(mac), installs.MenuKind.IPXE, peer=_peer(), head=_head()))

    @app.get("/boot/<mac>/autoexec.ipxe")
    def autoexec(mac: str) -> Response:
        script = installs.autoexec(ctx, _mac(mac), peer=_peer(), head=_head())
        if script is None:
            raise NotFound("no such menu")
        return _text(script)

    @app.get("/boot/<mac>/grub.cfg")
    def grub_menu(mac: str) -> Response:
        return _text(installs.menu(ctx, _mac(mac), installs.MenuKind.GRUB, peer=_peer(), head=_head()))

    @app.get("/grub/<path:name>")
    def grub_start(name: str) -> Response:
        return _grub_file(ctx, f"grub/{name}")

    @app.get("/debian-installer/<path:name>")
    def signed_grub_file(name: str) -> Response:
        return _grub_file(ctx, f"debian-installer/{name}")

    @app.get("/boot/<mac>/<name>")
    def loader(mac: str, name: str) -> Response:
        _mac(mac)
        path = loaders.loader_file(ctx, name, _peer()) if name.endswith(".efi") else None
        if path is None:
            raise NotFound("no such boot loader")
        return _file(path, "application/efi")

    @app.get("/images/<name>/<version>/<path:path>")
    def image_file(name: str, version: str, path: str) -> Response:
        image = images.by_reference(ctx, f"{name}/{version}")
        if path not in image.files:
            raise NotFound("no such file in the image")
        installs.image_fetched(ctx, path, peer=_peer(), head=_head())
        return _file(image.path / path, within=image.path)

    @app.get("/answers/<token>")
    def answers(token: str) -> Response:
        return _text(installs.answers(ctx, token, peer=_peer(), head=_head()))

    @app.get("/installer/<token>/early")
    def early(token: str) -> Response:
        return _text(installs.early(ctx, token, peer=_peer(), head=_head()))

    @app.get("/installer/<token>/disks")
    def disks(token: str) -> Response:
        return _text(installs.disks(ctx, token, peer=_peer(), head=_head()))

    @app.get("/installer/<token>/late")
    def late(token: str) -> Response:
        return _text(installs.late(ctx, token, peer=_peer(), head=_head()))

    @app.post("/installer/<token>/progress")
    def progress(token: str) -> Response:
        installs.progress(ctx, token, _said(), peer=_peer())
        return _text("ok\n")

    @app.post("/installer/<token>/failed")
    def failed(token: str) -> Response:
        installs.failed(ctx, token, request.args.get("stage", "installer")[:32], _said(), peer=_peer())
        return _text("noted\n")

    @app.post("/installer/<token>/register")
    def register(token: str) -> Response:
        facts = json_object(request)
        if facts is None:
            raise Problem("registration needs a JSON object of facts")
        return jsonify(installs.register(ctx, token, facts, peer=_peer()))

    @app.get("/agent/pxeforge-agent.pyz")
    def agent() -> Response:
        return _file(ctx.data_dir / "agent" / "pxeforge-agent.pyz", "application/zip")

    @app.get("/mirror/debian/<path:path>")
    def debian_mirror(path: str) -> Response:
        if mirror is None:
            raise NotFound("no package mirror is configured: set `mirror`")
        kept = mirror.cached(path)
        if kept is not None:
            return _file(kept, within=ctx.data_dir / "cache")
        answer = mirror.fetch(path, dict(request.headers), head=_head())
        response = Response(answer.body, status=answer.status, headers=answer.headers)
        response.call_on_close(getattr(answer.body, "close", lambda: None))
        return response

    return app


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
    try:
        response = _described(stream.fileno(), mimetype)
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


def _described(descriptor: int, mimetype: str) -> Response:
    """The head of the answer: 200, 206 or 304. Raises 416 for a range that the file does not have."""
    found = os.fstat(descriptor)
    response = Response(mimetype=mimetype, direct_passthrough=True)
    response.content_length = found.st_size
    response.last_modified = datetime.datetime.fromtimestamp(int(found.st_mtime), datetime.UTC)
    response.set_etag(f"{found.st_mtime_ns:x}-{found.st_size:x}")
    response.cache_control.no_cache = True
    response.make_conditional(request, accept_ranges=True, complete_length=found.st_size)
    return response


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

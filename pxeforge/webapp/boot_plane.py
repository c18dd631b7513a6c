"""The boot plane: what firmware, boot loaders and installers may fetch and report. No login; per-host tokens.

Everything that is not one of these routes is 404. Replies have an exact length, HEAD works, and nothing redirects
(UEFI HTTP Boot and shim cannot follow; edk2#9714, smee#229).
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from flask import Flask, Response, jsonify, request, send_file
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import FileWrapper

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import images, installs, loaders
from pxeforge.services.context import Context
from pxeforge.services.mirror import Mirror
from pxeforge.services.problems import NotFound, Problem
from pxeforge.webapp.json_body import json_object

_MAX_REPORT = 256 * 1024
_FILE_PIECE = 64 * 1024


def create_boot_plane(ctx: Context, mirror: Mirror | None) -> Flask:
    """`mirror` None: no upstream is configured, and /mirror says so."""
    app = Flask("pxeforge.boot", static_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = _MAX_REPORT
    app.register_error_handler(Problem, _refused)
    app.register_error_handler(HTTPException, _http_error)

    @app.get("/healthz")
    def healthz() -> Response:
        return _text("ok\n")

    @app.get("/boot/<mac>/menu.ipxe")
    def ipxe_menu(mac: str) -> Response:
        return _text(installs.menu(ctx, _mac(mac), installs.MenuKind.IPXE, peer=_peer(), head=_head()))

    @app.get("/boot/<mac>/autoexec.ipxe")
    def autoexec(mac: str) -> Response:
        script = installs.autoexec(ctx, _mac(mac), peer=_peer(), head=_head())
        if script is None:
            raise NotFound("no such menu")
        return _text(script)

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
        return _file(image.path / path)

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
            return _file(kept)
        answer = mirror.fetch(path, dict(request.headers), head=_head())
        response = Response(answer.body, status=answer.status, headers=answer.headers)
        response.call_on_close(getattr(answer.body, "close", lambda: None))
        return response

    return app


def _file(path: Path, mimetype: str = "application/octet-stream") -> Response:
    """A file with exact length, HEAD and Range."""
    response = send_file(path, mimetype=mimetype, conditional=True, max_age=0)
    if isinstance(response.response, FileWrapper):
        response.response.buffer_size = _FILE_PIECE  # werkzeug's 8 kB cost half the speed (bench: HTTP 16 clients)
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
    return _text(f"{HTTPStatus(code).phrase}\n", code)

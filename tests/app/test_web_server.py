"""The servers behind TLS, on the loopback: a renewed certificate is shown at once, and answers do not wait."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import time
from pathlib import Path

from pxeforge.app import web_server
from pxeforge.app.web_server import Plane, Renewal

from .test_certificate import given_pair


def shown_by(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_a_renewed_certificate_is_shown_and_half_of_a_pair_is_not(tmp_path: Path) -> None:
    pair, new = given_pair(tmp_path / "now"), given_pair(tmp_path / "new")
    listener = socket.create_server(("127.0.0.1", 0))
    plane = Plane(name="admin", app=lambda *_: [], listener=listener, threads=1, tls=pair)
    server = web_server._server(plane)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        port, old = listener.getsockname()[1], der(pair[0])
        renewal = Renewal(server, pair)
        assert shown_by(port) == old
        for file in (0, 1):
            shutil.copy(new[file], pair[file])
            os.utime(pair[file], ns=(file + 1, file + 1))
            renewal.look()
            assert shown_by(port) == (der(new[0]) if file else old)
        pair[0].unlink()
        renewal.look()
        assert shown_by(port) == der(new[0])
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive()


def test_the_body_of_an_answer_does_not_wait_until_its_head_was_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        web_server._server(Plane(name="admin", app=lambda *_: [], listener=listener, threads=1))
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

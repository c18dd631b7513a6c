from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from pxeforge.lab.port_forward import address, forward, loopback_address
from pxeforge.lab.rack import Rack


def test_only_loopback_addresses_may_be_listened_on() -> None:
    assert loopback_address("127.0.0.1:8443") == ("127.0.0.1", 8443)
    with pytest.raises(ValueError, match="not on the loopback"):
        loopback_address("0.0.0.0:8443")


@pytest.mark.parametrize("text", ["8443", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "localhost:80", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        address(text)


def test_bytes_go_both_ways_and_the_end_of_one_side_reaches_the_other() -> None:
    def echo(server: socket.socket) -> None:
        peer, _ = server.accept()
        received = b""
        while block := peer.recv(65536):
            received += block
        peer.sendall(received[::-1])
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        accepting = threading.Thread(target=forward, args=(listener, server.getsockname()), daemon=True)
        accepting.start()
        with socket.create_connection(listener.getsockname(), timeout=10) as client:
            sent = bytes(range(256)) * 4000
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while block := client.recv(65536):
                received += block
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(10)
    assert not accepting.is_alive()
    assert received == sent[::-1]


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="racks need root and iproute2")
def test_a_port_inside_a_rack_is_reached_from_this_computer() -> None:
    listen = (
        "import socket; s=socket.create_server(('127.0.0.1', 7000)); print('up', flush=True); s.accept()[0].send(b'hi')"
    )
    with Rack("test") as rack:
        server = rack.popen([sys.executable, "-c", listen], stdout=subprocess.PIPE)
        assert server.stdout
        assert server.stdout.readline() == b"up\n"
        command = [sys.executable, "-m", "pxeforge.lab.port_forward", "--netns", rack.name]
        command += ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:7000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarder:
            try:
                assert forwarder.stdout
                port = int(forwarder.stdout.readline().split()[1].rsplit(":", 1)[1])
                with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                    assert client.recv(9) == b"hi"
            finally:
                forwarder.terminate()

import os
import select
import socket

import pytest

from pxeforge.servers.datagram import CannotListen, listen_udp, receive, send_from


def test_the_address_a_datagram_was_sent_to_is_the_one_it_is_answered_from() -> None:
    with (
        listen_udp("0.0.0.0", 0, purpose="a test", remedy="x") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(2)
        port = server.getsockname()[1]
        client.sendto(b"hello", ("127.0.0.3", port))
        ready = select.poll()
        ready.register(server, select.POLLIN)
        assert ready.poll(2000)
        found = receive(server)
        assert found is not None
        assert (found.data, found.our_address) == (b"hello", "127.0.0.3")
        assert receive(server) is None
        send_from(server, found.our_address, b"back", found.peer)
        assert client.recvfrom(10) == (b"back", ("127.0.0.3", port))


def test_a_port_in_use_is_refused_with_what_to_do() -> None:
    with listen_udp("127.0.0.1", 0, purpose="a test", remedy="x") as first:
        port = first.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"^port {port} on 127.0.0.1 is in use \(somebody\?\): stop it$"):
            listen_udp("127.0.0.1", port, purpose="a test", remedy="somebody?): stop it")


def test_an_address_of_another_computer_is_refused() -> None:
    with pytest.raises(CannotListen, match="does not have that address"):
        listen_udp("192.0.2.77", 0, purpose="a test", remedy="x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights up for the test")
def test_missing_permission_is_explained() -> None:
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            listen_udp("127.0.0.1", 67, purpose="DHCP", remedy="x")
        except CannotListen as error:
            os._exit(0 if "run as root or grant CAP_NET_BIND_SERVICE" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

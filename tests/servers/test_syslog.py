import socket

from pxeforge.servers.syslog import SyslogServer, SyslogSettings

from .conftest import Desk, running, wait_until


def test_lines_reach_the_desk_even_after_it_failed_once(desk: Desk) -> None:
    server = SyslogServer(SyslogSettings(listen=("127.0.0.1",), port=0), desk, lambda: 77.0)
    with running(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as installer:
        target = ("127.0.0.1", server.port)
        desk.failing = True
        installer.sendto(b"<30>anna: lost", target)
        wait_until(lambda: desk.failures == 1)
        desk.failing = False
        installer.sendto(b"  ", target)
        installer.sendto(b"<30>Nov 21 02:09:06 anna[4]: kept", target)
        wait_until(lambda: bool(desk.lines))
    (line,) = desk.lines
    assert (line.peer_ip, line.priority, line.tag, line.message, line.received_at) == (
        "127.0.0.1",
        30,
        "anna",
        "kept",
        77.0,
    )

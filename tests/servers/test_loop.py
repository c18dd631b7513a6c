import socket
import threading

from pxeforge.servers.loop import Loop

from .conftest import wait_until


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_a_handler_that_raises_does_not_end_the_loop() -> None:
    ours, theirs = pair()
    got: list[bytes] = []

    def handler() -> None:
        got.append(ours.recv(10))
        raise RuntimeError("broken")

    loop = Loop("test")
    loop.add(ours, handler)
    thread = threading.Thread(target=loop.run)
    thread.start()
    theirs.send(b"one")
    theirs.send(b"two")
    wait_until(lambda: got == [b"one", b"two"])
    loop.stop()
    loop.stop()
    thread.join(1)
    assert not thread.is_alive()
    loop.close()
    loop.stop()
    ours.close()
    theirs.close()


def test_a_tick_that_raises_does_not_end_the_loop() -> None:
    ticks: list[int] = []

    def tick() -> float | None:
        ticks.append(1)
        raise RuntimeError("broken")

    loop = Loop("test", tick=tick)
    thread = threading.Thread(target=loop.run)
    thread.start()
    wait_until(lambda: len(ticks) >= 2)
    loop.stop()
    thread.join(1)
    assert not thread.is_alive()


def test_a_socket_removed_by_another_handler_is_not_called() -> None:
    (one, to_one), (two, to_two) = pair(), pair()
    called: list[str] = []
    loop = Loop("test")

    def first_wins(name: str, other: socket.socket) -> None:
        called.append(name)
        loop.remove(other)
        other.close()
        loop.stop()

    loop.add(one, lambda: first_wins("one", two))
    loop.add(two, lambda: first_wins("two", one))
    to_one.send(b"x")
    to_two.send(b"x")
    loop.run()
    assert len(called) == 1
    for each in (one, two, to_one, to_two):
        each.close()

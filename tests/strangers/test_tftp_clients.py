"""TFTP clients of other people against our server: every byte, a quick no, and an abort that harms nobody."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tftpy

from pxeforge.protocol.tftp.transfer import Limits
from pxeforge.servers.tftp import TftpServer, TftpSettings
from tests.servers.conftest import Desk, running, wait_until

LARGE = random.Random(3).randbytes(34_000_000)  # with blocks of 512 bytes their numbers wrap
AROUND_BLOCKS = [0, 1, 511, 512, 513, 1467, 1468, 1469, 3 * 1468, 100_000]
LINES = b"default local\nprompt 0\n\ntimeout 50\n"
_LIMIT_S = 60


@dataclass(frozen=True)
class Client:
    """A program; `{port}`, `{name}` and `{local}` are filled in."""

    program: str
    words: str
    with_options: str = ""  # asks for blksize 1468 and what else it knows
    in_ascii: str = ""

    def command(self, words: str, port: int, name: str, local: Path) -> list[str]:
        if shutil.which(self.program) is None:
            pytest.skip(f"{self.program} is not installed")
        return [self.program, *(word.format(port=port, name=name, local=local) for word in words.split("|"))]


CLIENTS = {
    "tftp-hpa": Client(
        "tftp",
        "-m|binary|127.0.0.1|{port}|-c|get|{name}|{local}",
        in_ascii="-m|ascii|127.0.0.1|{port}|-c|get|{name}|{local}",
    ),
    "atftp": Client(
        "atftp",
        "--get|-r|{name}|-l|{local}|127.0.0.1|{port}",
        "--option|blksize 1468|--option|tsize|--option|timeout 5|--option|windowsize 16|"
        "--get|-r|{name}|-l|{local}|127.0.0.1|{port}",
    ),
    "curl": Client(
        "curl",
        "-s|-S|--tftp-no-options|-o|{local}|tftp://127.0.0.1:{port}/{name}",
        "-s|-S|--tftp-blksize|1468|-o|{local}|tftp://127.0.0.1:{port}/{name}",
        "-s|-S|--use-ascii|-o|{local}|tftp://127.0.0.1:{port}/{name}",
    ),
    "busybox": Client(
        "busybox",
        "tftp|-g|-r|{name}|-l|{local}|127.0.0.1|{port}",
        "tftp|-g|-b|1468|-r|{name}|-l|{local}|127.0.0.1|{port}",
    ),
}  # fmt: skip


@pytest.fixture
def server(desk: Desk) -> Iterator[TftpServer]:
    limits = Limits(first_wait_s=0.1, retries=3)
    with running(tftp := TftpServer(TftpSettings(port=0, listen=("127.0.0.1",), limits=limits), desk, time.monotonic)):
        yield tftp


Fetch = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def fetch(server: TftpServer, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a client in a folder of its own; what it got is `got` there."""

    def run(client: str, name: str, words: str = "words") -> subprocess.CompletedProcess[str]:
        chosen = CLIENTS[client]
        local = tmp_path / "got"
        local.unlink(missing_ok=True)
        command = chosen.command(getattr(chosen, words), server.port, name, local)
        return subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, cwd=tmp_path)

    return run


@pytest.mark.parametrize("words", ["words", "with_options"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_stranger_gets_every_byte(
    fetch: Callable[..., subprocess.CompletedProcess[str]], desk: Desk, tmp_path: Path, client: str, words: str
) -> None:
    if not getattr(CLIENTS[client], words):
        pytest.skip("the client has no options")
    # curl calls an OACK with the size 0 of an empty file illegal (RFC 2349 does not).
    sizes = AROUND_BLOCKS[1:] if (client, words) == ("curl", "with_options") else AROUND_BLOCKS
    for size in sizes:
        desk.files["boot/x"] = LARGE[:size]
        done = fetch(client, "boot/x", words)
        got = (tmp_path / "got").read_bytes() if (tmp_path / "got").exists() else b""  # curl makes no empty file
        assert got == LARGE[:size], f"{size}: {done.stderr}"
        assert done.returncode == 0, done.stderr
    wait_until(lambda: len(desk.closed) == len(sizes))
    assert [problem for _, _, problem in desk.closed] == [None] * len(sizes)


def test_tftpys_client_gets_every_byte_around_the_blocks(server: TftpServer, desk: Desk) -> None:
    for size in AROUND_BLOCKS:
        desk.files["boot/x"] = LARGE[:size]
        got = io.BytesIO()
        got.close = lambda: None  # type: ignore[method-assign]
        tftpy.TftpClient("127.0.0.1", server.port, {"blksize": 1468, "tsize": 0}).download("boot/x", got)
        assert got.getvalue() == LARGE[:size]


def test_more_than_65535_blocks_arrive_at_all_clients_at_once(server: TftpServer, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    desk.files["large"] = tmp_path / "large"
    running_clients = []
    for name, client in CLIENTS.items():
        with contextlib.suppress(pytest.skip.Exception):
            command = client.command(client.words, server.port, "large", tmp_path / name)
            running_clients.append((name, subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)))
    if not running_clients:
        pytest.skip("no TFTP client is installed")
    for name, process in running_clients:
        assert process.wait(_LIMIT_S) == 0, name
        assert (tmp_path / name).read_bytes() == LARGE, name


@pytest.mark.parametrize("client", ["tftp-hpa", "curl"])
def test_text_in_netascii_arrives_with_the_line_ends_of_this_system(
    fetch: Callable[..., subprocess.CompletedProcess[str]], desk: Desk, tmp_path: Path, client: str
) -> None:
    desk.files["menu"] = LINES
    assert fetch(client, "menu", "in_ascii").returncode == 0
    # curl keeps the line ends of the wire.
    assert (tmp_path / "got").read_bytes() == (LINES if client == "tftp-hpa" else LINES.replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_miss_is_told_at_once(
    fetch: Callable[..., subprocess.CompletedProcess[str]], server: TftpServer, client: str
) -> None:
    done = fetch(client, "pxelinux.cfg/C0A80001")
    told = (done.stdout + done.stderr).lower()
    assert "not found" in told or done.returncode == 68  # curl 7.88 says it by its exit code
    assert server.counters["requests"] == 1  # nobody had to ask again


def test_atftp_that_asks_for_multicast_gets_the_file_by_unicast(server: TftpServer, desk: Desk, tmp_path: Path) -> None:
    desk.files["x"] = LARGE[:5000]
    words = "--option|multicast|--option|blksize 600|--get|-r|{name}|-l|{local}|127.0.0.1|{port}"
    command = CLIENTS["atftp"].command(words, server.port, "x", tmp_path / "got")
    subprocess.run(command, check=True, timeout=_LIMIT_S, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "got").read_bytes() == LARGE[:5000]


@pytest.mark.parametrize("client", ["tftp-hpa", "atftp", "curl", "busybox"])
def test_who_wants_to_write_is_refused_and_told(server: TftpServer, desk: Desk, tmp_path: Path, client: str) -> None:
    (tmp_path / "mine").write_bytes(b"x" * 700)
    words = {
        "tftp-hpa": "-m|binary|127.0.0.1|{port}|-c|put|{local}|{name}",
        "atftp": "--put|-r|{name}|-l|{local}|127.0.0.1|{port}",
        "curl": "-s|-S|-T|{local}|tftp://127.0.0.1:{port}/{name}",
        "busybox": "tftp|-p|-r|{name}|-l|{local}|127.0.0.1|{port}",
    }[client]
    command = CLIENTS[client].command(words, server.port, "pxelinux.cfg/default", tmp_path / "mine")
    subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False, cwd=tmp_path)
    assert server.counters["refused"] == 1
    assert desk.opened == []


def test_a_client_that_is_killed_leaves_the_others_alone(server: TftpServer, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    desk.files |= {"large": tmp_path / "large", "small": LARGE[:100_000]}
    curl = CLIENTS["curl"]
    victim = subprocess.Popen(curl.command(curl.words, server.port, "large", tmp_path / "victim"))
    wait_until(lambda: (tmp_path / "victim").exists() and (tmp_path / "victim").stat().st_size > 100_000, 20)
    victim.kill()
    victim.wait()
    other = curl.command(curl.with_options, server.port, "small", tmp_path / "got")
    subprocess.run(other, check=True, timeout=_LIMIT_S)
    assert (tmp_path / "got").read_bytes() == LARGE[:100_000]
    wait_until(lambda: server.counters["timed_out"] == 1, 20)
    name, sent, problem = desk.closed[-1]
    assert name == "large"
    assert 100_000 < sent < len(LARGE)
    assert problem is not None
    assert "stopped answering" in problem

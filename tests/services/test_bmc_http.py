"""What a BMC may not do to us over HTTP: lead us elsewhere, never end, drip, or be somebody else."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.services.bmc_http import BmcHttp, Place, seen_fingerprint
from pxeforge.services.power_driver import Deadline, PowerFault

from .fake_bmc import saying


def ask(port: int, fingerprint: str, seconds: float = 10) -> None:
    http = BmcHttp(Place(name="127.0.0.1", address="127.0.0.1", port=port, fingerprint=fingerprint), Deadline(seconds))
    try:
        http.send("GET", "/redfish/v1/")
    finally:
        http.close()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/redfish/\r\nContent-Length: 0\r\n\r\n", "do not follow"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000, "no JSON object"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_100_000, "answers without end"),
        (b"SSH-2.0-OpenSSH\r\n", "127.0.0.1"),
        (b"", "127.0.0.1"),
    ],
    ids=["redirect", "text", "array", "nested", "endless", "ssh", "nothing"],
)
def test_what_is_no_answer_of_a_bmc_is_a_fault(tmp_path: Path, said: bytes, fault: str) -> None:
    with (
        saying(lambda secured: secured.sendall(said), tmp_path) as (port, print_),
        pytest.raises(PowerFault, match=fault),
    ):
        ask(port, print_)


def drip(over: threading.Event, chunk: bytes) -> Callable[[ssl.SSLSocket], None]:
    def said(secured: ssl.SSLSocket) -> None:
        secured.sendall(b"HTTP/1.1 200 OK\r\n")
        while not over.wait(0.05):
            secured.sendall(chunk)

    return said


@pytest.mark.parametrize("chunk", [b"X-More: 1\r\n", b"\r\n", b"x"], ids=["headers", "body", "one-line"])
def test_a_bmc_that_drips_is_given_up_in_time(tmp_path: Path, chunk: bytes) -> None:
    over = threading.Event()
    with saying(drip(over, chunk), tmp_path) as (port, print_):
        began = time.monotonic()
        with pytest.raises(PowerFault):
            ask(port, print_, seconds=1)
        assert time.monotonic() - began < 30  # without the watchdog it would be for ever
        over.set()


def test_nothing_is_said_to_a_bmc_with_another_certificate(tmp_path: Path) -> None:
    heard: list[bool] = []
    with saying(lambda _secured: heard.append(True), tmp_path) as (port, print_):
        with pytest.raises(PowerFault, match="shows another certificate than was set"):
            ask(port, "0" * 64)
        assert heard == []
        place = Place(name="127.0.0.1", address="127.0.0.1", port=port)
        assert seen_fingerprint(place, Deadline(5)) == print_


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


@settings(max_examples=20)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda status, head, body: b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n\r\n" + body,
            st.sampled_from([b"200 OK", b"200", b"999 X", b"-1 No", b"100 Continue", b"204 None"]),
            st.sampled_from([
                b"Content-Length: 3", b"Content-Length: -3", b"Content-Length: x", b"Transfer-Encoding: chunked",
                b"Content-Encoding: gzip", b"Set-Cookie: \xff", b": no name", b"Content-Length: 9\r\nContent-Length: 2",
            ]),
            st.binary(max_size=40),
        ),
    )
)  # fmt: skip
def test_whatever_bytes_come_the_outcome_is_an_answer_or_a_fault(folder: Path, said: bytes) -> None:
    with saying(lambda secured: secured.sendall(said), folder) as (port, print_), contextlib.suppress(PowerFault):
        ask(port, print_, seconds=5)

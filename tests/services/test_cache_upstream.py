"""What upstream says of a file, read from headers that may hold anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services import cache_upstream
from pxeforge.services.cache_upstream import BrokeOff, MirrorDown, Upstream
from pxeforge.services.problems import NotFound
from tests.services.fake_repository import serve_repository

DATES = st.lists(
    st.sampled_from([
        "Sat, ", "12", " Sep ", "2026", " 07:55:41", " UTC", "GMT", "+9999", "-", ":", " ", "99999999999999999999",
        "Date:", "(", ")", ",", "\x00", "é", "0",
    ]),
    max_size=12,
).map("".join)  # fmt: skip


@given(DATES | st.text())
def test_no_date_is_trouble(text: str) -> None:
    found = cache_upstream._seconds(text)
    assert found is None or found >= 0


@given(st.text())
def test_no_etag_breaks_a_request(text: str) -> None:
    found = cache_upstream._etag(text)
    assert found is None or (found.isprintable() and 0 < len(found) <= 256)


@pytest.mark.parametrize("value", ["bytes 5-9", "bytes x-9/10", "bytes */10", "5-9/10", ""])
def test_a_part_that_is_not_described_is_refused(value: str) -> None:
    with serve_repository() as (url, repository):
        repository.put("/pool/a.deb", b"0123456789", etag='"a"')
        repository.extra_headers["Content-Range"] = value
        repository.status_of_parts = 206
        with pytest.raises(MirrorDown, match="does not say which"):
            Upstream(url).open("pool/a.deb", {"Range": "bytes=0-", "If-Range": '"a"'})


def test_a_mirror_that_did_not_answer_is_left_alone_for_a_moment() -> None:
    now = [100.0]
    upstream = Upstream("http://127.0.0.1:9/debian", clock=lambda: now[0])
    with pytest.raises(MirrorDown, match="does not answer"):
        upstream.open("pool/a.deb", {})
    with pytest.raises(MirrorDown, match="did not answer a moment ago"):
        upstream.open("pool/a.deb", {})
    now[0] += 60
    with pytest.raises(MirrorDown, match="does not answer"):
        upstream.open("pool/a.deb", {})


def test_cookies_and_the_environments_proxies_are_none_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve_repository() as (url, repository):
        repository.put("/pool/a.deb", b"a")
        repository.extra_headers["Set-Cookie"] = "track=me; Path=/"
        for _ in range(2):
            with Upstream(url).ask("pool/a.deb", {}) as answer:
                assert b"".join(answer.pieces()) == b"a"
        assert not {"cookie", "authorization"} & set(repository.asked[1][1])


def test_names_are_quoted_and_nothing_else_is_changed() -> None:
    with serve_repository() as (url, repository):
        repository.put("/pool/g++_1~rc1+b1%5Egit_amd64.deb", b"a")
        with Upstream(f"{url}/").ask("pool/g++_1~rc1+b1^git_amd64.deb", {}) as answer:
            assert answer.total == 1


def test_a_body_that_ends_early_is_told() -> None:
    with serve_repository() as (url, repository):
        repository.put("/pool/a.deb", b"0123456789")
        repository.cuts["/pool/a.deb"] = [4]
        with Upstream(url).ask("pool/a.deb", {}) as answer, pytest.raises(BrokeOff):
            list(answer.pieces())
        with pytest.raises(NotFound), Upstream(url).ask("pool/b.deb", {}):
            pass

"""Extra repositories: none without the key that signs it, none that leaves its line."""

from __future__ import annotations

import pytest

from pxeforge.render.repositories import Repository
from pxeforge.render.values import AnswersProblem

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----"
GOOD = {"name": "tools", "url": "http://192.0.2.1/tools", "suite": "trixie", "components": ["main"], "key": KEY}


def test_a_debian_repository_is_signed_by_its_own_key() -> None:
    """R-25: key and `signed-by`."""
    """R-25: a repository that is not the distribution's comes with a key of its own."""
    repository = Repository.parse(GOOD)
    assert repository.keyring == "/etc/apt/keyrings/tools.asc"
    line = "[signed-by=/etc/apt/keyrings/tools.asc] http://192.0.2.1/tools trixie main"
    assert repository.sources_line == line
    assert repository.key == KEY + "\n"


def test_an_rpm_repository_has_no_suite_and_a_flat_one_no_components() -> None:
    assert Repository.parse({"name": "r", "url": "http://m/r", "key_url": "http://m/key"}).suite is None
    assert Repository.parse({"name": "r", "url": "http://m/r", "suite": "./", "key": KEY}).components == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": None}, "needs the key"),
        ({"key_url": "http://m/key"}, "needs the key"),
        ({"key": "hello"}, "no armoured public key"),
        ({"key": KEY.replace("PUBLIC", "PRIVATE")}, "no armoured public key"),
        ({"url": "http://m/a b"}, "url"),
        ({"url": "file:///etc"}, "url"),
        ({"suite": "trixie main"}, "suite"),
        ({"suite": None}, "components but no suite"),
        ({"components": []}, "a suite that ends in /"),
        ({"components": ["main\nd-i x"]}, "component"),
        ({"name": "a/b"}, "repository name"),
        ({"trusted": True}, "unknown key 'trusted'"),
        ({"suite": 13}, "put it in quotes"),
    ],
)
def test_what_is_no_repository_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(AnswersProblem, match=said):
        Repository.parse({**GOOD, **change})

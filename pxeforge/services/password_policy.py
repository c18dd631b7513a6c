"""Which passwords are refused: short ones, those that everybody tries first, and those made of the user's own name."""

from __future__ import annotations

import re
from typing import Final

from pxeforge.services.problems import Problem

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 1024
_LEAST_DIFFERENT: Final = 5  # characters
_LEET: Final = str.maketrans("013457$@!", "oieastsai")
# What guessers begin with, as it is left after digits and marks at both ends are taken away and 3 is read as e.
_COMMON: Final = frozenset(
    [
        "abc",
        "abcd",
        "abcde",
        "abcdef",
        "abcdefg",
        "abcdefgh",
        "access",
        "admin",
        "administrator",
        "asdf",
        "asdfgh",
        "asdfghjkl",
        "baseball",
        "batman",
        "changeit",
        "changeme",
        "changemenow",
        "charlie",
        "cobbler",
        "computer",
        "correcthorsebatterystaple",
        "debian",
        "default",
        "donald",
        "dragon",
        "football",
        "freedom",
        "guest",
        "hello",
        "iloveyou",
        "install",
        "installer",
        "internet",
        "invalid",
        "jordan",
        "letmein",
        "letmeinnow",
        "linux",
        "login",
        "maas",
        "master",
        "michael",
        "monkey",
        "mustang",
        "mypassword",
        "newpassword",
        "nopassword",
        "openstack",
        "operator",
        "ops",
        "passw",
        "passwd",
        "password",
        "passwordpassword",
        "passphrase",
        "passwort",
        "princess",
        "pxe",
        "pxeboot",
        "pxeforge",
        "qazwsx",
        "qazwsxedc",
        "qwert",
        "qwerty",
        "qwertyuiop",
        "qwertz",
        "qwertzuiop",
        "redhat",
        "root",
        "rootroot",
        "secret",
        "secretpassword",
        "server",
        "shadow",
        "starwars",
        "sunshine",
        "superman",
        "supersecret",
        "sysadmin",
        "system",
        "temp",
        "temporary",
        "test",
        "testing",
        "testpassword",
        "toor",
        "trustno",
        "trustnoone",
        "ubuntu",
        "unknown",
        "user",
        "username",
        "viewer",
        "welcome",
        "welcomehome",
        "whatever",
        "xyz",
        "zaqwsx",
        "zxcvbn",
        "zxcvbnm",
    ]
)
_RUNS: Final = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiop")


def check(name: str, password: str) -> None:
    """Raises Problem that says what to choose instead. Length counts most: no kinds of characters are demanded."""
    if len(password) < MIN_LENGTH:
        raise Problem(f"the password is too short: use at least {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        raise Problem(f"the password is too long: use at most {MAX_LENGTH} characters")
    lowered = password.lower()
    if name and _holds_the_name(name.lower(), lowered):
        raise Problem("the password is made of the user's name: choose one that has nothing to do with it")
    if len(set(lowered)) < _LEAST_DIFFERENT or _is_a_run(lowered) or _core(lowered) in _COMMON:
        raise Problem("the password is one of those that are tried first: choose another, e.g. four words of your own")


def _holds_the_name(name: str, password: str) -> bool:
    """Whether the name is most of it: `ann` may occur in `a planned journey`."""
    return name in password and len(password.replace(name, "")) < MIN_LENGTH - 4


def _is_a_run(password: str) -> bool:
    """A piece of a keyboard's row or of the alphabet, in either direction."""
    return any(password in row or password[::-1] in row for row in _RUNS)


def _core(password: str) -> str:
    """The word without digits and marks around it: `P4ssw0rd-2024!!` and `password` are one to a guesser."""
    trimmed = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", password)
    return re.sub(r"[\W\d_]", "", trimmed.translate(_LEET))

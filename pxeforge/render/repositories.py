"""Extra package repositories of the installed system, each with the key that signs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pxeforge.render.values import NAME, WEB_URL, AnswersProblem, check, known_keys, optional_text, text_list

_SUITE: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9._/+-]*")
_COMPONENT: Final = re.compile(r"[a-z0-9][a-z0-9/+.-]*")
_ARMOR: Final = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n[\x20-\x7e\n]*\n-----END PGP PUBLIC KEY BLOCK-----\n?"
)
MAX_KEY_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One repository. Debian style with `suite` and `components`; RPM style (yum/dnf, `baseurl`) without a suite.

    `key` is the signing key in ASCII armour; `key_url` is where the installed system gets it instead.
    """

    name: str
    url: str
    suite: str | None = None
    components: tuple[str, ...] = ()
    key: str | None = None
    key_url: str | None = None

    def __post_init__(self) -> None:
        check(NAME, "repository name", self.name, "letters, digits, _ . -")
        what = f"repository {self.name}"
        check(WEB_URL, f"{what}: url", self.url, "http://… or https://…")
        check(_SUITE, f"{what}: suite", self.suite, "a suite like trixie or ./")
        check(WEB_URL, f"{what}: key_url", self.key_url, "http://… or https://…")
        for component in self.components:
            check(_COMPONENT, f"{what}: component", component, "a word like main")
        if self.components and not self.suite:
            raise AnswersProblem(f"{what} has components but no suite: give both, or neither for an RPM repository")
        if self.suite and self.suite.endswith("/") == bool(self.components):
            raise AnswersProblem(f"{what}: a suite that ends in / has no components, any other needs some (like main)")
        if (self.key is None) == (self.key_url is None):
            raise AnswersProblem(f"{what} needs the key that signs it: `key` (ASCII armour) or `key_url`, one of them")
        if self.key is not None and (len(self.key) > MAX_KEY_BYTES or not _ARMOR.fullmatch(self.key)):
            raise AnswersProblem(
                f"{what}: its key is no armoured public key: export it with `gpg --armor --export` "
                "(BEGIN PGP PUBLIC KEY BLOCK)"
            )

    @classmethod
    def parse(cls, entry: object) -> Repository:
        """From `{name, url, suite, components: […], key | key_url}`."""
        keys = ("name", "url", "suite", "components", "key", "key_url")
        values = known_keys("repositories", entry, keys, ["name", "url"])
        key = optional_text("repositories", values, "key")
        return cls(
            name=str(values["name"]),
            url=str(values["url"]),
            suite=optional_text("repositories", values, "suite"),
            components=text_list("repositories: components", values.get("components")),
            key=key.strip() + "\n" if key is not None else None,
            key_url=optional_text("repositories", values, "key_url"),
        )

    @property
    def keyring(self) -> str:
        """Where the key lies on an installed Debian system."""
        return f"/etc/apt/keyrings/{self.name}.asc"

    @property
    def sources_line(self) -> str:
        """The repository as apt's one-line style has it behind `deb`, with `signed-by`."""
        return " ".join((f"[signed-by={self.keyring}]", self.url, self.suite or "./", *self.components))

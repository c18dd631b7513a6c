"""Who may log in to the installed system: users with password hashes and SSH keys, never plain passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pxeforge.render.values import AnswersProblem, check, check_unique, known_keys, text_list

_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_GROUP: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_CRYPT: Final = re.compile(r"\$(6|5|y|gy|7|2[aby])\$[A-Za-z0-9./$=,+-]{8,256}")
_SSH_KEY: Final = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]{16,}( [^\x00-\x1f\x7f]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the installed system. Without `password_hash` (crypt format) only ssh keys let it in."""

    name: str
    password_hash: str | None = None
    ssh_keys: tuple[str, ...] = ()
    sudo: bool = False
    groups: tuple[str, ...] = ()  # further groups that exist in the new system

    def __post_init__(self) -> None:
        check(_USER, "user name", self.name, "letters, digits, _ and -")
        if self.name == "root":
            raise AnswersProblem("root is not an account to create: use root_password_hash")
        check_hash(f"password of user {self.name}", self.password_hash)
        for key in self.ssh_keys:
            check(_SSH_KEY, f"ssh key of user {self.name}", key, "one line like 'ssh-ed25519 AAAA… comment'")
        for group in self.groups:
            check(_GROUP, f"group of user {self.name}", group, "letters, digits, _ and -")
        check_unique(f"group of user {self.name}", self.groups)

    @classmethod
    def parse(cls, entry: object) -> Account:
        """From `{name, password_hash, ssh_keys: […], sudo, groups: […]}`."""
        values = known_keys("accounts", entry, ("name", "password_hash", "ssh_keys", "sudo", "groups"), ["name"])
        sudo, password = values.get("sudo", False), values.get("password_hash")
        if not isinstance(sudo, bool):
            raise AnswersProblem("accounts: sudo must be true or false")
        if password is not None and not isinstance(password, str):
            raise AnswersProblem("accounts: password_hash must be a text: put it in quotes")  # never shows the value
        return cls(
            name=str(values["name"]),
            password_hash=password,
            ssh_keys=text_list("accounts: ssh_keys", values.get("ssh_keys")),
            sudo=sudo,
            groups=text_list("accounts: groups", values.get("groups")),
        )


def is_crypt_hash(text: str) -> bool:
    """Whether the text looks like crypt(5) output of a method that is still good (no DES, no MD5)."""
    return _CRYPT.fullmatch(text) is not None


def check_hash(field: str, value: str | None) -> None:
    """Never shows the value: it may be the plain password."""
    if value is not None and not is_crypt_hash(value):
        raise AnswersProblem(f"{field} must be a hash ($6$…, $y$…), not plain text: make one with mkpasswd")

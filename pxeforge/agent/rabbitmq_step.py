"""The rabbitmq step: a virtual host, a user with password, tags and rights, and policies, through rabbitmqctl."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import tempfile
from typing import Any

from pxeforge.agent.execution import Ran, StepFailed
from pxeforge.agent.foreign_json import read_json, read_json_at_start
from pxeforge.agent.step import Finding, Step

_TIMEOUT_S = 120.0
# Commands that take a password, as the broker's own functions.
_WITH_PASSWORD = {
    "add_user": 'rabbit_auth_backend_internal:add_user({name}, {password}, <<"pxeforge">>).',
    "change_password": 'rabbit_auth_backend_internal:change_password({name}, {password}, <<"pxeforge">>).',
    "authenticate_user": "rabbit_access_control:check_user_login({name}, [{{password, {password}}}]).",
}

# All that a user is to have, as one question: rabbitmqctl takes a second for each command.
_HAS_ALL = """\
V = {vhost}, N = {name}, P = {password}, R = [{rights}], T = lists:sort([{tags}]),
rabbit_vhost:exists(V)
andalso lists:any(
  fun(U) ->
    proplists:get_value(user, U) =:= N
    andalso lists:sort([atom_to_binary(Tag, utf8) || Tag <- proplists:get_value(tags, U)]) =:= T
  end,
  rabbit_auth_backend_internal:list_users())
andalso lists:any(
  fun(H) ->
    proplists:get_value(user, H) =:= N
    andalso [proplists:get_value(Key, H) || Key <- [configure, write, read]] =:= R
  end,
  rabbit_auth_backend_internal:list_vhost_permissions(V))
andalso element(1, rabbit_access_control:check_user_login(N, [{{password, P}}])) =:= ok.
"""


def rows(text: str) -> list[dict[str, Any]]:
    """What `rabbitmqctl --formatter json` lists: lines of other words may stand before it. Raises ValueError."""
    start = next((at for at, line in _with_offsets(text) if line.startswith("[")), None)
    if start is None:
        raise ValueError("no list in it")
    found = read_json_at_start(text[start:])
    if not isinstance(found, list):
        raise ValueError("no list in it")
    return [row for row in found if isinstance(row, dict)]


def _with_offsets(text: str) -> list[tuple[int, str]]:
    at, lines = 0, []
    for line in text.split("\n"):
        lines.append((at, line))
        at += len(line) + 1
    return lines


def policy_definition(value: Any) -> Any:
    """Some releases print a policy's definition as a value, some as a text of JSON."""
    if isinstance(value, str):
        try:
            return read_json(value)
        except ValueError:
            return value
    return value


class RabbitmqStep(Step):
    """Passwords go in a file that only the broker's user can read: command lines are public on a host.

    By standard input rabbitmqctl takes them too, but that of Debian 13 waits for ever for its end.
    """

    type = "rabbitmq"
    parameters = frozenset(
        {
            *("vhost", "user", "password", "tags", "configure", "write", "read"),
            *("policy", "pattern", "definition", "apply_to", "priority"),
        }
    )

    def check(self) -> Finding:
        if self._user_has_all():
            return Finding(False, [])
        if self.execution.check_only and not self._answers():
            return Finding(True, None, "RabbitMQ does not answer yet")
        words = [what for what, _, _ in self._missing()]
        return Finding(bool(words), words, "; ".join(words))

    def change(self, found: Finding) -> str:  # noqa: ARG002
        for _, arguments, password in self._missing():
            ran = self._ctl(arguments) if password is None else self._with_password(arguments, password)
            if ran.code != 0:
                raise StepFailed(f"rabbitmqctl {arguments[0]} did not succeed", ran.output)
        return ""

    def _missing(self) -> list[tuple[str, list[str], str | None]]:
        """What is not as it should be: words for people, arguments of rabbitmqctl and a password."""
        vhost = self.params.get("vhost", "/")
        todo: list[tuple[str, list[str], str | None]] = []
        there = any(row.get("name") == vhost for row in self._list(["list_vhosts", "name"]))
        if not there:
            todo.append((f"add virtual host {vhost}", ["add_vhost", vhost], None))
        if self.params.get("user"):
            todo += self._missing_user(vhost, vhost_is_there=there)
        if self.params.get("policy"):
            todo += self._missing_policy(vhost, vhost_is_there=there)
        return todo

    def _user_has_all(self) -> bool:
        """False also where it cannot be told like this: then each part is looked at by itself."""
        if not self.params.get("user") or self.params.get("policy"):
            return False
        text = _HAS_ALL.format(
            vhost=_binary(self.params.get("vhost", "/")),
            name=_binary(self.params["user"]),
            password=_binary(str(self.params["password"])),
            rights=", ".join(_binary(self.params.get(key, ".*")) for key in ("configure", "write", "read")),
            tags=", ".join(_binary(tag) for tag in self.params.get("tags") or []),
        )
        ran = self._evaluated(text)
        return ran.code == 0 and ran.stdout.strip() == "true"

    def _missing_user(self, vhost: str, *, vhost_is_there: bool) -> list[tuple[str, list[str], str | None]]:
        name, password = self.params["user"], str(self.params["password"])
        todo: list[tuple[str, list[str], str | None]] = []
        user = next((row for row in self._list(["list_users"]) if row.get("user") == name), None)
        if user is None:
            todo.append((f"add user {name}", ["add_user", name], password))
        elif self._with_password(["authenticate_user", name], password).code != 0:
            todo.append((f"set the password of {name}", ["change_password", name], password))
        tags = sorted(self.params.get("tags") or [])
        now = user.get("tags") if user else []
        if (sorted(str(tag) for tag in now) if isinstance(now, list) else None) != tags:
            todo.append((f"set the tags of {name}", ["set_user_tags", name, *tags], None))
        wanted = {key: self.params.get(key, ".*") for key in ("configure", "write", "read")}
        held: dict[str, Any] = {}
        if vhost_is_there and user is not None:
            listed = self._list(["list_permissions", "-p", vhost])
            held = next((row for row in listed if row.get("user") == name), {})
        if any(held.get(key) != value for key, value in wanted.items()):
            todo.append(
                (f"set the rights of {name} on {vhost}", ["set_permissions", "-p", vhost, name, *wanted.values()], None)
            )
        return todo

    def _missing_policy(self, vhost: str, *, vhost_is_there: bool) -> list[tuple[str, list[str], str | None]]:
        name = self.params["policy"]
        wanted = {
            "pattern": self.params["pattern"],
            "apply-to": self.params.get("apply_to", "all"),
            "definition": self.params["definition"],
            "priority": self.params.get("priority", 0),
        }
        listed = self._list(["list_policies", "-p", vhost]) if vhost_is_there else []
        row = next((row for row in listed if row.get("name") == name), {})
        now = {key: policy_definition(row.get(key)) if key == "definition" else row.get(key) for key in wanted}
        if now == wanted:
            return []
        options = [f"--priority={wanted['priority']}", f"--apply-to={wanted['apply-to']}"]
        text = json.dumps(wanted["definition"], sort_keys=True)
        return [
            (
                f"set policy {name} on {vhost}",
                ["set_policy", "-p", vhost, *options, name, wanted["pattern"], text],
                None,
            )
        ]

    def _answers(self) -> bool:
        try:
            return self._ctl(["list_vhosts", "name"]).code == 0
        except StepFailed:
            return False

    def _list(self, arguments: list[str]) -> list[dict[str, Any]]:
        ran = self._ctl([arguments[0], "--formatter=json", *arguments[1:]])
        if ran.code != 0:
            raise StepFailed("RabbitMQ refuses: does rabbitmq-server run on this host?", ran.output)
        try:
            return rows(ran.stdout)
        except ValueError as error:
            raise StepFailed(f"what rabbitmqctl {arguments[0]} prints cannot be read ({error})", ran.output) from None

    def _with_password(self, arguments: list[str], password: str) -> Ran:
        """Code 0 only when the broker did it (`ok`) or says yes (`{ok,…}`)."""
        command, name = arguments
        ran = self._evaluated(_WITH_PASSWORD[command].format(name=_binary(name), password=_binary(password)))
        if ran.code == 0 and not ran.stdout.strip().startswith(("ok", "{ok,")):
            return Ran(1, ran.stdout, ran.stderr)
        return ran

    def _evaluated(self, text: str) -> Ran:
        """An expression of Erlang, by the broker."""
        with tempfile.NamedTemporaryFile("w", prefix="pxeforge-", suffix=".erl", encoding="ascii") as file:
            file.write(text)
            file.flush()
            with contextlib.suppress(KeyError, PermissionError):  # rabbitmqctl reads it as this user
                os.fchown(file.fileno(), pwd.getpwnam("rabbitmq").pw_uid, -1)
            return self._ctl(["eval_file", file.name])

    def _ctl(self, arguments: list[str]) -> Ran:
        return self.execution.run(["rabbitmqctl", "--quiet", *arguments], timeout_s=_TIMEOUT_S)


def _binary(text: str) -> str:
    """The text as a binary of Erlang, whatever stands in it."""
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"

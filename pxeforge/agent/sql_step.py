"""The sql step: a MariaDB database, a user and its rights, as root through the socket or over the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pxeforge.agent.execution import Execution, Ran, StepFailed
from pxeforge.agent.step import Finding, Step

_GRANT = re.compile(r"^GRANT (?P<rights>.+) ON `(?P<database>[^`]+)`\.\* TO ")


def mariadb(
    execution: Execution, script: str, *, login: Mapping[str, Any] | None = None, timeout_s: float | None = None
) -> Ran:
    """Runs SQL from standard input. `login` with `host` goes over TCP; the password goes through the environment.

    Command lines are public on a host, environments of root's processes and standard input are not.
    """
    argv = ["mariadb", "--no-defaults", "--batch", "--raw", "--skip-column-names"]
    env = {}
    login = login or {}
    if login.get("host"):
        argv += ["--protocol=tcp", f"--host={login['host']}", f"--port={login.get('port', 3306)}"]
    if login.get("user"):
        argv.append(f"--user={login['user']}")
    if login.get("password"):
        env["MYSQL_PWD"] = str(login["password"])
    if login.get("database"):
        argv.append(f"--database={login['database']}")
    return execution.run(argv, stdin=script, env=env, timeout_s=timeout_s)


def literal(text: str) -> str:
    """The text as an SQL string."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


class SqlStep(Step):
    """Rights beyond those asked for are left alone."""

    type = "sql"
    parameters = frozenset({"database", "charset", "user", "user_host", "password", "privileges", "login"})

    def check(self) -> Finding:
        if self.execution.check_only and not self._answers():
            return Finding(True, None, "MariaDB does not answer yet")
        statements = self._missing()
        state = [sorted(name for name, _ in statements)]
        return Finding(bool(statements), state, "; ".join(name for name, _ in statements))

    def change(self, found: Finding) -> str:  # noqa: ARG002
        for _, statement in self._missing():
            self._query(statement)
        return ""

    def _missing(self) -> list[tuple[str, str]]:
        """What is not as it should be: a name for people and the statement that mends it."""
        params = self.params
        database, user = params.get("database"), params.get("user")
        todo: list[tuple[str, str]] = []
        if database:
            todo += self._missing_database(database, params.get("charset", "utf8mb4"))
        if user:
            account = f"{literal(user)}@{literal(params.get('user_host', '%'))}"
            lacking = self._missing_user(user, params.get("user_host", "%"), account)
            todo += lacking
            if database:
                is_new = any(statement.startswith("CREATE") for _, statement in lacking)
                todo += self._missing_rights(database, account, user_exists=not is_new)
        return todo

    def _missing_database(self, database: str, charset: str) -> list[tuple[str, str]]:
        source = "information_schema.schemata"
        where = f"schema_name={literal(database)}"
        now = self._query(f"SELECT default_character_set_name FROM {source} WHERE {where}").strip()  # noqa: S608
        if not now:
            return [(f"create database {database}", f"CREATE DATABASE `{database}` CHARACTER SET {charset}")]
        if now != charset:
            return [(f"set charset of {database}", f"ALTER DATABASE `{database}` CHARACTER SET {charset}")]
        return []

    def _missing_user(self, user: str, user_host: str, account: str) -> list[tuple[str, str]]:
        password = literal(self.params["password"])
        query = (
            f"SELECT authentication_string = PASSWORD({password}) FROM mysql.user"  # noqa: S608
            f" WHERE User={literal(user)} AND Host={literal(user_host)}"
        )
        now = self._query(query).strip()
        if not now:
            return [(f"create user {user}", f"CREATE USER {account} IDENTIFIED BY {password}")]
        if now != "1":
            return [(f"set password of {user}", f"ALTER USER {account} IDENTIFIED BY {password}")]
        return []

    def _missing_rights(self, database: str, account: str, *, user_exists: bool) -> list[tuple[str, str]]:
        # In GRANT an underscore stands for any character, unless it is escaped: app_1 would open app21 as well.
        pattern = database.replace("_", "\\_")
        wanted = set(self.params.get("privileges") or ["ALL PRIVILEGES"])
        wanted = {"ALL PRIVILEGES" if right == "ALL" else right for right in wanted}
        held: set[str] = set()
        for line in self._query(f"SHOW GRANTS FOR {account}").splitlines() if user_exists else []:
            match = _GRANT.match(line)
            if match and match["database"] == pattern:
                held.update(right.strip() for right in match["rights"].split(","))
        if "ALL PRIVILEGES" in held or wanted <= held:
            return []
        rights = ", ".join(sorted(wanted))
        return [(f"grant on {database}", f"GRANT {rights} ON `{pattern}`.* TO {account}")]

    def _answers(self) -> bool:
        try:
            return mariadb(self.execution, "SELECT 1", login=self.params.get("login"), timeout_s=30).code == 0
        except StepFailed:
            return False

    def _query(self, statement: str) -> str:
        ran = mariadb(self.execution, statement, login=self.params.get("login"), timeout_s=120)
        if ran.code != 0:
            login = self.params.get("login")
            who = f"may {login['user']} log in at {login['host']}" if login else "does root have its socket"
            raise StepFailed(f"MariaDB refuses: is it running, and {who}?", ran.stderr)
        return ran.stdout

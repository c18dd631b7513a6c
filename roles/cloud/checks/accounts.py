"""Every account in the configuration of this host's services is let in, by keystone or by the database.

Input as JSON on standard input: `files`, paths between spaces. What counts is what the services themselves read: its
sections with `auth_type = password`, and each `connection`.
"""

import configparser
import json
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pymysql

sys.path.insert(0, "/usr/local/lib/pxeforge")
from openstack_session import Refused, Session

ACCOUNT = ("auth_url", "username", "password", "project_name")
SERVICE_ROLE = "service"  # services take each other's tokens with it only


class Wrong(Exception):
    """An account that is not let in, or a file that cannot be read."""


def accounts(paths):
    """Accounts of keystone and URLs of databases, by each the first place where it stands."""
    users, databases = {}, {}
    for path in paths:
        conf = configparser.RawConfigParser(strict=False)
        try:
            conf.read_string(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error) as error:  # its message could hold a password
            raise Wrong(f"{path} cannot be read ({type(error).__name__}): deploy again") from None
        for section in conf.sections():
            place = f"[{section}] of {path}"
            if conf.get(section, "auth_type", fallback="") == "password":
                users.setdefault(tuple(conf.get(section, key, fallback="") for key in ACCOUNT), place)
            if url := conf.get(section, "connection", fallback=""):
                databases.setdefault(url, place)
    return users, databases


def take_token(account, place):
    url, user, password, project = account
    try:
        session = Session({"url": url, "user": user, "password": password, "project": project}, timeout_s=10)
    except Refused as refused:
        raise Wrong(f"user {user}, {place}: {refused}") from None
    if SERVICE_ROLE not in session.roles:
        raise Wrong(f"user {user}, {place}, has the roles {session.roles} in {project}, not {SERVICE_ROLE}")


def log_in(url, place):
    parts = urlsplit(url)
    try:
        connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.strip("/"),
            connect_timeout=10,
            read_timeout=10,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except pymysql.MySQLError as error:
        raise Wrong(f"{parts.username} at the database of {parts.hostname}, {place}: {error}") from None


def main():
    problems = []
    users, databases = {}, {}
    try:
        users, databases = accounts(json.load(sys.stdin)["files"].split())
    except Wrong as problem:
        problems.append(str(problem))
    for entry, known in ((take_token, users), (log_in, databases)):
        for account, place in known.items():
            try:
                entry(account, place)
            except Wrong as problem:
                problems.append(str(problem))
    names = ", ".join(sorted({account[1] for account in users})) or "nobody"
    print("; ".join(problems) or f"keystone lets in {names}; {len(databases)} logins to databases")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

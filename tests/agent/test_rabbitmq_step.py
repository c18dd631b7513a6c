from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.agent.rabbitmq_step import rows
from pxeforge.engine.step_types import checked_params

from .fake_host import do, program

# rabbitmqctl as a state in JSON files: what it prints is what 3.10 prints.
RABBITMQCTL = r"""
exec python3 - "$@" 3<&0 <<'END'
import json, os, pathlib, sys
words = [word for word in sys.argv[1:] if word not in ("--quiet", "--formatter=json")]
file = pathlib.Path("broker.json")
state = json.loads(file.read_text()) if file.exists() else {"vhosts": ["/"], "users": {}, "rights": {}, "policies": {}}
with open("argv", "a") as log: print(*sys.argv[1:], file=log)
if os.path.exists("down"):
    print("Error: unable to perform an operation on node 'rabbit@c'.", file=sys.stderr); sys.exit(69)
command, *rest = words
stdin = ""
if command == "eval_file":  # whether a user has all, or one of the three functions that the step calls
    import re
    text = pathlib.Path(rest[0]).read_text()
    if "list_vhost_permissions" in text:
        told = [bytes(int(n) for n in item.split(",") if n).decode() for item in re.findall(r"<<([\d,]*)>>", text)]
        (at, name, password), rights, tags = told[:3], told[3:6], told[6:]
        user, held = state["users"].get(name, {}), state["rights"].get(at, {}).get(name, {})
        has = at in state["vhosts"] and user == {"password": password, "tags": tags}
        print("true" if has and list(held.values()) == rights else "false")
        sys.exit(0)
    command = re.search(r":(\w+)\(", text)[1].replace("check_user_login", "authenticate_user")
    user, stdin = (bytes(map(int, item.split(","))).decode() for item in re.findall(r"<<([\d,]+)>>", text))
    rest = [user]
vhost = rest[1] if rest[:1] == ["-p"] else "/"
rest = rest[2:] if rest[:1] == ["-p"] else rest
if command == "list_vhosts": print(json.dumps([{"name": one} for one in state["vhosts"]]))
elif command == "list_users": print(json.dumps([{"user": n, "tags": u["tags"]} for n, u in state["users"].items()]))
elif command == "list_permissions":
    print(json.dumps([{"user": u, **r} for u, r in state["rights"].get(vhost, {}).items()]))
elif command == "list_policies":
    print(json.dumps([{"vhost": vhost, "name": n, **p} for n, p in state["policies"].items()]))
elif command == "add_vhost": state["vhosts"].append(rest[0])
elif command == "add_user": state["users"][rest[0]] = {"password": stdin, "tags": []}; print("ok")
elif command == "change_password": state["users"][rest[0]]["password"] = stdin; print("ok")
elif command == "authenticate_user":
    print("{ok,{user}}" if state["users"][rest[0]]["password"] == stdin else "{refused,<<>>}")
elif command == "set_user_tags": state["users"][rest[0]]["tags"] = rest[1:]
elif command == "set_permissions":
    state["rights"].setdefault(vhost, {})[rest[0]] = dict(zip(("configure", "write", "read"), rest[1:]))
elif command == "set_policy":
    options = dict(word[2:].split("=") for word in rest if word.startswith("--"))
    name, pattern, definition = [word for word in rest if not word.startswith("--")]
    state["policies"][name] = {"pattern": pattern, "apply-to": options["apply-to"], "definition": definition,
                               "priority": int(options["priority"])}
else: sys.exit(64)
file.write_text(json.dumps(state))
END
"""


@pytest.fixture
def broker(tmp_path: Path) -> Path:
    program(tmp_path, "rabbitmqctl", RABBITMQCTL)
    return tmp_path


def state(broker: Path) -> Any:
    return json.loads((broker / "broker.json").read_text())


def rabbitmq(broker: Path, **params: Any) -> dict[str, Any]:
    return do(broker, "rabbitmq", checked_params("rabbitmq", params), secrets=("s3cr3t-word",))


def test_a_user_is_made_once_with_its_rights(broker: Path) -> None:
    wanted = {"user": "openstack", "password": "s3cr3t-word", "vhost": "/cloud", "tags": ["monitoring"]}
    first = rabbitmq(broker, **wanted)
    assert first["status"] == "changed", first
    assert rabbitmq(broker, **wanted)["status"] == "ok"
    assert state(broker)["users"] == {"openstack": {"password": "s3cr3t-word", "tags": ["monitoring"]}}
    assert state(broker)["rights"]["/cloud"]["openstack"] == {"configure": ".*", "write": ".*", "read": ".*"}
    assert "s3cr3t-word" not in (broker / "argv").read_text()


def test_a_user_who_has_all_costs_one_command(broker: Path) -> None:
    wanted = {"user": "openstack", "password": "s3cr3t-word", "tags": ["monitoring"], "write": ""}
    rabbitmq(broker, **wanted)
    (broker / "argv").unlink()
    assert rabbitmq(broker, **wanted)["status"] == "ok"
    assert len((broker / "argv").read_text().splitlines()) == 1


def test_another_password_or_right_is_put_right(broker: Path) -> None:
    rabbitmq(broker, user="openstack", password="the first word")
    result = rabbitmq(broker, user="openstack", password="s3cr3t-word", read="^notify")
    assert result["status"] == "changed"
    assert result["message"] == "set the password of openstack; set the rights of openstack on /"
    assert state(broker)["users"]["openstack"]["password"] == "s3cr3t-word"


def test_a_policy_is_set_once_and_changed(broker: Path) -> None:
    policy = {"policy": "ha", "pattern": "^(?!amq\\.).*", "definition": {"ha-mode": "all", "ha-sync-mode": "automatic"}}
    assert [rabbitmq(broker, **policy)["status"] for _ in range(2)] == ["changed", "ok"]
    assert rabbitmq(broker, **{**policy, "definition": {"ha-mode": "exactly", "ha-params": 2}})["status"] == "changed"
    assert json.loads(state(broker)["policies"]["ha"]["definition"]) == {"ha-mode": "exactly", "ha-params": 2}


def test_a_broker_that_is_down_is_named(broker: Path) -> None:
    (broker / "down").touch()
    result = rabbitmq(broker, user="openstack", password="s3cr3t-word")
    assert (result["status"], "does rabbitmq-server run" in result["message"]) == ("failed", True)
    params = checked_params("rabbitmq", {"user": "openstack", "password": "s3cr3t-word"})
    assert do(broker, "rabbitmq", params, check_only=True)["message"] == "RabbitMQ does not answer yet"


def test_lines_before_the_list_are_skipped() -> None:
    text = 'Listing users ...\n[ {"user":"guest","tags":["administrator"]}\n,{"user":"x","tags":[]}]\n'
    assert [row["user"] for row in rows(text)] == ["guest", "x"]


@given(st.one_of(st.text(), st.text(alphabet='[]{},:"\n\\ 0a'), st.integers(1, 10**5).map(lambda n: "[" * n)))
def test_whatever_is_printed_gives_rows_or_a_value_error(text: str) -> None:
    try:
        found = rows(text)
    except ValueError:
        return
    assert all(isinstance(row, dict) for row in found)

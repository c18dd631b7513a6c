"""The agent's command line: register, run, facts, step."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from pxeforge.agent import AGENT_VERSION
from pxeforge.agent.changes import Changes
from pxeforge.agent.execution import Execution, Interrupted, Rebooting
from pxeforge.agent.facts import collect
from pxeforge.agent.loop import Agent
from pxeforge.agent.registration import CONFIG_PATH, NotRegistered, register, start_unit
from pxeforge.agent.task import fill_secrets, run_step
from pxeforge.agent.transport import AgentPlane

_STATE_FOLDER = "/var/lib/pxeforge-agent"


def main(arguments: list[str] | None = None) -> int:
    """0 when all went well, 1 with one sentence on stderr when not, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    command: int = options.command(options)
    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pxeforge-agent", description="Does what pxeforge plans for this host.")
    parser.add_argument("--version", action="version", version=f"pxeforge-agent {AGENT_VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("register", help="register this host (run once, by the installer)")
    command.add_argument("--url", required=True, help="where to send facts, plain HTTP on the boot network")
    command.add_argument("--token-in-url", action="store_true", help="the address holds the one-time token")
    command.add_argument("--root", type=Path, default=Path("/"), help="where the installed system is (default /)")
    command.set_defaults(command=_register)

    command = commands.add_parser("enrol", help="register this running host and start its agent (run once, by root)")
    command.add_argument("--url", required=True, help="where to send facts, with the one-time token")
    command.add_argument("--certificate", required=True, metavar="SHA256", help="what the server's certificate must be")
    command.set_defaults(command=_enrol)

    command = commands.add_parser("run", help="claim and do tasks until stopped")
    command.add_argument("--root", type=Path, default=Path("/"), help="work below this folder (for tests)")
    command.add_argument("--config", type=Path, help=f"instead of {CONFIG_PATH}")
    command.add_argument("--state", type=Path, help=f"instead of {_STATE_FOLDER}")
    command.set_defaults(command=_run)

    command = commands.add_parser("facts", help="print this host's facts as JSON")
    command.add_argument("--root", type=Path, default=Path("/"))
    command.set_defaults(command=_facts)

    command = commands.add_parser("step", help="do one step, JSON {type, params, secrets} on standard input")
    command.add_argument("--root", type=Path, default=Path("/"))
    command.add_argument("--state", type=Path, help=f"instead of {_STATE_FOLDER}")
    command.add_argument("--check", action="store_true", help="only say what would change")
    command.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS")
    command.set_defaults(command=_step)
    return parser


def _register(options: argparse.Namespace) -> int:
    try:
        host = register(options.url, options.root)
    except NotRegistered as problem:
        return _sorry(str(problem))
    print(f"registered as {host['host_name']} ({host['host_id']})")
    return 0


def _enrol(options: argparse.Namespace) -> int:
    try:
        host = register(options.url, certificate=options.certificate)
        start_unit()
    except NotRegistered as problem:
        return _sorry(str(problem))
    print(f"registered as {host['host_name']} ({host['host_id']}); its agent runs")
    return 0


def _run(options: argparse.Namespace) -> int:
    file = options.config or options.root / CONFIG_PATH.lstrip("/")
    try:
        config = json.loads(file.read_text())
        plane = AgentPlane(config["agent_url"], config["agent_token"], config["certificate_pem"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _sorry(f"{file} cannot be used ({error}): register this host again")
    state = options.state or options.root / _STATE_FOLDER.lstrip("/")
    agent = Agent(plane, state, lambda: collect(options.root), root=options.root, say=_say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


def _facts(options: argparse.Namespace) -> int:
    print(json.dumps(collect(options.root), indent=2))
    return 0


def _step(options: argparse.Namespace) -> int:
    try:
        step: dict[str, Any] = json.load(sys.stdin)
        secrets = step.pop("secrets", {})
    except (ValueError, AttributeError) as error:
        return _sorry(f"standard input is no JSON object ({error})")
    state = options.state or options.root / _STATE_FOLDER.lstrip("/")
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    execution = Execution(
        root=options.root,
        timeout_s=options.timeout,
        check_only=options.check,
        secrets=secrets.values(),
        state_folder=state,
    )
    try:
        result = run_step(fill_secrets(step, secrets), execution, Changes(state / "changes.json", dry=options.check))
    except Interrupted as interruption:
        return _sorry(str(interruption))
    except Rebooting as rebooting:
        return _sorry(f"the host reboots ({rebooting}): run the step again after it")
    print(json.dumps(result, indent=2))
    return 1 if result["status"] == "failed" else 0


def _say(message: str) -> None:
    print(message, flush=True)


def _sorry(message: str) -> int:
    print(message, file=sys.stderr)
    return 1

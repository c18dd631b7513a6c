"""The ansible step: a playbook carried out on this host by ansible-playbook, its events told line by line."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import StepFailed
from pxeforge.agent.foreign_json import read_json
from pxeforge.agent.step import Finding, Step

# Ansible loads this by its own Python. One line per event, which people see while it runs; the end is a JSON file.
_CALLBACK = """
from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "pxeforge"

    def __init__(self, *args, **kwargs):
        super(CallbackModule, self).__init__(*args, **kwargs)
        self.tasks = []

    def _event(self, status, result, ignored=False):
        said = result._result
        hidden = result._task.no_log or said.get("_ansible_no_log")
        message = "" if hidden else said.get("msg") or said.get("stderr") or ""
        name = result._task.get_name().strip()
        self.tasks.append({"name": name, "status": status, "message": str(message)[:2000], "ignored": ignored})
        print("%s: %s" % (status, name), flush=True)
        if status in ("failed", "unreachable") and message:
            print("  " + str(message)[:2000], flush=True)

    def v2_runner_on_ok(self, result, **kwargs):
        self._event("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False, **kwargs):
        self._event("failed", result, bool(ignore_errors))

    def v2_runner_on_unreachable(self, result, **kwargs):
        self._event("unreachable", result)

    def v2_runner_on_skipped(self, result, **kwargs):
        self._event("skipped", result)

    def v2_on_file_diff(self, result):
        diffs = result._result.get("diff") or []
        if result._task.no_log or not result._result.get("changed"):
            return
        for diff in diffs if isinstance(diffs, list) else [diffs]:
            text = self._get_diff(diff)
            if text:
                print(text, flush=True)

    def v2_playbook_on_stats(self, stats):
        summary = {"tasks": self.tasks, "hosts": {host: stats.summarize(host) for host in stats.processed}}
        with open(os.environ["PXEFORGE_ANSIBLE_RESULT"], "w") as file:
            json.dump(summary, file)
"""
_MISSING = "ansible-playbook is not on this host: install the package ansible-core in an earlier step"


@dataclass(frozen=True)
class _Played:
    """How a playbook ended."""

    changed: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]  # task and message
    played: bool  # a play fitted this host
    code: int
    output: str


def read_result(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], bool]:
    """(names of changed tasks, failed tasks with their messages, whether any host was played); raises ValueError."""
    found = read_json(text)
    tasks = found.get("tasks") if isinstance(found, dict) else None
    hosts = found.get("hosts") if isinstance(found, dict) else None
    if not isinstance(tasks, list) or not isinstance(hosts, dict) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError("no summary")
    changed = tuple(str(task.get("name")) for task in tasks if task.get("status") == "changed")
    bad = [task for task in tasks if task.get("status") in ("failed", "unreachable") and not task.get("ignored")]
    return changed, tuple((str(task.get("name")), str(task.get("message") or "")) for task in bad), bool(hosts)


class AnsibleStep(Step):
    """Only a run tells whether a playbook changes anything: it is its own check, but in a dry run (--check)."""

    type = "ansible"
    parameters = frozenset({"playbook", "vars", "timeout_s"})
    acts_at_once = True

    def check(self) -> Finding:
        try:
            played = self._play(dry=True)
        except StepFailed as failure:
            return Finding(True, None, str(failure), waiting=True)
        if played.failed or played.code != 0:  # what an earlier step would bring may be missing
            name, message = (*played.failed, ("the playbook", f"exit code {played.code}"))[0]
            return Finding(True, None, f"cannot be told before: {name}: {message}", waiting=True)
        reason = f"would change: {', '.join(played.changed)}" if played.changed else ""
        return Finding(bool(played.changed), list(played.changed), reason, played.output)

    def act(self) -> tuple[str, str]:
        """(what changed, '' for nothing; output)."""
        played = self._play(dry=False)
        if played.failed:
            name, message = played.failed[0]
            raise StepFailed(f"task {name!r} of the playbook failed{f': {message}' if message else ''}", played.output)
        if played.code != 0:
            raise StepFailed(f"ansible-playbook ended with exit code {played.code}", played.output)
        if not played.played:
            raise StepFailed("no play of the playbook is for this host: use `hosts: localhost`", played.output)
        return (f"changed: {', '.join(played.changed)}" if played.changed else ""), played.output

    def _play(self, *, dry: bool) -> _Played:
        with tempfile.TemporaryDirectory(prefix="pxeforge-ansible-") as name:
            folder = Path(name)
            self._prepare(folder)
            argv = ["ansible-playbook", "--connection=local", "--inventory=localhost,", "--diff"]
            argv += [
                f"--extra-vars=@{folder / 'vars.json'}",
                *(["--check"] if dry else []),
                str(folder / "playbook.yml"),
            ]
            try:
                ran = self.execution.run(
                    argv, env=_environment(folder), timeout_s=float(self.params.get("timeout_s", 1800))
                )
            except StepFailed as failure:
                raise StepFailed(_MISSING if "No such file" in str(failure) else str(failure), failure.output) from None
            try:
                changed, failed, played = read_result((folder / "result.json").read_text(encoding="utf-8"))
            except FileNotFoundError:  # it does not even start: its words are all there is
                said = [line for line in ran.stderr.splitlines() if line.startswith("ERROR!")]
                raise StepFailed(
                    f"the playbook cannot be played: {(said or ['see its output'])[0]}", ran.output
                ) from None
            except (OSError, ValueError) as error:
                raise StepFailed(f"what ansible-playbook reports cannot be read ({error})", ran.output) from None
            return _Played(changed, failed, played, ran.code, ran.output)

    def _prepare(self, folder: Path) -> None:
        """The folder is root's alone: variables may be secret."""
        (folder / "callback").mkdir()
        (folder / "callback/pxeforge.py").write_text(_CALLBACK.lstrip(), encoding="utf-8")
        (folder / "playbook.yml").write_text(str(self.params["playbook"]), encoding="utf-8")
        given: dict[str, Any] = {"ansible_python_interpreter": "/usr/bin/python3", **(self.params.get("vars") or {})}
        (folder / "vars.json").write_text(json.dumps(given), encoding="utf-8")


def _environment(folder: Path) -> dict[str, str]:
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(folder / "callback"),
        "ANSIBLE_STDOUT_CALLBACK": "pxeforge",
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "PXEFORGE_ANSIBLE_RESULT": str(folder / "result.json"),
    }

"""Steps that run something and look: command, wait and probe."""

from __future__ import annotations

import json
import re
import secrets
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from pxeforge.agent.execution import Ran, StepFailed
from pxeforge.agent.sql_step import mariadb
from pxeforge.agent.step import Finding, Step

_NONCE = "@@nonce@@"


def _argv(params: Any) -> list[str]:
    if params.get("argv"):
        return [str(part) for part in params["argv"]]
    return ["/bin/sh", "-c", str(params["shell"])]


class CommandStep(Step):
    """A command behind a guard; the guard must hold afterwards."""

    type = "command"
    parameters = frozenset(
        {"argv", "shell", "creates", "unless", "onlyif", "always", "env", "stdin", "cwd", "timeout_s", "ok_codes"}
    )

    def check(self) -> Finding:
        params = self.params
        if params.get("creates") and self.execution.path(params["creates"]).exists():
            return Finding(False, [params["creates"], True])
        if params.get("unless") and self._guard("unless"):
            return Finding(False, ["unless", True])
        if params.get("onlyif") and not self._guard("onlyif"):
            return Finding(False, ["onlyif", False])
        return Finding(True, ["to run"], "the command has to run")

    def _guard(self, name: str) -> bool:
        ran = self.execution.run(
            ["/bin/sh", "-c", self.params[name]],
            env=self.params.get("env"),
            cwd=self.params.get("cwd", "/"),
            timeout_s=float(self.params.get("timeout_s", 600)),
        )
        return ran.code == 0

    def change(self, found: Finding) -> str:  # noqa: ARG002
        ran = self.execution.run(
            _argv(self.params),
            stdin=self.params.get("stdin"),
            env=self.params.get("env"),
            cwd=self.params.get("cwd", "/"),
            timeout_s=float(self.params.get("timeout_s", 600)),
        )
        if ran.code not in self.params.get("ok_codes", [0]):
            raise StepFailed(f"the command ended with exit code {ran.code}", ran.output)
        return ran.output

    def verify(self) -> Finding:
        """creates and unless say what the command is for; onlyif and always say nothing about its end."""
        params = self.params
        if params.get("creates") and not self.execution.path(params["creates"]).exists():
            return Finding(True, [params["creates"], False], f"the command did not create {params['creates']}")
        if params.get("unless") and not self._guard("unless"):
            return Finding(True, ["unless", False], "the command ran, but its `unless` still fails")
        return Finding(False, ["done"])


class WaitStep(Step):
    """Nothing changes here: the condition comes true in time or the step fails."""

    type = "wait"
    parameters = frozenset({"tcp", "argv", "shell", "deadline_s", "interval_s"})

    def check(self) -> Finding:
        why, output = self._look()
        if not why:
            return Finding(False, True)
        if self.execution.check_only:
            return Finding(True, False, why, waiting=True)
        end = time.monotonic() + float(self.params.get("deadline_s", 60))
        while why:
            if time.monotonic() >= end:
                raise StepFailed(f"{why}, for {self.params.get('deadline_s', 60):g} s", output)
            self.execution.pause(float(self.params.get("interval_s", 1)))
            why, output = self._look()
        return Finding(False, True)

    def _look(self) -> tuple[str, str]:
        """Why it is not true yet ('' when it is), and what was printed."""
        tcp = self.params.get("tcp")
        if tcp:
            try:
                socket.create_connection((tcp["host"], int(tcp["port"])), timeout=3).close()
            except OSError as error:
                return f"{tcp['host']} port {tcp['port']} does not answer ({error})", ""
            return "", ""
        ran = self.execution.run(_argv(self.params), timeout_s=float(self.params.get("deadline_s", 60)))
        return (f"the command ends with exit code {ran.code}" if ran.code else ""), ran.output


class ProbeStep(Step):
    """A real operation and the answer it must give; not run in a dry run, as an operation may write."""

    type = "probe"
    parameters = frozenset(
        {
            *("argv", "shell", "script", "input", "sql", "host", "port", "user", "password", "database"),
            *("expect", "expect_match", "timeout_s", "deadline_s", "interval_s"),
        }
    )

    def check(self) -> Finding:
        if self.execution.check_only:
            return Finding(True, None, "the probe does not run in a dry run", waiting=True)
        end = time.monotonic() + float(self.params.get("deadline_s", 0))
        while True:
            problem, output = self._attempt()
            if not problem:
                return Finding(False, True, _last_line(output) if self.params.get("script") else "")
            if time.monotonic() >= end:
                raise StepFailed(problem, output)
            self.execution.pause(float(self.params.get("interval_s", 1)))

    def _attempt(self) -> tuple[str, str]:
        nonce = secrets.token_hex(16)
        try:
            ran = self._operate(nonce)
        except StepFailed as failure:
            return str(failure), failure.output
        if ran.code != 0:
            said = _last_line(ran.output) if self.params.get("script") else ""
            return said or f"the operation ended with exit code {ran.code}", ran.output
        answer = ran.stdout.strip()
        expected = self.params.get("expect")
        if expected is not None:
            fits = answer == self.execution.redact(str(expected)).replace(_NONCE, nonce).strip()
        elif self.params.get("expect_match") is None:  # a script judges by itself
            fits = True
        else:
            fits = re.search(str(self.params["expect_match"]).replace(_NONCE, nonce), answer) is not None
        return ("" if fits else "the operation gives another answer than expected"), ran.output

    def _operate(self, nonce: str) -> Ran:
        timeout_s = float(self.params.get("timeout_s", 30))
        if self.params.get("script"):
            return self._run_script(nonce, timeout_s)
        scripts = self.params.get("sql")
        if not scripts:
            argv = [part.replace(_NONCE, nonce) for part in _argv(self.params)]
            return self.execution.run(argv, timeout_s=timeout_s)
        printed = ""
        for script in scripts:
            ran = mariadb(self.execution, script.replace(_NONCE, nonce), login=self.params, timeout_s=timeout_s)
            printed += ran.stdout
            if ran.code != 0:
                return Ran(ran.code, printed, ran.stderr)
        return Ran(0, printed, "")

    def _run_script(self, nonce: str, timeout_s: float) -> Ran:
        """Its input goes by standard input: what is in there may be secret."""
        given = json.dumps(self.params.get("input") or {}).replace(_NONCE, nonce)
        with tempfile.TemporaryDirectory(prefix="pxeforge-probe-") as folder:
            file = Path(folder) / "probe.py"
            file.write_text(str(self.params["script"]), encoding="utf-8")
            return self.execution.run(["python3", str(file)], stdin=given, timeout_s=timeout_s)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""

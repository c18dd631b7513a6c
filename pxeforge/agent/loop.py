"""The agent's life: hello, claim, execute, report; survives restarts of itself, of the host and of the server."""

from __future__ import annotations

import random
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pxeforge.agent import AGENT_VERSION
from pxeforge.agent.changes import Changes
from pxeforge.agent.checkpoint import Checkpoint
from pxeforge.agent.execution import Execution, Interrupted, Rebooting
from pxeforge.agent.task import fill_secrets, run_step, status_of
from pxeforge.agent.transport import AgentPlane, Reply, Unreachable, WrongCertificate

_CLAIM_WAIT_S = 25.0
_LONGEST_PAUSE_S = 60.0
_GATHER_S = 1.0  # what a task has to tell waits so long for more; a short task tells it all by its result
_GOES_DOWN_S = 300.0  # services may take their time to stop
_MOST_STARTS = 4  # a task that kills the agent each time must not do so for ever
_STALE = 409


class Agent:
    """One host's agent; `stop` may be called from a signal handler: the step in progress ends, the rest is resumed."""

    def __init__(
        self,
        plane: AgentPlane,
        state_folder: Path,
        facts: Callable[[], dict[str, Any]],
        *,
        root: Path = Path("/"),
        say: Callable[[str], None] = print,
        claim_wait_s: float = _CLAIM_WAIT_S,
        path_env: str | None = None,
    ) -> None:
        self._plane, self._facts, self._root, self._say = plane, facts, root, say
        self._state_folder = state_folder
        self._checkpoint = Checkpoint(state_folder)
        self._claim_wait_s = claim_wait_s
        self._path_env = path_env
        self._stop = threading.Event()
        self._dry_changes: tuple[str, Changes] | None = None
        self._remembered: dict[str, Any] = {}
        self._poll_s = 2.0

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Until stop(); no answer from the server is ever a reason to end."""
        try:
            self._live()
        finally:
            self._plane.close()

    def _live(self) -> None:
        self._hello()
        self._resume()
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            reply = self._try("/v1/claim", {"wait_s": self._claim_wait_s}, self._claim_wait_s)
            if reply is None or reply.status not in (200, 204):
                failures += 1
                self._pause(failures)
                if reply is None and not self._stop.is_set():
                    self._hello()  # the server may have lost sight of us
                continue
            failures = 0
            if reply.status == 200 and reply.body.get("task_id"):
                self._perform(reply.body, [], 1)
            elif time.monotonic() - began < 1.0:
                # The server says when, while our tasks wait for those of other hosts.
                poll_s = float(reply.body.get("poll_s") or self._poll_s)
                self._stop.wait(random.uniform(0.5, 1.5) * min(poll_s, _LONGEST_PAUSE_S))  # noqa: S311

    def _hello(self) -> None:
        failures = 0
        while not self._stop.is_set():
            facts = self._facts()
            body = {"version": AGENT_VERSION, "boot_id": facts.get("boot_id", ""), "facts": facts}
            reply = self._try("/v1/hello", body)
            if reply is not None and reply.status == 200:
                self._poll_s = float(reply.body.get("poll_s") or 2.0)
                return
            failures += 1
            self._pause(failures)

    def _resume(self) -> None:
        """Goes on with what a crash, restart or reboot interrupted; the server says whether it is still ours."""
        saved = self._checkpoint.load()
        if saved is None or self._stop.is_set():
            return
        claim, results = saved["claim"], saved["results"]
        if saved["result"] is not None:
            self._report(claim, saved["result"])
            return
        starts = saved["starts"] + 1
        self._say(f"task {claim['task_id']} was interrupted after {len(results)} step(s): going on")
        if starts > _MOST_STARTS:
            message = f"the agent ended {starts - 1} times during this task: look at the host's journal"
            self._finish(claim, [*results, _not_run(claim, len(results), message)], starts)
            return
        self._perform(claim, results, starts)

    def _perform(self, claim: dict[str, Any], results: list[dict[str, Any]], starts: int) -> None:
        self._checkpoint.save(claim, results, starts, durable=status_of(results) != "ok")
        try:
            steps, execution = self._prepare(claim)
        except (TypeError, ValueError, AttributeError) as error:
            self._finish(claim, [*results, _not_run(claim, len(results), f"the task cannot be read ({error})")], starts)
            return
        self._say(f"task {claim['task_id']}: {claim.get('title', '')}")
        with _Lease(self._plane, claim, execution, self._say) as lease:
            done = self._do_steps(claim, steps, results, starts, execution, lease)
        # The lease is closed first: its last events must come before the result, which ends the task.
        if lease.lost:
            self._say(f"task {claim['task_id']} belongs to somebody else by now: dropped")
            self._checkpoint.clear()
        elif done:
            self._finish(claim, results, starts)

    def _prepare(self, claim: dict[str, Any]) -> tuple[list[dict[str, Any]], Execution]:
        """Steps with their secrets, and the surroundings that redact these.

        `secrets` of a claim is {name: value} for tokens that are still in the steps, or a list of values when the
        server has filled them in; both are redacted from all that is reported.
        """
        given = claim.get("secrets") or {}
        named = {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}
        values = list(named.values()) if isinstance(given, dict) else [str(value) for value in given]
        execution = Execution(
            root=self._root,
            timeout_s=float(claim.get("timeout_s") or 1800),
            check_only=bool(claim.get("check")),
            secrets=values,
            state_folder=self._state_folder,
            remembered=self._remembered,
            **({} if self._path_env is None else {"path_env": self._path_env}),
        )
        return [dict(step) for step in fill_secrets(claim.get("steps") or [], named)], execution

    def _do_steps(
        self,
        claim: dict[str, Any],
        steps: list[dict[str, Any]],
        results: list[dict[str, Any]],
        starts: int,
        execution: Execution,
        lease: _Lease,
    ) -> bool:
        """Appends to results; False when stop() came first (the checkpoint then stays)."""
        changes = self._changes(claim)
        for step in steps[len(results) :]:
            if self._stop.is_set():
                return False
            name = str(step.get("name") or step.get("type"))
            lease.tell(name, "running", "")
            began = time.monotonic()
            try:
                result = run_step(step, execution, changes)
            except Interrupted as interruption:
                if lease.lost:
                    return False
                result = _not_run(claim, len(results), str(interruption), round(time.monotonic() - began, 3))
            except Rebooting as rebooting:
                lease.tell(name, "running", f"the host reboots: {rebooting}", at_once=True)
                self._checkpoint.save(claim, results, 0)  # an ordered reboot is no crash: it does not count as a start
                if self._stop.wait(_GOES_DOWN_S):
                    return False
                result = _not_run(claim, len(results), f"the host did not go down within {_GOES_DOWN_S:g} s")
            results.append(result)
            self._checkpoint.save(claim, results, starts, durable=status_of(results) != "ok")
            lease.tell(name, result["status"], result["message"])
            if result["status"] == "failed":
                break
        return True

    def _changes(self, claim: dict[str, Any]) -> Changes:
        file = self._state_folder / "changes.json"
        if not claim.get("check"):
            return Changes(file)
        run_id = str(claim.get("run_id"))
        if self._dry_changes is None or self._dry_changes[0] != run_id:
            self._dry_changes = (run_id, Changes(file, dry=True))
        return self._dry_changes[1]

    def _finish(self, claim: dict[str, Any], results: list[dict[str, Any]], starts: int) -> None:
        result = {"fence": claim["fence"], "status": status_of(results), "steps": results}
        self._checkpoint.save(claim, results, starts, result, durable=result["status"] != "ok")
        self._report(claim, result)

    def _report(self, claim: dict[str, Any], result: dict[str, Any]) -> None:
        """Until the server has it or says that it is not wanted; a stop leaves it for the next start."""
        failures = 0
        while True:
            reply = self._try(_task_path(claim, "result"), result)
            if reply is not None and reply.status in (200, 204):
                break
            if reply is not None and reply.status in (400, 404, _STALE, 410, 413, 422):
                self._say(f"the result of task {claim['task_id']} is not wanted ({reply.status}): dropped")
                break
            failures += 1
            self._pause(failures)
            if self._stop.is_set():
                return
        self._checkpoint.clear()

    def _try(self, path: str, body: dict[str, Any], extra_timeout_s: float = 0.0) -> Reply | None:
        try:
            reply = self._plane.post(path, body, extra_timeout_s)
        except Unreachable as error:
            self._say(str(error))
            return None
        if reply.status in (401, 403):
            self._say("the server does not accept this host's credential: register the host again")
        elif reply.status >= 500:
            self._say(f"the server answers {reply.status} to {path}")
        return reply

    def _pause(self, failures: int) -> None:
        """1, 2, 4 … 60 s, each with jitter, so that a rack does not come back as one."""
        self._stop.wait(min(_LONGEST_PAUSE_S, 2.0 ** min(failures - 1, 6)) * random.uniform(0.5, 1.0))  # noqa: S311


class _Lease:
    """Renews the lease and sends events, from a thread of its own; interrupts the task when it is lost or cancelled."""

    def __init__(
        self, plane: AgentPlane, claim: dict[str, Any], execution: Execution, say: Callable[[str], None]
    ) -> None:
        self._plane, self._claim, self._execution, self._say = plane, claim, execution, say
        self._lease_s = float(claim.get("lease_s") or 60)
        self._events: list[dict[str, Any]] = []
        self._step = ""
        self._wake = threading.Condition()
        self._over = self._unreachable = self._is_urgent = False
        self.lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> _Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._over = True
            self._wake.notify()
        self._thread.join(timeout=60)

    def tell(self, step: str, status: str, message: str, *, at_once: bool = False) -> None:
        with self._wake:
            self._step = step
            self._is_urgent = self._is_urgent or at_once
            self._events.append({"step": step, "status": status, "message": message, "at": time.time()})
            self._wake.notify()

    def _renew(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work, min(self._lease_s / 3, _LONGEST_PAUSE_S))
                self._wake.wait_for(lambda: self._over or self._is_urgent, min(self._lease_s / 3, _GATHER_S))
                if self._over and (self._unreachable or not self._is_urgent):
                    return  # the result tells the same story
                self._is_urgent = False
                events = self._events[:]
            if not events:
                line = self._execution.last_line()
                events = [{"step": self._step, "status": "running", "message": line, "at": time.time()}] if line else []
            self._unreachable = not self._send(events)
            if self.lost:
                return

    def _has_work(self) -> bool:
        return self._over or (bool(self._events) and not self._unreachable)

    def _send(self, events: list[dict[str, Any]]) -> bool:
        try:
            reply = self._plane.post(
                _task_path(self._claim, "events"), {"fence": self._claim["fence"], "events": events}
            )
        except Unreachable as error:
            # The work goes on: if somebody else gets the task, the fence will refuse our result.
            if isinstance(error, WrongCertificate):
                self._say(str(error))
            return False
        if reply.status == _STALE:
            self.lost = True
            self._execution.interrupt("the lease of the task is lost")
            return True
        if reply.status not in (200, 204):
            return False
        with self._wake:
            self._events = [event for event in self._events if event not in events]
        self._lease_s = float(reply.body.get("lease_s") or self._lease_s)
        if reply.body.get("cancel"):
            self._execution.interrupt("the task was cancelled")
        return True


def _task_path(claim: dict[str, Any], what: str) -> str:
    return f"/v1/tasks/{urllib.parse.quote(str(claim['task_id']), safe='')}/{what}"


def _not_run(claim: dict[str, Any], index: int, message: str, duration_s: float = 0.0) -> dict[str, Any]:
    steps = claim.get("steps") or []
    step = steps[index] if index < len(steps) and isinstance(steps[index], dict) else {"name": "agent", "type": "agent"}
    name = str(step.get("name") or step.get("type"))
    return {
        "name": name,
        "id": str(step.get("id") or name),
        "type": str(step.get("type")),
        "status": "failed",
        "message": message,
        "before": "",
        "after": "",
        "output": "",
        "diff": "",
        "duration_s": duration_s,
    }

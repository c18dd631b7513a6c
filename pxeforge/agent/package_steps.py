"""Steps on Debian packages: packages (apt and dpkg) and debconf."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from pxeforge.agent.execution import Ran, StepFailed
from pxeforge.agent.start_guard import is_left, nothing_starts, take_back
from pxeforge.agent.step import Finding, Step

_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
}
_DPKG_OPTIONS = ("--force-confdef", "--force-confold")
_APT_OPTIONS = (
    *(f"-oDpkg::Options::={option}" for option in _DPKG_OPTIONS),
    "-oDPkg::Lock::Timeout=600",
    "-oAcquire::Retries=3",
    "-oAPT::Update::Error-Mode=any",
)
_UPDATE_PAUSES_S = (2.0, 5.0, 10.0, 20.0)
_MIRROR_PAUSES_S = (5.0, 15.0, 30.0, 60.0, 60.0)  # a mirror that restarts is back in seconds, a network in minutes
_LISTS_ARE_OLD = re.compile(r"Unable to locate package|no installation candidate|404 |Hash Sum mismatch")
_MIRROR_IS_AWAY = re.compile(r"Failed to fetch|Unable to fetch|Could not connect|Connection (failed|refused|timed out)")
_LOCKED = re.compile(r"lock|Resource temporarily unavailable", re.IGNORECASE)


class PackagesStep(Step):
    """Packages installed or absent; repairs what an interrupted dpkg left."""

    type = "packages"
    parameters = frozenset({"names", "state", "recommends", "max_age_s", "start"})

    def check(self) -> Finding:
        installed = self._installed()
        absent = self.params.get("state", "present") == "absent"
        wrong = [name for name in self.params["names"] if (name in installed) == absent]
        verb = "installed" if absent else "not installed"
        reasons = [f"{', '.join(wrong)} {verb}"] if wrong else []
        if is_left(self.execution):
            reasons.append("an installation that was cut short left policy-rc.d, which keeps services from starting")
        return Finding(bool(reasons), installed, "; ".join(reasons))

    def _installed(self) -> dict[str, str]:
        """Version by name, of those that are completely installed."""
        form = "${db:Status-Abbrev}\\t${Package}\\t${binary:Package}\\t${Version}\\n"
        ran = self.execution.run(["dpkg-query", "-W", f"-f={form}", *self.params["names"]])
        found: dict[str, str] = {}
        for line in ran.stdout.splitlines():
            fields = line.split("\t")
            if len(fields) == 4 and fields[0][1:2] == "i":  # desired state first (i, h), then what is
                found[fields[1]] = found[fields[2]] = fields[3]
        return {name: found[name] for name in self.params["names"] if name in found}

    def change(self, found: Finding) -> str:
        take_back(self.execution)
        if self.params.get("start", True):
            return self._repair() + self._make_so(found)
        with nothing_starts(self.execution):
            return self._repair() + self._make_so(found)

    def _make_so(self, found: Finding) -> str:
        if self.params.get("state", "present") == "absent":
            return self._apt("remove", sorted(found.state)) if found.state else ""
        missing = [name for name in self.params["names"] if name not in found.state]
        options = [] if self.params.get("recommends") else ["--no-install-recommends"]
        return self._install([*options, *missing]) if missing else ""

    def _install(self, arguments: Sequence[str]) -> str:
        """With fresh package lists, refreshed when they are old or lack something; waits for a mirror that is away.

        What apt has fetched stays in its cache, so that each try goes on where the one before broke off.
        """
        refreshed = self._lists_are_stale()
        if refreshed:
            self._update()
        pauses_s = iter(_MIRROR_PAUSES_S)
        while True:
            try:
                return self._apt("install", arguments)
            except StepFailed as failure:
                old = not refreshed and _LISTS_ARE_OLD.search(failure.output)
                pause_s = next(pauses_s, None) if _MIRROR_IS_AWAY.search(failure.output) else None
                if not old and (_LISTS_ARE_OLD.search(failure.output) or pause_s is None):
                    raise
            if old:
                refreshed = True
                self._update()
            elif pause_s is not None:
                self.execution.pause(pause_s)

    def _repair(self) -> str:
        """Finishes what a dpkg that was killed has begun."""
        if not self.execution.run(["dpkg", "--audit"]).stdout.strip():
            return ""
        printed = self._unlocked(["dpkg", *_DPKG_OPTIONS, "--configure", "-a"]).output
        return f"{printed}\n{self._install(['--fix-broken'])}\n"

    def _unlocked(self, argv: Sequence[str]) -> Ran:
        """dpkg itself does not wait for its lock."""
        for _ in range(120):
            ran = self.execution.run(argv, env=_ENVIRONMENT)
            if ran.code == 0 or not _LOCKED.search(ran.stderr):
                break
            self.execution.pause(5)
        return ran

    def _apt(self, verb: str, arguments: Sequence[str]) -> str:
        ran = self.execution.run(["apt-get", "-y", "-q", *_APT_OPTIONS, verb, *arguments], env=_ENVIRONMENT)
        if ran.code != 0:
            problem = next((line for line in ran.stderr.splitlines() if line.startswith("E:")), f"exit code {ran.code}")
            raise StepFailed(f"apt-get {verb} did not succeed: {problem}", ran.output)
        return ran.output

    def _update(self) -> None:
        for pause_s in (*_UPDATE_PAUSES_S, None):
            try:
                self._apt("update", [])
                break
            except StepFailed:
                if pause_s is None:
                    raise
                self.execution.pause(pause_s)
        stamp = self._stamp()
        if stamp is not None:
            stamp.touch()

    def _lists_are_stale(self) -> bool:
        """apt dates its lists like the mirror's files, so our own last refresh is what counts."""
        lists = self.execution.path("/var/lib/apt/lists")
        if not any(lists.glob("*_Packages*")):
            return True
        stamp = self._stamp()
        try:
            return stamp is None or time.time() - stamp.stat().st_mtime > float(self.params.get("max_age_s", 86400))
        except FileNotFoundError:
            return True

    def _stamp(self) -> Path | None:
        folder = self.execution.state_folder
        return None if folder is None else folder / "package-lists-refreshed"


class DebconfStep(Step):
    """Answers in the debconf database."""

    type = "debconf"
    parameters = frozenset({"package", "selections"})

    def check(self) -> Finding:
        questions = [selection["question"] for selection in self.params["selections"]]
        asked = "".join(f"GET {question}\n" for question in questions)
        ran = self.execution.run(["debconf-communicate", self.params["package"]], stdin=asked, env=_ENVIRONMENT)
        answers = ran.stdout.splitlines()
        differing = []
        for index, selection in enumerate(self.params["selections"]):
            answer = answers[index] if index < len(answers) else ""
            value = self.execution.redact(str(selection["value"]))
            if answer.rstrip() != f"0 {value}".rstrip():
                differing.append(selection["question"])
        return Finding(bool(differing), answers, f"{', '.join(differing)} differ" if differing else "")

    def change(self, found: Finding) -> str:  # noqa: ARG002
        package = self.params["package"]
        lines = "".join(
            f"{package} {item['question']} {item['type']} {item['value']}\n" for item in self.params["selections"]
        )
        ran = self.execution.run(["debconf-set-selections"], stdin=lines, env=_ENVIRONMENT)
        if ran.code != 0:
            raise StepFailed("debconf-set-selections did not succeed", ran.output)
        return ran.output

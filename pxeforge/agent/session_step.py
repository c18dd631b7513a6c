"""What the steps at keystone's services have in common: one session, one walk that looks, and changes if told to."""

from __future__ import annotations

from pxeforge.agent.keystone_session import KeystoneSession, NotReady
from pxeforge.agent.step import Finding, Step


class SessionStep(Step):
    """What is there and not named is left alone."""

    def check(self) -> Finding:
        try:
            todo = self._walk(apply=False)
        except NotReady as problem:
            if self.execution.check_only:
                return Finding(True, None, str(problem))
            raise
        return Finding(bool(todo), todo, "; ".join(todo))

    def change(self, found: Finding) -> str:  # noqa: ARG002
        return "\n".join(self._walk(apply=True))

    def _walk(self, *, apply: bool) -> list[str]:
        deadline_s = 0.0 if self.execution.check_only else float(self.params.get("deadline_s", 120))
        timeout_s = float(self.params.get("timeout_s", 60))
        with KeystoneSession(
            self.params["auth"], self.execution, deadline_s=deadline_s, timeout_s=timeout_s
        ) as session:
            try:
                return self.walk(session, apply=apply)
            finally:
                if apply:  # the catalogue may be another one now
                    session.forget()

    def walk(self, session: KeystoneSession, *, apply: bool) -> list[str]:
        """What differs (with `apply`: what differed and was changed)."""
        raise NotImplementedError

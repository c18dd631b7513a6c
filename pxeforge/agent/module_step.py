"""The module step: kernel modules that are loaded now and after every boot."""

from __future__ import annotations

from pathlib import Path

from pxeforge.agent.execution import StepFailed
from pxeforge.agent.step import Finding, Step
from pxeforge.agent.whole_file import write_whole

_FOLDER = "/etc/modules-load.d"


class ModuleStep(Step):
    """A file per module, so that several roles can ask for the same one."""

    type = "module"
    parameters = frozenset({"names"})

    def check(self) -> Finding:
        names = self.params["names"]
        unlisted = [name for name in names if self._listed(name) != f"{name}\n"]
        missing = [name for name in names if not self._is_there(name)]
        reasons = [f"{', '.join(missing)} not loaded"] if missing else []
        if unlisted:
            reasons.append(f"{', '.join(unlisted)} not loaded at boot")
        return Finding(bool(reasons), [unlisted, missing], "; ".join(reasons))

    def change(self, found: Finding) -> str:
        unlisted, missing = found.state
        for name in missing:
            self._load(name)
        for name in unlisted:
            try:
                self._file(name).parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._file(name), f"{name}\n".encode(), 0o644)
            except OSError as error:
                raise StepFailed(f"{self._file(name)} cannot be written: {error.strerror}") from None
        return ""

    def _load(self, name: str) -> None:
        ran = self.execution.run(["modprobe", "--", name], timeout_s=60)
        if ran.code != 0:
            raise StepFailed(
                f"the kernel cannot load {name}: install the package of the kernel that runs, or reboot into it",
                ran.output,
            )

    def _file(self, name: str) -> Path:
        return self.execution.path(f"{_FOLDER}/pxeforge-{name}.conf")

    def _listed(self, name: str) -> str:
        try:
            return self._file(name).read_text()
        except OSError:
            return ""

    def _is_there(self, name: str) -> bool:
        """Loaded, or built into the kernel that runs."""
        plain = name.replace("-", "_")
        if self.execution.path(f"/sys/module/{plain}").exists():
            return True
        release = _read(self.execution.path("/proc/sys/kernel/osrelease")).strip()
        built_in = _read(self.execution.path(f"/lib/modules/{release}/modules.builtin"))
        return plain in {Path(line).name.partition(".")[0].replace("-", "_") for line in built_in.splitlines()}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

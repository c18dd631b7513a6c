"""Power by IPMI 2.0 over LAN, asked by Debian's ipmitool: the password is in its environment, never in its words."""

from __future__ import annotations

import re
from typing import Final

from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services.power_driver import Deadline, PowerFault, Target, quoted
from pxeforge.services.power_program import Ended, run

PROGRAM: Final = "/usr/bin/ipmitool"
_NOISE: Final = "Get HPM.x Capabilities"  # what only admins are told, and nobody needs
_STATE: Final = re.compile(r"^Chassis Power is (on|off)\s*$", re.MULTILINE)


class Ipmi:
    """`address` is the one that was checked."""

    can = frozenset(PowerAbility)

    def __init__(self, target: Target, address: str, deadline: Deadline, *, program: str = PROGRAM) -> None:
        settings = target.settings
        self._target, self._deadline = target, deadline
        self._argv = [
            program, "-I", "lanplus", "-H", address, "-p", str(settings.get("port", 623)),
            "-U", settings.get("user", ""), "-E", "-L", settings.get("privilege", "OPERATOR"),
            "-N", "1", "-R", "3",
            *(["-C", str(settings["cipher"])] if "cipher" in settings else []),
        ]  # fmt: skip

    def state(self) -> PowerState:
        found = _STATE.search(self._ask("chassis", "power", "status"))
        return PowerState(found[1]) if found else PowerState.UNKNOWN

    def switch_on(self) -> None:
        self._ask("chassis", "power", "on")

    def switch_off(self, *, soft: bool) -> None:
        self._ask("chassis", "power", "soft" if soft else "off")

    def restart(self) -> None:
        self._ask("chassis", "power", "cycle")

    def netboot_once(self) -> None:
        """IPMI 2.0, 28.13: the flags hold for one boot that comes within a minute, so the power follows at once.

        A host with UEFI has to be told so: many BMCs switch it to a boot as with BIOS otherwise.
        """
        words = ("chassis", "bootdev", "pxe", *(["options=efiboot"] if self._target.uefi else []))
        said = self._ask(*words)
        if "Set Boot Device to pxe" not in said:
            raise PowerFault(f"the BMC {self._target.settings['address']} did not set the next boot: {quoted(said)}")

    def close(self) -> None:
        """Each word is a session of its own."""

    def _ask(self, *words: str) -> str:
        ended = run([*self._argv, *words], {"IPMI_PASSWORD": self._target.password or ""}, self._deadline)
        if ended.code != 0:
            raise PowerFault(self._why(ended, words))
        return ended.out

    def _why(self, ended: Ended, words: tuple[str, ...]) -> str:
        lines = [line for line in ended.said.splitlines() if not line.startswith(_NOISE)]
        said, where = quoted(" ".join(lines)), f"the BMC {self._target.settings['address']}"
        if "Unable to establish" in said:
            return (
                f"{where} does not answer IPMI, or not to this user: look at address, user, password, privilege, "
                f"cipher and whether it has IPMI over LAN switched on ({said})"
            )
        return f"{where} refuses `{' '.join(words)}`: {said or f'ipmitool ended with {ended.code}'}"

"""A machine of the lab: a QEMU process on a tap of the rack, booting from its NIC first and then from its disk."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import uuid as uuids
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pxeforge.domain.firmware import Firmware
from pxeforge.domain.mac import MacAddress
from pxeforge.lab import qmp
from pxeforge.lab.newer_qemu import Processor
from pxeforge.lab.plain_rom import disguised, qemu_words
from pxeforge.lab.rack import Namespace, stop

# No keyboard controller and no SATA: d-i then installs no keyboard packages and probes no empty ports. -nodefaults
# leaves the display out as well: with bochs graphics d-i makes the initramfs once more at the end.
_MACHINE = "q35,i8042=off,sata=off"
_ARM_MACHINE = "virt"
# No pointer authentication, which takes most of the time when it is emulated.
_ARM_CPU = "cortex-a72"
_OVMF = Path("/usr/share/OVMF")  # Debian's package ovmf
_AAVMF = Path("/usr/share/AAVMF")  # Debian's package qemu-efi-aarch64
_KNOWN = (Firmware.BIOS, Firmware.UEFI_X64, Firmware.HTTP_X64, Firmware.UEFI_ARM64, Firmware.HTTP_ARM64)
_ARM = (Firmware.UEFI_ARM64, Firmware.HTTP_ARM64)


class MachineError(Exception):
    """QEMU did not start or ended in an unexpected way; the message shows what it said."""


def processor_of(firmware: Firmware) -> Processor:
    """Which QEMU a machine with this firmware needs."""
    return Processor.ARM64 if firmware in _ARM else Processor.AMD64


def flash_files(firmware: Firmware, *, secure_boot: bool = False) -> tuple[Path, ...]:
    """Code and fresh variables of a UEFI firmware, from Debian's packages; nothing for BIOS, which QEMU brings."""
    if not firmware.is_uefi:
        return ()
    if firmware in _ARM:
        return _AAVMF / "AAVMF_CODE.fd", _AAVMF / "AAVMF_VARS.fd"
    if secure_boot:
        return _OVMF / "OVMF_CODE_4M.secboot.fd", _OVMF / "OVMF_VARS_4M.ms.fd"
    return _OVMF / "OVMF_CODE_4M.fd", _OVMF / "OVMF_VARS_4M.fd"


def make_disk(path: Path, size_gb: float = 8) -> None:
    """An empty sparse raw disk; replaces one that exists."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(int(size_gb * 2**30))


def further_disk(path: Path, serial: str) -> list[str]:
    """QEMU's words for one more disk of a machine, behind its first one; for Machine.extra_args."""
    name = f"disk-{serial.lower()}"
    return [
        *("-drive", f"file={_quoted(path)},if=none,id={name},format=raw,cache=unsafe,discard=unmap"),
        *("-device", f"virtio-blk-pci,drive={name},serial={_quoted(serial)}"),
    ]


@dataclass(kw_only=True)
class Machine:
    """One machine; console, control socket and QEMU's own words are files next to the disk.

    `qemu` is the command that find_qemu returns. TCG with one vCPU: a second one makes an install slower.
    """

    rack: Namespace  # where its tap is
    tap: str
    mac: MacAddress
    disk: Path
    qemu: Sequence[str]
    memory_mb: int = 1536
    processors: int = 1
    firmware: Firmware = Firmware.BIOS  # UEFI_…: its PXE; HTTP_…: the same firmware, which boots by HTTP only
    secure_boot: bool = False  # enforced, with the keys that PCs are sold with
    uuid: uuids.UUID = field(default_factory=uuids.uuid4)
    serial: str = "LAB0001"
    manufacturer: str = "pxeforge"
    product: str = "lab machine"
    no_reboot: bool = False  # True: a reboot of the guest ends QEMU
    plain_rom: bool = False  # BIOS: its boot ROM does not show that it is iPXE
    u_boot: Path | None = None  # a firmware in the place of AAVMF
    extra_args: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _rom: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.firmware not in _KNOWN:
            choices = ", ".join(one.value for one in _KNOWN)
            raise MachineError(f"the lab has no {self.firmware.value} machines: use one of {choices}")
        if self.secure_boot and (not self.firmware.is_uefi or self.firmware in _ARM):
            raise MachineError("only UEFI x64 has Secure Boot in the lab: choose firmware uefi-x64 or http-x64")

    @property
    def console(self) -> Path:
        """What the guest wrote to its first serial port since start()."""
        return self.disk.with_suffix(".console")

    @property
    def control(self) -> Path:
        return self.disk.with_suffix(".qmp")

    @property
    def variables(self) -> Path:
        """UEFI's own memory: fresh at every start()."""
        return self.disk.with_suffix(".vars")

    @property
    def words(self) -> Path:
        """QEMU's own error output."""
        return self.disk.with_suffix(".qemu")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def command(self) -> list[str]:
        """The command line, without the namespace in front."""
        identity = {
            "manufacturer": self.manufacturer,
            "product": self.product,
            "serial": self.serial,
            "uuid": str(self.uuid),
        }
        # A comma inside a value of a QEMU option is written twice.
        smbios = ",".join(f"{key}={_quoted(value)}" for key, value in identity.items())
        arm = self.firmware in _ARM
        board = _ARM_MACHINE if arm else _MACHINE + (",smm=on" if self.secure_boot else "")
        # Without its option ROM, which is iPXE, the NIC is driven by UEFI's own PXE and HTTP drivers.
        rom = ",romfile=" if self.firmware.is_uefi else ""
        plain = ",vnet_hdr=off" if self.plain_rom else ""  # frames and nothing else
        return [
            *self.qemu,
            *("-name", _quoted(self.serial), "-machine", board, *self._flash()),
            *("-accel", "tcg", "-cpu", _ARM_CPU if arm else "max", "-smp", str(self.processors)),
            *("-m", str(self.memory_mb), "-display", "none", "-monitor", "none", "-nodefaults"),
            *("-smbios", f"type=1,{smbios}", "-device", "virtio-rng-pci"),
            *("-drive", f"file={_quoted(self.disk)},if=none,id=disk,format=raw,cache=unsafe,discard=unmap"),
            *("-device", f"virtio-blk-pci,drive=disk,serial={_quoted(self.serial)},bootindex=2"),
            *("-netdev", f"tap,id=nic,ifname={self.tap},script=no,downscript=no{plain}"),
            *("-device", f"virtio-net-pci,netdev=nic,mac={self.mac},bootindex=1{rom}"),
            *("-serial", f"file:{_quoted(self.console)}", "-qmp", f"unix:{_quoted(self.control)},server=on,wait=off"),
            *(qemu_words("nic", self.disk) if self.plain_rom else ()),
            *(("-no-reboot",) if self.no_reboot else ()),
            *self.extra_args,
        ]

    def _flash(self) -> list[str]:
        if self.u_boot is not None:
            return ["-bios", _quoted(self.u_boot)]
        files = flash_files(self.firmware, secure_boot=self.secure_boot)
        if not files:
            return []
        flash, code = "if=pflash,format=raw", files[0]
        words = ["-drive", f"{flash},readonly=on,file={code}", "-drive", f"{flash},file={_quoted(self.variables)}"]
        if self.secure_boot:
            words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        # Nobody answers IPv6 in the lab: left on, it takes a minute before a machine goes on to HTTP Boot or its disk.
        for version in (4, 6) if self.firmware.is_http else (6,):
            words += ["-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=no"]
        return words

    def _make_variables(self) -> None:
        files = flash_files(self.firmware, secure_boot=self.secure_boot)
        missing = [path for path in files if not path.is_file()]
        if missing:
            package = "qemu-efi-aarch64" if self.firmware in _ARM else "ovmf"
            raise MachineError(f"there is no {missing[0]}: install the package {package}")
        if files:
            shutil.copyfile(files[1], self.variables)

    def start(self) -> None:
        """Powers it on; raises MachineError when it runs already or QEMU ends within its first moments."""
        if self.is_running:
            raise MachineError(f"machine {self.serial} runs already (pid {self.pid})")
        self.console.unlink(missing_ok=True)
        self.control.unlink(missing_ok=True)
        self._make_variables()
        if self.plain_rom:
            self._rom.enter_context(disguised(self.disk))
        with self.words.open("wb") as words:
            self._process = self.rack.popen(self.command(), stdout=words, stderr=words)
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.power_off()
                raise MachineError(f"QEMU did not start: {self.words.read_text(errors='replace').strip()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        """The control socket is there before disks and network are; it is answered when all is set up."""
        try:
            qmp.execute(self.control, "query-status")
        except qmp.QmpError:
            return False
        return True

    def status(self) -> str:
        """QEMU's run state (`running`, `paused`, ...), or `off`."""
        if not self.is_running:
            return "off"
        return str(qmp.execute(self.control, "query-status")["status"])

    def wait_power_off(self, timeout_s: float, on_tick: Callable[[], None] | None = None, tick_s: float = 1) -> bool:
        """True when it powered itself off in time; on_tick is called every tick_s and may raise to give up."""
        deadline = time.monotonic() + timeout_s
        while self.is_running:
            if time.monotonic() > deadline:
                return False
            time.sleep(tick_s)
            if on_tick:
                on_tick()
        self._check_end()
        return True

    def _check_end(self) -> None:
        if self._process is not None and self._process.returncode != 0:
            said = self.words.read_text(errors="replace").strip()
            raise MachineError(f"QEMU ended with status {self._process.returncode}: {said}")

    def wait_console(self, text: str, timeout_s: float, on_tick: Callable[[], None] | None = None) -> bool:
        """True when the text appears on the console in time; False at the time limit or when it is off."""
        deadline = time.monotonic() + timeout_s
        while text not in self.console_text():
            if not self.is_running or time.monotonic() > deadline:
                return text in self.console_text()
            time.sleep(0.5)
            if on_tick:
                on_tick()
        return True

    def power_button(self) -> None:
        """Asks the guest's system to shut down (ACPI); raises QmpError."""
        qmp.execute(self.control, "system_powerdown")

    def power_off(self) -> None:
        """Pulls the plug: asks QEMU to quit, then ends the process by its pid. Off already is fine."""
        if self._process is None:
            return
        if self.is_running:
            with contextlib.suppress(qmp.QmpError):
                qmp.execute(self.control, "quit", timeout_s=2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        stop(self._process)
        self._rom.close()

    def console_text(self) -> str:
        try:
            return self.console.read_text(errors="replace")
        except FileNotFoundError:
            return ""


def _quoted(value: object) -> str:
    return str(value).replace(",", ",,")

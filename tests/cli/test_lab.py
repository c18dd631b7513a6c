"""`pxeforge lab …` without a lab: what it takes and refuses, and machines that somebody else keeps."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from pxeforge.cli.lab import FIRMWARES
from pxeforge.cli.main import main
from pxeforge.domain.firmware import Firmware
from pxeforge.lab.keeper import NO_SITE, lab_mac
from pxeforge.lab.machine_firmware import MachineFirmware
from pxeforge.lab.matrix import COLUMNS, ROWS
from pxeforge.lab.qemu import Machine
from pxeforge.lab.rack import Namespace
from pxeforge.lab.session import Lab
from pxeforge.lab.site_dhcp import Brand
from pxeforge.services.image_catalogue import CATALOGUE


def test_rows_and_columns_of_the_matrix_are_listed_without_running_one(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["lab", "matrix", "--list", "--dir", str(tmp_path)])
    assert listed.exit_code == 0
    names = [line.split()[1] for line in listed.output.splitlines()]
    assert names == [one.name for one in (*ROWS, *COLUMNS)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flag", "what"), [("--only", "row"), ("--column", "column")])
def test_a_row_or_column_that_does_not_exist_is_refused_with_those_that_do(flag: str, what: str) -> None:
    refused = CliRunner().invoke(main, ["lab", "matrix", flag, "no-such"])
    assert refused.exit_code == 2
    assert f"there is no {what} 'no-such': choose one of " in refused.output


def test_a_lab_can_stand_beside_every_brand_there_is() -> None:
    refused = CliRunner().invoke(main, ["lab", "up", "--beside", "no-such"])
    assert refused.exit_code == 2
    for choice in (NO_SITE, *(brand.value for brand in Brand)):
        assert f"'{choice}'" in refused.output


def test_every_firmware_that_can_be_named_is_one_that_machines_have() -> None:
    assert tuple(one.value for one in MachineFirmware) == FIRMWARES
    for one in MachineFirmware:
        Machine(
            rack=Namespace("none"), tap="none", mac=lab_mac(1), disk=Path("none"), qemu=("none",),
            firmware=one.firmware, secure_boot=one.secure_boot,
        )  # fmt: skip
        assert set(one.images) <= set(CATALOGUE)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a keeper leaves it: one machine with Secure Boot; its QEMU is a word in a path."""
    monkeypatch.setattr("pxeforge.lab.session.find_qemu", lambda *_: SimpleNamespace(command=("qemu",)))
    host = {"number": 1, "mac": str(lab_mac(1)), "tap": "t", "namespace": "none", "disk": str(tmp_path / "host1.img")}
    facts = {
        "pid": 0, "namespace": "none", "data_dir": str(tmp_path / "data"), "admin_url": "u", "admin_user": "admin",
        "admin_password": "p", "cache": str(tmp_path), "firmware": "secureboot", "hosts": [host],
    }  # fmt: skip
    (tmp_path / "lab.json").write_text(json.dumps(facts))
    (tmp_path / "host1.img").touch()
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["lab", *words, "--dir", str(folder)])


def test_a_machine_has_the_firmware_of_its_lab_unless_another_is_said(lab: Path) -> None:
    found = Lab.attached(lab)
    assert (found.machine(1).firmware, found.machine(1).secure_boot) == (Firmware.UEFI_X64, True)
    other = found.machine(1, firmware=Firmware.BIOS)
    assert (other.firmware, other.secure_boot) == (Firmware.BIOS, False)


def test_a_machine_that_is_on_is_not_switched_on_again_and_goes_off(lab: Path) -> None:
    assert run(lab, "off").output == "machine 1 is off already\n"
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(lab / "host1.qmp"))
        listener.listen()

        def qemu() -> None:
            for _ in range(2):
                connection, _peer = listener.accept()
                with connection, connection.makefile("rwb") as stream:
                    stream.write(b'{"QMP": {}}\n')
                    stream.flush()
                    for line in stream:
                        asked.append(json.loads(line)["execute"])
                        stream.write(b'{"return": {}}\n')
                        stream.flush()

        answering = threading.Thread(target=qemu)
        answering.start()
        assert run(lab, "on").output == "machine 1 is on already\n"
        assert run(lab, "off").output == "machine 1 is off\n"
        answering.join(10)
    assert [word for word in asked if word != "qmp_capabilities"] == ["query-status", "quit"]
    unknown = run(lab, "on", "2")
    assert (unknown.exit_code, "the lab has machines 1 to 1" in unknown.output) == (2, True)
    nothing = run(lab / "none", "on")
    assert (nothing.exit_code, "start one with `pxeforge lab up`" in nothing.output) == (1, True)


def test_systems_of_nspawn_are_shown_and_kept_apart_from_machines(lab: Path, tmp_path: Path) -> None:
    for flag in (("--firmware", "uefi"), ("--beside", "kea"), ("--behind-relay",)):
        refused = run(tmp_path / "x", "up", "--driver", "nspawn", *flag)
        assert (refused.exit_code, f"leave {flag[0]} away" in " ".join(refused.output.split())) == (2, True)
    busy = run(lab, "up", "--driver", "nspawn")
    assert (busy.exit_code, "a lab of machines is up" in busy.output) == (1, True)
    systems = tmp_path / "systems"
    systems.mkdir()
    (systems / "console").write_text("Debian GNU/Linux\n")
    facts = {**json.loads((lab / "lab.json").read_text()), "hosts": {"n1": {"console": str(systems / "console")}}}
    (systems / "cloud.json").write_text(json.dumps(facts))
    assert "command    pxeforge --data-dir" in run(systems, "status").output
    for name in ("n1", "1"):
        assert "Debian GNU/Linux" in run(systems, "console", name).output
    assert "choose one of n1" in run(systems, "console", "n2").output
    assert "`pxeforge lab down` ends them" in run(systems, "up").output

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pxeforge.lab.matrix import COLUMNS, ROWS, Outcome
from pxeforge.lab.matrix_run import Matrix, image_for, why_not
from pxeforge.services.image_catalogue import CATALOGUE

IPXE = next(row for row in ROWS if row.name == "ipxe")
SERVER, KEA = (next(column for column in COLUMNS if column.name == name) for name in ("server", "kea"))


def test_what_is_lacking_for_a_cell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # a computer without any program
    assert why_not(replace(IPXE, arch="s390x"), SERVER, tmp_path) == "no s390x image in the catalogue"
    assert why_not(replace(IPXE, loader="lilo"), SERVER, tmp_path) == "there is no boot loader lilo"
    assert why_not(IPXE, KEA, tmp_path) == "the package kea-dhcp4-server is missing"
    said = why_not(IPXE, SERVER, tmp_path)
    assert said is not None
    assert "install qemu-system-x86" in said


def test_cells_that_cannot_be_run_need_no_lab_and_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    run = Matrix(folder=tmp_path, cache=tmp_path, say=said.append)
    [cell] = run.run([SERVER], [replace(IPXE, loader="lilo")])
    assert (cell.outcome, cell.reason) == (Outcome.NOT_RUN, "there is no boot loader lilo")
    assert said == ["server × ipxe: not run: there is no boot loader lilo"]
    assert list(tmp_path.iterdir()) == []


def test_the_image_of_a_processor_is_of_the_labs_suite() -> None:
    for arch in {row.arch for row in ROWS}:
        name = image_for(arch)
        assert name is not None
        assert (CATALOGUE[name].suite, CATALOGUE[name].arch) == ("trixie", arch)
    assert image_for("s390x") is None

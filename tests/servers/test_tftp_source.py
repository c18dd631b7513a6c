from __future__ import annotations

import random
from pathlib import Path

import pytest

from pxeforge.servers.tftp_source import Source

CONTENT = random.Random(3).randbytes(200_001)


@pytest.mark.parametrize("length", [1, 512, 1468, 65_536, 94_000])
def test_reading_on_and_back_gives_the_files_bytes(tmp_path: Path, length: int) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    source = Source(tmp_path / "x")
    for offset in [*range(0, len(CONTENT), max(length, 5000)), 7, 0, len(CONTENT) - length, 65_530, len(CONTENT)]:
        assert source.read(offset, length) == CONTENT[offset : offset + length]
    source.close()
    source.close()


def test_a_file_that_lost_its_end_gives_less(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    source = Source(tmp_path / "x")
    (tmp_path / "x").write_bytes(CONTENT[:70_000])
    assert source.size == len(CONTENT)
    assert source.read(69_000, 1468) == CONTENT[69_000:70_000]
    assert source.read(100_000, 1468) == b""
    source.close()


def test_a_text_in_memory_is_read_alike() -> None:
    source = Source(CONTENT)
    assert (source.size, source.read(199_000, 1468)) == (200_001, CONTENT[199_000:])
    source.close()
    assert source.read(0, 4) == CONTENT[:4]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        Source(tmp_path)

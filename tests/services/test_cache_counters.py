from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pxeforge.services.cache_counters import NAMES, CacheCounters, read_counters


def test_each_process_counts_for_itself_and_the_sum_is_everybodys(tmp_path: Path) -> None:
    one, other = CacheCounters(tmp_path), CacheCounters(tmp_path)
    one.add(hits=2, used_bytes=100)
    other.add(hits=3, used_bytes=-40)
    assert one.sums() == other.sums() == {**dict.fromkeys(NAMES, 0), "hits": 5, "used_bytes": 60}
    assert len(list(tmp_path.iterdir())) == 2


def test_who_starts_anew_goes_on_from_the_numbers_of_who_ended(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        counters = CacheCounters(tmp_path)
        counters.add(misses=1)
        assert counters.total("misses") == expected
        counters.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_counted_stays(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        CacheCounters(tmp_path).add(requests=7)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert read_counters(tmp_path)["requests"] == 7


def test_a_file_of_an_earlier_release_or_of_nothing_counts_as_zero(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes((5).to_bytes(8, "little"))
    (tmp_path / "1").write_bytes(b"")
    assert read_counters(tmp_path)["requests"] == 5
    assert read_counters(tmp_path / "nowhere")["requests"] == 0


@pytest.mark.needs_root
def test_a_full_disk_costs_the_numbers_and_not_the_process(tmp_path: Path) -> None:
    count = "import sys; from pathlib import Path; from pxeforge.services.cache_counters import CacheCounters; " + (
        "counters = CacheCounters(Path(sys.argv[1])); counters.add(hits=3); print('alive', counters.total('hits'))"
    )
    full = 'mount -t tmpfs -o size=64k none "$1" && mkdir "$1/c" && ! head -c 99999 /dev/zero 2>/dev/null > "$1/filler"'
    script = f'{full}; exec "$2" -c "$3" "$1/c"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, count],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "alive 0\n"), done.stderr

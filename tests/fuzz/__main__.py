"""`python -m tests.fuzz TARGET --seconds N`: lets atheris look for inputs that break a target. Not 0: one was found.

What was found lies in `--folder` under findings/, one file per input: copy it to tests/fuzz/found/<target>/ and mend
the code. The inputs that reached new code lie beside it under corpus/ and are where the next run starts.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import atheris
import structlog

with atheris.instrument_imports(include=["pxeforge.protocol", "pxeforge.domain", "pxeforge.servers"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    corpus, findings = options.folder / "corpus" / options.target, options.folder / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(options.folder)  # libFuzzer ends the process at once: nothing would be removed
    target = TARGETS[options.target]
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = [
        f"-max_total_time={options.seconds}", f"-artifact_prefix={findings}/{options.target}-", "-max_len=4096",
        "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *words, str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

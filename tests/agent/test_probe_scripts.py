from __future__ import annotations

import json
from pathlib import Path

from .fake_host import do

ADDS = """
import json, sys
given = json.load(sys.stdin)
print("noise")
print(f"{given['one']} and {given['two']} are {given['one'] + given['two']}")
sys.exit(0 if given["one"] + given["two"] == 3 else 1)
"""


def test_a_script_gets_its_input_and_its_last_line_is_shown(tmp_path: Path) -> None:
    result = do(tmp_path, "probe", {"script": ADDS, "input": {"one": 1, "two": 2}})
    assert (result["status"], result["message"]) == ("ok", "1 and 2 are 3")
    result = do(tmp_path, "probe", {"script": ADDS, "input": {"one": 1, "two": 1}})
    assert (result["status"], result["message"]) == ("failed", "1 and 1 are 2")
    assert "noise" in result["output"]


def test_a_script_that_breaks_is_a_failed_check(tmp_path: Path) -> None:
    result = do(tmp_path, "probe", {"script": "raise RuntimeError('no such thing')", "input": {}})
    assert (result["status"], result["message"]) == ("failed", "RuntimeError: no such thing")


def test_a_script_may_be_held_to_an_answer_too(tmp_path: Path) -> None:
    script = "import json,sys; print(json.load(sys.stdin)['word'])"
    probe = {"script": script, "input": {"word": "@@nonce@@"}, "expect": "@@nonce@@"}
    assert do(tmp_path, "probe", probe)["status"] == "ok"
    assert do(tmp_path, "probe", {**probe, "expect": "else"})["status"] == "failed"


def test_the_input_of_a_script_is_on_no_command_line(tmp_path: Path) -> None:
    script = "import sys; sys.stdin.read(); print(open('/proc/self/cmdline').read().replace(chr(0), ' '))"
    result = do(tmp_path, "probe", {"script": script, "input": {"password": "s3cr3t"}})
    assert result["status"] == "ok"
    assert "s3cr3t" not in json.dumps(result)


def test_a_script_is_tried_again_until_the_deadline(tmp_path: Path) -> None:
    script = (
        f"import pathlib,sys; p=pathlib.Path('{tmp_path}/n'); p.open('a').write('x'); sys.exit(p.stat().st_size < 3)"
    )
    probe = {"script": script, "deadline_s": 20, "interval_s": 0.05}
    assert do(tmp_path, "probe", probe)["status"] == "ok"
    assert (tmp_path / "n").read_text() == "xxx"

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pxeforge.services.context import Context, load_master_key, write_news, write_whole
from pxeforge.services.problems import Problem


def test_the_key_is_made_once_and_for_root_only(tmp_path: Path) -> None:
    key = load_master_key(tmp_path)
    assert load_master_key(tmp_path) == key
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"-1", b"short"])
def test_a_damaged_key_stops_the_service_and_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret.key").write_bytes(content)
    with pytest.raises(Problem, match="restore it from a backup"):
        load_master_key(tmp_path)
    assert (tmp_path / "secret.key").read_bytes() == content


def test_keys_for_different_purposes_differ(ctx: Context) -> None:
    assert ctx.key_for("sessions") != ctx.key_for("install tokens")
    assert ctx.sign("a", "x") != ctx.sign("b", "x")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_keys_are_derived_as_the_library_derives_them(ctx: Context) -> None:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"install tokens").derive(ctx.master_key)
    assert ctx.key_for("install tokens") == derived


def test_a_file_that_says_the_same_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "addresses.json"
    write_news(path, b"{}")
    first = path.stat().st_ino
    write_news(path, b"{}")
    assert path.stat().st_ino == first
    write_news(path, b"{1}")
    assert path.read_bytes() == b"{1}"
    assert [each.name for each in tmp_path.iterdir()] == ["addresses.json"]

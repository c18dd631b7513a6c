"""Who vouches for an ISO: real signatures beside it, in each form that vendors use."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.services import media_checks
from pxeforge.services.image_store import ImportProblem, Verified
from pxeforge.services.media_checks import Checked, Trust, check_media
from tests.services.test_debian_package_import import Key, keys

__all__ = ["keys"]
pytestmark = pytest.mark.skipif(
    shutil.which("gpg") is None or shutil.which("gpgv") is None, reason="needs gpg and gpgv"
)
CONTENT = b"the bytes of an ISO" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
GNU = f"0000 comment\n{'1' * 64} *other.iso\n{DIGEST} *x.iso\n"
BSD = f"# x.iso: 19000 bytes\nSHA256 (x.iso) = {DIGEST}\n"


@pytest.fixture
def iso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(media_checks, "VENDOR_KEYRINGS", ())
    path = tmp_path / "x.iso"
    path.write_bytes(CONTENT)
    return path


def detached(key: Key, path: Path, *options: str) -> bytes:
    command = ["gpg", "--homedir", key.home, "--batch", "--output", "-", *options, "--detach-sign", path]
    return subprocess.run(command, check=True, capture_output=True).stdout


def judge(iso: Path, trust: Trust) -> Checked:
    [found] = check_media([iso], trust, lambda _: None)
    return found


def beside(iso: Path, name: str, content: bytes) -> Path:
    path = iso.with_name(name)
    path.write_bytes(content)
    return path


Maker = Callable[[Path, Key], object]
FORMS: dict[str, Maker] = {
    "x.iso.asc": lambda iso, key: beside(iso, "x.iso.asc", detached(key, iso, "--armor")),
    "x.iso.sig": lambda iso, key: beside(iso, "x.iso.sig", detached(key, iso)),
    "SHA256SUMS.gpg": lambda iso, key: beside(
        iso, "SHA256SUMS.gpg", detached(key, beside(iso, "SHA256SUMS", GNU.encode()))
    ),
    "x.iso.sha256.asc": lambda iso, key: beside(
        iso, "x.iso.sha256.asc", detached(key, beside(iso, "x.iso.sha256", GNU.encode()), "--armor")
    ),
    "sha256sum.txt.asc": lambda iso, key: beside(iso, "sha256sum.txt.asc", key.clearsign(GNU)),
    "Fedora-Server-42-CHECKSUM": lambda iso, key: beside(iso, "Fedora-Server-42-CHECKSUM", key.clearsign(BSD)),
    "CHECKSUM": lambda iso, key: beside(iso, "CHECKSUM", key.clearsign(BSD)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_good_signature_in_the_form_of_every_vendor_is_found(iso: Path, keys: tuple[Key, Key], form: str) -> None:
    FORMS[form](iso, keys[0])
    assert judge(iso, Trust(keyring=keys[0].ring)) == Checked(DIGEST, Verified.SIGNATURE)


@pytest.mark.parametrize("form", FORMS)
def test_a_foreign_key_vouches_for_nothing(iso: Path, keys: tuple[Key, Key], form: str) -> None:
    FORMS[form](iso, keys[0])
    with pytest.raises(ImportProblem, match=r"nobody vouches for x.iso: .* is not signed by a key of"):
        judge(iso, Trust(keyring=keys[1].ring))
    assert judge(iso, Trust(keyring=keys[1].ring, unverified=True)).verified is Verified.UNVERIFIED
    assert judge(iso, Trust(keyring=keys[1].ring, sha256=[DIGEST])).verified is Verified.CHECKSUM


@pytest.mark.parametrize("form", FORMS)
def test_other_bytes_are_refused_even_unverified(iso: Path, keys: tuple[Key, Key], form: str) -> None:
    FORMS[form](iso, keys[0])
    iso.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ImportProblem, match=r"the signature of x.iso is bad|beside it says .* download it again"):
        judge(iso, Trust(keyring=keys[0].ring, unverified=True))


def test_a_list_that_was_changed_is_refused(iso: Path, keys: tuple[Key, Key]) -> None:
    listed = beside(iso, "CHECKSUM", keys[0].clearsign(BSD.replace(DIGEST, "2" * 64)))
    listed.write_bytes(listed.read_bytes().replace(b"2" * 64, DIGEST.encode()))
    with pytest.raises(ImportProblem, match="the signature of CHECKSUM is bad"):
        judge(iso, Trust(keyring=keys[0].ring, unverified=True))


def test_a_line_outside_of_the_signature_is_not_believed(iso: Path, keys: tuple[Key, Key]) -> None:
    signed = keys[0].clearsign("SHA256 (other.iso) = " + "3" * 64 + "\n")
    beside(iso, "CHECKSUM", f"SHA256 (x.iso) = {DIGEST}\n\n".encode() + signed)
    with pytest.raises(ImportProblem, match=r"the signed part of CHECKSUM does not name x\.iso"):
        judge(iso, Trust(keyring=keys[0].ring))


def test_an_unsigned_list_finds_damage_but_vouches_for_nothing(iso: Path) -> None:
    listed = beside(iso, "SHA256SUMS", GNU.encode())
    with pytest.raises(ImportProblem, match=r"nobody vouches for x\.iso: no signature"):
        judge(iso, Trust())
    listed.write_text(GNU.replace(DIGEST, "4" * 64))
    with pytest.raises(ImportProblem, match="SHA256SUMS beside it says 4444"):
        judge(iso, Trust(unverified=True))


def test_without_any_keyring_the_option_is_named(iso: Path, keys: tuple[Key, Key]) -> None:
    FORMS["CHECKSUM"](iso, keys[0])
    with pytest.raises(ImportProblem, match=r"CHECKSUM can be checked only with the vendor's key \(--keyring\)"):
        judge(iso, Trust())


def test_a_vendors_keyring_that_is_installed_is_used(
    iso: Path, keys: tuple[Key, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_checks, "VENDOR_KEYRINGS", (keys[1].ring, Path("/no/such"), keys[0].ring))
    FORMS["CHECKSUM"](iso, keys[0])
    assert judge(iso, Trust()).verified is Verified.SIGNATURE


def test_keys_as_text_are_read_as_vendors_publish_them(iso: Path, keys: tuple[Key, Key], tmp_path: Path) -> None:
    FORMS["x.iso.sig"](iso, keys[0])
    armoured = subprocess.run(
        ["gpg", "--homedir", keys[0].home, "--batch", "--armor", "--comment", "of the vendor", "--export"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    text = tmp_path / "RPM-GPG-KEY-vendor"
    text.write_bytes(b"Somebody's key:\n\n" + armoured)
    assert judge(iso, Trust(keyring=text)).verified is Verified.SIGNATURE
    text.write_bytes(armoured.replace(base64.b64encode(b"example.org")[:6], b"!!!!!!").replace(b"\n\nm", b"\n\n?"))
    with pytest.raises(ImportProblem, match="is damaged: download it again"):
        judge(iso, Trust(keyring=text))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_drive_that_cannot_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match=r"mem cannot be read .*: copy it anew"):
        check_media([Path("/proc/self/mem")], Trust(unverified=True), lambda _: None)


def test_each_iso_has_its_own_checksum(iso: Path) -> None:
    with pytest.raises(ImportProblem, match="2 ISO files need 2 times --sha256"):
        check_media([iso, iso], Trust(sha256=[DIGEST]), lambda _: None)
    with pytest.raises(ImportProblem, match="has 64 hexadecimal digits"):
        Trust(sha256=["abc"])
    found = check_media([iso, iso], Trust(sha256=[DIGEST, DIGEST]), lambda _: None)
    assert [one.verified for one in found] == [Verified.CHECKSUM] * 2


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_text_tells_a_checksum_or_none(text: str, name: str) -> None:
    told = media_checks._told(text, name)
    assert told is None or len(told) == 64


def test_a_list_tells_the_checksum_of_its_own_file_only() -> None:
    assert media_checks._told(GNU, "x.iso") == DIGEST
    assert media_checks._told(BSD, "x.iso") == DIGEST
    assert media_checks._told(GNU.replace("*x", "*./x"), "x.iso") == DIGEST
    for other in ("iso", "other", "ax.iso", "x.iso2", "x.ISO", ""):
        assert media_checks._told(GNU + BSD, other) is None

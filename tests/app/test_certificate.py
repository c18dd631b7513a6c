import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pxeforge.app.certificate import check_given, ensure_certificate, fingerprint
from pxeforge.app.setting_values import BadSettings

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_the_certificate_is_made_once_because_agents_pin_it(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    certificate, key = ensure_certificate(tmp_path, ["192.0.2.1", "127.0.0.1"], NOW)
    first = certificate.read_bytes()
    ensure_certificate(tmp_path, ["192.0.2.99"], NOW)
    assert certificate.read_bytes() == first
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(fingerprint(certificate)) == 95


def test_it_names_our_addresses_and_can_be_served(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    certificate, key = ensure_certificate(tmp_path, ["192.0.2.1"], NOW)
    parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)


def given_pair(folder: Path, days: int = 365, *, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """What an operator's own authority would have made, good for so many days from NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "pxe.example.org")])
    start = NOW - datetime.timedelta(days=400)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start)
        .not_valid_after(NOW + datetime.timedelta(days=days)).sign(key, hashes.SHA256())
    )  # fmt: skip
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    folder.mkdir(exist_ok=True)
    certificate_path, key_path = folder / "own.crt", folder / "own.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(pem)
    return certificate_path, key_path


@pytest.mark.parametrize(
    ("days", "warning"), [(365, ""), (13, "is over on 2026-01-14: renew it"), (-1, "is over since 2025-12-31")]
)
def test_an_own_certificate_that_ends_soon_is_told(tmp_path: Path, days: int, warning: str) -> None:
    said = check_given(*given_pair(tmp_path, days), NOW)
    assert warning in said
    assert bool(said) is bool(warning)


def test_an_own_certificate_that_cannot_be_served_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    certificate, key = given_pair(tmp_path / "a")
    _, other_key = given_pair(tmp_path / "b")
    _, locked = given_pair(tmp_path / "c", passphrase=b"secret")
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"-----BEGIN CERTIFICATE-----\nnothing\n")
    for wrong in ((certificate, other_key), (certificate, locked), (garbage, key), (key, certificate)):
        with pytest.raises(BadSettings, match=r"cannot be used .* give PEM files that belong together"):
            check_given(*wrong, NOW)
    with pytest.raises(BadSettings, match=r"admin_key: .*/none cannot be read \(No such file or directory\)"):
        check_given(certificate, tmp_path / "none", NOW)

import datetime
import ssl
from pathlib import Path

from cryptography import x509

from pxeforge.app.certificate import ensure_certificate, fingerprint

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

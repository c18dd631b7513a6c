"""The server's own TLS certificate, made at the first start; agents pin it, operators see its fingerprint."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pxeforge.services.context import write_whole

_YEARS = 10


def ensure_certificate(data_dir: Path, addresses: list[str], now: datetime.datetime) -> tuple[Path, Path]:
    """(certificate, key) in `data_dir/tls`; made once, kept for ever after: agents have pinned it."""
    certificate_path, key_path = data_dir / "tls" / "server.crt", data_dir / "tls" / "server.key"
    if not certificate_path.exists() or not key_path.exists():
        certificate, key = _make(addresses, now)
        write_whole(key_path, key, mode=0o600)
        write_whole(certificate_path, certificate)
    return certificate_path, key_path


def fingerprint(certificate_path: Path) -> str:
    """SHA-256 of the certificate, as browsers show it: `AA:BB:…`."""
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _make(addresses: list[str], now: datetime.datetime) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pxeforge")])
    names: list[x509.GeneralName] = [x509.DNSName("pxeforge"), x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in dict.fromkeys(addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back: the clock of a fresh host may lag behind ours.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem

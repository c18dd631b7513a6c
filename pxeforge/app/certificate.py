"""TLS certificates: the server's own, made at the first start and pinned by agents, and the operator's."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pxeforge.app.setting_values import BadSettings
from pxeforge.services.context import write_whole

_YEARS = 10
_SOON_DAYS = 14


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


def check_given(certificate_path: Path, key_path: Path, now: datetime.datetime) -> str:
    """Looks whether the operator's certificate can be served; returns a warning or nothing. Raises BadSettings."""
    for path, setting in ((certificate_path, "admin_certificate"), (key_path, "admin_key")):
        try:
            path.read_bytes()
        except OSError as problem:
            raise BadSettings(f"{setting}: {path} cannot be read ({problem.strerror}): check the path") from None
    try:
        # No passphrase is asked for: nobody is there to type it when the process starts again.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate_path, key_path, password=lambda: ""
        )  # fmt: skip
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    except (ssl.SSLError, ValueError) as problem:
        raise BadSettings(
            f"admin_certificate and admin_key cannot be used ({getattr(problem, 'reason', None) or problem}): give PEM "
            "files that belong together, the key without a passphrase"
        ) from None
    left = certificate.not_valid_after_utc - now
    if left < datetime.timedelta(0):
        return f"the certificate {certificate_path} is over since {certificate.not_valid_after_utc:%Y-%m-%d}: renew it"
    if left < datetime.timedelta(days=_SOON_DAYS):
        return f"the certificate {certificate_path} is over on {certificate.not_valid_after_utc:%Y-%m-%d}: renew it"
    return ""


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

"""Checks of what lies around: the clock, the package mirror, and the certificate that agents pin."""

from __future__ import annotations

import ctypes
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests
from cryptography import x509

from pxeforge.app.doctor.finding import Finding, error, note, ok, warning
from pxeforge.services.mirror_source import MirrorSource

_STA_UNSYNC: Final = 0x40  # timex.h
_SANE_YEARS: Final = range(2025, 2100)
_TIMEOUT_S: Final = (3, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the server's certificate says."""

    addresses: frozenset[str]
    not_before: datetime.datetime
    not_after: datetime.datetime


class _Timex(ctypes.Structure):
    """The head of struct timex (adjtimex(2)); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("frequency", ctypes.c_long),
        ("max_error", ctypes.c_long), ("estimated_error", ctypes.c_long), ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )  # fmt: skip


def check_clock(now: datetime.datetime, is_synchronised: bool | None) -> list[Finding]:
    """`is_synchronised` is the kernel's word (None: it cannot tell), whichever program keeps the time."""
    if now.year not in _SANE_YEARS:
        return [error(f"the clock says {now:%Y-%m-%d %H:%M} UTC", "set the clock: signatures and certificates fail")]
    if is_synchronised is None:
        return [note(f"the clock says {now:%Y-%m-%d %H:%M} UTC; the kernel does not tell who keeps it", "compare it")]
    if not is_synchronised:
        return [
            warning(
                f"the clock ({now:%Y-%m-%d %H:%M} UTC) is not synchronised",
                "run chrony or systemd-timesyncd: hosts' signatures, leases and timelines go by it",
            )
        ]
    return [ok("the clock is synchronised")]


def check_mirror(upstream: str | None, replies: Mapping[str, str] | None) -> list[Finding]:
    """`replies`: suite → empty if its InRelease is there, otherwise what went wrong. None: it is not to be asked."""
    if upstream is None:
        return [
            warning(
                "no package mirror is known: installers find no packages",
                "give --mirror http://HOST/debian, or mirror_host in each profile",
            )
        ]
    if replies is None:
        return [ok("no package mirror is asked (mirror_offline): hosts get what is in the cache")]
    advice = "check --mirror, the network and a proxy that may be needed"
    found = [
        warning(f"{upstream}/dists/{suite}/InRelease: {reply}", advice) for suite, reply in replies.items() if reply
    ]  # fmt: skip
    return found or [ok(f"the package mirror {upstream} has {', '.join(replies)}")]


def check_certificate(certificate: Certificate | None, boot_address: str, now: datetime.datetime) -> list[Finding]:
    """Agents pin the whole certificate; browsers and other clients look at its addresses and dates."""
    if certificate is None:
        return [note("no certificate yet", "nothing: the first start of pxeforge serve makes it")]
    if now < certificate.not_before:
        return [error(f"the certificate is valid from {certificate.not_before:%Y-%m-%d} on", "set the clock")]
    if now >= certificate.not_after:
        advice = "agents have pinned it: replace tls/server.* and register the hosts again"
        return [error(f"the certificate ended {certificate.not_after:%Y-%m-%d}", advice)]
    if boot_address not in certificate.addresses:
        named = ", ".join(sorted(certificate.addresses))
        return [
            warning(
                f"the certificate names {named}, not the boot address {boot_address}",
                "serve with the address it was made for; agents go on (they pin it), other TLS clients refuse it",
            )
        ]
    return [ok(f"the certificate names {boot_address} and is valid until {certificate.not_after:%Y-%m-%d}")]


def clock_is_synchronised() -> bool | None:
    """adjtimex(2) with nothing to set; needs no right."""
    state = _Timex()
    try:
        returned = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        return None
    return None if returned < 0 else not state.status & _STA_UNSYNC


def ask_mirror(upstream: str, suites: Iterable[str], proxy: str | None = None) -> dict[str, str]:
    """One HEAD per suite; raises ImportProblem for an address that is none."""
    replies = {}
    source = MirrorSource(upstream)
    with source.session() as session:
        session.trust_env = False  # as the mirror of the boot plane does it
        session.proxies = {"http": proxy, "https": proxy} if proxy is not None else {}
        for suite in suites:
            url = source.url(f"dists/{suite}/InRelease")
            try:
                status = session.head(url, timeout=_TIMEOUT_S, allow_redirects=True).status_code
                replies[suite] = "" if status == requests.codes.ok else f"answers {status}"
            except requests.RequestException as problem:
                replies[suite] = f"no answer ({type(problem).__name__})"
    return replies


def read_certificate(path: Path) -> Certificate | None:
    """None where there is none; raises ValueError for a damaged one."""
    if not path.exists():
        return None
    parsed = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = frozenset(str(address) for address in names.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        addresses = frozenset()
    return Certificate(
        addresses=addresses, not_before=parsed.not_valid_before_utc, not_after=parsed.not_valid_after_utc
    )  # fmt: skip

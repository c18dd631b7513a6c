"""Lines an installer logs over UDP: RFC 3164 as far as senders keep to it (busybox's syslogd leaves parts out)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST_LINE: Final = 8192
DEFAULT_PRIORITY: Final = 13  # user.notice, for lines without one (RFC 3164 section 4.3.3)
_PRIORITY = re.compile(r"<(\d{1,3})>")
_TIMESTAMP = re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ")
_TAG = re.compile(r"([A-Za-z0-9_./()-]{1,48})(?:\[\d{1,10}\])?: ?")
_HOST_AND_TAG = re.compile(r"[A-Za-z0-9_.:-]{1,255} " + _TAG.pattern)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogLine:
    """One line. `priority` is facility * 8 + severity; `tag` is the program, empty where none is named."""

    peer_ip: str
    priority: int
    tag: str
    message: str
    received_at: float  # unix seconds

    @property
    def severity(self) -> int:
        """0 emergency … 7 debug."""
        return self.priority % 8


def parse_line(datagram: bytes, *, peer_ip: str, received_at: float) -> SyslogLine:
    """Reads any datagram; what does not follow the form is kept as message. Control characters become blanks."""
    text = _CONTROL.sub(" ", datagram[:LONGEST_LINE].decode("utf-8", errors="replace")).rstrip()
    priority = DEFAULT_PRIORITY
    if (found := _PRIORITY.match(text)) and int(found[1]) <= 191:
        priority, text = int(found[1]), text[found.end() :]
    if stamp := _TIMESTAMP.match(text):
        text = text[stamp.end() :]
    tag = ""
    # A host name stands after a time stamp only; elsewhere the first word belongs to the message.
    if found := _TAG.match(text) or (_HOST_AND_TAG.match(text) if stamp else None):
        tag, text = found[1], text[found.end() :]
    return SyslogLine(peer_ip=peer_ip, priority=priority, tag=tag, message=text, received_at=received_at)

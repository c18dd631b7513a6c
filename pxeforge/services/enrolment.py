"""Taking a host on that has its system already: one command, run there by root once, makes it registered.

No installer and no netboot are needed. The command names the SHA-256 of the agent and of the server's certificate: who
carries it to the host by a way of his own (a login, say) trusts nothing that comes over the boot network.
"""

from __future__ import annotations

import shlex
from typing import Any, Final

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import NEXT, HostState, Signal
from pxeforge.services import hosts
from pxeforge.services.boot_texts import agent_digest
from pxeforge.services.context import Context, digest, new_id
from pxeforge.services.events import record
from pxeforge.services.install_ends import close_attempts
from pxeforge.services.install_tokens import ENROL, token_of
from pxeforge.services.problems import Conflict, Problem
from pxeforge.store.tables import Attempt, Host, Token

VALID_FOR_S = 3600.0
_LONGEST_S = 7 * 24 * 3600.0
_PLACE: Final = "/usr/local/lib/pxeforge/pxeforge-agent.pyz"
# The agent needs Python anyway; what else could fetch a file differs from system to system.
_FETCH: Final = (
    "import hashlib,os,sys,urllib.request as u;b=u.urlopen({url!r},timeout=60).read();"
    'hashlib.sha256(b).hexdigest()=={digest!r} or sys.exit("the agent has a wrong digest");'
    'os.makedirs({folder!r},exist_ok=True);f=open({place!r},"wb");f.write(b);f.close()'
)


def enrol(ctx: Context, text: str, *, for_s: float = VALID_FOR_S, who: str) -> dict[str, Any]:
    """A command that registers the host, good once and for so many seconds; an earlier one is good no longer.

    Raises Conflict for a host that is armed, being installed or out of use, Problem for a time out of range.
    """
    if not 60 <= for_s <= _LONGEST_S:
        raise Problem(f"a command is good for 60 s to {_LONGEST_S:.0f} s, not {for_s:g} s")
    sha256 = agent_digest(ctx)
    if sha256 is None:
        raise Problem("the server has not packed its agent: start `pxeforge serve` first")
    with ctx.database.write() as session:
        host = hosts.find(session, text)
        refuse_where_busy(host)
        close_attempts(session, host, "replaced")
        token, expires_at = _attempt(session, ctx, host, for_s, who)
        record(
            session, ctx, host_id=host.id, source="server", kind="enrolment", who=who,
            message=f"a command that registers the host was made by {who}, good for {for_s / 60:.0f} min",
        )  # fmt: skip
        command = _command(ctx.towards(host.address) if host.address else ctx, token, sha256)
        return {"host_id": host.id, "host_name": host.name, "command": command, "expires_at": expires_at}


def refuse_where_busy(host: Host) -> None:
    """Raises Conflict where a registration would get in the way of something."""
    state = HostState(host.state)
    if (state, Signal.ENROL) not in NEXT:
        raise Conflict(
            f"{host.name or host.id} is {state.value}: only a host that is known, installed or configured is enrolled"
        )


def _attempt(session: Session, ctx: Context, host: Host, for_s: float, who: str) -> tuple[str, float]:
    """The token of a new attempt, which the host is not armed for; and its end in unix seconds."""
    now = ctx.clock()
    attempt = Attempt(
        id=new_id(), host_id=host.id, purpose=ENROL, profile=ENROL, image="", armed_at=now, armed_by=who,
        expires_at=now + for_s,
    )  # fmt: skip
    session.add(attempt)
    session.flush()
    token = token_of(ctx, attempt.id, "installer")
    session.add(Token(digest=digest(token), attempt_id=attempt.id, purpose="installer"))
    return token, attempt.expires_at


def _command(ctx: Context, token: str, sha256: str) -> str:
    from cryptography import x509  # only the admin process makes commands
    from cryptography.hazmat.primitives import hashes

    base = ctx.addresses.boot_url
    fetch = _FETCH.format(
        url=f"{base}/agent/pxeforge-agent.pyz", digest=sha256, folder=_PLACE.rpartition("/")[0], place=_PLACE
    )
    path = ctx.data_dir / "tls" / "server.crt"
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex()
    except (OSError, ValueError) as error:
        raise Problem(f"{path} cannot be read ({error}): bring it back, hosts have pinned it") from None
    told = ["--url", f"{base}/installer/{token}/register", "--certificate", certificate]
    return f"{shlex.join(['python3', '-c', fetch])} && {shlex.join(['python3', _PLACE, 'enrol', *told])}"

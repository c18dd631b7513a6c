"""The bootstrap's call home: facts in, the agent's credential out, the token used up."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any

from sqlalchemy.orm import Session

from pxeforge.domain.lifecycle import HostState, Signal
from pxeforge.services import hosts
from pxeforge.services.context import Context, digest
from pxeforge.services.install_tokens import ENROL, redeem
from pxeforge.services.installer_reports import finish
from pxeforge.store.tables import AgentCredential, Attempt, Host, Token

_NONCE = re.compile(r"[0-9a-f]{32,128}")


def register(ctx: Context, token: str, facts: dict[str, Any], *, peer: str) -> dict[str, Any]:
    """The bootstrap's call home: facts in, the agent's credential out; the token is used up and the host disarmed.

    Who lost our answer on the way may ask again with the same `registration_nonce` until its agent has connected.
    """
    ctx = ctx.towards(peer)
    told = {key: value for key, value in facts.items() if key != "registration_nonce"}
    nonce = str(facts.get("registration_nonce") or "")
    with ctx.database.write() as session:
        answer = _answered_before(session, ctx, token, nonce)
        if not answer:
            ticket = redeem(ctx, token, "installer", "register", peer)
            attempt = session.get_one(Attempt, ticket.attempt.id)
            host = session.get_one(Host, ticket.host.id)
            answer = _register(session, ctx, token, attempt, host, told, nonce, peer)
    return answer


def _answered_before(session: Session, ctx: Context, token: str, nonce: str) -> dict[str, Any]:
    """The same answer once more, for the one who alone can know the nonce; {} for everybody else."""
    row = session.get(Token, digest(token))
    if row is None or row.purpose != "installer" or row.used_at is None:
        return {}
    attempt = session.get_one(Attempt, row.attempt_id)
    host, credential = session.get_one(Host, attempt.host_id), _credential(ctx, attempt, nonce)
    known = session.get(AgentCredential, host.id)
    if known is None or known.seen_at is not None or not hmac.compare_digest(known.digest, digest(credential)):
        return {}
    return _welcome(ctx, host, credential)


def _credential(ctx: Context, attempt: Attempt, nonce: str) -> str:
    """Derived from what only the registering host and we know; without a good nonce it is random, and told once."""
    if not _NONCE.fullmatch(nonce):
        return secrets.token_urlsafe(32)
    return ctx.sign("agent credentials", f"{attempt.id}/{nonce}")


def _register(
    session: Session,
    ctx: Context,
    token: str,
    attempt: Attempt,
    host: Host,
    facts: dict[str, Any],
    nonce: str,
    peer: str,
) -> dict[str, Any]:
    from pxeforge.services.facts import merge_facts  # 7 MB that only the process needs which is told facts

    now = ctx.clock()
    merge_facts(session, ctx, host, facts)
    session.get_one(Token, digest(token)).used_at = now
    attempt.registered_at, attempt.outcome = now, "registered"
    host.registered_at, host.armed_until, host.seen_at = now, None, now
    host.address = peer or host.address
    credential = _credential(ctx, attempt, nonce)
    row = session.get(AgentCredential, host.id) or AgentCredential(host_id=host.id)
    row.digest, row.issued_at, row.seen_at = digest(credential), now, None
    session.add(row)
    keys = len(host.facts.get("ssh_host_keys", []))
    if host.state == HostState.INSTALLING.value:  # a late script of an operator's own need not say so
        finish(session, ctx, host, attempt, "the installer has finished: the new system registers")
        host.armed_until = None
    enrolled = attempt.purpose == ENROL
    hosts.move(
        session, ctx, host, Signal.ENROL if enrolled else Signal.REGISTER, source="agent" if enrolled else "installer",
        message=f"registered from {peer}: {len(host.nics)} NICs, {len(host.facts.get('disks', []))} disks, "
        f"{keys} SSH host keys{'' if enrolled else '; disarmed'}",
    )  # fmt: skip
    return _welcome(ctx, host, credential)


def _welcome(ctx: Context, host: Host, credential: str) -> dict[str, Any]:
    return {
        "agent_url": ctx.addresses.agent_url,
        "agent_token": credential,
        "certificate_pem": (ctx.data_dir / "tls" / "server.crt").read_text(),
        "host_id": host.id,
        "host_name": host.name,
    }

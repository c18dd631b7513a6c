"""The installer asks: answers and scripts, for the holder of the attempt's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pxeforge.domain.lifecycle import Signal, advance
from pxeforge.services import images, wire_hosts
from pxeforge.services.boot_menu import Purpose
from pxeforge.services.boot_texts import render
from pxeforge.services.budgets import effective
from pxeforge.services.context import Context, digest
from pxeforge.services.events import note
from pxeforge.services.install_tokens import SEED_FILES, redeem, refusal, token_of
from pxeforge.services.prepared import Prepared, settled
from pxeforge.services.problems import NotFound
from pxeforge.services.wire_hosts import Standing, Ticket
from pxeforge.store.group_commit import Statements, as_rows


def answers(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    """The rendered answers, for the holder of the token; from now on the host is not armed any more.

    A HEAD (of a browser, a monitor) asks only how long they are: it begins no install and is not told.
    """
    return settled(lambda: prepare_answers(ctx, token, peer=peer, head=head))


def prepare_answers(ctx: Context, token: str, *, peer: str, head: bool = False) -> Prepared:
    """Like `answers`, without waiting for the database."""
    text, ticket = _opened(ctx, token, "answers", "answers", peer)
    if head:
        return Prepared(text)
    budgets = effective(ctx.budgets, ticket.attempt.parameters)
    lasts_s = budgets["wiping" if ticket.attempt.purpose == Purpose.WIPE.value else "install"]
    return Prepared(text, ctx.database.share(_begin_installs, _Begin(digest(token), peer, ctx.clock(), lasts_s)))


def seed(ctx: Context, token: str, name: str, *, peer: str) -> str:
    """What cloud-init asks for beside user-data: it changes nothing, and is good as long as the answers are."""
    if name not in SEED_FILES:
        redeem(ctx, token, "answers", "answers", peer)  # whoever has no token learns nothing
        raise NotFound("no such answers")
    text, _ = _opened(ctx, token, "answers", name, peer)
    return text


def early(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "early", peer, head)


def disks(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "disks", peer, head)


def late(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "late", peer, head)


def wipe(ctx: Context, token: str, *, peer: str, head: bool = False) -> str:
    return _script(ctx, token, "wipe", peer, head)


def _script(ctx: Context, token: str, what: str, peer: str, head: bool) -> str:
    text, ticket = _opened(ctx, token, "installer", what, peer)
    if not head:
        note(ctx, ticket.host.id, source="installer", kind=what, message=f"{what} script fetched by {peer}")
    return text


def _opened(ctx: Context, token: str, purpose: str, what: str, peer: str) -> tuple[str, Ticket]:
    """The text behind a token, and what the token opens."""
    ctx = ctx.towards(peer)
    ticket = redeem(ctx, token, purpose, what, peer)
    attempt, host = ticket.attempt, ticket.host
    image = images.by_reference(ctx, attempt.image)
    tokens = {name: token_of(ctx, attempt.id, name) for name in ("answers", "installer")}
    return render(ctx, host, attempt.parameters, image, what, tokens), ticket


@dataclass(frozen=True, slots=True)
class _Begin:
    """Answers that are about to leave."""

    digest: str
    peer: str
    now: float
    lasts_s: float


def _begin_installs(change: Statements, begins: Sequence[_Begin]) -> list[bool]:
    """From now on these hosts are not armed any more; False for a token that has lost its worth meanwhile."""
    standings = wire_hosts.standings(change, [begin.digest for begin in begins])
    chosen: dict[str, str] = {}  # host and attempt: of two choices that come at once the first one counts
    begun: list[bool] = []
    rows: list[list[Any]] = []
    for begin in begins:
        standing = standings.get(begin.digest)
        is_good = standing is not None and refusal(standing, "answers", begin.now) is None
        if standing is not None and is_good:
            is_good = chosen.setdefault(standing.host_id, standing.attempt_id) == standing.attempt_id
        if standing is not None and is_good:
            rows.append(_beginning(begin, standing))
        begun.append(is_good)
    for statement in _BEGIN_STATEMENTS if rows else ():
        change.run(statement, rows=as_rows(rows))
    return begun


def _beginning(begin: _Begin, standing: Standing) -> list[Any]:
    """A row of _BEGIN_STATEMENTS; an installer that reads its answers again gets no more time."""
    is_first = standing.answers_at is None
    until = begin.now + begin.lasts_s if is_first else standing.expires_at
    signal = Signal.WIPE_BEGUN if standing.for_what == Purpose.WIPE.value else Signal.ANSWERS_FETCHED
    after = advance(standing.state, signal).value
    data = {"from": standing.state.value, "to": after}
    said = f"answers fetched by {begin.peer}; the host is disarmed and {after}"
    answers_at = begin.now if is_first else standing.answers_at
    return [
        standing.host_id, standing.attempt_id, answers_at, until, after, begin.peer or None, begin.now, said, data,
        signal.value,
    ]  # fmt: skip


_BEGIN_STATEMENTS: Final = (
    """UPDATE attempts SET answers_at = CAST(value ->> 2 AS float), expires_at = CAST(value ->> 3 AS float)
       FROM json_each(:rows) WHERE attempts.id = value ->> 1""",
    # Chosen from a menu: the other choices are spent.
    """UPDATE attempts SET outcome = 'not chosen'
       FROM json_each(:rows) WHERE attempts.host_id = value ->> 0 AND outcome IS NULL AND attempts.id <> value ->> 1""",
    """UPDATE hosts SET state = value ->> 4, armed_until = CAST(value ->> 3 AS float), attempt_id = value ->> 1,
       address = coalesce(value ->> 5, address) FROM json_each(:rows) WHERE hosts.id = value ->> 0""",
    """INSERT INTO events (host_id, at, source, kind, message, data)
       SELECT value ->> 0, CAST(value ->> 6 AS float), 'http', value ->> 9, value ->> 7, value -> 8
       FROM json_each(:rows)""",
)

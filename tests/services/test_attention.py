from __future__ import annotations

from typing import Any

from pxeforge.services import diagnosis, hosts
from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.store.tables import Diagnosis


def test_a_host_that_is_held_up_is_named_with_what_holds_it_up(ctx: Context, armed: dict[str, Any]) -> None:
    with ctx.database.write() as session:
        session.add(
            Diagnosis(host_id=armed["id"], name="never_seen", state="armed", since=1.0, sentence="no", evidence=[])
        )
    with ctx.database.read() as session:
        assert diagnosis.counts(session) == {"never_seen": 1}
    [found] = Attention(ctx).all()
    assert (found["name"], found["hosts"]) == ("never_seen", [{"id": armed["id"], "label": "n1"}])
    assert Attention(ctx).host_ids() == {armed["id"]}
    hosts.forget(ctx, "n1", who="test")
    assert Attention(ctx).all() == []

from __future__ import annotations

from pxeforge.services import diagnosis, hosts
from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.store.tables import Diagnosis
from tests.conftest import MAC


def test_a_host_that_is_held_up_is_named_with_what_holds_it_up(ctx: Context) -> None:
    host = hosts.add(ctx, macs=[MAC], name="n1", who="test")
    with ctx.database.write() as session:
        session.add(
            Diagnosis(host_id=host["id"], name="never_booted", state="known", since=1.0, sentence="no", evidence=[])
        )
    with ctx.database.read() as session:
        assert diagnosis.counts(session) == {"never_booted": 1}
    [found] = Attention(ctx).all()
    assert (found["name"], found["hosts"]) == ("never_booted", [{"id": host["id"], "label": "n1"}])
    assert Attention(ctx).host_ids() == {host["id"]}
    hosts.forget(ctx, "n1", who="test")
    assert Attention(ctx).all() == []

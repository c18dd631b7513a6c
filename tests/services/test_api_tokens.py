"""API tokens: shown once, bounded by role and time, ended at once; no constant ever is one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, api_tokens, audit
from pxeforge.services.acting import LOCAL, PASSWORD, SESSION, Actor
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Forbidden, NotFound, Problem
from tests.conftest import Clock
from tests.database_views import all_that_is_in

pytestmark = pytest.mark.both_databases
ROOT = Actor(who="root", role=UserRole.ADMIN, via=LOCAL)
WORD = "correct horse battery"


def person(name: str, role: UserRole) -> Actor:
    return Actor(who=name, role=role, via=SESSION, address="192.0.2.9")


@pytest.fixture
def ann(ctx: Context) -> Actor:
    accounts.add(ctx, "boss", WORD, role=UserRole.ADMIN, who="test")
    accounts.add(ctx, "ann", WORD, role=UserRole.OPERATOR, who="test")
    return person("ann", UserRole.OPERATOR)


def made(ctx: Context, actor: Actor, name: str = "ci", role: str = "viewer", for_s: float = 3600) -> str:
    return str(api_tokens.create(ctx, name=name, role=role, actor=actor, for_s=for_s)["token"])


def test_a_token_acts_for_its_user_with_its_own_role(ctx: Context, ann: Actor) -> None:
    actor = api_tokens.actor_of(ctx, made(ctx, ann), address="::1")
    assert actor == Actor(who="ann", role=UserRole.VIEWER, via="token ci", address="::1")
    assert actor.by_token


def test_roots_token_belongs_to_no_user(ctx: Context) -> None:
    actor = api_tokens.actor_of(ctx, made(ctx, ROOT, role="operator"), address="::1")
    assert actor is not None
    assert (actor.who, actor.role, actor.local) == ("root", UserRole.OPERATOR, False)


def test_a_token_can_do_at_most_what_its_user_can_at_any_time(ctx: Context, ann: Actor) -> None:
    with pytest.raises(Forbidden, match="ann is operator, not admin"):
        made(ctx, ann, role="admin")
    with pytest.raises(Forbidden, match="ann is operator, not admin"):
        api_tokens.create(ctx, name="x", role="admin", user="ann", actor=ROOT)
    token = made(ctx, ann, role="operator")
    accounts.set_role(ctx, "ann", UserRole.VIEWER, who="boss")
    actor = api_tokens.actor_of(ctx, token, address="::1")
    assert actor is not None
    assert actor.role is UserRole.VIEWER


def test_only_an_admin_makes_tokens_for_others_and_no_token_makes_one(ctx: Context, ann: Actor) -> None:
    with pytest.raises(Forbidden, match="only an admin"):
        api_tokens.create(ctx, name="x", role="viewer", user="boss", actor=ann)
    boss = person("boss", UserRole.ADMIN)
    assert api_tokens.create(ctx, name="x", role="viewer", user="ann", actor=boss)["user"] == "ann"
    with pytest.raises(NotFound):
        api_tokens.create(ctx, name="x", role="viewer", user="ghost", actor=boss)
    by_token = api_tokens.actor_of(ctx, made(ctx, boss, role="admin"), address="::1")
    assert by_token is not None
    with pytest.raises(Forbidden, match="a token cannot make tokens"):
        made(ctx, by_token)


def test_a_token_ends_by_time_by_revocation_and_with_its_user(ctx: Context, ann: Actor, clock: Clock) -> None:
    short, long, third = made(ctx, ann, "a", for_s=60), made(ctx, ann, "b"), made(ctx, ann, "c")
    clock.now += 60
    assert api_tokens.actor_of(ctx, short, address="::1") is None
    assert {row["name"]: row["expired"] for row in api_tokens.list_tokens(ctx, actor=ann)} == {
        "a": True, "b": False, "c": False
    }  # fmt: skip
    api_tokens.revoke(ctx, "b", actor=ann)
    assert api_tokens.actor_of(ctx, long, address="::1") is None
    accounts.remove(ctx, "ann", who="boss")
    assert api_tokens.actor_of(ctx, third, address="::1") is None
    assert api_tokens.list_tokens(ctx, actor=ROOT) == []


def test_one_sees_and_revokes_ones_own_and_an_admin_all(ctx: Context, ann: Actor) -> None:
    boss = person("boss", UserRole.ADMIN)
    mine, theirs = made(ctx, ann), made(ctx, boss)
    assert [row["user"] for row in api_tokens.list_tokens(ctx, actor=ann)] == ["ann"]
    assert [row["user"] for row in api_tokens.list_tokens(ctx, actor=boss)] == ["ann", "boss"]
    with pytest.raises(Conflict, match="2 users have a token 'ci'"):
        api_tokens.revoke(ctx, "ci", actor=boss)
    other = next(row["id"] for row in api_tokens.list_tokens(ctx, actor=boss) if row["user"] == "boss")
    with pytest.raises(NotFound):
        api_tokens.revoke(ctx, other, actor=ann)
    assert api_tokens.revoke(ctx, "ci", actor=ann)["user"] == "ann"
    assert api_tokens.actor_of(ctx, mine, address="::1") is None
    assert api_tokens.actor_of(ctx, theirs, address="::1") is not None


def test_the_last_use_is_kept_by_the_minute(ctx: Context, ann: Actor, clock: Clock) -> None:
    token = made(ctx, ann)
    assert api_tokens.list_tokens(ctx, actor=ann)[0]["used_at"] is None
    for moved, kept in ((0, 0), (30, 0), (40, 70)):
        clock.now += moved
        api_tokens.actor_of(ctx, token, address="::1")
        assert api_tokens.list_tokens(ctx, actor=ann)[0]["used_at"] == 1_800_000_000.0 + kept


@pytest.mark.parametrize(
    ("change", "said"),
    [({"name": ""}, "token name"), ({"name": "a b"}, "token name"), ({"name": "x" * 64}, "token name"),
     ({"role": "god"}, "choose one of"), ({"for_s": 0}, "a minute to 366 days"), ({"for_s": 1e12}, "366 days"),
     ({"for_s": float("nan")}, "366 days")],
)  # fmt: skip
def test_what_is_no_token_is_refused(ctx: Context, ann: Actor, change: dict[str, object], said: str) -> None:
    with pytest.raises(Problem, match=said):
        api_tokens.create(ctx, **{"name": "ci", "role": "viewer", "actor": ann, **change})  # type: ignore[arg-type]


def test_two_tokens_of_one_user_have_two_names(ctx: Context, ann: Actor) -> None:
    made(ctx, ann)
    made(ctx, ROOT)
    for actor in (ann, ROOT):
        with pytest.raises(Conflict, match="has a token ci already"):
            made(ctx, actor)


def test_the_clear_text_is_neither_in_the_database_nor_in_the_audit_log(ctx: Context, ann: Actor) -> None:
    token = made(ctx, ann)
    assert token.encode() not in all_that_is_in(ctx.database)
    [told] = audit.entries(ctx, audit.Filter(kind="token_created"))
    assert token not in str(told)
    assert told["data"]["after"]["role"] == "viewer"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.from_regex(r"pxf_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_nothing_made_up_is_a_token(ctx: Context, text: str) -> None:
    assert api_tokens.actor_of(ctx, text, address="::1") is None


def test_a_password_login_may_make_tokens(ctx: Context, ann: Actor) -> None:
    basic = Actor(who="ann", role=UserRole.OPERATOR, via=PASSWORD)
    assert api_tokens.actor_of(ctx, made(ctx, basic), address="::1") is not None

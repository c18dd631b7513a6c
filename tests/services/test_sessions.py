"""Login sessions: known by a digest, ended by time, by the user, by an admin."""

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, events, sessions
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound
from pxeforge.services.sessions import IDLE_S, LONGEST_S
from tests.conftest import Clock
from tests.database_views import all_that_is_in

pytestmark = pytest.mark.both_databases
PASSWORD = "correct horse battery"


@pytest.fixture
def key(ctx: Context) -> str:
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.OPERATOR, who="test")
    return sessions.start(ctx, "ann", address="192.0.2.9", browser="Firefox")


def test_a_session_tells_its_user_and_the_role_of_this_moment(ctx: Context, key: str) -> None:
    assert sessions.user_of(ctx, key, active=True) == ("ann", UserRole.OPERATOR, False)
    accounts.set_role(ctx, "ann", UserRole.VIEWER, who="test")
    assert sessions.user_of(ctx, key, active=True) == ("ann", UserRole.VIEWER, False)


def test_an_idle_session_ends_though_a_page_refreshes_itself(ctx: Context, key: str, clock: Clock) -> None:
    for _ in range(4):
        clock.now += IDLE_S / 4 - 1
        assert sessions.user_of(ctx, key, active=False) is not None
    clock.now += 5
    assert sessions.user_of(ctx, key, active=True) is None


def test_a_session_in_use_goes_on_until_it_is_old(ctx: Context, key: str, clock: Clock) -> None:
    began = clock.now
    while clock.now + IDLE_S / 2 < began + LONGEST_S:
        clock.now += IDLE_S / 2
        assert sessions.user_of(ctx, key, active=True) is not None
    clock.now = began + LONGEST_S
    assert sessions.user_of(ctx, key, active=True) is None


def test_a_session_from_the_future_is_none(ctx: Context, key: str, clock: Clock) -> None:
    clock.now -= 10
    assert sessions.user_of(ctx, key, active=True) is None


def test_a_logout_ends_one_session_and_logout_everywhere_all_of_the_user(ctx: Context, key: str) -> None:
    accounts.add(ctx, "bob", PASSWORD, role=UserRole.VIEWER, who="test")
    other, bobs = (sessions.start(ctx, name, address="::1", browser="") for name in ("ann", "bob"))
    sessions.end(ctx, key)
    sessions.end(ctx, "never was")
    assert sessions.user_of(ctx, key, active=True) is None
    assert sessions.user_of(ctx, other, active=True) is not None
    assert [one["address"] for one in sessions.list_sessions(ctx, "ann")] == ["::1"]
    assert sessions.end_all(ctx, "ann", who="bob") == 1
    assert sessions.user_of(ctx, other, active=True) is None
    assert sessions.user_of(ctx, bobs, active=True) is not None
    with pytest.raises(NotFound):
        sessions.end_all(ctx, "ghost", who="bob")
    told = [(event["kind"], event["who"]) for event in events.recent(ctx)][:2]
    assert told == [("logout_everywhere", "bob"), ("logout", "ann")]


def test_the_sessions_of_a_removed_user_do_not_fit_the_next_of_that_name(ctx: Context, key: str) -> None:
    accounts.add(ctx, "boss", PASSWORD, role=UserRole.ADMIN, who="test")
    accounts.remove(ctx, "ann", who="test")
    with pytest.raises(NotFound):
        sessions.start(ctx, "ann", address="::1", browser="")
    accounts.add(ctx, "ann", PASSWORD, role=UserRole.ADMIN, who="test")
    assert sessions.user_of(ctx, key, active=True) is None


def test_the_database_holds_no_key(ctx: Context, key: str) -> None:
    assert key.encode() not in all_that_is_in(ctx.database)


def test_ended_sessions_do_not_pile_up(ctx: Context, key: str, clock: Clock) -> None:
    clock.now += LONGEST_S
    sessions.start(ctx, "ann", address="::1", browser="x" * 9000)
    assert ctx.database.look_up("SELECT count(*), max(length(browser)) FROM sessions") == [(1, 200)]

import pytest

from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, events, sessions
from pxeforge.services.accounts import Throttle
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound, Problem, TooMany
from tests.conftest import Clock
from tests.database_views import all_that_is_in

PASSWORD = "correct horse battery"
ADMIN = UserRole.ADMIN


def test_the_first_start_makes_an_admin_once(ctx: Context) -> None:
    password = accounts.ensure_admin(ctx)
    assert password is not None
    assert accounts.login(ctx, Throttle(), "admin", password, "::1") is not None
    assert accounts.ensure_admin(ctx) is None


def test_a_wrong_password_and_an_unknown_name_are_the_same_no(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    assert accounts.login(ctx, Throttle(), "ann", "wrong", "::1") is None
    assert accounts.login(ctx, Throttle(), "bob", PASSWORD, "::1") is None


def test_guessing_is_braked_and_the_brake_lets_go(ctx: Context, clock: Clock) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    throttle = Throttle(limit=3, window_s=60)
    for _ in range(3):
        accounts.login(ctx, throttle, "ann", "wrong", "::1")
    with pytest.raises(Problem, match="too many failed logins"):
        accounts.login(ctx, throttle, "ann", PASSWORD, "::1")
    clock.now += 61
    assert accounts.login(ctx, throttle, "ann", PASSWORD, "::1") is not None


def test_a_new_password_ends_the_old_sessions(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    key = sessions.start(ctx, "ann", address="::1", browser="")
    accounts.set_password(ctx, "ann", PASSWORD + "!", who="test")
    assert sessions.user_of(ctx, key, active=True) is None
    assert accounts.login(ctx, Throttle(), "ann", PASSWORD, "::1") is None
    assert accounts.login(ctx, Throttle(), "ann", PASSWORD + "!", "::1") is ADMIN


def test_a_guesser_cannot_hide_in_an_ipv6_network(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    throttle = Throttle(limit=3)
    for number in range(3):
        accounts.login(ctx, throttle, "ann", "wrong", f"2001:db8::{number:x}")
    with pytest.raises(TooMany):
        accounts.login(ctx, throttle, "ann", PASSWORD, "2001:db8::ffff")
    assert accounts.login(ctx, throttle, "ann", PASSWORD, "2001:db8:0:1::1") is ADMIN
    assert accounts.login(ctx, throttle, "ann", PASSWORD, "192.0.2.1") is ADMIN


def test_a_wrong_password_is_told_and_an_unknown_name_is_not(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    accounts.login(ctx, Throttle(), "ann", "wrong", "192.0.2.9")
    accounts.login(ctx, Throttle(), "a" * 9000, "wrong", "192.0.2.9")
    told = [event["message"] for event in events.recent(ctx) if event["kind"] == "login_failed"]
    assert told == ["wrong password for ann from 192.0.2.9"]


def test_short_passwords_and_odd_names_are_refused(ctx: Context) -> None:
    with pytest.raises(Problem, match="too short"):
        accounts.add(ctx, "ann", "short", role=ADMIN, who="test")
    with pytest.raises(Problem, match="too long"):
        accounts.add(ctx, "ann", "x" * 1025, role=ADMIN, who="test")
    with pytest.raises(Problem, match="letters, digits"):
        accounts.add(ctx, "../ann", PASSWORD, role=ADMIN, who="test")


def test_the_last_admin_stays_admin_whatever_other_users_there_are(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    accounts.add(ctx, "bob", PASSWORD, role=UserRole.OPERATOR, who="test")
    with pytest.raises(Conflict, match="last admin cannot be removed"):
        accounts.remove(ctx, "ann", who="ann")
    with pytest.raises(Conflict, match="last admin cannot be made less"):
        accounts.set_role(ctx, "ann", UserRole.VIEWER, who="ann")
    accounts.set_role(ctx, "ann", ADMIN, who="ann")
    accounts.set_role(ctx, "bob", ADMIN, who="ann")
    accounts.set_role(ctx, "ann", UserRole.VIEWER, who="bob")
    accounts.remove(ctx, "ann", who="bob")
    assert [(user["name"], user["role"]) for user in accounts.list_users(ctx)] == [("bob", "admin")]


def test_a_disabled_user_is_let_in_by_nothing_until_enabled(ctx: Context) -> None:
    accounts.add(ctx, "boss", PASSWORD, role=ADMIN, who="test")
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    key = sessions.start(ctx, "ann", address="::1", browser="x")
    assert accounts.set_disabled(ctx, "ann", True, who="boss")["disabled"] is True
    assert sessions.user_of(ctx, key, active=True) is None
    assert accounts.login(ctx, Throttle(), "ann", PASSWORD, "::1") is None
    assert "ann is disabled: login refused from ::1" in events.recent(ctx)[0]["message"]
    with pytest.raises(NotFound, match="who may log in"):
        sessions.start(ctx, "ann", address="::1", browser="x")
    accounts.set_disabled(ctx, "ann", True, who="boss")
    accounts.set_disabled(ctx, "ann", False, who="boss")
    assert sessions.user_of(ctx, key, active=True) is None
    assert accounts.login(ctx, Throttle(), "ann", PASSWORD, "::1") is ADMIN
    told = [(row["who"], row["data"]) for row in events.recent(ctx) if row["kind"] in ("user_disabled", "user_enabled")]
    assert told == [
        ("boss", {"before": {"disabled": True}, "after": {"disabled": False}}),
        ("boss", {"before": {"disabled": False}, "after": {"disabled": True}}),
    ]


def test_the_last_admin_who_can_come_in_stays(ctx: Context) -> None:
    for name in ("boss", "ann"):
        accounts.add(ctx, name, PASSWORD, role=ADMIN, who="test")
    accounts.set_disabled(ctx, "ann", True, who="boss")
    with pytest.raises(Conflict, match="the last admin cannot be disabled"):
        accounts.set_disabled(ctx, "boss", True, who="boss")
    with pytest.raises(Conflict, match="the last admin cannot be removed"):
        accounts.remove(ctx, "boss", who="boss")
    with pytest.raises(Conflict, match="the last admin cannot be made less"):
        accounts.set_role(ctx, "boss", UserRole.VIEWER, who="boss")
    accounts.remove(ctx, "ann", who="boss")
    assert [one["name"] for one in accounts.list_users(ctx)] == ["boss"]


def test_who_is_no_user_cannot_be_changed(ctx: Context) -> None:
    for change in (
        lambda: accounts.remove(ctx, "ghost", who="test"),
        lambda: accounts.set_role(ctx, "ghost", ADMIN, who="test"),
        lambda: accounts.set_password(ctx, "ghost", PASSWORD, who="test"),
    ):
        with pytest.raises(NotFound, match="there is no user ghost"):
            change()


@pytest.mark.parametrize("name", ["root", "server", "import"])
def test_nobody_is_named_like_those_who_act_without_being_users(ctx: Context, name: str) -> None:
    with pytest.raises(Problem, match="mistaken"):
        accounts.add(ctx, name, PASSWORD, role=ADMIN, who="test")


@pytest.mark.parametrize("text", ["", "Admin", "root", "viewer ", "-1", "admin\x00"])
def test_only_the_three_roles_are_roles(text: str) -> None:
    with pytest.raises(Problem, match="choose one of viewer, operator, admin"):
        accounts.parse_role(text)


def test_no_password_is_stored_in_clear(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, role=ADMIN, who="test")
    assert PASSWORD.encode() not in all_that_is_in(ctx.database)

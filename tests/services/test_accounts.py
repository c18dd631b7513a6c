import pytest

from pxeforge.services import accounts, events
from pxeforge.services.accounts import Throttle
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, Problem
from tests.conftest import Clock

PASSWORD = "correct horse battery"


def test_the_first_start_makes_an_admin_once(ctx: Context) -> None:
    password = accounts.ensure_admin(ctx)
    assert password is not None
    assert accounts.login(ctx, Throttle(), "admin", password, "::1") is not None
    assert accounts.ensure_admin(ctx) is None


def test_a_wrong_password_and_an_unknown_name_are_the_same_no(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, who="test")
    assert accounts.login(ctx, Throttle(), "ann", "wrong", "::1") is None
    assert accounts.login(ctx, Throttle(), "bob", PASSWORD, "::1") is None


def test_guessing_is_braked_and_the_brake_lets_go(ctx: Context, clock: Clock) -> None:
    accounts.add(ctx, "ann", PASSWORD, who="test")
    throttle = Throttle(limit=3, window_s=60)
    for _ in range(3):
        accounts.login(ctx, throttle, "ann", "wrong", "::1")
    with pytest.raises(Problem, match="too many failed logins"):
        accounts.login(ctx, throttle, "ann", PASSWORD, "::1")
    clock.now += 61
    assert accounts.login(ctx, throttle, "ann", PASSWORD, "::1") is not None


def test_a_new_password_ends_the_old_sessions(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, who="test")
    epoch = accounts.login(ctx, Throttle(), "ann", PASSWORD, "::1")
    assert epoch is not None
    assert accounts.session_valid(ctx, "ann", epoch)
    accounts.set_password(ctx, "ann", PASSWORD + "!", who="test")
    assert not accounts.session_valid(ctx, "ann", epoch)
    assert not accounts.session_valid(ctx, "bob", epoch)


def test_the_sessions_of_a_removed_user_do_not_fit_the_next_of_that_name(ctx: Context) -> None:
    accounts.add(ctx, "root2", PASSWORD, who="test")
    accounts.add(ctx, "ann", PASSWORD, who="test")
    epoch = accounts.login(ctx, Throttle(), "ann", PASSWORD, "::1")
    accounts.remove(ctx, "ann", who="test")
    accounts.add(ctx, "ann", PASSWORD, who="test")
    assert epoch is not None
    assert not accounts.session_valid(ctx, "ann", epoch)


def test_a_wrong_password_is_told_and_an_unknown_name_is_not(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, who="test")
    accounts.login(ctx, Throttle(), "ann", "wrong", "192.0.2.9")
    accounts.login(ctx, Throttle(), "a" * 9000, "wrong", "192.0.2.9")
    told = [event["message"] for event in events.recent(ctx) if event["kind"] == "login_failed"]
    assert told == ["wrong password for ann from 192.0.2.9"]


def test_short_passwords_and_odd_names_are_refused(ctx: Context) -> None:
    with pytest.raises(Problem, match="too short"):
        accounts.add(ctx, "ann", "short", who="test")
    with pytest.raises(Problem, match="letters, digits"):
        accounts.add(ctx, "../ann", PASSWORD, who="test")


def test_the_last_user_stays(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, who="test")
    with pytest.raises(Conflict, match="last user"):
        accounts.remove(ctx, "ann", who="test")


def test_no_password_is_stored_in_clear(ctx: Context) -> None:
    accounts.add(ctx, "ann", PASSWORD, who="test")
    assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in ctx.data_dir.glob("pxeforge.db*"))

from typing import Any

import pytest

from pxeforge.services import profiles
from pxeforge.services.answers import DEFAULTS
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound, Problem


def create(ctx: Context, **parameters: Any) -> dict[str, Any]:
    return profiles.create(ctx, "p", image="debian-13", parameters=parameters, who="test")


def test_the_defaults_are_shown_beside_what_is_set(ctx: Context) -> None:
    create(ctx, timezone="Europe/Berlin")
    shown = profiles.show(ctx, "p")
    assert shown["parameters"] == {"timezone": "Europe/Berlin"}
    assert shown["effective"] == {**DEFAULTS, "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"timezoen": "UTC"}, "unknown parameter 'timezoen'"),
        ({"light": "yes"}, "light must be true or false"),
        ({"packages": "vim"}, "packages must be a list"),
        ({"wipe": "all"}, "wipe must be"),
        ({"disk": "biggest"}, "unknown disk rule"),
        ({"layout": "raid"}, "not usable"),
        ({"root_password_hash": "hunter2"}, "must be a hash"),
        ({"kernel_args": "a\nb"}, "kernel arguments not usable"),
        ({"kernel_args": "init=/bin/sh;reboot"}, "kernel arguments not usable"),
        ({"timezone": "UTC\nd-i x y z"}, "timezone"),
        ({"accounts": ["ops"]}, "accounts"),
        ({"accounts": [{"name": "ops", "password": "x"}]}, "accounts"),
        ({"late_snippets": [{"name": "a b", "text": ""}]}, "late snippet name"),
        ({"network": []}, "network must be a mapping"),
        ({"network": {"nics": [{"mac": "boot"}]}}, "no interface has an address"),
        ({"partitions": [{"mount": "/var", "size": "rest"}]}, "one of them must be /"),
        ({"reserve": "40%"}, "only the layouts lvm and luks"),
        ({"reserved_disks": [{"name": "ceph", "disk": "first"}]}, "not `first`"),
        ({"mirror_disk": "serial=S1"}, "only the layout raid1"),
        ({"repositories": [{"name": "r", "url": "http://m/"}]}, "needs the key"),
        ({"mirror_proxy": "proxy:3128"}, "mirror_proxy"),
        ({"security_host": "http://x"}, "security_host"),
        ({"updates": "yes"}, "updates must be true or false"),
        ({"upgrade": "all"}, "not usable"),
        ({"tasks": ["a b"]}, "tasks"),
    ],
)
def test_a_parameter_that_no_answer_file_can_hold_is_refused(
    ctx: Context, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(Problem, match=said) as caught:
        create(ctx, **parameters)
    assert "hunter2" not in str(caught.value)
    assert profiles.list_profiles(ctx) == []


def test_parameters_are_set_and_unset(ctx: Context) -> None:
    create(ctx, timezone="UTC", light=True)
    changed = profiles.change(ctx, "p", parameters={"filesystem": "xfs"}, unset=["light"], who="test")
    assert changed["parameters"] == {"timezone": "UTC", "filesystem": "xfs"}


def test_a_parameter_is_checked_beside_those_that_are_set_already(ctx: Context) -> None:
    create(ctx, layout="lvm")
    profiles.change(ctx, "p", parameters={"reserve": "40%"}, who="test")
    with pytest.raises(Problem, match="only the layouts lvm and luks"):
        profiles.change(ctx, "p", parameters={}, unset=["layout"], who="test")
    assert profiles.show(ctx, "p")["parameters"] == {"layout": "lvm", "reserve": "40%"}


def test_names_are_unique_and_known(ctx: Context) -> None:
    create(ctx)
    with pytest.raises(Conflict, match="there is a profile p already"):
        create(ctx)
    with pytest.raises(NotFound, match="known are p"):
        profiles.show(ctx, "q")


def test_a_profile_that_a_host_is_armed_for_stays(ctx: Context, armed: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match="armed for the profile"):
        profiles.remove(ctx, "debian-13", who="test")


def test_a_parameter_that_does_not_exist_cannot_be_unset(ctx: Context, profile: str) -> None:
    with pytest.raises(Problem, match="unknown parameter 'colour'"):
        profiles.change(ctx, profile, parameters={}, unset=["colour"], who="test")


@pytest.mark.parametrize("key", ["disk", "layout", "timezone", "kernel_args", "accounts", "light"])
def test_a_parameter_that_has_a_default_is_never_empty(ctx: Context, profile: str, key: str) -> None:
    with pytest.raises(Problem, match=key):
        profiles.change(ctx, profile, parameters={key: None}, who="test")

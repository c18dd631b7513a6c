"""Redfish with a BMC that a test can bend: its logins, its quirks, and what is no Redfish at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.domain.power import PowerAbility, PowerState
from pxeforge.services import power_redfish
from pxeforge.services.bmc_http import Place, check_path
from pxeforge.services.power_driver import Deadline, PowerFault, Target
from pxeforge.services.power_redfish import Redfish

from .fake_bmc import PASSWORD, RESET, SYSTEM, USER, Asked, FakeBmc, error, machine, serving


@pytest.fixture
def bmc(tmp_path: Path) -> Iterator[FakeBmc]:
    with serving(FakeBmc(), tmp_path / "bmc") as one:
        yield one


def opened(bmc: FakeBmc, *, password: str = PASSWORD, uefi: bool | None = True, **more: Any) -> Redfish:
    target = Target(
        host_id="a" * 12, label="n1", macs=(), uefi=uefi, driver="redfish", password=password,
        settings={"address": "127.0.0.1", "user": USER, **more},
    )  # fmt: skip
    place = Place(name="127.0.0.1", address="127.0.0.1", port=bmc.port, fingerprint=bmc.fingerprint)
    return Redfish(target, place, Deadline(10))


def test_a_session_is_opened_used_and_ended(bmc: FakeBmc) -> None:
    driver = opened(bmc)
    assert driver.state() is PowerState.OFF
    assert len(bmc.open_sessions) == 1
    assert all("authorization" not in one.headers for one in bmc.asked)
    driver.close()
    assert bmc.open_sessions == set()


def test_name_and_password_go_with_each_request_where_there_are_no_sessions_or_none_are_wanted(bmc: FakeBmc) -> None:
    opened(bmc, login="basic").close()
    assert [one for one in bmc.asked if one.method == "POST"] == []
    bmc.sessions = False
    bmc.answers["POST", "/redfish/v1/SessionService/Sessions"] = lambda _asked: (405, {}, b"<html>no</html>")
    opened(bmc).close()
    with pytest.raises(PowerFault, match="405"):
        opened(bmc, login="session")


def test_a_wrong_password_is_sent_once(bmc: FakeBmc) -> None:
    with pytest.raises(PowerFault, match="does not let this user log in"):
        opened(bmc, password="wrong")
    assert len([one for one in bmc.asked if one.method == "POST"]) == 1


@pytest.mark.parametrize(
    ("offered", "sent"),
    [
        (None, ["On", "ForceRestart", "GracefulShutdown", "ForceOff"]),
        (["ForceOn", "PushPowerButton", "ForceOff", "PowerCycle"],
         ["ForceOn", "PowerCycle", "PushPowerButton", "ForceOff"]),
    ],
)  # fmt: skip
def test_what_the_bmc_offers_is_what_it_is_told(bmc: FakeBmc, offered: list[str] | None, sent: list[str]) -> None:
    if offered is not None:
        bmc.system["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = offered
    driver = opened(bmc)
    driver.switch_on()
    driver.restart()
    driver.switch_off(soft=True)
    driver.switch_off(soft=False)
    driver.close()
    assert bmc.seen("POST") == [{"ResetType": one} for one in sent]


def test_what_is_offered_may_stand_in_a_page_of_its_own(bmc: FakeBmc) -> None:
    bmc.system["Actions"]["#ComputerSystem.Reset"]["@Redfish.ActionInfo"] = f"{SYSTEM}/ResetActionInfo"
    info = {"Parameters": [None, {"Name": "ResetType", "AllowableValues": ["On", "ForceOff", 7]}]}
    bmc.answers["GET", f"{SYSTEM}/ResetActionInfo"] = lambda _asked: (200, {}, info)
    driver = opened(bmc)
    assert driver.can == frozenset(PowerAbility) - {PowerAbility.CYCLE, PowerAbility.SOFT_OFF}
    with pytest.raises(PowerFault, match="cannot do ForceRestart: it offers On, ForceOff"):
        driver.restart()
    driver.close()


@pytest.mark.parametrize(
    ("uefi", "netboot", "wish"),
    [
        (True, "pxe", {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": "UEFI"}),
        (False, "pxe", {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": "Legacy"}),
        (None, "pxe", {"BootSourceOverrideTarget": "Pxe"}),
        (None, "http", {"BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideMode": "UEFI"}),
    ],
)
def test_the_next_boot_is_set_once_for_the_firmware_that_the_host_has(
    bmc: FakeBmc, uefi: bool | None, netboot: str, wish: dict[str, str]
) -> None:
    driver = opened(bmc, uefi=uefi, netboot=netboot)
    driver.netboot_once()
    driver.close()
    assert bmc.seen("PATCH") == [{"Boot": {"BootSourceOverrideEnabled": "Once", **wish}}]
    assert [one.headers["if-match"] for one in bmc.asked if one.method == "PATCH"] == ['W/"1"']


def test_a_boot_that_is_not_offered_is_refused_before_anything_is_sent(bmc: FakeBmc) -> None:
    bmc.system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = ["None", "Pxe"]
    driver = opened(bmc, netboot="http")
    with pytest.raises(PowerFault, match="does not offer UefiHttp for the next boot, only None, Pxe"):
        driver.netboot_once()
    driver.close()
    assert bmc.seen("PATCH") == []


def test_bmcs_that_are_particular_about_tags_and_modes_are_humoured(bmc: FakeBmc) -> None:
    refusals: list[Any] = [(412, {}, error("not this tag")), (428, {}, error("a tag!")), (400, {}, error("no mode"))]

    def particular(_asked: Asked) -> Any:
        return refusals.pop(0) if refusals else None

    bmc.answers["PATCH", SYSTEM] = particular
    driver = opened(bmc)
    driver.netboot_once()
    driver.close()
    patches = [one for one in bmc.asked if one.method == "PATCH"]
    assert [one.headers.get("if-match") for one in patches] == ['W/"1"', '"1"', "*", 'W/"1"']
    assert ["BootSourceOverrideMode" in one.body["Boot"] for one in patches] == [True, True, True, False]


def test_changes_go_where_the_bmc_wants_them(bmc: FakeBmc) -> None:
    bmc.system["@Redfish.Settings"] = {"SettingsObject": {"@odata.id": f"{SYSTEM}/SD"}}
    bmc.answers["PATCH", SYSTEM] = lambda _asked: (405, {}, b"")
    bmc.answers["GET", f"{SYSTEM}/SD"] = lambda _asked: (200, {"ETag": '"7"'}, {})
    bmc.answers["PATCH", f"{SYSTEM}/SD"] = lambda _asked: (202, {}, b"")
    driver = opened(bmc)
    driver.netboot_once()
    driver.close()
    assert bmc.asked[-2].path == f"{SYSTEM}/SD"
    assert bmc.asked[-2].headers["if-match"] == '"7"'


def test_a_refusal_is_told_in_the_words_of_the_bmc(bmc: FakeBmc) -> None:
    bmc.answers["POST", RESET] = lambda _asked: (409, {}, error("the lid \x1b[31mis open"))
    driver = opened(bmc)
    with pytest.raises(PowerFault, match=r"refuses to On \(409: the lid \[31mis open\)"):
        driver.switch_on()
    driver.close()


def test_a_busy_bmc_is_asked_again_and_told_only_once(bmc: FakeBmc, monkeypatch: pytest.MonkeyPatch) -> None:
    from pxeforge.services import bmc_http

    monkeypatch.setattr(bmc_http.time, "sleep", lambda _seconds: None)
    busy = [(503, {}, b""), (502, {}, b"")]
    bmc.answers["GET", "/redfish/v1/Systems"] = lambda _asked: busy.pop() if busy else None
    driver = opened(bmc)
    bmc.answers["POST", RESET] = lambda _asked: (503, {}, b"")
    with pytest.raises(PowerFault, match="503"):
        driver.switch_on()
    driver.close()
    assert bmc.seen("POST") == [{"ResetType": "On"}]


@pytest.mark.parametrize(
    "elsewhere", ["http://evil.example/", "//evil.example/redfish", "/etc/passwd", "/redfish/../x", "/redfish/a b", "x"]
)
def test_a_link_that_leads_elsewhere_is_not_followed(bmc: FakeBmc, elsewhere: str) -> None:
    bmc.system["Actions"]["#ComputerSystem.Reset"]["target"] = elsewhere
    driver = opened(bmc)
    with pytest.raises(PowerFault, match="as an address of its own, which it is not"):
        driver.switch_on()
    driver.close()
    assert bmc.seen("POST") == []


# ---------------------------------------------------------------------------------------------- fuzz

_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["/redfish/v1/Systems/1", "On", "Off", "ResetType", "Pxe", "//x", "/redfish/v1/..", "ForceOff"]),
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_texts, inner, max_size=4)),
    max_leaves=12,
)
_KEYS = (
    "Members", "PowerState", "Actions", "#ComputerSystem.Reset", "target", "ResetType@Redfish.AllowableValues",
    "@Redfish.ActionInfo", "Parameters", "Name", "AllowableValues", "Boot", "error", "message", "Message",
    "BootSourceOverrideTarget@Redfish.AllowableValues", "BootSourceOverrideMode", "@odata.id", "@Redfish.Settings",
    "SettingsObject", "@Message.ExtendedInfo",
)  # fmt: skip


def _shaped(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6)


_system = _shaped(st.one_of(_json, _shaped(st.one_of(_json, _shaped(_json), st.lists(_shaped(_json), max_size=2)))))


@settings(max_examples=60)
@given(_system, _system, st.booleans(), st.one_of(st.none(), st.booleans()), st.one_of(st.none(), _texts))
def test_whatever_a_bmc_says_of_itself_either_means_something_or_is_a_fault_in_one_line(
    system: dict[str, Any], other: dict[str, Any], by_http: bool, uefi: bool | None, wanted: str | None
) -> None:
    assert isinstance(power_redfish.power_state(system), PowerState)
    assert power_redfish.message_of(system).isprintable()
    for work in (
        lambda: check_path(power_redfish.reset_path(system, SYSTEM)),
        lambda: power_redfish.chosen_reset(power_redfish.reset_types(system, lambda _path: other), ("On",)),
        lambda: power_redfish.boot_wish(system, by_http=by_http, uefi=uefi)["BootSourceOverrideTarget"],
        lambda: check_path(power_redfish.chosen_system(system, wanted, "bmc")),
        lambda: check_path(power_redfish.settings_path(system) or SYSTEM),
    ):
        assert outcome(work).isprintable()


def outcome(work: Callable[[], str]) -> str:
    """What it gives, or the fault: nothing else may come."""
    try:
        return work()
    except PowerFault as fault:
        return str(fault)


@pytest.fixture(scope="module")
def odd_bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBmc]:
    with serving(FakeBmc(), tmp_path_factory.mktemp("odd")) as one:
        yield one


@settings(max_examples=25)
@given(
    st.sampled_from([("GET", "/redfish/v1/"), ("GET", "/redfish/v1/Systems"), ("GET", SYSTEM), ("POST", RESET)]),
    st.sampled_from([200, 201, 204, 299, 301, 400, 401, 404, 412, 500]),
    st.one_of(_system, _json, st.binary(max_size=60)),
    st.dictionaries(st.sampled_from(["ETag", "Location", "X-Auth-Token", "WWW-Authenticate"]),
                    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20), max_size=3),
)  # fmt: skip
def test_whatever_a_bmc_answers_either_works_or_is_a_fault(
    odd_bmc: FakeBmc, where: tuple[str, str], status: int, body: Any, headers: dict[str, str]
) -> None:
    odd_bmc.system, odd_bmc.asked = machine(), []
    odd_bmc.answers = {where: lambda _asked: (status, headers, b"" if status in (204, 304) else body)}

    def talk() -> str:
        with contextlib.closing(opened(odd_bmc)) as driver:
            driver.netboot_once()
            driver.switch_on()
            return driver.state().value

    assert outcome(talk).isprintable()

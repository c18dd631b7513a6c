from __future__ import annotations

import pytest

from bench.fleet import Fleet, mac_of, make_fleet, name_of
from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.domain.mac import MacAddress
from pxeforge.render.menus import MenuKind
from pxeforge.services import hosts, wire_answers, wire_menus
from pxeforge.services.context import Context


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return make_fleet(tmp_path_factory.mktemp("fleet") / "data", 4)


@pytest.fixture
def ctx(fleet: Fleet) -> Context:
    return open_context(Settings.model_validate({"data_dir": fleet.folder}))


def test_every_host_of_a_fleet_is_armed_and_has_an_identity_of_its_own(ctx: Context) -> None:
    found = hosts.list_hosts(ctx)
    assert {host["state"] for host in found} == {"armed"}
    assert {(host["macs"][0], host["name"]) for host in found} == {(mac_of(n), name_of(n)) for n in range(4)}
    assert len({host["id"] for host in found}) == 4


def test_the_last_copy_boots_and_is_answered_as_the_first_one(ctx: Context, fleet: Fleet) -> None:
    menus, answers = fleet.menus.read_text().splitlines(), fleet.answers.read_text().splitlines()
    assert (len(menus), len(set(answers))) == (4, 4)
    for number in (0, 3):
        assert menus[number] == f"/boot/{mac_of(number)}/menu.ipxe"
        menu = wire_menus.menu(ctx, MacAddress.parse(mac_of(number)), MenuKind.IPXE, peer="172.16.0.1")
        assert answers[number] in menu
        text = wire_answers.answers(ctx, answers[number].removeprefix("/answers/"), peer="172.16.0.1")
        assert f"d-i netcfg/get_hostname string {name_of(number)}\n" in text
        assert hosts.show(ctx, mac_of(number))["state"] == "installing"

"""Power of hosts with BMCs of other people: a Redfish emulator and an IPMI simulator on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pxeforge.app.certificate import fingerprint
from pxeforge.services import hosts, power
from pxeforge.services.context import Context
from pxeforge.services.events import timeline
from pxeforge.services.power_driver import PowerFault

from .bmcs import PASSWORD, USER, UUIDS, Bmc, ipmi, redfish

MAC = "52:54:00:12:34:56"


@pytest.fixture(scope="module")
def redfish_bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    with redfish(tmp_path_factory.mktemp("redfish"), systems=2) as bmc:
        yield bmc


@pytest.fixture(scope="module")
def ipmi_bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    with ipmi(tmp_path_factory.mktemp("ipmi")) as bmc:
        yield bmc


@pytest.fixture
def host(ctx: Context) -> str:
    ctx.operator_dir.mkdir(exist_ok=True)
    (ctx.operator_dir / "power.toml").write_text('networks = ["127.0.0.0/8"]\n')
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    return "n1"


def by_redfish(ctx: Context, bmc: Bmc, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    settings = {
        "driver": "redfish", "address": "127.0.0.1", "port": bmc.port, "user": USER, "system": UUIDS[0],
        "fingerprint": fingerprint(bmc.certificate), **more,
    }  # fmt: skip
    return power.set_power(ctx, "n1", settings, password=password, who="root")


def by_ipmi(ctx: Context, bmc: Bmc, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    settings = {"driver": "ipmi", "address": "127.0.0.1", "port": bmc.port, "user": USER, "cipher": 3, **more}
    return power.set_power(ctx, "n1", settings, password=password, who="root")


def told(ctx: Context) -> list[str]:
    rows = timeline(ctx, hosts.show(ctx, "n1")["id"])
    return [f"{row['kind']} {row['who']}: {row['message']}" for row in rows if row["kind"].startswith("power")]


def test_a_host_is_switched_by_a_redfish_bmc_and_its_timeline_says_by_whom(
    ctx: Context, host: str, redfish_bmc: Bmc
) -> None:
    by_redfish(ctx, redfish_bmc)
    power.act(ctx, host, "off", who="eve")
    assert power.status(ctx, host)["state"] == "off"
    assert power.act(ctx, host, "on", who="eve")["message"] == "n1 was switched on"
    assert power.act(ctx, host, "on", who="eve")["message"] == "n1 is on already"
    booted = power.act(ctx, host, "pxe", who="eve")
    assert booted["message"] == "n1 was switched off and on again, to boot from the network"
    assert "not armed" in booted["note"]
    assert power.act(ctx, host, "off", who="eve", soft=True)["message"] == "n1 was shut down"
    said = told(ctx)
    assert "power_asked eve: power pxe asked by eve (redfish)" in said
    assert said[-2:] == [
        "power_asked eve: power off softly asked by eve (redfish)",
        "power_done None: n1 was shut down",
    ]


@pytest.mark.parametrize("netboot", ["pxe", "http"])
def test_the_next_boot_is_set_at_the_redfish_bmc(ctx: Context, host: str, tmp_path: Path, netboot: str) -> None:
    folder = tmp_path / "bmc"
    folder.mkdir()
    with redfish(folder) as bmc:
        by_redfish(ctx, bmc, netboot=netboot)
        assert boot_of(bmc) == "Hdd"
        power.act(ctx, host, "pxe", who="eve")
        assert boot_of(bmc) == "Pxe"  # the emulator's machines take UefiHttp for it


def boot_of(bmc: Bmc) -> str:
    reply = requests.get(
        f"https://127.0.0.1:{bmc.port}/redfish/v1/Systems/{UUIDS[0]}", auth=(USER, PASSWORD), timeout=10,
        verify=str(bmc.certificate),
    )  # fmt: skip
    return str(reply.json()["Boot"]["BootSourceOverrideTarget"])


def test_a_redfish_bmc_is_believed_by_its_fingerprint_or_an_authority_and_else_not(
    ctx: Context, host: str, redfish_bmc: Bmc
) -> None:
    by_redfish(ctx, redfish_bmc, fingerprint=None)
    plain = fingerprint(redfish_bmc.certificate).replace(":", "").lower()
    error = power.status(ctx, host)["error"]
    assert "is not trusted" in error
    assert f"set --fingerprint {plain}" in error
    by_redfish(ctx, redfish_bmc, fingerprint="00" * 32)
    assert (
        f"shows another certificate than was set: if it was renewed, set --fingerprint {plain}"
        in (power.status(ctx, host)["error"])
    )
    by_redfish(ctx, redfish_bmc, fingerprint=None, ca="bmc.pem")
    assert "power-ca/bmc.pem is not there" in power.status(ctx, host)["error"]
    (ctx.operator_dir / "power-ca").mkdir()
    (ctx.operator_dir / "power-ca" / "bmc.pem").write_bytes(redfish_bmc.certificate.read_bytes())
    assert power.status(ctx, host)["error"] is None


def test_the_wrong_password_and_the_wrong_system_are_said(ctx: Context, host: str, redfish_bmc: Bmc) -> None:
    by_redfish(ctx, redfish_bmc, password="wrong")
    with pytest.raises(PowerFault, match="does not let this user"):
        power.act(ctx, host, "on", who="eve")
    assert "power_failed None: power on failed: the BMC 127.0.0.1 does not let this user" in told(ctx)[-1]
    by_redfish(ctx, redfish_bmc, system="7")
    assert f"has no system '7': it has {', '.join(sorted(UUIDS))}" in power.status(ctx, host)["error"]
    by_redfish(ctx, redfish_bmc, system=None)
    assert "has 2 systems" in power.status(ctx, host)["error"]


def test_the_only_system_of_a_redfish_bmc_is_found(ctx: Context, host: str, tmp_path: Path) -> None:
    folder = tmp_path / "bmc"
    folder.mkdir()
    with redfish(folder) as bmc:
        by_redfish(ctx, bmc, system=None)
        assert power.status(ctx, host)["state"] == "off"


def test_a_host_is_switched_by_an_ipmi_bmc(ctx: Context, host: str, ipmi_bmc: Bmc) -> None:
    by_ipmi(ctx, ipmi_bmc)
    power.act(ctx, host, "off", who="eve")
    assert power.status(ctx, host)["state"] == "off"
    assert power.act(ctx, host, "pxe", who="eve")["message"] == "n1 was switched on, to boot from the network"
    assert ipmi_bmc.log.index("set boot pxe") < ipmi_bmc.log.index("set power 1")
    assert power.status(ctx, host)["state"] == "on"
    assert power.act(ctx, host, "off", who="eve", soft=True)["message"] == "n1 was shut down"
    assert "set shutdown" in ipmi_bmc.log


def test_the_wrong_password_at_an_ipmi_bmc_is_said_and_never_stands_in_a_process_list(
    ctx: Context, host: str, ipmi_bmc: Bmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pxeforge.services import power_ipmi, power_program

    by_ipmi(ctx, ipmi_bmc, password="wr0ng")
    seen: list[list[str]] = []
    real = power_program.run

    def watched(argv: list[str], *rest: Any) -> Any:
        seen.append(list(argv))
        return real(argv, *rest)

    monkeypatch.setattr(power_ipmi, "run", watched)
    with pytest.raises(PowerFault, match="does not answer IPMI, or not to this user"):
        power.act(ctx, host, "on", who="eve")
    assert seen
    assert not any("wr0ng" in word for argv in seen for word in argv)


def test_a_bmc_that_is_not_there_is_said(ctx: Context, host: str, redfish_bmc: Bmc) -> None:
    by_redfish(ctx, Bmc(1, redfish_bmc.folder))
    found = power.status(ctx, host)
    assert found["state"] == "unknown"
    assert found["error"] == "the BMC 127.0.0.1 cannot be reached on port 1 (Connection refused)"

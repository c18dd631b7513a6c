from hypothesis import given
from hypothesis import strategies as st

from pxeforge.domain.boot import BOOTABLE, Boot, BootRequest, KnownHost, UnknownHosts, decide_boot
from pxeforge.domain.firmware import Firmware
from pxeforge.domain.lifecycle import HostState
from pxeforge.domain.mac import MacAddress

MAC = MacAddress.parse("52:54:00:12:34:56")


def request(firmware: Firmware = Firmware.BIOS, *, is_ipxe: bool = False) -> BootRequest:
    return BootRequest(mac=MAC, firmware=firmware, is_ipxe=is_ipxe)


def test_an_unknown_host_boots_its_disk() -> None:
    decision = decide_boot(request(), None, now=0)
    assert decision.boot is Boot.LOCAL
    assert "unknown" in decision.reason


@given(st.sampled_from(Firmware), st.sampled_from(UnknownHosts))
def test_an_unknown_host_is_never_offered_an_installer_whatever_the_setting(
    firmware: Firmware, unknown: UnknownHosts
) -> None:
    decision = decide_boot(request(firmware), None, 0, unknown)
    expected = {
        UnknownHosts.SILENCE: Boot.SILENCE,
        UnknownHosts.LOCAL: Boot.LOCAL,
        UnknownHosts.DISCOVER: Boot.DISCOVER,
    }
    can_run = unknown is not UnknownHosts.DISCOVER or firmware in BOOTABLE
    assert decision.boot is (expected[unknown] if can_run else Boot.LOCAL)
    assert decision.boot.sends_file is (decision.boot is Boot.DISCOVER)


@given(st.sampled_from(HostState), st.sampled_from(UnknownHosts))
def test_the_setting_for_unknown_hosts_changes_nothing_for_the_others(state: HostState, unknown: UnknownHosts) -> None:
    host = KnownHost(state=state, armed_until=100.0)
    assert decide_boot(request(), host, 0, unknown) == decide_boot(request(), host, 0)


def test_an_armed_host_installs_until_its_time_is_over() -> None:
    host = KnownHost(state=HostState.ARMED, armed_until=100.0)
    assert decide_boot(request(), host, now=99.9).boot is Boot.INSTALL
    assert decide_boot(request(), host, now=100.0).boot is Boot.LOCAL


@given(st.sampled_from(HostState), st.floats(0, 200), st.sampled_from(Firmware), st.booleans())
def test_whoever_is_not_armed_is_never_offered_an_installer(
    state: HostState, now: float, firmware: Firmware, is_ipxe: bool
) -> None:
    decision = decide_boot(request(firmware, is_ipxe=is_ipxe), KnownHost(state=state, armed_until=100.0), now)
    if state not in (HostState.ARMED, HostState.BOOTING) or now >= 100.0:
        assert decision.boot is Boot.LOCAL
    assert decision.reason


@given(st.sampled_from(Firmware), st.booleans())
def test_a_firmware_whose_processor_cannot_run_the_images_is_left_alone(firmware: Firmware, is_ipxe: bool) -> None:
    host = KnownHost(state=HostState.ARMED, armed_until=100.0)
    decision = decide_boot(request(firmware, is_ipxe=is_ipxe), host, now=0)
    runs = firmware in (
        Firmware.BIOS, Firmware.UEFI_X64, Firmware.HTTP_X64, Firmware.UEFI_ARM64, Firmware.HTTP_ARM64
    )  # fmt: skip
    assert decision.boot is (Boot.INSTALL if runs else Boot.LOCAL)
    assert runs or firmware.value in decision.reason

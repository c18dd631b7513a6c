"""From power-on to a token of keystone, with no hand touch: an hour on an emulated processor."""

from __future__ import annotations

import pytest

from pxeforge.lab.journey import CLOUD_ROLES, Journey
from tests.e2e.conftest import LabMaker

pytestmark = [pytest.mark.by_hand, pytest.mark.timeout(7200)]


def test_a_bare_machine_ends_with_a_keystone_that_gives_tokens(make_lab: LabMaker) -> None:
    journey = Journey(make_lab("keystone"), print, roles=CLOUD_ROLES)
    try:
        journey.run()
    finally:
        journey.machine.power_off()

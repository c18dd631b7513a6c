from __future__ import annotations

import pytest

from pxeforge.domain.mac import MacAddress
from pxeforge.protocol.tftp.blksize import USUAL, BadBlksize, parse_rules

MAC = MacAddress.parse("52:54:00:12:34:56")


@pytest.mark.parametrize(
    ("rules", "largest"),
    [
        ((), USUAL),
        (("1024",), 1024),
        (("52:54:00=1024",), 1024),
        (("1456", "52:54:00=1024", "52:54:00:12:34:56=512"), 512),
        (("1456", "52:54:01=1024"), 1456),
        (("52:54:00=1024", "10.0.0.7=1300"), 1300),
        (("10.0.0.8=1300",), USUAL),
        ((" 8968 ",), 8968),
    ],
)
def test_the_closest_rule_counts(rules: tuple[str, ...], largest: int) -> None:
    assert parse_rules(rules).largest_for("10.0.0.7", MAC) == largest


def test_who_has_no_mac_address_gets_what_all_get() -> None:
    assert parse_rules(["52:54:00=1024", "1300"]).largest_for("10.0.0.7", None) == 1300


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "names no block size"),
        ("100", "give 512 to 8968 bytes"),
        ("9000", "give 512 to 8968 bytes"),
        ("big", "names no block size"),
        ("52:54=", "names no block size"),
        ("host7=1024", "names nobody"),
        ("10.0.0.300=1024", "names nobody"),
        ("52:5=1024", "names nobody"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_an_example(rule: str, reason: str) -> None:
    with pytest.raises(BadBlksize, match=reason):
        parse_rules([rule])

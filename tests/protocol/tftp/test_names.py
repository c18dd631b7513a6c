from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.protocol.tftp.names import BadName, normalise

ROOTS = ("/var/lib/tftpboot", "/srv/tftp/")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"pxelinux.0", "pxelinux.0"),
        (b"/pxelinux.0", "pxelinux.0"),
        (b"//boot///x/./y", "boot/x/y"),
        (b"\\boot\\x.efi", "boot/x.efi"),
        (b"pxelinux.0\xff", "pxelinux.0"),
        (b"pxelinux.0\xff\0", "pxelinux.0"),
        (b"/srv/tftp/boot/x", "boot/x"),
        (b"/var/lib/tftpboot/pxelinux.cfg/01-52-54-00-12-34-56", "pxelinux.cfg/01-52-54-00-12-34-56"),
        (b"/srv/tftp-old/x", "srv/tftp-old/x"),
        (b"srv/tftp/x", "srv/tftp/x"),
        ("bücher".encode(), "bücher"),
        (b"a..b/...", "a..b/..."),
    ],
)
def test_all_spellings_mean_one_name(raw: bytes, name: str) -> None:
    assert normalise(raw, roots=ROOTS) == name


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"../etc/passwd", "climbs"),
        (b"boot/../../x", "climbs"),
        (b"boot\\..\\..\\x", "climbs"),
        (b"/srv/tftp/../secret", "climbs"),
        (b"a\0b", "control"),
        (b"a\nb", "control"),
        (b"", "empty"),
        (b"/", "empty"),
        (b"/srv/tftp/", "empty"),
        (b"x\xfey", "UTF-8"),
        (b"x" * 513, "513"),
    ],
)
def test_what_is_no_plain_name_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(BadName, match=reason):
        normalise(raw, roots=ROOTS)


@given(st.one_of(st.binary(max_size=60), st.text("./\\ab\0", max_size=20).map(str.encode)))
def test_a_name_that_passes_is_relative_and_stays_inside(raw: bytes) -> None:
    with suppress(BadName):
        name = normalise(raw, roots=ROOTS)
        assert name
        assert not name.startswith("/")
        assert not {"..", ".", ""} & set(name.split("/"))
        assert normalise(name.encode()) == name

"""What an operator can type at an iPXE prompt when no DHCP server leads a host here."""

from __future__ import annotations

from pxeforge.services import hosts
from pxeforge.services.context import Context

from .conftest import Browser


def test_the_page_of_a_host_holds_the_recipe_for_its_own_menu(ctx: Context, browser: Browser) -> None:
    host = hosts.add(ctx, macs=["52:54:00:12:34:56"], name="db-01", who="test")
    text = browser.get(f"/hosts/{host['id']}").get_data(as_text=True)
    assert "dhcp net0\nchain http://192.0.2.1:8080/boot/52:54:00:12:34:56/menu.ipxe" in text

"""The pages in a real browser, served by the real `pxeforge serve`, with a machine that is simulated on the wire.

Chromium runs inside the server's network namespace; nothing reaches another network. With PXEFORGE_PICTURES=FOLDER the
pictures of the documents are taken anew.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.domain.user_role import UserRole
from pxeforge.services import accounts, hosts, installer_log, power, profiles, racks, rules
from pxeforge.services.context import Context
from pxeforge.store.tables import ImageImport, PowerOrder, PowerOrderHost
from tests.conftest import ACCOUNT, write_image

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM: Final = shutil.which("chromium")
pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(600),
]

SERVER, ADDRESS, MAC = "10.99.0.1", "10.99.0.50", "52:54:00:99:00:01"
SITE: Final = "https://127.0.0.1:8443"
PASSWORD: Final = "four words of mine"
FLEET: Final = 40
POWER_ORDER: Final = "0123456789ab"
GALERA: Final = """
name: galera
summary: a role that stands beside no other database
requires: []
conflicts: [mariadb]
disks: {count: 2, min_gb: 100}
variables: {}
tasks:
  - name: only
    steps:
      - packages: {names: [hello]}
"""
LOG: Final = (
    "netcfg[1422]: DEBUG: Reading domain name returned via DHCP", "anna[4031]: DEBUG: retrieving partman-lvm 149",
    "clock-setup: not setting hardware clock", "main-menu[270]: INFO: Menu item 'partman-base' selected",
    "partman: mke2fs 1.47.2 (1-Jan-2025)", "partman: Creating filesystem with 468843606 4k blocks",
    "base-installer: debootstrap started", "debootstrap: Retrieving InRelease", "debootstrap: Unpacking libc6:amd64",
    "debootstrap: Configuring systemd", "main-menu[270]: INFO: Menu item 'pkgsel' selected",
    "in-target: Setting up openssh-server (1:10.0p1-7) ...", "in-target: Setting up python3 (3.13.5-1) ...",
    "grub-installer: Installing for x86_64-efi platform.", "grub-installer: Installation finished. No error reported.",
    "finish-install: info: Running /usr/lib/finish-install.d/07preseed", "pxeforge: late script finished",
)  # fmt: skip
PICTURES = os.environ.get("PXEFORGE_PICTURES")


@dataclass
class Site:
    """The server with its data directory, and the namespaces of server and machine."""

    folder: Path
    namespace: str
    machine: str
    process: subprocess.Popen[bytes] | None = field(default=None)
    _logs: int = field(default=0)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / f"serve-{self._logs}.log"

    def start(self) -> None:
        self._logs += 1
        environment = {
            **os.environ, "PXEFORGE_MIRROR": "http://127.0.0.1:9/debian", "PXEFORGE_BOOT_PROCESSES": "1",
            "PXEFORGE_OPERATOR_DIR": str(self.folder / "etc"),
        }  # fmt: skip
        words = [
            sys.executable, "-m", "pxeforge", "serve", "--data-dir", str(self.data_dir), "--interface", "br0",
            "--dhcp", "server", "--range", "10.99.0.60-10.99.0.90", "--force",
        ]  # fmt: skip
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *words], stdout=stream, stderr=stream, env=environment
            )
        deadline = time.monotonic() + 120
        while "pxeforge is ready" not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def machine_does(self, step: str) -> str:
        words = [sys.executable, "-m", "tests.e2e.simulated_machine", step, SERVER, MAC, ADDRESS]
        done = subprocess.run(
            ["ip", "netns", "exec", self.machine, *words, str(self.folder / "kept")],
            capture_output=True, text=True, check=False, timeout=120, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("browser")
    ending = secrets.token_hex(3)
    one = Site(folder, f"pages-{ending}", f"machine-{ending}")
    role = folder / "etc" / "roles" / "galera"
    role.mkdir(parents=True)
    (role / "role.yaml").write_text(GALERA)
    (one.data_dir / "images").mkdir(parents=True, mode=0o700)
    write_image(one.data_dir)
    for name in (one.namespace, one.machine):
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    try:
        for words in ("link add br0 type bridge", f"addr add {SERVER}/24 dev br0", "link set br0 up"):
            ip("-n", one.namespace, *words.split())
        ip("-n", one.namespace, *f"link add port0 type veth peer name nic0 netns {one.machine}".split())
        ip("-n", one.namespace, *["link", "set", "port0", "master", "br0", "up"])
        ip("-n", one.machine, *f"link set nic0 address {MAC} up".split())
        ip("-n", one.machine, *f"addr add {ADDRESS}/24 dev nic0".split())
        one.start()
        yield one
    finally:
        one.stop()
        for name in (one.namespace, one.machine):
            ip("netns", "del", name)


@pytest.fixture(scope="module")
def ctx(site: Site) -> Iterator[Context]:
    """The server's own data directory, for what a test prepares."""
    context = open_context(Settings.model_validate({"data_dir": site.data_dir}), upgrade=False)
    profiles.create(context, "debian-13", image="debian-13", parameters={"accounts": [ACCOUNT]}, who="test")
    for name, role in (("ann", UserRole.ADMIN), ("bob", UserRole.OPERATOR), ("vera", UserRole.VIEWER)):
        accounts.add(context, name, PASSWORD, role=role, who="test")
    for number in range(FLEET):
        mac = f"52:54:00:77:00:{number:02x}"
        hosts.add(context, macs=[mac], name=f"bulk-{number:02}", tags=["rack-a"] if number % 2 else [], who="test")
    yield context
    context.database.close()


@pytest.fixture(scope="module")
def chromium(site: Site) -> Iterator[Any]:
    """A browser inside the server's namespace: the pages are on its loopback only."""
    inside = site.folder / "chromium"
    inside.write_text(f'#!/bin/sh\nexec ip netns exec {site.namespace} {CHROMIUM} "$@"\n')
    inside.chmod(0o755)
    words = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(inside), args=words)
        yield browser
        browser.close()


NewPage = Callable[..., Any]


@pytest.fixture
def new_page(chromium: Any, ctx: Context) -> Iterator[NewPage]:
    """A page of a browser of its own, logged in as the user; closed at the end."""
    opened = []

    def make(user: str = "ann", **wishes: Any) -> Any:
        usual = {"viewport": {"width": 1280, "height": 800}, "ignore_https_errors": True}
        context = chromium.new_context(**{**usual, **wishes})
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        # No script of ours may fail unseen.
        page.on("pageerror", lambda problem: failures.append(f"{page.url}: {problem}"))
        if user:
            log_in(page, user)
        return page

    failures: list[str] = []
    yield make
    for context in opened:
        context.close()
    assert failures == []


def log_in(page: Any, user: str, password: str = PASSWORD) -> None:
    page.goto(f"{SITE}/login")
    page.get_by_label("Name").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda address: "/login" not in address)


def expect(found: Any) -> Any:
    return playwright.expect(found)


def picture(page: Any, name: str) -> None:
    """For the documents, when they are asked for: what is seen first, and no file above 200 kB."""
    if PICTURES:
        page.mouse.move(0, 0)
        page.wait_for_timeout(200)
        seen = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": 800}
        path = Path(PICTURES) / f"{name}.png"
        page.screenshot(path=str(path), clip=seen)
        assert path.stat().st_size <= 200_000, name


def state_of(ctx: Context, name: str) -> str:
    return str(hosts.show(ctx, name)["state"])


# ------------------------------------------------------------------------------------------------ the way in


def test_the_first_login_asks_for_a_password_of_ones_own(site: Site, new_page: NewPage) -> None:
    printed = re.search(r"log in as admin with the password (\S+)", site.said())
    assert printed, site.said()
    page = new_page(user="", viewport={"width": 1280, "height": 800})
    page.goto(f"{SITE}/hosts")
    picture(page, "login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(printed[1])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
    page.goto(f"{SITE}/audit")
    expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
    page.get_by_label("The password you came in with").fill(printed[1])
    for label in ("New password", "New password again"):
        page.get_by_label(label, exact=True).fill("my very own words")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("link", name="Dashboard")).to_be_visible()


def test_a_viewer_is_shown_no_button_and_refused_when_asking_all_the_same(new_page: NewPage, ctx: Context) -> None:
    page = new_page("vera")
    page.goto(f"{SITE}/hosts")
    expect(page.get_by_role("link", name="bulk-00")).to_be_visible()
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
    page.goto(f"{SITE}/roles")
    expect(page.get_by_role("button", name="Give base")).to_have_count(0)
    status = page.evaluate(
        """async () => {
          const token = JSON.parse(document.body.getAttribute("hx-headers:inherited"))["X-CSRF-Token"];
          const body = new URLSearchParams({host: "bulk-00", do: "forget", confirm: "yes", csrf_token: token});
          return (await fetch("/hosts/do", {method: "POST", body})).status;
        }"""
    )
    assert status == 403
    assert state_of(ctx, "bulk-00") == "known"


def test_light_and_dark_are_switched_and_kept(new_page: NewPage) -> None:
    page = new_page(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark").click()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(ground)
    page.goto(f"{SITE}/hosts")
    assert page.evaluate(ground) == dark != light


# ------------------------------------------------------------------------------------------------ a machine's whole way


def test_a_machine_is_discovered_given_a_role_armed_watched_and_ready(
    site: Site, new_page: NewPage, ctx: Context
) -> None:
    page = new_page("bob")
    page.goto(f"{SITE}/hosts?state=discovered")
    site.machine_does("discover")
    row = page.get_by_role("row").filter(has_text=MAC)
    expect(row).to_contain_text("discovered")  # without a reload

    hosts.change(ctx, MAC, name="db-01", loader="ipxe", who="test")
    page.goto(f"{SITE}/roles?q=db-01")
    page.locator("tr[data-host]", has_text="db-01").drag_to(page.locator("#role-base"))
    expect(page.locator("#draft-title")).to_have_text("Not saved yet: 1 change on 1 host")
    expect(page.get_by_text("not registered yet: install it first").first).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved on 1 host: 1 given, 0 taken away.")).to_be_visible()

    page.goto(f"{SITE}/hosts?q=db-01")
    page.get_by_label("Choose db-01").check()
    page.locator("summary", has_text="Arm").click()
    page.get_by_role("button", name="Arm…", exact=True).click()
    expect(page.get_by_role("heading", name="Arm db-01 for debian-13?")).to_be_visible()
    expect(page.get_by_text("The disk that the rule chooses is overwritten.")).to_be_visible()
    page.get_by_role("button", name="Arm db-01").click()
    expect(page.get_by_text("db-01 is armed for debian-13")).to_be_visible()

    page.goto(f"{SITE}/")
    boot = page.locator(".boots li", has_text="db-01")
    expect(boot).to_contain_text("armed")
    site.machine_does("boot")
    expect(boot).to_contain_text("installing")
    picture(page, "dashboard-boot")
    site.machine_does("register")
    page.goto(f"{SITE}/hosts?q=db-01")
    expect(page.locator(".hosts .badge")).to_have_text("registered")

    page.goto(f"{SITE}/plan")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url("**/runs/**")
    assert int(site.machine_does("work")) > 0
    expect(page.locator("h1 .badge")).to_have_text("succeeded")
    page.goto(f"{SITE}/hosts?q=db-01")
    expect(page.locator(".hosts .badge")).to_have_text("ready")


# ------------------------------------------------------------------------------------------------ roles


def test_forty_hosts_are_given_a_role_at_once(new_page: NewPage, ctx: Context) -> None:
    page = new_page("bob")
    page.goto(f"{SITE}/roles?q=bulk")
    page.get_by_label("Choose all hosts of this page").check()
    expect(page.locator("#chosen")).to_have_text(f"{FLEET} chosen")
    page.keyboard.press("1")  # base is the first role
    expect(page.locator("#draft-title")).to_have_text(f"Not saved yet: {FLEET} changes on {FLEET} hosts")
    picture(page, "roles")
    assert hosts.show(ctx, "bulk-07")["roles"] == []
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text(f"Saved on {FLEET} hosts: {FLEET} given")).to_be_visible()
    assert sum(host["roles"] == ["base"] for host in hosts.list_hosts(ctx, role="base")) >= FLEET


def test_a_conflict_and_missing_disks_are_told_before_anything_is_saved(new_page: NewPage, ctx: Context) -> None:
    with ctx.database.write() as session:
        host = hosts.find(session, "bulk-01")
        host.facts = {"disks": [{"name": "vda", "size_bytes": 10**12, "system": True}]}
    page = new_page("bob")
    page.goto(f"{SITE}/roles?q=bulk-01")
    page.get_by_label("Choose bulk-01").check()
    page.get_by_role("button", name="Give galera").click()
    expect(page.get_by_text("role galera needs 2 disks of at least 100 GB").first).to_be_visible()
    page.get_by_role("button", name="Give mariadb").click()
    expect(page.get_by_text("roles galera and mariadb cannot be on one host").first).to_be_visible()
    expect(page.get_by_role("button", name="Save all the same")).to_be_visible()
    picture(page, "roles-conflict")
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#draft")).to_have_count(0)
    assert "galera" not in hosts.show(ctx, "bulk-01")["roles"]


def test_of_two_operators_the_second_is_told_and_keeps_the_draft(new_page: NewPage, ctx: Context) -> None:
    ann, bob = new_page("ann"), new_page("bob")
    for page, role in ((ann, "mariadb"), (bob, "base")):
        page.goto(f"{SITE}/roles?q=bulk-02")
        page.get_by_label("Choose bulk-02").check()
        page.get_by_role("button", name=f"{'Give' if role == 'mariadb' else 'Take'} {role}").click()
        expect(page.locator("#draft")).to_be_visible()
    ann.get_by_role("button", name="Save", exact=True).click()
    expect(ann.get_by_text("Saved on 1 host")).to_be_visible()
    bob.get_by_role("button", name="Save", exact=True).click()
    expect(bob.get_by_role("alert")).to_contain_text("role mariadb assigned by ann")
    assert set(hosts.show(ctx, "bulk-02")["roles"]) == {"base", "mariadb"}
    bob.get_by_role("button", name="Save", exact=True).click()
    expect(bob.get_by_text("Saved on 1 host: 0 given, 1 taken away.")).to_be_visible()
    assert hosts.show(ctx, "bulk-02")["roles"] == ["mariadb"]


def test_of_two_who_rename_a_host_the_second_is_told(new_page: NewPage, ctx: Context) -> None:
    host_id = hosts.show(ctx, "bulk-03")["id"]
    ann, bob = new_page("ann"), new_page("bob")
    for page in (ann, bob):
        page.goto(f"{SITE}/hosts/{host_id}")
    for page, tags in ((ann, "from-ann"), (bob, "from-bob")):
        page.locator("input[name=tags]").fill(tags)
        page.locator("form", has=page.locator("input[name=tags]")).get_by_role("button", name="Save").click()
        page.wait_for_load_state()
    expect(bob.get_by_role("alert").first).to_contain_text("not as you saw it")
    assert hosts.show(ctx, "bulk-03")["tags"] == ["from-ann"]


def test_roles_are_found_by_typing_and_given_by_a_key(new_page: NewPage, ctx: Context) -> None:
    page = new_page("bob")
    page.goto(f"{SITE}/roles?q=bulk-04")
    expect(page.locator("#role-cloud")).to_be_hidden()  # it comes along with others
    page.get_by_label("Choose bulk-04").check()
    page.locator("h1").click()
    page.keyboard.press("r")
    page.keyboard.type("cloud")
    expect(page.locator("#role-cloud")).to_be_visible()
    expect(page.locator("#role-mariadb")).to_be_hidden()
    page.locator("#role-filter").fill("identity service")
    expect(page.locator(".role-card:visible")).to_have_count(1)
    expect(page.locator("#role-keystone kbd")).to_have_text("1")
    page.keyboard.press("Enter")
    expect(page.locator("#draft-title")).to_have_text("Not saved yet: 1 change on 1 host")
    expect(page.locator("#role-mariadb")).to_be_hidden()  # the filter stays
    page.locator("#role-filter").fill("no such thing")
    expect(page.locator("#no-role")).to_be_visible()
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#draft")).to_have_count(0)


def test_roles_are_given_without_javascript(new_page: NewPage, ctx: Context) -> None:
    page = new_page("bob", java_script_enabled=False)
    page.goto(f"{SITE}/roles?q=bulk-04")
    page.get_by_label("Choose bulk-04").check()
    page.get_by_role("button", name="Give mariadb").click()
    expect(page.locator("#draft-title")).to_have_text("Not saved yet: 1 change on 1 host")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved on 1 host")).to_be_visible()
    assert "mariadb" in hosts.show(ctx, "bulk-04")["roles"]


# ------------------------------------------------------------------------------------------------ lists, racks, rules


def test_the_list_is_used_by_keyboard(new_page: NewPage) -> None:
    page = new_page("bob")
    page.goto(f"{SITE}/hosts?q=bulk")
    for key in ("j", "j", "x", "j", "x", "k"):
        page.keyboard.press(key)
    expect(page.locator("#chosen")).to_have_text("2 chosen")
    expect(page.get_by_label("Choose bulk-01")).to_be_checked()
    expect(page.get_by_label("Choose bulk-02")).to_be_checked()
    page.wait_for_timeout(3500)  # the list refreshes itself meanwhile
    expect(page.locator("#chosen")).to_have_text("2 chosen")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="bulk-01")).to_be_visible()
    page.goto(f"{SITE}/hosts")
    page.keyboard.press("/")
    page.keyboard.type("bulk-09")
    page.keyboard.press("Enter")
    expect(page.locator("table.hosts td.name a")).to_have_text(["bulk-09"])


def test_a_host_is_dragged_into_a_rack_and_on_to_another_unit(new_page: NewPage, ctx: Context) -> None:
    racks.set_rack(ctx, "r1", height=16, who="test")
    page = new_page("bob")
    page.goto(f"{SITE}/racks?q=bulk-05")
    for unit in (3, 7):
        source = page.locator("li[data-host], a.box[data-host]", has_text="bulk-05").first
        drag(page, source, page.locator(f'.slot[data-unit="{unit}"] rect'))
        expect(page.get_by_text(f"bulk-05 stands in r1 unit {unit} now.")).to_be_visible()
    assert hosts.show(ctx, "bulk-05")["settings"]["rack"] == {"name": "r1", "unit": 7, "height": 1}
    page.get_by_role("link", name="bulk-05, known, unit 7").click()
    expect(page.get_by_role("heading", name="bulk-05")).to_be_visible()


def drag(page: Any, source: Any, to: Any) -> None:
    source.scroll_into_view_if_needed()
    to.scroll_into_view_if_needed()
    one, two = source.bounding_box(), to.bounding_box()
    page.mouse.move(one["x"] + one["width"] - 12, one["y"] + one["height"] / 2)
    page.mouse.down()
    page.mouse.move(two["x"] + two["width"] / 2, two["y"] + two["height"] / 2, steps=6)
    page.mouse.up()


def test_a_rule_is_tried_and_then_kept(new_page: NewPage, ctx: Context) -> None:
    page = new_page("bob")
    page.goto(f"{SITE}/rules")
    page.get_by_label("Name of the rule").fill("bulk")
    page.get_by_label("When all of this is so, a line each").fill("mac=52:54:00:77\ntag=rack-a")
    page.get_by_label("Add tags").fill("tried")
    page.get_by_role("button", name="Try").click()
    expect(
        page.get_by_role("heading", name=re.compile("It would fit 1[0-9] hosts|It would fit 20 hosts"))
    ).to_be_visible()
    picture(page, "rules")
    assert rules.list_rules(ctx) == []
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The rule is saved.")).to_be_visible()


# ------------------------------------------------------------------------------------------------ a server that is away


def test_the_power_of_many_hosts_is_watched_while_it_is_switched(site: Site, new_page: NewPage, ctx: Context) -> None:
    switch, go = site.folder / "switch", site.folder / "go"
    switch.write_text(
        f"#!/bin/sh\ncase $1 in status) cat {site.folder}/power-$2;;\n"
        f"*) while ! [ -e {go} ]; do sleep .1; done; echo $1 >{site.folder}/power-$2;; esac\n"
    )
    switch.chmod(0o755)
    argv = "\n".join(f"{what} = {[str(switch), what, '{host}']!r}" for what in ("on", "off", "status"))
    (site.folder / "etc" / "power.toml").write_text(f"[commands.switch]\n{argv}\n")
    for name in ("bulk-30", "bulk-31"):
        (site.folder / f"power-{name}").write_text("off")
        told = {"driver": "command", "command": "switch"}
        power.set_power(replace(ctx, operator_dir=site.folder / "etc"), name, told, password=None, who="test")
    page = new_page("bob")
    asked_for(page, do="power", power="on", path="/hosts?q=bulk-3")
    page.get_by_role("button", name="Switch on: 2 hosts").click()
    page.wait_for_url("**/power-orders/*")
    over = page.get_by_role("status").filter(has_text="are over")
    expect(over).to_contain_text("0 of 2 are over: this goes on by itself")
    expect(page.locator("td .badge", has_text="underway")).to_have_count(2, timeout=30_000)
    go.touch()
    expect(over).to_have_text("2 of 2 are over.", timeout=60_000)
    expect(page.get_by_text("bulk-31 was switched on")).to_be_visible()
    assert page.locator("#live").get_attribute("hx-trigger") is None


def test_a_page_that_stays_open_recovers_when_the_server_is_back(site: Site, new_page: NewPage, ctx: Context) -> None:
    page = new_page("bob")
    page.goto(f"{SITE}/hosts?q=bulk-06")
    note = page.get_by_text("The server does not answer.")
    expect(note).to_be_hidden()
    site.stop()
    expect(note).to_be_visible()
    expect(page.get_by_role("link", name="bulk-06")).to_be_visible()
    hosts.change(ctx, "bulk-06", tags=["while-away"], who="test")
    site.start()
    expect(page.get_by_role("link", name="while-away")).to_be_visible()
    expect(note).to_be_hidden()


# ------------------------------------------------------------------------------------------------ readable by everybody


def furnish(ctx: Context) -> None:
    """What makes the pages worth a look: racks, hardware, states, a rule, two that show one serial number, a log."""
    if "bulk" not in {one["name"] for one in rules.list_rules(ctx)}:
        rules.add(ctx, "bulk", when={"mac": "52:54:00:77", "tag": "rack-a"}, gives={"tags": ["tried"]}, who="test")
    for name in ("r1", "r2", "r3"):
        racks.set_rack(ctx, name, height=16, note="row 1", who="test")
    states = ["ready"] * 9 + ["failed", "installing", "booting", "armed", "registered", "known", "configuring"]
    with ctx.database.write() as session:
        for number in range(FLEET):
            host = hosts.find(session, f"bulk-{number:02}")
            host.state = states[number % len(states)]
            host.address, host.seen_at, host.firmware = f"10.99.7.{number}", ctx.clock() - number * 40, "uefi-x64"
            host.registered_at = ctx.clock() - 3600 if host.state in ("ready", "registered", "configuring") else None
            host.armed_until = ctx.clock() + 5000 if host.state in ("armed", "booting", "installing") else None
            host.settings = {
                **host.settings,
                "rack": {"name": f"r{number // 14 + 1}", "unit": number % 14 + 1, "height": 1},
            }
            host.serial = "SAME123" if number in (0, 8) else f"SN{number:04}"
            host.facts = {
                "vendor": "Dell Inc.", "product": "PowerEdge R650", "ram_bytes": 256 << 30,
                "cpu": {"model": "Xeon", "count": 64},
                "disks": [{"name": f"nvme{one}", "size_bytes": 1_920 * 10**9, "model": "MZQL21T9", "system": one == 0,
                           "serial": f"S{number:02}X{one}"} for one in range(3)],
            }  # fmt: skip
        for name, state in (("memtest", "running"), ("ipxe", "failed")):
            session.merge(ImageImport(
                name=name, id=name, source="package", state=state, asked_by="ann", asked_via="session",
                asked_at=ctx.clock(), started_at=ctx.clock(), ended_at=ctx.clock() if state == "failed" else None,
                step="download", doing="pool/x.deb", done_bytes=12_000_000, total_bytes=48_000_000,
                problem="the mirror cannot be reached at http://deb.debian.org/ (timed out): is it up?",
            ))  # fmt: skip
    for name in ("bulk-11", "bulk-12"):
        settings = {"driver": "ipmi", "address": f"10.99.9.{name[-2:]}", "user": "ops"}
        power.set_power(ctx, name, settings, password="s3cret-BMC", who="test")
    with ctx.database.write() as session:
        now, rows = ctx.clock(), list[PowerOrderHost]()
        for number, progress in enumerate(("done", "failed", "broken-off")):
            why = None if progress == "done" else "the BMC 10.99.9.11 cannot be reached: is its network service on?"
            rows.append(PowerOrderHost(
                id=f"{number:012}", position=number, host=f"bulk-{number + 10}", progress=progress, state="unknown",
                host_id=hosts.find(session, f"bulk-{number + 10}").id, error=why, ended_at=now - 9,
                message=None if why else "bulk-10 was switched on",
            ))  # fmt: skip
        session.merge(PowerOrder(
            id=POWER_ORDER, action="on", soft=False, force=False, who="ann", created_at=now - 60, ended_at=now - 9,
            hosts=rows,
        ))  # fmt: skip
    log = installer_log.log_path(ctx, hosts.show(ctx, "bulk-00")["id"])
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{ctx.clock() - 300 + 14 * at:.3f} {line}\n" for at, line in enumerate(LOG)))


def addresses(ctx: Context) -> dict[str, str]:
    host_id, two = hosts.show(ctx, "bulk-00")["id"], hosts.show(ctx, "bulk-08")["id"]
    found = {
        "dashboard": "/", "hosts": "/hosts?q=bulk", "host": f"/hosts/{host_id}", "roles": "/roles?q=bulk",
        "racks": "/racks", "rules": "/rules", "plan": "/plan", "runs": "/runs", "profiles": "/profiles",
        "profile": "/profiles/debian-13", "images": "/images", "image": "/images/debian-13", "events": "/events",
        "audit": "/audit", "users": "/users", "arm": f"/arm/choose?host={host_id}",
        "preview": f"/hosts/{host_id}/preview?profile=debian-13", "power": f"/hosts/{host_id}/power-settings",
        "blueprints": "/blueprints", "settings": "/settings", "health": "/health", "log": f"/hosts/{host_id}/log",
        "diff": f"/diff?left=host={host_id},profile=debian-13&right=host={two},profile=debian-13",
        "how-installed": f"/hosts/{host_id}/settings", "import": "/hosts/import", "rule": "/rules/bulk",
        "rack": "/racks?rack=r1", "lint": "/lint", "merge": f"/hosts/{host_id}/identity/merge?other={two}",
        "nic": f"/hosts/{host_id}/identity/nic-add", "power order": f"/power-orders/{POWER_ORDER}",
    }  # fmt: skip
    ends = {end: f"/hosts/{host_id}/end/{end}" for end in ("retire", "wipe", "forget")}
    return {**found, **ends, "switch": f"/hosts/{host_id}/power/cycle"}


def asked_for(page: Any, *, do: str, path: str = "/hosts?q=bulk-1", **chosen: str) -> None:
    """The page that a button of a bar of choices leads to, with every host of the page ticked."""
    page.goto(f"{SITE}{path}")
    # Not by clicks: the list is drawn anew every few seconds.
    ticked = "(boxes) => boxes.forEach((box) => { box.checked = true; })"
    page.locator("input[name=host][type=checkbox]").evaluate_all(ticked)
    for name, value in chosen.items():
        page.locator(f"select[name={name}]").evaluate("(one, value) => { one.value = value; }", value)
    page.locator(f'button[name=do][value="{do}"]').first.dispatch_event("click")
    if path.startswith("/roles"):  # the draft is drawn into the page
        expect(page.locator("#draft")).to_be_visible()
    else:
        page.wait_for_url("**/hosts/do")
    page.wait_for_load_state("networkidle")


# Pages that only a form leads to: nothing is confirmed on them.
ASKED: Final[dict[str, Callable[[Any], None]]] = {
    "bulk confirm": lambda page: asked_for(page, do="forget"),
    "arm confirm": lambda page: asked_for(page, do="arm"),
    "arm for what": lambda page: asked_for(page, do="choose"),
    "bulk power": lambda page: asked_for(page, do="power", power="cycle"),
    "draft": lambda page: asked_for(page, do="give keystone", path="/roles?q=bulk-1"),
}


def everywhere(page: Any, ctx: Context) -> Iterator[str]:
    """Goes to every page there is; yields what each is called."""
    for name, path in addresses(ctx).items():
        answer = page.goto(f"{SITE}{path}")
        assert answer.status == 200, f"{name} is answered with {answer.status}"
        yield name
    for name, go in ASKED.items():
        go(page)
        yield name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(scheme: str, new_page: NewPage, ctx: Context) -> None:
    furnish(ctx)
    page, judge = new_page("ann", color_scheme=scheme), axe.Axe()
    wrong: dict[str, list[str]] = {}
    for name in everywhere(page, ctx):
        found = judge.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"][:3]
        ]  # fmt: skip
        if serious:
            wrong[name] = serious
    assert wrong == {}


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_screen(width: int, new_page: NewPage, ctx: Context) -> None:
    furnish(ctx)
    page = new_page("ann", viewport={"width": width, "height": 800})
    wide = {}
    for name in everywhere(page, ctx):
        found = page.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wide[name] = found
    assert wide == {}


def test_the_warning_of_a_disk_is_seen_when_it_is_marked(new_page: NewPage, ctx: Context) -> None:
    furnish(ctx)
    host_id = hosts.show(ctx, "bulk-10")["id"]
    page = new_page("bob")
    page.goto(f"{SITE}/hosts/{host_id}/settings")
    lost = page.get_by_text("Everything on nvme1 of bulk-10 (1.92 TB MZQL21T9) is lost")
    expect(lost).to_be_hidden()
    page.get_by_label("only the disks marked here").check()
    page.locator("[name=wipe_disk][value=S10X1]").check()
    expect(lost).to_be_visible()
    picture(page, "how-installed")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("wiped only with the serial S10X1")).to_be_visible()
    assert hosts.show(ctx, host_id)["settings"]["wipe"] == ["S10X1"]


def test_the_form_about_power_shows_what_the_chosen_driver_knows(new_page: NewPage, ctx: Context) -> None:
    page = new_page("ann")
    page.goto(f"{SITE}/hosts/{hosts.show(ctx, 'bulk-00')['id']}/power-settings")
    expect(page.locator("[name=fingerprint]")).to_be_visible()
    page.locator("[name=driver]").select_option("ipmi")
    expect(page.locator("[name=fingerprint]")).to_be_hidden()
    picture(page, "power-settings")
    page.locator("[name=address]").fill("10.99.9.17")
    page.locator("[name=user]").fill("ops")
    page.locator("[name=password]").fill("s3cret-BMC")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("by ipmi at 10.99.9.17")).to_be_visible()


def test_the_menu_opens_on_a_phone_and_leads_on(new_page: NewPage) -> None:
    page = new_page("ann", viewport={"width": 390, "height": 800})
    page.get_by_role("button", name="Menu").click()
    picture(page, "phone-menu")
    page.get_by_role("link", name="Racks").click()
    expect(page.get_by_role("heading", name="Racks")).to_be_visible()


@pytest.mark.skipif(not PICTURES, reason="PXEFORGE_PICTURES does not say where pictures go")
def test_pictures_for_the_documents(new_page: NewPage, ctx: Context) -> None:
    furnish(ctx)
    light, dark = new_page("ann", color_scheme="light"), new_page("ann", color_scheme="dark")
    shown = (
        "dashboard",
        "hosts",
        "racks",
        "images",
        "profile",
        "preview",
        "log",
        "users",
        "audit",
        "settings",
        "health",
    )
    manifest = ctx.data_dir / "images/debian-13/20250803/image.json"
    told = json.loads(manifest.read_text())
    sizes = {"linux": {**told["files"]["linux"], "size": 12_113_856},
             "initrd.gz": {**told["files"]["initrd.gz"], "size": 38_211_904}}  # fmt: skip
    manifest.write_text(
        json.dumps({**told, "imported_at": ctx.clock() - 200_000, "files": {**told["files"], **sizes}})
    )  # fmt: skip
    for name in shown:
        light.goto(f"{SITE}{addresses(ctx)[name]}")
        if name == "images":
            light.locator("summary", has_text="Import an image").click()
        picture(light, name)
    asked_for(light, do="power", power="cycle")
    picture(light, "bulk-power")
    dark.goto(f"{SITE}/hosts?q=bulk")
    picture(dark, "hosts-dark")
    phone = new_page("ann", viewport={"width": 390, "height": 800})
    phone.goto(f"{SITE}/hosts?q=bulk")
    picture(phone, "phone-hosts")

"""The pages show what is so and do what their buttons say, without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pxeforge.domain.lifecycle import Signal
from pxeforge.services import arming, claims, events, hosts, plans, profiles, runs, task_results
from pxeforge.services.context import Context
from pxeforge.store.tables import AgentCredential, Host

from .conftest import Browser, Clock

MAC, OTHER_MAC = "52:54:00:12:34:56", "52:54:00:12:34:57"
LISTS = ["/hosts", "/roles", "/plan", "/runs", "/profiles", "/images", "/events", "/users"]
TEMPLATES = Path(__file__).parents[2] / "web" / "templates"


def page(browser: Browser, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_data(as_text=True)


def add(ctx: Context, name: str = "db-01", mac: str = MAC, **kwargs: Any) -> str:
    return str(hosts.add(ctx, macs=[mac], name=name, who="test", **kwargs)["id"])


def register(ctx: Context, host_id: str, address: str = "192.0.2.21", **facts: Any) -> None:
    """The host was installed and its agent has been given a credential."""
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        host.state, host.address, host.registered_at, host.facts = "registered", address, ctx.clock(), facts
        session.add(AgentCredential(host_id=host_id, digest=host_id, issued_at=ctx.clock(), seen_at=ctx.clock()))


@pytest.mark.parametrize("path", LISTS)
def test_an_empty_list_says_what_to_do_next(browser: Browser, path: str) -> None:
    text = page(browser, path)
    assert 'class="empty"' in text or path in ("/events", "/users")


def test_a_host_is_added_by_its_mac_in_any_spelling(browser: Browser, ctx: Context) -> None:
    browser.post("/hosts", {"macs": "5254.0012.3456, 52-54-00-12-34-57", "name": "db-01", "tags": "rack-a ssd"})
    (host,) = hosts.list_hosts(ctx)
    assert (host["name"], sorted(host["macs"]), host["tags"]) == ("db-01", [MAC, OTHER_MAC], ["rack-a", "ssd"])
    text = page(browser, "/hosts")
    assert "db-01" in text
    assert MAC in text


def test_a_mistake_in_a_form_is_told_in_one_sentence(browser: Browser, ctx: Context) -> None:
    response = browser.post("/hosts", {"macs": "not-a-mac"})
    assert response.status_code == 303
    assert "is not a MAC address: write it like" in page(browser, "/hosts")
    assert hosts.list_hosts(ctx) == []


def test_what_a_host_says_about_itself_is_never_markup(browser: Browser, ctx: Context) -> None:
    evil = "<script>alert(1)</script>"
    host_id = add(ctx)
    register(
        ctx,
        host_id,
        cpu={"model": evil, "count": 4},
        vendor=evil,
        disks=[{"name": evil, "serial": evil, "size_bytes": 1}],
        ssh_host_keys=[{"public_key": evil}],
        os={"name": evil},
        kernel=evil,
    )
    with ctx.database.write() as session:
        events.record(session, ctx, host_id=host_id, source="installer", kind="log", message=evil)
    text = page(browser, f"/hosts/{host_id}") + page(browser, "/events") + page(browser, f"/hosts?q={evil}")
    assert evil not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "facts",
    [
        {
            "cpu": "fast",
            "disks": "many",
            "nics": 7,
            "ssh_host_keys": {"a": 1},
            "os": [],
            "ram_bytes": "lots",
            "vendor": None,
        },
        {
            "cpu": {"count": "x", "model": []},
            "disks": [None, {"size_bytes": True}, {}],
            "ssh_host_keys": [None, {}, "k"],
        },
    ],
)
def test_strange_facts_break_no_page(browser: Browser, ctx: Context, profile: str, facts: dict[str, Any]) -> None:
    host_id = add(ctx)
    register(ctx, host_id, **facts)
    page(browser, f"/hosts/{host_id}")
    assert browser.post("/arm", {"host": host_id, "profile": profile, "for_s": "3600"}).status_code == 200


def test_an_unknown_host_is_a_friendly_page(browser: Browser) -> None:
    text = page(browser, "/hosts/nobody", 404)
    assert "no host is known as" in text
    assert "<h1>Not found</h1>" in text


def test_a_host_is_renamed_and_tagged(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    browser.post(f"/hosts/{host_id}/change", {"name": "db-09", "tags": "a, b"})
    host = hosts.show(ctx, host_id)
    assert (host["name"], host["tags"]) == ("db-09", ["a", "b"])


def test_the_one_who_acts_is_written_down(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    browser.post(f"/hosts/{host_id}/change", {"name": "db-09", "tags": ""})
    assert events.timeline(ctx, host_id)[-1]["who"] == "admin"


def test_arming_asks_first_and_names_the_disk(browser: Browser, ctx: Context, profile: str) -> None:
    host_id = add(ctx)
    register(
        ctx,
        host_id,
        disks=[
            {"name": "sda", "size_bytes": 960_000_000_000, "serial": "S1", "model": "PM893"},
            {"name": "sdb", "size_bytes": 1, "serial": "S2", "model": "other"},
        ],
    )
    hosts.change(ctx, host_id, settings={"disk": "serial=S1"}, who="test")
    asked = browser.post("/arm", {"host": host_id, "profile": profile, "for_s": "3600"}).get_data(as_text=True)
    assert hosts.show(ctx, host_id)["state"] == "registered"
    overwritten = re.findall(r"Will be overwritten:</b> <span class=\"mono\">(\w+)</span>", asked)
    assert overwritten == ["sda"]
    assert "serial=S1" in asked
    assert "wipe is off" in asked
    assert "the installer will stop there until that disk is marked" in asked


@pytest.mark.parametrize("wipe", [True, ["S1"]])
def test_arming_says_when_the_disk_of_an_installed_host_will_be_lost(
    browser: Browser, ctx: Context, profile: str, wipe: object
) -> None:
    host_id = add(ctx)
    register(ctx, host_id, disks=[{"name": "sda", "size_bytes": 1, "serial": "S1"}])
    hosts.change(ctx, host_id, settings={"wipe": wipe}, who="test")
    asked = browser.post("/arm", {"host": host_id, "profile": profile, "for_s": "3600"}).get_data(as_text=True)
    assert "Everything on that disk will be lost" in asked


def test_arming_warns_when_no_disk_fits_the_rule(browser: Browser, ctx: Context, profile: str) -> None:
    host_id = add(ctx)
    register(ctx, host_id, disks=[{"name": "sda", "size_bytes": 1, "serial": "S1"}])
    hosts.change(ctx, host_id, settings={"disk": "serial=S9"}, who="test")
    asked = browser.post("/arm", {"host": host_id, "profile": profile, "for_s": "3600"}).get_data(as_text=True)
    assert "None of the disks that this host reported fits the rule" in asked


def test_a_confirmed_arming_arms_and_can_be_taken_back(browser: Browser, ctx: Context, profile: str) -> None:
    host_id = add(ctx)
    form = {"host": host_id, "profile": profile, "for_s": "3600", "confirm": "yes", "from": "host"}
    assert browser.post("/arm", form).headers["Location"] == f"/hosts/{host_id}"
    armed = hosts.show(ctx, host_id)
    assert armed["state"] == "armed"
    assert armed["armed_until"] == ctx.clock() + 3600
    assert "is armed for debian-13" in page(browser, f"/hosts/{host_id}")
    browser.post(f"/hosts/{host_id}/disarm")
    assert hosts.show(ctx, host_id)["state"] == "known"


def test_many_hosts_are_armed_in_one_go(browser: Browser, ctx: Context, profile: str) -> None:
    chosen = [add(ctx, "db-01", MAC), add(ctx, "db-02", OTHER_MAC)]
    form = {"host": chosen, "profile": profile, "for_s": "3600"}
    asked = browser.post("/arm", form).get_data(as_text=True)
    assert "Arm 2 hosts" in asked
    assert re.findall(r'name="host" value="(\w+)"', asked) == chosen
    browser.post("/arm", {**form, "confirm": "yes"})
    assert {host["state"] for host in hosts.list_hosts(ctx)} == {"armed"}


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({}, "choose at least one host"),
        ({"host": "db-01", "profile": ""}, "there is no profile to arm for"),
        ({"host": "db-01", "profile": "nope"}, "there is no profile"),
        ({"host": "db-01", "profile": "debian-13", "for_s": "5"}, "one minute at least"),
        ({"host": "db-01", "profile": "debian-13", "for_s": "nan"}, "one minute at least"),
        ({"host": "db-01", "profile": "debian-13", "for_s": "soon"}, "one minute at least"),
    ],
)
def test_a_refused_arming_says_why(
    browser: Browser, ctx: Context, profile: str, form: dict[str, object], sentence: str
) -> None:
    add(ctx)
    assert browser.post("/arm", {**form, "confirm": "yes"}).status_code == 303
    assert sentence in page(browser, "/hosts")
    assert hosts.list_hosts(ctx)[0]["state"] == "known"


@pytest.mark.parametrize("what", ["menu", "menu.pxelinux", "answers", "early", "disks", "late", "nonsense"])
def test_the_preview_shows_what_the_host_would_get(browser: Browser, ctx: Context, profile: str, what: str) -> None:
    host_id = add(ctx)
    text = page(browser, f"/hosts/{host_id}/preview?what={what}")
    assert '<li id="L1"' in text
    assert 'class="note error"' not in text


def test_a_preview_shows_no_token(browser: Browser, ctx: Context, profile: str) -> None:
    host_id = add(ctx)
    arming.arm(ctx, host_id, profile=profile, who="test")
    text = page(browser, f"/hosts/{host_id}/preview?what=menu")
    assert re.findall(r"/answers/(\w+)", text) == ["0" * 32]
    assert "What the armed host gets" in text


def test_a_preview_without_a_profile_says_so(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    assert 'class="note error"' in page(browser, f"/hosts/{host_id}/preview")


# ------------------------------------------------------------------------------------------------ timeline


def test_the_host_page_shows_stages_with_their_durations(
    browser: Browser, ctx: Context, clock: Clock, profile: str
) -> None:
    host_id = add(ctx)
    arming.arm(ctx, host_id, profile=profile, who="test")
    clock.now += 42
    with ctx.database.write() as session:
        host = session.get_one(Host, host_id)
        hosts.move(session, ctx, host, Signal.MENU_FETCHED, source="http", message="menu fetched")
    clock.now += 5
    text = page(browser, f"/hosts/{host_id}")
    rows = re.findall(r'<th scope="row">(\w+)</th>.*?<td class="lasted num">(?:<b>)?([^<]+)<', text, re.DOTALL)
    assert rows == [("armed", "42 s"), ("menu", "5.0 s")]
    assert "+42 s" in text


def test_long_installer_logs_are_folded(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    for number in range(200):
        with ctx.database.write() as session:
            events.record(session, ctx, host_id=host_id, source="installer", kind="log", message=f"line-{number}.")
    text = page(browser, f"/hosts/{host_id}")
    assert "200 log lines" in text
    assert "line-199." in text
    assert "line-139." not in text
    assert text.count('<li id="event-') == 3  # added, named, and all of the log


def test_a_broken_role_file_is_told_and_does_not_hide_the_hosts(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    for folder in (ctx.operator_dir / "broken", ctx.operator_dir / "roles" / "broken"):
        folder.mkdir(parents=True)
        (folder / "role.yaml").write_text("name: [")
    page(browser, "/hosts")
    page(browser, f"/hosts/{host_id}")
    assert "role.yaml" in page(browser, "/roles")


# ------------------------------------------------------------------------------------------------ plan and runs


def deployable(ctx: Context) -> str:
    host_id = add(ctx, roles=["base", "mariadb"])
    register(ctx, host_id, disks=[], nics=[])
    return host_id


def test_the_plan_shows_tasks_in_order_and_the_hosts_left_out(browser: Browser, ctx: Context) -> None:
    deployable(ctx)
    add(ctx, "db-02", OTHER_MAC, roles=["base"])
    text = page(browser, "/plan")
    assert text.index("names</b>") < text.index("service-user</b>")
    assert "db-02 has roles but is known: it is left out until it is registered" in text


def test_the_plan_tells_what_follows_once_a_host_is_installed_and_offers_no_deploy_of_it(
    browser: Browser, ctx: Context
) -> None:
    host_id = add(ctx, "db-02", OTHER_MAC, roles=["mariadb"])
    text = page(browser, "/plan")
    assert "Nothing to deploy" not in text
    card = text[text.index("Once installed") :]
    assert f'href="/hosts/{host_id}"' in card
    for shown in ("db-02", "known", "base</span>", "mariadb</span>", "names", "service-user"):
        assert shown in card
    assert 'action="/deploy"' not in text


def test_a_draft_for_a_host_that_is_not_installed_tells_its_tasks(browser: Browser, ctx: Context) -> None:
    host_id = add(ctx)
    page(browser, "/roles")
    text = browser.post("/roles/draft", {"do": "give mariadb", "host": host_id}).get_data(as_text=True)
    card = text[text.index('id="draft-later"') :]
    assert "Once it is installed: 1 host of these" in card
    assert "service-user" in card


def test_deploy_starts_a_run_and_shows_it_live(browser: Browser, ctx: Context) -> None:
    host_id = deployable(ctx)
    digest = plans.plan(ctx)["digest"]
    started = browser.post("/deploy", {"digest": digest, "check": "no"})
    run_path = started.headers["Location"]
    text = page(browser, run_path)
    assert 'hx-trigger="every 2s"' in text
    assert "running" in text
    task = claims.claim(ctx, host_id)
    assert task is not None
    steps = [{"name": "s", "type": "file", "status": "failed", "output": "<b>no space left</b>", "duration_s": 0.3}]
    task_results.finish(ctx, host_id, task["task_id"], task["fence"], {"status": "failed", "steps": steps})
    text = page(browser, run_path)
    assert "&lt;b&gt;no space left&lt;/b&gt;" in text
    assert "will not start" in text
    assert run_path.rpartition("/")[2] in page(browser, "/runs")


def test_a_run_can_be_cancelled_and_taken_up_again(browser: Browser, ctx: Context) -> None:
    deployable(ctx)
    path = browser.post("/deploy", {"digest": plans.plan(ctx)["digest"], "check": "yes"}).headers["Location"]
    browser.post(f"{path}/cancel")
    cancelled = page(browser, path)
    assert "s-cancelled" in cancelled
    assert "hx-trigger" not in cancelled
    browser.post(f"{path}/resume")
    assert "Cancel</button>" in page(browser, path)


def test_a_dry_run_is_a_dry_run(browser: Browser, ctx: Context) -> None:
    deployable(ctx)
    browser.post("/deploy", {"digest": plans.plan(ctx)["digest"], "check": "yes"})
    assert [run["check"] for run in runs.list_runs(ctx)] == [True]


def test_a_plan_that_changed_since_it_was_looked_at_is_not_deployed(browser: Browser, ctx: Context) -> None:
    deployable(ctx)
    assert browser.post("/deploy", {"digest": "of yesterday", "check": "no"}).headers["Location"] == "/plan"
    assert "The plan has changed" in page(browser, "/plan")
    assert runs.list_runs(ctx) == []


def test_verify_starts_a_run_of_checks(browser: Browser, ctx: Context) -> None:
    deployable(ctx)
    assert browser.post("/verify").headers["Location"].startswith("/runs/")
    assert runs.list_runs(ctx)[0]["kind"] == "verify"


def test_verify_with_nothing_to_verify_says_why(browser: Browser) -> None:
    browser.post("/verify")
    assert "nothing to verify" in page(browser, "/plan")


# ------------------------------------------------------------------------------------------------ lists and users


def test_profiles_and_images_are_listed(browser: Browser, ctx: Context, profile: str) -> None:
    assert profile in page(browser, "/profiles")
    assert "20250803" in page(browser, "/images")


def test_the_list_of_profiles_shows_no_password_hash(browser: Browser, ctx: Context) -> None:
    secret = "$6$saltsalt$abcdefgh"
    accounts = [{"name": "ops", "password_hash": secret}]
    profiles.create(ctx, "p", image="i", parameters={"accounts": accounts, "root_password_hash": secret}, who="test")
    text = page(browser, "/profiles")
    assert "accounts = ops" in text
    assert "saltsalt" not in text


def test_a_user_is_added_and_can_log_in(browser: Browser, new_browser: Any) -> None:
    browser.post("/users", {"name": "guest", "password": "a long password"})
    assert "guest" in page(browser, "/users")
    assert new_browser().login("guest", "a long password").headers["Location"] == "/"


def test_a_short_password_is_refused(browser: Browser) -> None:
    browser.post("/users", {"name": "guest", "password": "short"})
    assert "too short" in page(browser, "/users")


# ------------------------------------------------------------------------------------------------ the frame


def test_a_refresh_carries_the_content_without_the_frame(browser: Browser, ctx: Context) -> None:
    add(ctx)
    text = browser.get("/hosts", headers={"HX-Request": "true"}).get_data(as_text=True)
    assert 'id="live"' in text
    assert "<header" not in text


def test_a_message_waits_for_the_next_whole_page(browser: Browser) -> None:
    browser.post("/hosts", {"macs": "not-a-mac"})
    browser.get("/hosts", headers={"HX-Request": "true"})
    assert "is not a MAC address" in page(browser, "/hosts")


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_holds_inline_scripts_or_styles_or_unescaped_text(template: Path) -> None:
    """The content security policy would block the first two; the third would be a hole."""
    text = template.read_text()
    assert not re.search(r"<style|style=|<script(?![^>]*\ssrc=)|\son[a-z]+=|hx-on|javascript:", text)
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape false" not in text


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_every_posting_form_carries_the_token(template: Path) -> None:
    for form in re.findall(r"<form\b.*?</form>", template.read_text(), re.DOTALL):
        if 'method="post"' in form:
            assert "csrf()" in form
        else:
            assert "csrf()" not in form, "the token must not stand in an address"

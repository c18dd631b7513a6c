"""Webhooks: everything that fits is told at least once, and signed; what cannot be told is kept and shown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from pxeforge.app.webhook_sender import WebhookSender
from pxeforge.services import events, hosts, webhooks
from pxeforge.services.context import Context
from pxeforge.services.problems import Conflict, NotFound, Problem
from pxeforge.services.webhook_target import NotDelivered
from pxeforge.store.tables import Webhook, WebhookDelivery
from tests.conftest import MAC, Clock

URL = "https://192.0.2.9/hook"


class Outside:
    """The receivers of a test: what they were sent, and what they answer."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.refuses: dict[str, int] = {}  # by URL

    def post(self, url: str, body: bytes, headers: Any, _limits: Any) -> int:
        self.got.append((url, dict(headers), json.loads(body)))
        if url in self.refuses:
            raise NotDelivered(f"answered {self.refuses[url]}", self.refuses[url])
        return 200

    @property
    def types(self) -> list[str]:
        return [body["type"] for _, _, body in self.got]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    one = Outside()
    monkeypatch.setattr(webhooks, "post", one.post)
    return one


def work(ctx: Context, seen: dict[str, int] | None = None) -> None:
    """What the sender does in a round, without its threads."""
    webhooks.enqueue(ctx, {} if seen is None else seen)
    while found := webhooks.due(ctx):
        taken = [webhooks.deliver(ctx, delivery) for _, delivery in found]
        if not any(taken):
            return


def states(ctx: Context, hook: str) -> list[str]:
    """By the order of the events."""
    return [one["state"] for one in sorted(webhooks.deliveries(ctx, hook), key=lambda one: one["event_id"])]


def test_what_fits_is_told_in_order_and_once(ctx: Context, outside: Outside) -> None:
    hosts.add(ctx, macs=[MAC], name="before", who="ann")
    webhooks.add(ctx, URL, events=["operator.changed", "engine"], who="ann")
    for tag in ("a", "b"):
        hosts.change(ctx, MAC, tags=[tag], who="ann")
    hosts.assign(ctx, [MAC], ["base"], who="ann", known_roles=["base"])
    work(ctx)
    work(ctx)
    assert outside.types == ["operator.changed", "operator.changed"]
    assert [body["data"]["data"]["after"] for _, _, body in outside.got] == [{"tags": ["a"]}, {"tags": ["b"]}]
    assert len({headers["webhook-id"] for _, headers, _ in outside.got}) == 2


def test_the_signature_is_that_of_standard_webhooks(ctx: Context, outside: Outside, clock: Clock) -> None:
    """As a receiver verifies it, with nothing but the secret and the standard library."""
    secret = webhooks.add(ctx, URL, who="ann")["secret"]
    hosts.add(ctx, macs=[MAC], who="ann")
    work(ctx)
    url, headers, body = outside.got[0]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{json.dumps(body)}".encode()
    expected = "v1," + base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    assert (url, headers["webhook-signature"], int(headers["webhook-timestamp"])) == (URL, expected, int(clock.now))
    assert len(key) == 32


def test_the_published_example_of_the_standard_is_signed_alike() -> None:
    """The test vector of the reference implementations (standard-webhooks/standard-webhooks, libraries/python)."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = webhooks.signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_that_is_not_taken_is_tried_again_later_and_given_up_after_three_days(
    ctx: Context, outside: Outside, clock: Clock
) -> None:
    hook = webhooks.add(ctx, URL, events=["operator.adopt"], who="ann")["id"]
    outside.refuses[URL] = 500
    hosts.add(ctx, macs=[MAC], who="ann")
    began = clock.now
    work(ctx)
    for wait in webhooks.RETRIES_S:
        work(ctx)
        clock.now += wait
        work(ctx)
    assert len(outside.got) == len(webhooks.RETRIES_S) + 1
    assert len({headers["webhook-id"] for _, headers, _ in outside.got}) == 1
    [dead] = webhooks.deliveries(ctx, hook)
    assert (dead["state"], dead["status"], dead["error"]) == ("dead", 500, "answered 500")
    assert clock.now - began > 3 * 86400 - 3600
    assert webhooks.show(ctx, hook)["dead"] == 1
    assert events.recent(ctx, limit=1)[0]["kind"] == "webhook_dead"
    outside.refuses.clear()
    webhooks.retry(ctx, hook, dead["id"], who="ann")
    work(ctx)
    assert states(ctx, hook) == ["delivered"]
    with pytest.raises(Conflict):
        webhooks.retry(ctx, hook, dead["id"], who="ann")


def test_nobody_is_told_that_they_could_not_be_told(ctx: Context, outside: Outside, clock: Clock) -> None:
    deaf = webhooks.add(ctx, URL, who="ann")["id"]
    webhooks.add(ctx, "https://192.0.2.10/", events=["server.webhook_dead"], who="ann")
    outside.refuses[URL] = 500
    work(ctx)
    for _ in range(40):
        clock.now += 86_400
        work(ctx)
    assert set(states(ctx, deaf)) == {"dead"}
    assert not [one for one in outside.got if one[0] == URL and one[2]["type"] == "server.webhook_dead"]
    assert [one for one in outside.got if one[0] != URL]


def test_who_answers_gone_is_asked_no_more(ctx: Context, outside: Outside) -> None:
    hook = webhooks.add(ctx, URL, events=["operator.adopt"], who="ann")["id"]
    outside.refuses[URL] = 410
    for number in range(3):
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], who="ann")
    work(ctx)
    assert (len(outside.got), states(ctx, hook)) == (1, ["dead", "waiting", "waiting"])
    assert "410 Gone" in webhooks.show(ctx, hook)["stopped"]
    outside.refuses.clear()
    webhooks.retry(ctx, hook, webhooks.deliveries(ctx, hook, state="dead")[0]["id"], who="ann")
    work(ctx)
    assert states(ctx, hook) == ["delivered"] * 3


def test_a_queue_is_bounded_and_what_waits_in_the_timeline_is_not_lost(
    ctx: Context, outside: Outside, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(webhooks, "MOST_WAITING", 3)
    monkeypatch.setattr(webhooks, "RETRIES_S", (5,) * 100)
    hook = webhooks.add(ctx, URL, events=["operator.adopt"], who="ann")["id"]
    outside.refuses[URL] = 503
    macs = [f"52:54:00:00:00:0{number}" for number in range(8)]
    for mac in macs:
        hosts.add(ctx, macs=[mac], who="ann")
    seen: dict[str, int] = {}
    for _ in range(5):
        work(ctx, seen)
        clock.now += 5
    assert len(webhooks.deliveries(ctx, hook)) == 3
    outside.refuses.clear()
    outside.got.clear()
    for _ in range(5):
        work(ctx, seen)
    ids = [body["data"]["host_id"] for _, _, body in outside.got]
    assert sorted(ids) == sorted(hosts.show(ctx, mac)["id"] for mac in macs)


def test_killed_after_sending_it_is_sent_again_under_the_same_id(
    ctx: Context, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhooks.add(ctx, URL, events=["operator.adopt"], who="ann")
    hosts.add(ctx, macs=[MAC], who="ann")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhooks, "_written", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            work(ctx)
    work(ctx)
    assert [headers["webhook-id"] for _, headers, _ in outside.got] == [outside.got[0][1]["webhook-id"]] * 2


def test_a_webhook_is_shown_with_its_queue_and_never_with_its_secret(ctx: Context, outside: Outside) -> None:
    made = webhooks.add(ctx, URL, events=["*"], who="ann")
    assert made["secret"].startswith("whsec_")
    assert "secret" not in webhooks.show(ctx, made["id"])
    assert made["secret"] not in json.dumps([webhooks.list_webhooks(ctx), events.recent(ctx)])
    with ctx.database.read() as session:
        assert made["secret"] not in session.get_one(Webhook, made["id"]).secret
    work(ctx)
    webhooks.remove(ctx, made["id"], who="ann")
    assert webhooks.list_webhooks(ctx) == []
    with ctx.database.read() as session:
        assert session.query(WebhookDelivery).count() == 0
    with pytest.raises(NotFound):
        webhooks.remove(ctx, made["id"], who="ann")


def test_a_test_message_is_sent_at_once_and_only_once(ctx: Context, outside: Outside) -> None:
    hook = webhooks.add(ctx, URL, events=["operator.adopt"], who="ann")["id"]
    assert webhooks.test(ctx, hook)["state"] == "delivered"
    outside.refuses[URL] = 500
    refused = webhooks.test(ctx, hook)
    assert (refused["state"], refused["error"], refused["tries"]) == ("dead", "answered 500", 1)
    assert outside.types == [webhooks.TEST] * 2


@pytest.mark.parametrize(
    "more", [{"events": ["a.b.c"]}, {"events": ["A"]}, {"events": ["x"] * 51}, {"secret": "x"},
             {"secret": "whsec_" + "A" * 20}, {"secret": "whsec_" + "!" * 40}],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(ctx: Context, more: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        webhooks.add(ctx, URL, who="ann", **more)
    assert webhooks.list_webhooks(ctx) == []


def test_the_boot_network_is_no_place_for_webhooks_unless_it_is_allowed(ctx: Context, outside: Outside) -> None:
    inside = replace(ctx, boot_networks=lambda: [ipaddress.IPv4Network("192.0.2.0/24")])
    with pytest.raises(Problem, match=r"192\.0\.2\.9 is on the boot network"):
        webhooks.add(inside, URL, who="ann")
    allowed = replace(inside, webhook_networks=[ipaddress.IPv4Network("192.0.2.8/29")])
    webhooks.add(allowed, URL, who="ann")
    with pytest.raises(Conflict):
        webhooks.add(allowed, URL, who="ann")


def test_what_was_over_long_ago_is_dropped(ctx: Context, outside: Outside, clock: Clock) -> None:
    hook = webhooks.add(ctx, URL, events=["operator.adopt"], who="ann")["id"]
    hosts.add(ctx, macs=[MAC], who="ann")
    work(ctx)
    assert webhooks.tidy(ctx) == 0
    clock.now += webhooks.KEPT_S + 1
    assert webhooks.tidy(ctx) == 1
    assert webhooks.deliveries(ctx, hook) == []


def test_the_sender_tells_everybody_though_one_is_slow(
    ctx: Context, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, go_on = "https://192.0.2.10/", threading.Event()
    arrived, real = threading.Event(), outside.post

    def post(url: str, *more: Any) -> int:
        if url == slow:
            go_on.wait(20)
        elif len(outside.got) == 2:
            arrived.set()
        return real(url, *more)

    monkeypatch.setattr(webhooks, "post", post)
    for url in (slow, URL):
        webhooks.add(ctx, url, events=["operator.adopt"], who="ann")
    for number in range(3):
        hosts.add(ctx, macs=[f"52:54:00:00:00:0{number}"], who="ann")
    sender = WebhookSender(ctx, every_s=0.01)
    sender.start()
    assert arrived.wait(20)
    go_on.set()
    for _ in range(1000):
        if all(one["waiting"] == 0 for one in webhooks.list_webhooks(ctx)) and not sender._busy:
            break
        threading.Event().wait(0.02)
    sender.stop()
    assert sorted(one["delivered"] for one in webhooks.list_webhooks(ctx)) == [3, 3]

"""`pxeforge webhook …`: other programs that are told of events, and what came of it."""

from __future__ import annotations

import sys
from typing import Any

import click

from pxeforge.cli.options import json_option
from pxeforge.cli.output import say, show_json, show_table
from pxeforge.cli.transport import at


@click.group()
def webhook() -> None:
    """Programs elsewhere that are told of events."""


@webhook.command()
@click.argument("url")
@click.option(
    "--event", "patterns", multiple=True, metavar="PATTERN",
    help="Only events like SOURCE.KIND, e.g. operator.arm or engine.*; can be given several times (default: all).",
)  # fmt: skip
@click.option("--secret-stdin", is_flag=True, help="Read the secret (whsec_…) from standard input; else one is made.")
@json_option
@click.pass_obj
def add(session: Any, url: str, patterns: tuple[str, ...], secret_stdin: bool, as_json: bool) -> None:
    """Tell URL of events from now on; shows the secret that the messages are signed with, this once."""
    body: dict[str, Any] = {"url": url, "events": list(patterns)}
    if secret_stdin:
        body["secret"] = sys.stdin.readline().strip()
    made = session.api.call("POST", "/webhooks", body)
    if as_json:
        return show_json(made)
    say(f"webhook {made['id']} added; its secret, shown this once: {made['secret']}")
    say(f"try it with `pxeforge webhook test {made['id']}`")
    return None


@webhook.command("list")
@json_option
@click.pass_obj
def list_webhooks(session: Any, as_json: bool) -> None:
    """List the webhooks with their queues."""
    rows = session.api.call("GET", "/webhooks")
    if as_json:
        return show_json(rows)
    show_table(
        [{**row, "events": row["events"] or ["*"]} for row in rows],
        {"ID": "id", "URL": "url", "EVENTS": "events", "WAITING": "waiting", "TAKEN": "delivered", "DEAD": "dead",
         "STOPPED": "stopped"},
        empty="No webhooks: add one with `pxeforge webhook add URL`.",
    )  # fmt: skip
    return None


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@click.pass_obj
def remove(session: Any, webhook_id: str) -> None:
    """Remove a webhook with all that waits for it."""
    session.api.call("DELETE", at("/webhooks/{}", webhook_id))
    say(f"webhook {webhook_id} removed")


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@json_option
@click.pass_obj
def test(session: Any, webhook_id: str, as_json: bool) -> None:
    """Send a test message now and tell what came of it."""
    done = session.api.call("POST", at("/webhooks/{}/test", webhook_id))
    if as_json:
        show_json(done)
    elif done["state"] == "delivered":
        say(f"taken: the receiver answered {done['status']}")
    if done["state"] != "delivered":
        click.echo(f"pxeforge: not taken: {done['error']}", err=True)
        sys.exit(1)


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--state", type=click.Choice(["waiting", "delivered", "dead"]), help="Only those.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def deliveries(session: Any, webhook_id: str, state: str | None, limit: int, as_json: bool) -> None:
    """Show what was sent, or waits, the newest first."""
    query = {"state": state, "limit": limit}
    rows = session.api.call("GET", at("/webhooks/{}/deliveries", webhook_id), query=query)
    if as_json:
        return show_json(rows)
    show_table(
        rows,
        {"ID": "id", "EVENT": "type", "STATE": "state", "TRIES": "tries", "LAST": "tried_at", "NEXT": "next_at",
         "STATUS": "status", "ERROR": "error"},
        empty="Nothing was sent yet: try it with `pxeforge webhook test`.",
    )  # fmt: skip
    return None


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@click.argument("delivery_id", metavar="DELIVERY")
@click.pass_obj
def retry(session: Any, webhook_id: str, delivery_id: str) -> None:
    """Try a message again that was given up or waits."""
    session.api.call("POST", at("/webhooks/{}/deliveries/{}/retry", webhook_id, delivery_id))
    say(f"delivery {delivery_id} is tried again")


COMMANDS = (webhook,)

"""The pages of the admin plane, server-rendered; each module adds the routes of one subject."""

from __future__ import annotations

from flask import Blueprint

from pxeforge.services.attention import Attention
from pxeforge.services.context import Context
from pxeforge.services.readiness import Readiness
from pxeforge.webapp.auth import Guard
from pxeforge.webapp.pages import (
    answers,
    arming,
    audit,
    blueprints,
    bulk,
    bulk_power,
    dashboard,
    host_ends,
    host_list,
    host_settings,
    host_tables,
    hosts,
    identity,
    images,
    lists,
    navigation,
    power,
    profiles,
    racks,
    readable,
    roles,
    rules,
    runs,
    server,
    users,
)


def create_pages(ctx: Context, guard: Guard, readiness: Readiness) -> Blueprint:
    """The blueprint `pages`; its endpoints are `pages.<name>`."""
    pages = Blueprint("pages", __name__)
    for name, function in readable.FILTERS.items():
        pages.add_app_template_filter(function, name)
    pages.app_context_processor(lambda: {"now": ctx.clock()})
    of_hosts = (hosts, host_settings, identity, host_ends, power, bulk_power, arming, answers, roles, racks, rules)
    for subject in (*of_hosts, profiles, images, runs, blueprints, lists, audit):
        subject.add_routes(pages, ctx)
    navigation.add_routes(pages)
    attention = Attention(ctx)
    dashboard.add_routes(pages, ctx, readiness, attention)
    host_list.add_routes(pages, ctx, attention)
    bulk.add_routes(pages, ctx, attention)
    host_tables.add_routes(pages, ctx, attention)
    server.add_routes(pages, ctx, readiness)
    users.add_routes(pages, ctx, guard)
    return pages

"""The pages of the admin plane, server-rendered; each module adds the routes of one subject."""

from __future__ import annotations

from flask import Blueprint

from pxeforge.services.context import Context
from pxeforge.webapp.auth import Guard
from pxeforge.webapp.pages import answers, arming, audit, hosts, images, lists, profiles, readable, roles, runs, users


def create_pages(ctx: Context, guard: Guard) -> Blueprint:
    """The blueprint `pages`; its endpoints are `pages.<name>`."""
    pages = Blueprint("pages", __name__)
    for name, function in readable.FILTERS.items():
        pages.add_app_template_filter(function, name)
    pages.app_context_processor(lambda: {"now": ctx.clock()})
    for subject in (hosts, arming, answers, profiles, images, roles, runs, lists, audit):
        subject.add_routes(pages, ctx)
    users.add_routes(pages, ctx, guard)
    return pages

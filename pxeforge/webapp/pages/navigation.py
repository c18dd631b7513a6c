"""The menu beside every page, in groups, and the choice between light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import Blueprint, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from pxeforge.services.problems import Problem
from pxeforge.webapp.auth import safe_next

THEMES: Final = {"system": "System", "light": "Light", "dark": "Dark"}
THEME_COOKIE: Final = "pxeforge-theme"
_YEAR_S: Final = 366 * 86400
_GROUPS: Final = {
    "": {"Dashboard": "home", "Hosts": "host_list", "Roles": "role_table", "Racks": "racks", "Rules": "rule_list"},
    "Installing": {"Profiles": "profile_list", "Images": "image_list"},
    "Deploying": {"Blueprints": "blueprint_list", "Plan": "plan", "Runs": "run_list"},
    "Server": {
        "Events": "event_list", "Audit": "audit_log", "Users": "user_list", "Health": "health", "Settings": "settings",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu; `icon` is the name of a drawing in static/icons.svg."""

    name: str
    href: str
    icon: str
    current: bool


def menu() -> dict[str, list[Entry]]:
    """The entries by the heading of their group; a page that this server does not have is left out."""
    present = current_app.view_functions
    return {
        heading: [_entry(name, f"pages.{one}") for name, one in names.items() if f"pages.{one}" in present]
        for heading, names in _GROUPS.items()
    }  # fmt: skip


def theme() -> str:
    """What this browser's visitor chose; system unless it is one of the others."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


def add_routes(pages: Blueprint) -> None:
    pages.app_context_processor(lambda: {"menu": menu, "theme": theme(), "themes": THEMES, "here": _here()})

    @pages.post("/theme")
    def theme_change() -> ResponseReturnValue:
        """For browsers without JavaScript; theme.js sets the same cookie."""
        target = safe_next(request.form.get("next"))
        g.back = target
        chosen = request.form.get("theme", "")
        if chosen not in THEMES:
            raise Problem(f"choose one of {', '.join(THEMES)}")
        response = redirect(target, 303)
        response.set_cookie(THEME_COOKIE, chosen, max_age=_YEAR_S, secure=True, samesite="Strict")
        return response


def _entry(name: str, endpoint: str) -> Entry:
    href = url_for(endpoint)
    below = request.path.startswith(f"{href}/") if href != "/" else False
    return Entry(name, href, name.lower(), request.path == href or below)


def _here() -> str:
    """Where to come back to: this page, or the dashboard after a form that has no page of its own."""
    return request.full_path.rstrip("?") if request.method == "GET" else url_for("pages.home")

"""One's own password by the API: the only thing that whoever has a password for once may do."""

from __future__ import annotations

from typing import Any, TypedDict

from flask import Blueprint, g, request

from pxeforge.services import accounts
from pxeforge.services.acting import PASSWORD
from pxeforge.services.context import Context
from pxeforge.services.problems import Forbidden
from pxeforge.webapp.told import told


class OwnPassword(TypedDict):
    password: str


class Changed(TypedDict):
    name: str


def add_routes(api: Blueprint, ctx: Context) -> None:
    @api.post("/me/password")
    @told(takes=OwnPassword, gives=Changed)
    def change_own_password(body: dict[str, Any]) -> Any:
        """Changes one's own password and ends every session of the user.

        The request's own login (HTTP Basic) proves that the old one is known.
        """
        given = request.authorization
        if g.actor.via != PASSWORD or given is None or given.password is None:
            raise Forbidden("log in with your name and your old password (HTTP Basic) to change it")
        accounts.change_own(ctx, g.who, given.password, body["password"])
        return {"name": g.who}

"""What hosts would get, by the API: menus, answers and scripts, their differences, and each packet with its reason."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint

from pxeforge.domain.firmware import Firmware
from pxeforge.services import answer_preview, explanation
from pxeforge.services.answer_preview import Source
from pxeforge.services.context import Context
from pxeforge.services.text_diff import unified
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import told


class TextFinding(TypedDict):
    line: int
    severity: str
    message: str
    template: str | None


class ShownText(TypedDict):
    """A text without tokens and password hashes, and what lint says to it."""

    source: str
    title: str
    text: str
    findings: list[TextFinding]


class Preview(ShownText):
    """The same with its kind."""

    what: str


class Difference(TypedDict):
    what: str
    left: ShownText
    right: ShownText
    unified: str


class TextAsked(TypedDict):
    """For which arming; without it as the host is armed."""

    profile: NotRequired[str]
    attempt: NotRequired[str]


class TwoTexts(TypedDict):
    left: Annotated[str, Says(text="host=NAME, host=NAME,profile=PROFILE, host=NAME,attempt=ID or profile=PROFILE")]
    right: Annotated[str, Says(text="the same for the other text")]


class ExplainAsked(TypedDict):
    firmware: NotRequired[Annotated[Firmware, Says(text="as if the host had this one")]]


class BootStep(TypedDict):
    title: str
    reason: str
    decoded: list[str]
    hex: str
    text: str


class Explanation(TypedDict):
    """What a host would get if it netbooted now."""

    nic: str
    our_address: str
    our_address_reason: str
    relay: str | None
    firmware: str
    decision: str
    reason: str
    loader: str
    steps: list[BootStep]
    files: dict[str, str]


def add_routes(api: Blueprint, ctx: Context) -> None:
    @api.get("/hosts/<host>/render/<what>")
    @told(asks=TextAsked, gives=Preview, problems=(404, 409))
    def render_host(host: str, what: str, query: dict[str, Any]) -> Any:
        """A text that the host would get: menu, answers, early, disks, late, kernel-args …"""
        source = Source(host=host, profile=query.get("profile"), attempt=query.get("attempt"))
        return {"what": what, **answer_preview.view(answer_preview.preview(ctx, source, what=what))}

    @api.get("/profiles/<profile>/render/<what>")
    @told(gives=Preview, problems=(404, 409))
    def render_profile(profile: str, what: str) -> Any:
        """The same for any host of the profile."""
        shown = answer_preview.preview(ctx, Source(profile=profile), what=what)
        return {"what": what, **answer_preview.view(shown)}

    @api.get("/diff/<what>")
    @told(asks=TwoTexts, gives=Difference, problems=(404, 409))
    def diff_texts(what: str, query: dict[str, Any]) -> Any:
        """Two texts and what differs."""
        left, right = (Source.parse(query[side]) for side in ("left", "right"))
        one, two = answer_preview.compare(ctx, left, right, what=what)
        return {
            "what": what,
            "left": answer_preview.view(one),
            "right": answer_preview.view(two),
            "unified": unified(one.text, two.text, one.title, two.title),
        }

    @api.get("/hosts/<host>/explain")
    @told(asks=ExplainAsked, gives=Explanation, problems=(404, 409))
    def explain_host(host: str, query: dict[str, Any]) -> Any:
        """The very packets, files and texts that the host would get now, and why."""
        return explanation.explain(ctx, host, firmware=query.get("firmware"))

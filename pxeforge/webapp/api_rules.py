"""Rules, racks and edits of many hosts, by the API."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.services import bulk_edits, racks, rules
from pxeforge.services.context import Context
from pxeforge.webapp.paging import Part, Rows, first
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import Pages, told

Seconds = Annotated[float, Says(text="unix seconds, UTC")]
When = Annotated[dict[str, Any], Says(text="criteria by key (mac, vendor, memory …): a text or a list of them each")]
Gives = Annotated[dict[str, Any], Says(text="name, tags, roles, profile, rack, unit, height, attach, arm")]
Where = Annotated[str, Says(text="a selection of hosts: 'state=known tag=rack1 memory>=64G'")]


class Rule(TypedDict):
    """What hosts of a kind are given when something new is known of them."""

    id: str
    name: str
    position: int
    enabled: bool
    when: When
    set: Gives
    most: Annotated[int, Says(text="how many hosts it may change by itself")]
    applied: Annotated[int, Says(text="how many it has changed")]
    created_at: Seconds
    changed_at: Seconds


class NewRule(TypedDict):
    name: str
    when: When
    set: Gives
    enabled: NotRequired[bool]
    position: NotRequired[Annotated[int, Says(text="its place in the order, from 1; behind the others without it")]]
    most: NotRequired[int]


class RuleChange(TypedDict):
    """What is left out stays; of `when` and `set` a key with null goes away."""

    name: NotRequired[str]
    when: NotRequired[When]
    set: NotRequired[Gives]
    enabled: NotRequired[bool]
    most: NotRequired[int]


class RuleMove(TypedDict):
    position: Annotated[int, Says(text="its place in the order, from 1", least=1)]


class RuleTest(TypedDict):
    """A rule that is kept, by its name, or one that is not, by `when` and `set`; all enabled ones without either."""

    rule: NotRequired[str]
    when: NotRequired[When]
    set: NotRequired[Gives]
    where: NotRequired[Where]
    replace: NotRequired[Annotated[bool, Says(text="also change the rack position and profile that hosts have")]]


class RuleMatch(TypedDict):
    """What a rule would do to a host, or (`matches` false) the one criterion that the host misses."""

    host: str
    id: str
    rule: str
    matches: bool
    changes: Annotated[dict[str, Any], Says(text="before and after, by what is changed")]
    attach_to: str | None
    arm: Annotated[str | None, Says(text="the profile that it would be armed for")]
    notes: list[str]
    missing: list[str]


class RuleApplication(TypedDict):
    """All hosts where neither `hosts` nor `where` is given; all enabled rules without `rule`."""

    rule: NotRequired[str]
    hosts: NotRequired[list[str]]
    where: NotRequired[Where]
    replace: NotRequired[bool]


class Ruled(TypedDict):
    host: str
    given: dict[str, Any]


class HostMessage(TypedDict):
    host: str
    message: str


class RulesApplied(TypedDict):
    looked_at: int
    changed: int
    armed: list[str]
    hosts: list[Ruled]
    problems: list[HostMessage]


class RackUnit(TypedDict):
    """A host in a rack; `unit` is the lowest one it takes."""

    unit: int | None
    height: int
    host: str
    host_id: str
    mac: str | None
    state: str
    roles: list[str]


class Rack(TypedDict):
    rack: str
    height: int
    note: str
    units: list[RackUnit]
    unplaced: list[RackUnit]


class RackChange(TypedDict):
    height: NotRequired[Annotated[int, Says(text="units", least=1, most=99)]]
    note: NotRequired[str]


class RackSaid(TypedDict):
    name: str
    height: int
    note: str


class Changes(TypedDict):
    """What many hosts get; what is left out stays."""

    tags: NotRequired[list[str]]
    add_tags: NotRequired[list[str]]
    remove_tags: NotRequired[list[str]]
    roles: NotRequired[list[str]]
    add_roles: NotRequired[list[str]]
    remove_roles: NotRequired[list[str]]
    loader: NotRequired[str]
    settings: NotRequired[Annotated[dict[str, Any], Says(text="merged; null takes one away")]]
    rack: NotRequired[Annotated[dict[str, Any], Says(text="name, unit, height; an empty object takes it away")]]


class BulkEdit(TypedDict):
    hosts: NotRequired[list[str]]
    where: NotRequired[Where]
    changes: Changes
    dry_run: NotRequired[Annotated[bool, Says(text="only tell what would be done")]]


class EditedHost(TypedDict):
    host: str
    id: str
    changes: dict[str, Any]


class BulkEdited(TypedDict):
    matched: int
    changed: int
    dry_run: bool
    hosts: list[EditedHost]


def add_routes(api: Blueprint, ctx: Context) -> None:
    _rules(api, ctx)
    _using_rules(api, ctx)
    _racks(api, ctx)

    @api.post("/hosts/bulk")
    @told(takes=BulkEdit, gives=BulkEdited, problems=(404, 409), once=True)
    def edit_hosts(body: dict[str, Any]) -> Any:
        """Changes many hosts, all of them or none."""
        return bulk_edits.apply(
            ctx, body.get("hosts", []), body["changes"], g.who, where=body.get("where"),
            dry_run=body.get("dry_run", False),
        )  # fmt: skip


def _rules(api: Blueprint, ctx: Context) -> None:
    @api.get("/rules")
    @told(gives=Rule, pages=Pages(names=("id",)))
    def list_rules() -> Any:
        """The rules in the order in which they are asked."""
        return rules.list_rules(ctx)

    @api.post("/rules")
    @told(takes=NewRule, gives=Rule, status=201, problems=(404, 409), once=True)
    def add_rule(body: dict[str, Any]) -> Any:
        """Adds a rule; it is applied when something new is known of a host, or by hand."""
        return rules.add(
            ctx, body["name"], when=body["when"], gives=body["set"], enabled=body.get("enabled", True),
            position=body.get("position"), most=body.get("most", rules.MOST), who=g.who,
        )  # fmt: skip

    @api.get("/rules/<rule>")
    @told(gives=Rule, problems=(404,))
    def show_rule(rule: str) -> Any:
        """One rule."""
        return rules.show(ctx, rule)

    @api.patch("/rules/<rule>")
    @told(takes=RuleChange, gives=Rule, problems=(404, 409), versioned=True)
    def change_rule(rule: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """Sets what is given and leaves the rest."""
        return rules.change(
            ctx, rule, when=body.get("when"), gives=body.get("set"), enabled=body.get("enabled"),
            most=body.get("most"), new_name=body.get("name"), who=g.who, expected_version=expected_version,
        )  # fmt: skip

    @api.delete("/rules/<rule>")
    @told(problems=(404,), versioned=True)
    def remove_rule(rule: str, expected_version: str | None) -> Any:
        """Removes a rule; what it gave to hosts stays with them."""
        rules.remove(ctx, rule, who=g.who, expected_version=expected_version)
        return {}

    @api.post("/rules/<rule>/move")
    @told(takes=RuleMove, gives=Rule, problems=(404,))
    def move_rule(rule: str, body: dict[str, Any]) -> Any:
        """Puts a rule at another place in the order."""
        return rules.move(ctx, rule, body["position"], who=g.who)


def _using_rules(api: Blueprint, ctx: Context) -> None:
    @api.post("/rules/test")
    @told(takes=RuleTest, gives=list[RuleMatch], problems=(404,))
    def test_rules(body: dict[str, Any]) -> Any:
        """What rules would do: nothing is changed."""
        tried: Any = body.get("rule")
        if "when" in body or "set" in body:
            tried = {"name": tried, "when": body.get("when"), "set": body.get("set")}
        return rules.dry_run(ctx, tried, where=body.get("where"), replace_=body.get("replace", False))

    @api.post("/rules/apply")
    @told(takes=RuleApplication, gives=RulesApplied, problems=(404, 409), once=True)
    def apply_rules(body: dict[str, Any]) -> Any:
        """Applies rules by hand."""
        return rules.apply(
            ctx, rule=body.get("rule"), names=body.get("hosts", []), where=body.get("where"),
            replace_=body.get("replace", False), who=g.who,
        )  # fmt: skip


def _racks(api: Blueprint, ctx: Context) -> None:
    @api.get("/racks")
    @told(gives=Rack, pages=Pages(keys=((str,),)))
    def list_racks(part: Part) -> Any:
        """The racks and who stands where."""
        names = racks.names(ctx, after=None if part.after is None else str(part.after[0]))
        shown = first(names, part.limit, lambda name: (name,))
        return Rows(racks.rack_view(ctx, shown.rows), shown.next_after)

    @api.get("/racks/<rack>")
    @told(gives=Rack, problems=(404,))
    def show_rack(rack: str) -> Any:
        """One rack and who stands where; the ETag is that of its height and note."""
        return racks.show(ctx, rack)

    @api.put("/racks/<rack>")
    @told(takes=RackChange, gives=RackSaid, problems=(409,), versioned=True, makes=True)
    def set_rack(rack: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """Says how tall a rack is, or a word about it."""
        return racks.set_rack(
            ctx, rack, height=body.get("height"), note=body.get("note"), who=g.who, expected_version=expected_version
        )  # fmt: skip

    @api.delete("/racks/<rack>")
    @told(problems=(404, 409), versioned=True)
    def remove_rack(rack: str, expected_version: str | None) -> Any:
        """Forgets what was said of a rack that nobody stands in."""
        racks.remove_rack(ctx, rack, who=g.who, expected_version=expected_version)
        return {}

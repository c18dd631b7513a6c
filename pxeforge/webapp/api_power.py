"""Power of hosts by the API: looked at, switched, and how it is reached."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from flask import Blueprint, g

from pxeforge.domain.power import PowerAbility, PowerAction, PowerState
from pxeforge.services import power, power_orders
from pxeforge.services.context import Context
from pxeforge.webapp.shapes import Says
from pxeforge.webapp.told import told

Seconds = Annotated[float, Says(text="unix seconds, UTC")]
Sentence = Annotated[str, Says(text="one sentence for a person")]


class PowerNow(TypedDict):
    """What a BMC says of a host's power; `error` tells why it could not be asked."""

    host: str
    id: str | None
    driver: str | None
    address: str | None
    can: list[PowerAbility]
    state: PowerState
    note: str | None
    error: str | None
    asked_at: float


class PowerDone(TypedDict):
    """What was done to one host's power; `note` is what to know besides."""

    host: str
    id: str
    action: PowerAction
    ok: bool
    state: PowerState
    message: Sentence
    note: str | None


class PowerOfMany(TypedDict):
    """What became of an order on one host: `error` says why it was not done, and the others are not concerned."""

    host: str
    id: str | None
    progress: Literal["waiting", "underway", "done", "failed", "broken-off"]
    state: PowerState
    message: Annotated[str | None, Says(text="what was done")]
    note: str | None
    error: str | None
    ended_at: Seconds | None


class OrderOfPower(TypedDict):
    """A power action on many hosts, which goes on until `ended_at` is told."""

    id: str
    action: PowerAction
    soft: bool
    force: bool
    who: str
    created_at: Seconds
    ended_at: Seconds | None
    hosts: list[PowerOfMany]


class PowerReached(TypedDict):
    """How a host's power is reached; the password is never told."""

    host: str
    id: str
    driver: str | None
    address: str | None
    user: str | None
    can: list[PowerAbility]
    has_password: bool
    refused: Annotated[str | None, Says(text="why it should be left alone just now")]
    settings: dict[str, Any]


class PowerAsked(TypedDict):
    hosts: Annotated[str, Says(text=f"names, MACs or ids with commas between them; {power.MOST_HOSTS} at most")]


class PowerOrder(TypedDict):
    action: PowerAction
    force: NotRequired[Annotated[bool, Says(text="also where it breaks off an install or a run")]]
    soft: NotRequired[Annotated[bool, Says(text="with off: the operating system is asked to shut down")]]


class PowerOrders(PowerOrder):
    hosts: Annotated[list[str], Says(text=f"names, MACs or ids; {power.MOST_HOSTS} at most")]


class PowerSettings(TypedDict):
    """docs/power.md says which settings each driver knows."""

    driver: Literal["redfish", "ipmi", "wake-on-lan", "command"]
    address: NotRequired[Annotated[str, Says(text="address or name of the BMC")]]
    port: NotRequired[int]
    user: NotRequired[str]
    password: NotRequired[Annotated[str, Says(text="kept encrypted, never told; left out: the one before stays")]]
    login: NotRequired[Annotated[str, Says(text="redfish: auto, session or basic")]]
    system: NotRequired[Annotated[str, Says(text="redfish: which system, where a BMC has several")]]
    fingerprint: NotRequired[Annotated[str, Says(text="redfish: SHA-256 of the certificate, instead of a CA")]]
    ca: NotRequired[Annotated[str, Says(text="redfish: PEM file in the folder power-ca of the operator's folder")]]
    privilege: NotRequired[Annotated[str, Says(text="ipmi: OPERATOR or ADMINISTRATOR")]]
    cipher: NotRequired[Annotated[int, Says(text="ipmi: cipher suite 3 or 17")]]
    mac: NotRequired[Annotated[str, Says(text="wake-on-lan: which NIC")]]
    command: NotRequired[Annotated[str, Says(text="command: which one of power.toml")]]
    options: NotRequired[Annotated[dict[str, Any], Says(text="command: what fills its places")]]
    netboot: NotRequired[Annotated[str, Says(text="pxe, http, or always: its firmware boots from the network anyhow")]]


def add_routes(api: Blueprint, ctx: Context) -> None:
    _looking(api, ctx)
    _switching(api, ctx)
    _setting(api, ctx)


def _looking(api: Blueprint, ctx: Context) -> None:
    @api.get("/hosts/<host>/power")
    @told(gives=PowerNow, problems=(404, 409, 429))
    def show_power(host: str) -> Any:
        """Asks the host's BMC whether it is on; an answer may be three seconds old."""
        return {**power.status(ctx, host), "version": power.describe(ctx, host)["version"]}

    @api.get("/power")
    @told(asks=PowerAsked, gives=list[PowerNow], problems=(429,))
    def list_power(query: dict[str, Any]) -> Any:
        """The same of many hosts, in their order."""
        return power.statuses(ctx, [name for name in query["hosts"].split(",") if name])


def _switching(api: Blueprint, ctx: Context) -> None:
    @api.post("/hosts/<host>/power")
    @told(takes=PowerOrder, gives=PowerDone, problems=(404, 409, 429), once=True)
    def switch_power(host: str, body: dict[str, Any]) -> Any:
        """Switches the host, and waits until it says so, 45 seconds at most."""
        return power.act(ctx, host, body.pop("action"), who=g.who, **body)

    @api.post("/power")
    @told(takes=PowerOrders, gives=OrderOfPower, status=202, problems=(429,), once=True)
    def switch_many(body: dict[str, Any]) -> Any:
        """The same for many hosts, six at a time, without waiting: ask for the order to hear what became of it."""
        return power_orders.order(ctx, body.pop("hosts"), body.pop("action"), who=g.who, **body)

    @api.get("/power/orders/<order>")
    @told(gives=OrderOfPower, problems=(404,))
    def show_power_order(order: str) -> Any:
        """What became of a power action on many hosts, within a day."""
        return power_orders.show(ctx, order)


def _setting(api: Blueprint, ctx: Context) -> None:
    @api.put("/hosts/<host>/power")
    @told(takes=PowerSettings, gives=PowerReached, problems=(404, 409), versioned=True, makes=True)
    def set_power(host: str, body: dict[str, Any], expected_version: str | None) -> Any:
        """How the host's power is reached, instead of what was set before."""
        password = body.pop("password", None)
        return power.set_power(ctx, host, body, password=password, who=g.who, expected_version=expected_version)

    @api.delete("/hosts/<host>/power")
    @told(gives=PowerReached, problems=(404, 409), versioned=True)
    def clear_power(host: str, expected_version: str | None) -> Any:
        """Forgets how the host's power is reached, and the password."""
        return power.clear_power(ctx, host, who=g.who, expected_version=expected_version)

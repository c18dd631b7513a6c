"""The tables. Times are unix seconds (float, UTC); identities are short random hex strings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    false,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, validates

_BY_SOMEBODY = text("who IS NOT NULL")


@compiles(String, "postgresql")
def _as_long_as_it_is(*_: object, **__: object) -> str:
    """SQLite does not hold a text to its length, and what a peer may send is bounded where it comes in."""
    return "VARCHAR"


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Host(Base):
    __tablename__ = "hosts"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(63), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    uuid: Mapped[str | None] = mapped_column(String(36), index=True)
    serial: Mapped[str | None] = mapped_column(String(128), index=True)
    firmware: Mapped[str | None] = mapped_column(String(16))
    loader: Mapped[str] = mapped_column(String(16), default="auto")
    tags: Mapped[list[Any]] = mapped_column(default=list)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)  # per-host answers: disk rule, wipe serials …
    rack: Mapped[str | None] = mapped_column(String(63), index=True)  # what settings name, for lists
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    address: Mapped[str | None] = mapped_column(String(45), index=True)  # last one seen on the wire or reported
    armed_until: Mapped[float | None] = mapped_column(Float, index=True)
    attempt_id: Mapped[str | None] = mapped_column(String(12))
    created_at: Mapped[float] = mapped_column(Float)
    seen_at: Mapped[float | None] = mapped_column(Float)
    registered_at: Mapped[float | None] = mapped_column(Float)
    nics: Mapped[list[Nic]] = relationship(
        back_populates="host", cascade="all, delete-orphan", lazy="selectin", order_by="(Nic.position, Nic.mac)"
    )
    roles: Mapped[list[Assignment]] = relationship(
        back_populates="host", cascade="all, delete-orphan", lazy="selectin", order_by="Assignment.assigned_at"
    )

    # Serial numbers are compared so, to find boards that share one.
    __table_args__ = (Index("hosts_by_serial", text("lower(serial)")),)

    @validates("settings")
    def _placed(self, _key: str, settings: dict[str, Any]) -> dict[str, Any]:
        place = settings.get("rack")
        self.rack = place.get("name") if isinstance(place, dict) else None
        return settings

    @validates("nics")
    def _behind_the_others(self, _key: str, nic: Nic) -> Nic:
        nic.position = max((other.position for other in self.nics), default=-1) + 1
        return nic

    @property
    def macs(self) -> tuple[str, ...]:
        return tuple(nic.mac for nic in self.nics)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or (self.macs[0] if self.macs else self.id)


class Nic(Base):
    __tablename__ = "nics"
    mac: Mapped[str] = mapped_column(String(17), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str | None] = mapped_column(String(32))
    address: Mapped[str | None] = mapped_column(String(45), index=True)
    reserved_address: Mapped[str | None] = mapped_column(String(15), unique=True, index=True)  # our DHCP keeps it
    position: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # the host's first one names it
    host: Mapped[Host] = relationship(back_populates="nics")


class Assignment(Base):
    """A role given to a host."""

    __tablename__ = "assignments"
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(63), primary_key=True)
    assigned_at: Mapped[float] = mapped_column(Float)
    assigned_by: Mapped[str] = mapped_column(String(63))
    host: Mapped[Host] = relationship(back_populates="roles")


class Event(Base):
    """One line of a timeline: what happened to whom, and who did it."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    host_id: Mapped[str | None] = mapped_column(String(12))
    run_id: Mapped[str | None] = mapped_column(String(12))
    at: Mapped[float] = mapped_column(Float)
    source: Mapped[str] = mapped_column(String(16))  # dhcp tftp http installer agent engine operator server
    kind: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(Text)
    who: Mapped[str | None] = mapped_column(String(63))
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    via: Mapped[str | None] = mapped_column(String(80))  # how `who` came in: session, password, token NAME, local
    address: Mapped[str | None] = mapped_column(String(45))  # from where
    __table_args__ = (
        Index("events_by_host", "host_id", "id"),
        Index("events_by_run", "run_id", "id"),
        # The audit log: few of the many events.
        Index("events_by_who", "who", "id", sqlite_where=_BY_SOMEBODY, postgresql_where=_BY_SOMEBODY),
        Index("events_audited", "id", sqlite_where=_BY_SOMEBODY, postgresql_where=_BY_SOMEBODY),
    )


class Attempt(Base):
    """One armed install of one host: what was promised when it was armed."""

    __tablename__ = "attempts"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), index=True)
    # install | rescue | memtest | wipe | discover | enrol
    purpose: Mapped[str] = mapped_column(String(16), default="install", server_default="install")
    since_event: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # what came of it is newer
    profile: Mapped[str] = mapped_column(String(63))
    image: Mapped[str] = mapped_column(String(128))  # name/version: an upgrade of the image leaves this one alone
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    armed_at: Mapped[float] = mapped_column(Float)
    armed_by: Mapped[str] = mapped_column(String(63))
    expires_at: Mapped[float] = mapped_column(Float)
    answers_at: Mapped[float | None] = mapped_column(Float)
    registered_at: Mapped[float | None] = mapped_column(Float)
    outcome: Mapped[str | None] = mapped_column(String(32))  # None while it may still be used


class Diagnosis(Base):
    """What holds a host up now, by name (services/diagnosis.py); gone when it is over."""

    __tablename__ = "diagnoses"
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), index=True)
    state: Mapped[str] = mapped_column(String(16))  # the host's, when it was found: in another one it is over
    since: Mapped[float] = mapped_column(Float)
    sentence: Mapped[str] = mapped_column(Text)
    evidence: Mapped[list[Any]] = mapped_column(default=list)  # events: id, at, message


class Token(Base):
    """A one-time token by its SHA-256; the clear text is never stored."""

    __tablename__ = "tokens"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(String(16))  # answers | installer
    used_at: Mapped[float | None] = mapped_column(Float)


class Profile(Base):
    __tablename__ = "profiles"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    image: Mapped[str] = mapped_column(String(63))
    template: Mapped[str] = mapped_column(String(128))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float] = mapped_column(Float)


class ImageImport(Base):
    """The last import of an image that somebody asked the server for (services/image_imports.py)."""

    __tablename__ = "image_imports"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    id: Mapped[str] = mapped_column(String(12))  # another one each time it is asked for
    source: Mapped[str] = mapped_column(String(16))  # package | mirror
    mirror: Mapped[str | None] = mapped_column(Text)  # None: the one of the settings
    state: Mapped[str] = mapped_column(String(16))  # waiting | running | succeeded | failed | cancelled
    asked_at: Mapped[float] = mapped_column(Float)
    asked_by: Mapped[str] = mapped_column(String(63))
    asked_via: Mapped[str] = mapped_column(String(80))
    asked_from: Mapped[str | None] = mapped_column(String(45))
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    step: Mapped[str | None] = mapped_column(String(16))  # services/import_progress.py
    done_bytes: Mapped[int] = mapped_column(BigInteger)
    total_bytes: Mapped[int] = mapped_column(BigInteger)
    doing: Mapped[str | None] = mapped_column(Text)
    version: Mapped[str | None] = mapped_column(String(128))
    fresh: Mapped[bool | None] = mapped_column(Boolean)  # False: this version was here already
    problem: Mapped[str | None] = mapped_column(Text)


class DhcpLease(Base):
    __tablename__ = "leases"
    address: Mapped[str] = mapped_column(String(45), primary_key=True)
    mac: Mapped[str] = mapped_column(String(17), index=True)
    client_id: Mapped[str | None] = mapped_column(String(510))
    expires_at: Mapped[float] = mapped_column(Float)
    state: Mapped[str] = mapped_column(String(16))


class User(Base):
    __tablename__ = "users"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[float] = mapped_column(Float)
    role: Mapped[str] = mapped_column(String(16))  # viewer | operator | admin
    must_change: Mapped[bool] = mapped_column(Boolean, default=False)  # somebody else knows the password
    disabled: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())  # nobody comes in as it


class LoginSession(Base):
    """A browser that is logged in, by the SHA-256 of what its cookie says."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name", ondelete="CASCADE"), index=True)
    created_at: Mapped[float] = mapped_column(Float)
    seen_at: Mapped[float] = mapped_column(Float)  # when a person last did something, by the minute
    address: Mapped[str | None] = mapped_column(String(45))
    browser: Mapped[str] = mapped_column(String(200))


class ApiToken(Base):
    """A user's (or root's) way into the API for a program, by its SHA-256; the clear text is never stored."""

    __tablename__ = "api_tokens"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(63))
    user_name: Mapped[str | None] = mapped_column(ForeignKey("users.name", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(16))  # what counts is the lesser of this and its user's
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float | None] = mapped_column(Float)


class AgentCredential(Base):
    __tablename__ = "agent_credentials"
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    issued_at: Mapped[float] = mapped_column(Float)
    seen_at: Mapped[float | None] = mapped_column(Float)
    boot_id: Mapped[str | None] = mapped_column(String(64))
    version: Mapped[str | None] = mapped_column(String(32))
    clock_skew_s: Mapped[float | None] = mapped_column(Float)


class Secret(Base):
    """A generated secret, encrypted with the key that lies beside the database, not in it."""

    __tablename__ = "secrets"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    ciphertext: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float)


class Run(Base):
    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # deploy | verify
    state: Mapped[str] = mapped_column(String(16), index=True)  # running | succeeded | failed | cancelled
    blueprint: Mapped[str | None] = mapped_column(String(128))
    check: Mapped[bool] = mapped_column("dry_run", Boolean, default=False)
    started_by: Mapped[str] = mapped_column(String(63))
    created_at: Mapped[float] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)
    version: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # one more with each change of a task
    origin: Mapped[str] = mapped_column(String(16), default="operator", server_default="operator")  # operator | timer
    losses: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")  # hosts it succeeded without, and why
    going_since: Mapped[float | None] = mapped_column(Float)  # its start, or when it was last taken up again
    tasks: Mapped[list[RunTask]] = relationship(
        back_populates="run", cascade="all, delete-orphan", order_by="RunTask.position"
    )


class RunTask(Base):
    """A planned task of a run, its lease and its result."""

    __tablename__ = "run_tasks"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    planned_id: Mapped[str] = mapped_column(String(160))
    position: Mapped[int] = mapped_column(Integer)
    host_id: Mapped[str] = mapped_column(String(12), index=True)
    role: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16), index=True)  # pending | leased | ok | changed | failed | blocked …
    planned: Mapped[dict[str, Any]] = mapped_column(default=dict)  # the PlannedTask as JSON; secrets are references
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    lease_until: Mapped[float | None] = mapped_column(Float)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    started_at: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # that failed, and were not the last
    not_before: Mapped[float | None] = mapped_column(Float)  # the next try
    said: Mapped[str | None] = mapped_column(Text)  # by its agent, last: the step and a line of output
    run: Mapped[Run] = relationship(back_populates="tasks")
    # How long the same task took before.
    __table_args__ = (Index("run_tasks_by_name", "role", "name", "finished_at"),)


class DeployedRole(Base):
    """A role of which a deploy did something on a host; until its removal succeeded there."""

    __tablename__ = "deployed_roles"
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(63), primary_key=True)
    since: Mapped[float] = mapped_column(Float)
    at: Mapped[float] = mapped_column(Float)
    run_id: Mapped[str] = mapped_column(String(12))  # the last deploy of it


class CheckResult(Base):
    """What a check of a role last said on a host, and since when it says so."""

    __tablename__ = "check_results"
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))  # good | bad | unknown
    since: Mapped[float] = mapped_column(Float)
    at: Mapped[float] = mapped_column(Float)
    level: Mapped[int | None] = mapped_column(Integer)  # how much it proves, if the role says so
    message: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str] = mapped_column(String(12))


class RolePrefetch(Base):
    """What became of fetching the packages of a role that a host was given; gone with the role."""

    __tablename__ = "role_prefetches"
    host_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    role: Mapped[str] = mapped_column(String(63), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))  # fetched | nothing | failed
    at: Mapped[float] = mapped_column(Float)
    __table_args__ = (
        ForeignKeyConstraint(["host_id", "role"], ["assignments.host_id", "assignments.role"], ondelete="CASCADE"),
    )


class Rule(Base):
    """What hosts of a kind are given when they are seen (services/rules.py)."""

    __tablename__ = "rules"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    position: Mapped[int] = mapped_column(Integer)  # the lowest one is asked first
    enabled: Mapped[bool] = mapped_column(Boolean)
    criteria: Mapped[dict[str, Any]] = mapped_column(default=dict)
    gives: Mapped[dict[str, Any]] = mapped_column(default=dict)
    most: Mapped[int] = mapped_column(Integer)  # hosts that it may change by itself
    applied: Mapped[int] = mapped_column(Integer)  # hosts that it has changed
    created_at: Mapped[float] = mapped_column(Float)
    changed_at: Mapped[float] = mapped_column(Float)


class RuleMark(Base):
    """A host of which something new is known: the rules look at it soon."""

    __tablename__ = "rule_marks"
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[float] = mapped_column(Float)


class Rack(Base):
    """A rack with another height than most, or with a word about it; hosts may stand in others too."""

    __tablename__ = "racks"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    height: Mapped[int] = mapped_column(Integer)
    note: Mapped[str] = mapped_column(String(200))


class Sighting(Base):
    """Where a NIC was when its firmware last asked for a boot: what the relay says of it, or our interface."""

    __tablename__ = "sightings"
    mac: Mapped[str] = mapped_column(ForeignKey("nics.mac", ondelete="CASCADE"), primary_key=True)
    interface: Mapped[str] = mapped_column(String(32))
    relay: Mapped[str | None] = mapped_column(String(45))
    circuit_id: Mapped[str | None] = mapped_column(String(260))
    remote_id: Mapped[str | None] = mapped_column(String(260))
    at: Mapped[float] = mapped_column(Float)


class IdentityNote(Base):
    """A conflict that was noted when it happened, or one that an operator has settled (services/identity.py)."""

    __tablename__ = "identity_notes"
    subject: Mapped[str] = mapped_column(String(200), primary_key=True)  # kind:what it is about
    host_id: Mapped[str | None] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), index=True)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[float] = mapped_column(Float)
    settled_at: Mapped[float | None] = mapped_column(Float)
    settled_by: Mapped[str | None] = mapped_column(String(63))


class DiscoveryToken(Base):
    """The right to report one host's hardware once, by its SHA-256."""

    __tablename__ = "discovery_tokens"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), index=True)
    made_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float | None] = mapped_column(Float)


class PowerOrder(Base):
    """A power action on many hosts that somebody asked for (services/power_orders.py); kept for a day."""

    __tablename__ = "power_orders"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    action: Mapped[str] = mapped_column(String(16))
    soft: Mapped[bool] = mapped_column(Boolean)
    force: Mapped[bool] = mapped_column(Boolean)
    who: Mapped[str] = mapped_column(String(63))
    created_at: Mapped[float] = mapped_column(Float, index=True)
    ended_at: Mapped[float | None] = mapped_column(Float, index=True)
    hosts: Mapped[list[PowerOrderHost]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="PowerOrderHost.position"
    )


class PowerOrderHost(Base):
    """What became of a power order on one host. The host may be forgotten meanwhile, or nobody's."""

    __tablename__ = "power_order_hosts"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("power_orders.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(Integer)
    host_id: Mapped[str | None] = mapped_column(String(12))
    host: Mapped[str] = mapped_column(Text)  # its name, else a MAC; of one that nobody knows, as it was asked for
    progress: Mapped[str] = mapped_column(String(16))  # waiting | underway | done | failed | broken-off
    state: Mapped[str] = mapped_column(String(16))  # on | off | unknown: what the BMC said last
    message: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[float | None] = mapped_column(Float)


class IdempotencyKey(Base):
    """An action of the API that was done, by the key that its client gave it; kept for a day."""

    __tablename__ = "idempotency_keys"
    who: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request: Mapped[str] = mapped_column(String(64))  # HMAC of method, path and body
    created_at: Mapped[float] = mapped_column(Float, index=True)
    answer: Mapped[str | None] = mapped_column(Text)  # encrypted; None between the change and its answer


class Webhook(Base):
    """Somebody else's address that is told of events."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[Any]] = mapped_column(default=list)  # patterns of source.kind; empty: all
    secret: Mapped[str] = mapped_column(Text)  # encrypted
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(String(63))
    cursor: Mapped[int] = mapped_column(Integer)  # the last event that was looked at
    stopped: Mapped[str | None] = mapped_column(Text)  # why nothing is sent any more


class WebhookDelivery(Base):
    """One message for one webhook, until it was taken or given up; and some days more, to be looked at."""

    __tablename__ = "webhook_deliveries"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # the receiver's `webhook-id`
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    event_id: Mapped[int | None] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(64))
    payload: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))  # waiting | delivered | dead
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[float | None] = mapped_column(Float)
    created_at: Mapped[float] = mapped_column(Float)
    tried_at: Mapped[float | None] = mapped_column(Float)
    status: Mapped[int | None] = mapped_column(Integer)  # HTTP status of the last try
    error: Mapped[str | None] = mapped_column(Text)
    __table_args__ = (Index("webhook_deliveries_due", "state", "next_at"),)

"""The tables. Times are unix seconds (float, UTC); identities are short random hex strings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_BY_SOMEBODY = text("who IS NOT NULL")


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Host(Base):
    __tablename__ = "hosts"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(63), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    uuid: Mapped[str | None] = mapped_column(String(36), index=True)
    serial: Mapped[str | None] = mapped_column(String(128))
    firmware: Mapped[str | None] = mapped_column(String(16))
    loader: Mapped[str] = mapped_column(String(16), default="auto")
    tags: Mapped[list[Any]] = mapped_column(default=list)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)  # per-host answers: disk rule, wipe serials …
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    address: Mapped[str | None] = mapped_column(String(45), index=True)  # last one seen on the wire or reported
    armed_until: Mapped[float | None] = mapped_column(Float, index=True)
    attempt_id: Mapped[str | None] = mapped_column(String(12))
    created_at: Mapped[float] = mapped_column(Float)
    seen_at: Mapped[float | None] = mapped_column(Float)
    registered_at: Mapped[float | None] = mapped_column(Float)
    nics: Mapped[list[Nic]] = relationship(back_populates="host", cascade="all, delete-orphan", lazy="selectin")
    roles: Mapped[list[Assignment]] = relationship(
        back_populates="host", cascade="all, delete-orphan", lazy="selectin", order_by="Assignment.assigned_at"
    )

    @property
    def macs(self) -> tuple[str, ...]:
        return tuple(nic.mac for nic in self.nics)


class Nic(Base):
    __tablename__ = "nics"
    mac: Mapped[str] = mapped_column(String(17), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str | None] = mapped_column(String(32))
    address: Mapped[str | None] = mapped_column(String(45), index=True)
    reserved_address: Mapped[str | None] = mapped_column(String(15), unique=True, index=True)  # our DHCP keeps it
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
    profile: Mapped[str] = mapped_column(String(63))
    image: Mapped[str] = mapped_column(String(128))  # name/version: an upgrade of the image leaves this one alone
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    armed_at: Mapped[float] = mapped_column(Float)
    armed_by: Mapped[str] = mapped_column(String(63))
    expires_at: Mapped[float] = mapped_column(Float)
    answers_at: Mapped[float | None] = mapped_column(Float)
    registered_at: Mapped[float | None] = mapped_column(Float)
    outcome: Mapped[str | None] = mapped_column(String(32))  # None while it may still be used


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
    run: Mapped[Run] = relationship(back_populates="tasks")

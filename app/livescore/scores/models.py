"""The tables. Alembic migrations create them, and a test compares the result with these models."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.types import UserDefinedType
from sqlmodel import Field, SQLModel

from livescore.scores.state import STATUSES

_STATUSES = ", ".join(f"'{status}'" for status in STATUSES)

# Clients see milliseconds. With a finer precision, timestamps that look equal to them would compare as different.
TIMESTAMP_MS = TIMESTAMP(timezone=True, precision=3)


class TransactionId(UserDefinedType[str]):
    """PostgreSQL's ``xid8``, by which a snapshot decides whether it shows an event."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the name of the type in DDL."""
        return "xid8"


class Catalog(SQLModel, table=True):
    """A single row that assigns match ids, gap-free in commit order, and identifies this feed."""

    __tablename__: ClassVar[str] = "catalog"
    __table_args__ = (CheckConstraint("one_row", name="catalog_one_row"),)

    one_row: bool = Field(default=True, sa_column=Column(Boolean, primary_key=True, server_default=text("true")))
    last_match_id: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    # Changed when this database turns out to be an older copy of the feed.
    incarnation: UUID = Field(sa_column=Column(Uuid, nullable=False, server_default=text("gen_random_uuid()")))
    # Part of the names of this deployment on Redis; see livescore.deployment.
    deployment: UUID = Field(sa_column=Column(Uuid, nullable=False, server_default=text("gen_random_uuid()")))
    # Fingerprint of the cluster that assigned the transaction ids in `event.txid`. If the current one differs, this
    # database is a copy.
    cluster: str | None = Field(default=None, sa_column=Column(Text))


class Match(SQLModel, table=True):
    """A match. ``seq`` is the number of its last event. The row lock puts its events in order."""

    __tablename__: ClassVar[str] = "match"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="match_status"),
        CheckConstraint("home_score >= 0 AND away_score >= 0", name="match_scores"),
        CheckConstraint("end_time > start_time", name="match_times"),
        Index("match_newest", text("created_at DESC"), text("id DESC")),
        Index("match_start", "start_time"),
        Index("match_home", "home_team"),
        Index("match_away", "away_team"),
        Index("match_to_start", "start_time", postgresql_where=text("status = 'scheduled' AND NOT pinned")),
        Index("match_to_finish", "end_time", postgresql_where=text("status = 'live' AND NOT pinned")),
        Index("match_live", "start_time", postgresql_where=text("status = 'live'")),
        Index("match_pruned", "pruned_txid", postgresql_where=text("pruned_seq > restored_seq")),
        Index("match_external", "external_id", unique=True, postgresql_where=text("external_id IS NOT NULL")),
        Index(
            "match_competition",
            "competition",
            "season",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("competition IS NOT NULL"),
        ),
        # Free space in each page, and no index on columns that every event changes: updates of a match are HOT.
        {"postgresql_with": {"fillfactor": "60"}},
    )

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    sport: str = Field(sa_column=Column(Text, nullable=False))
    home_team: str = Field(sa_column=Column(Text, nullable=False))
    away_team: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    start_time: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    end_time: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    home_score: int = Field(sa_column=Column(Integer, nullable=False))
    away_score: int = Field(sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    updated_at: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    seq: int = Field(sa_column=Column(Integer, nullable=False))
    # True if the status was set by hand, so that the clock does not change it.
    pinned: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    # Events up to this number were pruned, so that no client can resume from an earlier one.
    pruned_seq: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    # Transaction id of the last pruned event.
    pruned_txid: str | None = Field(default=None, sa_column=Column(TransactionId))
    # Events up to this number have transaction ids of another cluster, which mean nothing here.
    restored_seq: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    competition: str | None = Field(default=None, sa_column=Column(Text))
    season: str | None = Field(default=None, sa_column=Column(Text))
    stage: str | None = Field(default=None, sa_column=Column(Text))
    group: str | None = Field(default=None, sa_column=Column(Text))
    round: str | None = Field(default=None, sa_column=Column(Text))
    leg: int | None = Field(default=None, sa_column=Column(Integer))
    match_number: int | None = Field(default=None, sa_column=Column(Integer))
    venue: str | None = Field(default=None, sa_column=Column(Text))
    referee: str | None = Field(default=None, sa_column=Column(Text))
    # The id of this match in another system.
    external_id: str | None = Field(default=None, sa_column=Column(Text))
    attendance: int | None = Field(default=None, sa_column=Column(Integer))
    start_time_confirmed: bool = Field(
        default=True, sa_column=Column(Boolean, nullable=False, server_default=text("true"))
    )
    # An instance of the sport's `rules`; NULL for its defaults.
    rules: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    details: dict[str, Any] | None = Field(default=None, sa_column=Column("metadata", JSON))
    # The score over both legs of a tie.
    aggregate: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # State.to_json() of livescore.scores.state; NULL in matches of older versions until their first fold.
    fold: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # The score with which the match was created: the fold starts from it.
    initial_home: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    initial_away: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))


class Commentary(SQLModel, table=True):
    """An entry of a match's commentary. ``seq`` is the number of the event that changed it last."""

    __tablename__: ClassVar[str] = "commentary"
    __table_args__ = (Index("commentary_newest", "match_id", text("created_at DESC"), text("id DESC")),)

    id: int = Field(sa_column=Column(Integer, Identity(), primary_key=True))
    match_id: int = Field(sa_column=Column(Integer, ForeignKey("match.id", ondelete="CASCADE"), nullable=False))
    seq: int = Field(sa_column=Column(Integer, nullable=False))
    minute: int = Field(sa_column=Column(Integer, nullable=False))
    sequence: int = Field(sa_column=Column(Integer, nullable=False))
    period: int = Field(sa_column=Column(Integer, nullable=False))
    event_type: str = Field(sa_column=Column(Text, nullable=False))
    actor: str | None = Field(sa_column=Column(Text))
    team: str | None = Field(sa_column=Column(Text))
    message: str = Field(sa_column=Column(Text, nullable=False))
    # json rather than jsonb keeps the text of the client, including the order of its keys.
    details: dict[str, Any] | None = Field(sa_column=Column("metadata", JSON))
    tags: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
    created_at: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    updated_at: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    # The side whose score rises, or that the entry concerns.
    side: str | None = Field(default=None, sa_column=Column(Text))
    period_code: str | None = Field(default=None, sa_column=Column(Text))
    # Minutes of stoppage time beyond `minute`.
    stoppage: int | None = Field(default=None, sa_column=Column(Integer))
    warnings: list[str] | None = Field(default=None, sa_column=Column(ARRAY(Text)))


class MatchOverride(SQLModel, table=True):
    """A change by hand that has its place in the fold: ``Override.to_json()`` of :mod:`livescore.scores.state`."""

    __tablename__: ClassVar[str] = "match_override"

    match_id: int = Field(sa_column=Column(Integer, ForeignKey("match.id", ondelete="CASCADE"), primary_key=True))
    # From the sequence of `commentary.id`, so that entries and overrides have one order.
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(
        sa_column=Column(TIMESTAMP_MS, nullable=False, server_default=text("clock_timestamp()"))
    )


class Competition(SQLModel, table=True):
    """A competition. The first match that names it creates the row, by a trigger on `match`."""

    __tablename__: ClassVar[str] = "competition"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    name: str | None = Field(default=None, sa_column=Column(Text))


class CompetitionSeason(SQLModel, table=True):
    """A season of a competition, with the decisions that no match contains. Its name is empty if matches have none."""

    __tablename__: ClassVar[str] = "competition_season"

    competition: str = Field(sa_column=Column(Text, ForeignKey("competition.id", ondelete="CASCADE"), primary_key=True))
    season: str = Field(sa_column=Column(Text, primary_key=True))
    # NULL: livescore.scores.standings.rule_sets chooses it.
    rule_set: str | None = Field(default=None, sa_column=Column(Text))
    # [{"team", "points", "reason"}, …]
    adjustments: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False, server_default=text("'[]'::json")))
    # {"lots": [team, …], …}: orders by measures that results do not give.
    orders: dict[str, list[str]] = Field(sa_column=Column(JSON, nullable=False, server_default=text("'{}'::json")))
    # {team: conduct points, …}
    conduct: dict[str, int] = Field(sa_column=Column(JSON, nullable=False, server_default=text("'{}'::json")))


class Standings(SQLModel, table=True):
    """A table of a season. Stage and group are empty if its matches have none."""

    __tablename__: ClassVar[str] = "standings"
    __table_args__ = (
        ForeignKeyConstraint(
            ["competition", "season"],
            ["competition_season.competition", "competition_season.season"],
            ondelete="CASCADE",
        ),
    )

    competition: str = Field(sa_column=Column(Text, primary_key=True))
    season: str = Field(sa_column=Column(Text, primary_key=True))
    # True for the table that includes running matches.
    live: bool = Field(sa_column=Column(Boolean, primary_key=True))
    kind: str = Field(sa_column=Column(Text, primary_key=True))
    stage: str = Field(sa_column=Column(Text, primary_key=True))
    group: str = Field(sa_column=Column(Text, primary_key=True))
    # Place among the tables of the season.
    place: int = Field(sa_column=Column(Integer, nullable=False))
    # Incremented whenever the rows change.
    seq: int = Field(sa_column=Column(Integer, nullable=False))
    as_of: datetime = Field(sa_column=Column(TIMESTAMP_MS, nullable=False))
    rows: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))


class StandingsDue(SQLModel, table=True):
    """A change of a match after which the standings of its season are due. A trigger on `match` adds it.

    Rows are only added and deleted, so writes of different matches never wait for each other here.
    """

    __tablename__: ClassVar[str] = "standings_due"

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    competition: str = Field(sa_column=Column(Text, nullable=False))
    season: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))
    )


class FeedEvent(SQLModel, table=True):
    """The feed: every change of a match, numbered 1, 2, 3… without gaps."""

    __tablename__: ClassVar[str] = "event"
    __table_args__ = (Index("event_txid", "txid"),)

    match_id: int = Field(sa_column=Column(Integer, ForeignKey("match.id", ondelete="CASCADE"), primary_key=True))
    seq: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    type: str = Field(sa_column=Column(Text, nullable=False))
    # json keeps the text as written, so that a resume sends the same bytes as the first delivery.
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    request_id: str | None = Field(sa_column=Column(Text))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    txid: str = Field(sa_column=Column(TransactionId, nullable=False, server_default=text("pg_current_xact_id()")))


class IdempotentAnswer(SQLModel, table=True):
    """The answer to the first write with an ``Idempotency-Key``."""

    __tablename__: ClassVar[str] = "idempotency_key"
    __table_args__ = (Index("idempotency_key_age", "created_at"),)

    scope: str = Field(sa_column=Column(Text, primary_key=True))
    key: str = Field(sa_column=Column(Text, primary_key=True))
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    status: int = Field(sa_column=Column(SmallInteger, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))
    )


class Import(SQLModel, table=True):
    """A file to be imported, and the progress of its import."""

    __tablename__: ClassVar[str] = "import"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'running', 'finished', 'failed')", name="import_status"),
        Index("import_open", "id", postgresql_where=text("status IN ('pending', 'running')")),
    )

    id: int = Field(sa_column=Column(Integer, Identity(), primary_key=True))
    status: str = Field(sa_column=Column(Text, nullable=False))
    # Recognised by the first run.
    format: str | None = Field(sa_column=Column(Text))
    # Name of the file, for people.
    name: str | None = Field(sa_column=Column(Text))
    options: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    media_type: str = Field(sa_column=Column(Text, nullable=False))
    # NULL once the import has ended.
    body: bytes | None = Field(sa_column=Column(LargeBinary))
    total: int | None = Field(sa_column=Column(Integer))
    # The checkpoint: rows without errors that are written.
    done: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    created: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    updated: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    unchanged: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    failed: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    errors: list[Any] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'[]'")))
    warnings: list[Any] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'[]'")))
    # Why the file as a whole could not be imported.
    error: str | None = Field(sa_column=Column(Text))
    request_id: str | None = Field(sa_column=Column(Text))
    # The process that runs the import, and until when no other one continues it.
    lease: UUID | None = Field(sa_column=Column(Uuid))
    lease_until: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    created_at: datetime = Field(
        sa_column=Column(TIMESTAMP_MS, nullable=False, server_default=text("clock_timestamp()"))
    )
    started_at: datetime | None = Field(sa_column=Column(TIMESTAMP_MS))
    finished_at: datetime | None = Field(sa_column=Column(TIMESTAMP_MS))


class ApiKey(SQLModel, table=True):
    """An API key. Only the digest of its secret is stored."""

    __tablename__: ClassVar[str] = "api_key"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    digest: str = Field(sa_column=Column(Text, nullable=False))
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))
    )
    revoked_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))


class Webhook(SQLModel, table=True):
    """An endpoint that receives events."""

    __tablename__: ClassVar[str] = "webhook"

    id: int = Field(sa_column=Column(Integer, Identity(), primary_key=True))
    url: str = Field(sa_column=Column(Text, nullable=False))
    # The filter; NULL for all.
    event_types: list[str] | None = Field(sa_column=Column(ARRAY(Text)))
    competition: str | None = Field(sa_column=Column(Text))
    match_id: int | None = Field(sa_column=Column(Integer))
    description: str = Field(sa_column=Column(Text, nullable=False, server_default=text("''")))
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("true")))
    # Set by the service, never by clients.
    disabled_reason: str | None = Field(sa_column=Column(Text))
    # The endpoint asked for a pause with Retry-After.
    paused_until: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    # The first failure since the last success.
    failing_since: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    last_failure_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    last_success_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    created_at: datetime = Field(
        sa_column=Column(TIMESTAMP_MS, nullable=False, server_default=text("clock_timestamp()"))
    )
    updated_at: datetime = Field(
        sa_column=Column(TIMESTAMP_MS, nullable=False, server_default=text("clock_timestamp()"))
    )


class WebhookSecret(SQLModel, table=True):
    """A secret that signs the deliveries of an endpoint. Signing needs its text, so a digest is not enough."""

    __tablename__: ClassVar[str] = "webhook_secret"
    __table_args__ = (Index("webhook_secret_of", "webhook_id"),)

    id: int = Field(sa_column=Column(Integer, Identity(), primary_key=True))
    webhook_id: int = Field(sa_column=Column(Integer, ForeignKey("webhook.id", ondelete="CASCADE"), nullable=False))
    secret: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))
    )
    # NULL for the current secret.
    expires_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))


class WebhookCursor(SQLModel, table=True):
    """How far the events of one match have been delivered to one endpoint.

    Without a foreign key to the match: its check would lock match rows while a batch is dispatched. Match 0 carries the
    test events of the endpoint.
    """

    __tablename__: ClassVar[str] = "webhook_cursor"
    __table_args__ = (
        Index("webhook_cursor_due", "webhook_id", "next_attempt_at", postgresql_where=text("seq < target")),
        {"postgresql_with": {"fillfactor": "60"}},
    )

    webhook_id: int = Field(sa_column=Column(Integer, ForeignKey("webhook.id", ondelete="CASCADE"), primary_key=True))
    match_id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    # The last event that was delivered or recorded as failed, and the last one that is to be delivered.
    seq: int = Field(sa_column=Column(Integer, nullable=False))
    target: int = Field(sa_column=Column(Integer, nullable=False))
    # Failed attempts at the next event.
    attempts: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))
    first_failed_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    next_attempt_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))
    )
    # A worker delivers until then. `fence` counts the leases, so that the holder of an older one changes nothing.
    lease_until: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    fence: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))


class WebhookAttempt(SQLModel, table=True):
    """The log of attempts."""

    __tablename__: ClassVar[str] = "webhook_attempt"
    __table_args__ = (
        Index("webhook_attempt_of", "webhook_id", "id"),
        Index("webhook_attempt_age", "created_at"),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    webhook_id: int = Field(sa_column=Column(Integer, ForeignKey("webhook.id", ondelete="CASCADE"), nullable=False))
    match_id: int = Field(sa_column=Column(Integer, nullable=False))
    seq: int = Field(sa_column=Column(Integer, nullable=False))
    message_id: str = Field(sa_column=Column(Text, nullable=False))
    type: str = Field(sa_column=Column(Text, nullable=False))
    number: int = Field(sa_column=Column(Integer, nullable=False))
    outcome: str = Field(sa_column=Column(Text, nullable=False))
    status: int | None = Field(sa_column=Column(Integer))
    error: str | None = Field(sa_column=Column(Text))
    seconds: float = Field(sa_column=Column(Float, nullable=False))
    created_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))
    )


class WebhookDispatch(SQLModel, table=True):
    """A single row: the horizon up to which events have moved the cursors, and the cluster that it belongs to."""

    __tablename__: ClassVar[str] = "webhook_dispatch"
    __table_args__ = (CheckConstraint("one_row", name="webhook_dispatch_one_row"),)

    one_row: bool = Field(default=True, sa_column=Column(Boolean, primary_key=True, server_default=text("true")))
    horizon: str | None = Field(sa_column=Column(Text))
    cluster: str | None = Field(sa_column=Column(Text))
    dispatched_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))

"""One connection to PostgreSQL: how it is opened, and what holds of it whatever the database or the role sets.

Nothing is set by start-up ``options``, which PgBouncer refuses. A direct connection is set up once. A pooler may lend
its connections for one transaction at a time, so that settings of a session would reach other clients. Then only those
that every PgBouncer keeps per client (encoding, dates, time zone) are set for the session, and the others in each
transaction that writes.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import AsyncConnection, IsolationLevel, OperationalError
from psycopg.conninfo import conninfo_to_dict

from livescore.scores import schema

Row = tuple[Any, ...]
Prepared = Literal["auto", "on", "off"]

# Seconds to reach one host; psycopg knows no shorter one.
CONNECT_SECONDS = 2

# Finds a server whose machine is gone within five seconds: the kernel's own defaults take two hours.
_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 2,  # seconds
    "keepalives_interval": 1,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,  # milliseconds
}

# PgBouncer gives a client its own process id, so another one here means that a pooler stands in between.
_FACTS = """
SELECT current_setting('server_encoding'), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
    pg_backend_pid(), current_schema(), set_config('DateStyle', 'ISO, YMD', false),
    set_config('TimeZone', 'UTC', false), set_config('standard_conforming_strings', 'on', false)
"""

# Older versions lack some. Without synchronous_commit a crash loses what was acknowledged; stricter values stay.
APPLY: LiteralString = """
SELECT set_config(name, value, %(local)s) FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted(name, value)
WHERE current_setting(name, true) IS NOT NULL
    AND (name <> 'synchronous_commit' OR current_setting(name) = 'off')
"""


# By SQLSTATE or its class: neither the statement nor the connection is at fault, and an operator has to act.
_INABILITIES = {
    "42501": "PostgreSQL denies the service's role a right: see the log",
    "53": "PostgreSQL is out of resources: see the log",
    "53100": "PostgreSQL has no disk space left",
    "53200": "PostgreSQL has no memory left",
    "58": "PostgreSQL has a fault of its own: see the log",
    "XX": "PostgreSQL has a fault of its own: see the log",
}


class UnusableDatabase(OperationalError):
    """The server answers, but the service cannot work with it; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a process uses its connections.

    Attributes:
        timeout: seconds that a statement and a wait for a lock may take; 0 for no bound.
        prepared: ``on``, ``off`` or ``auto``: whether statements are prepared on the server; ``auto`` unless a pooler
            stands in between.
        migrated: whether a database is unusable if this version cannot work with its schema.
    """

    timeout: float = 0.0
    prepared: Prepared = "auto"
    migrated: bool = True

    def settings(self, *, local: bool) -> dict[str, Any]:
        """Parameters of :data:`APPLY`; ``local`` ends with the transaction."""
        milliseconds = str(math.ceil(self.timeout * 1000))
        wanted = {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "transaction_timeout": "0",
            "default_transaction_isolation": "read committed",
            "default_transaction_deferrable": "off",
            "synchronous_commit": "on",
            "bytea_output": "hex",
            "IntervalStyle": "postgres",
            "extra_float_digits": "1",
        }
        return {"local": local, "names": list(wanted), "values": list(wanted.values())}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connection leads to: through a pooler or not, and whether it takes writes."""

    pooled: bool
    read_only: bool

    @classmethod
    def of(cls, row: Row, own_process: int) -> "Facts":
        """Judge the answer to :data:`_FACTS`. ``own_process``: the process id that the connection was given.

        Raises:
            UnusableDatabase: if nothing can be done with this server or database.
        """
        encoding, in_recovery, read_only, process, schema, *_ = row
        if in_recovery:
            raise UnusableDatabase("PostgreSQL is a standby: it takes no writes until it is promoted")
        if encoding != "UTF8":
            raise UnusableDatabase(
                f"the database's encoding is {encoding}, which cannot hold every text: "
                "create it with ENCODING 'UTF8' TEMPLATE template0"
            )
        if schema is None:
            raise UnusableDatabase(
                "search_path names no schema that exists: change it with ALTER ROLE or ALTER DATABASE"
            )
        return cls(process != own_process, read_only)


async def connect(url: str, profile: Profile) -> tuple[AsyncConnection[Row], Facts]:
    """Open a connection that commits every statement.

    Raises:
        psycopg.Error: when PostgreSQL is away.
        UnusableDatabase: when it answers and cannot be used.
    """
    connection = await _reach(url)
    try:
        facts = Facts.of(_only(await (await connection.execute(_FACTS)).fetchall()), connection.info.backend_pid)
        if profile.migrated:
            _require_schema(await revision(connection))
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        connection.prepare_threshold = _prepare_threshold(profile, facts)
        if not facts.pooled:
            await connection.execute(APPLY, profile.settings(local=False), prepare=False)
    except BaseException:
        await connection.close()
        raise
    return connection, facts


async def _reach(url: str) -> AsyncConnection[Row]:
    for number, options in enumerate(attempts := _attempts(url)):
        try:
            return await AsyncConnection.connect(url, **options)
        except OperationalError:
            if number == len(attempts) - 1:
                raise
    raise AssertionError("unreachable")


def connect_sync(url: str, profile: Profile) -> tuple[psycopg.Connection[Row], Facts]:
    """As :func:`connect`, for threads and commands."""
    connection = _reach_sync(url)
    try:
        facts = Facts.of(_only(connection.execute(_FACTS).fetchall()), connection.info.backend_pid)
        if profile.migrated:
            _require_schema(revision_sync(connection))
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        connection.prepare_threshold = _prepare_threshold(profile, facts)
        if not facts.pooled:
            connection.execute(APPLY, profile.settings(local=False), prepare=False)
    except BaseException:
        connection.close()
        raise
    return connection, facts


def _reach_sync(url: str) -> psycopg.Connection[Row]:
    for number, options in enumerate(attempts := _attempts(url)):
        try:
            return psycopg.connect(url, **options)
        except OperationalError:
            if number == len(attempts) - 1:
                raise
    raise AssertionError("unreachable")


async def revision(connection: AsyncConnection[Row]) -> str:
    """Return the revision of the schema; empty before the first migration."""
    exists = _only(await (await connection.execute(schema.EXISTS)).fetchall())[0]
    return str(_only(await (await connection.execute(schema.REVISION)).fetchall())[0]) if exists else ""


def revision_sync(connection: psycopg.Connection[Row]) -> str:
    """As :func:`revision`, for threads and commands."""
    exists = _only(connection.execute(schema.EXISTS).fetchall())[0]
    return str(_only(connection.execute(schema.REVISION).fetchall())[0]) if exists else ""


def _require_schema(found: str) -> None:
    if objection := schema.objection(found):
        raise UnusableDatabase(objection)


async def apply_locally(connection: AsyncConnection[Row], profile: Profile) -> None:
    """Set up the current transaction, for a connection through a pooler."""
    await connection.execute(APPLY, profile.settings(local=True))


@contextmanager
def transaction(connection: psycopg.Connection[Row], profile: Profile) -> Iterator[None]:
    """A transaction that is set up for itself, for a connection through a pooler."""
    with connection.transaction():
        connection.execute(APPLY, profile.settings(local=True))
        yield


def has_read_only_fault(error: BaseException) -> bool:
    """Whether a statement failed because the server takes no writes."""
    return isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def inability(error: psycopg.Error) -> str | None:
    """Return why the server cannot execute a statement that is right; the error's own text may name files and roles."""
    state = error.sqlstate or ""
    if state in _INABILITIES:
        return _INABILITIES[state]
    return _INABILITIES.get(state[:2])


def is_away(error: BaseException) -> bool:
    """Whether an error says that PostgreSQL is away or ended the session, rather than that a statement is wrong."""
    return isinstance(error, OperationalError | psycopg.InterfaceError)


def one_line(error: BaseException) -> str:
    """What the driver says, without the line breaks and hints of libpq."""
    return " ".join(str(error).split()) or type(error).__name__


def _attempts(url: str) -> list[dict[str, Any]]:
    """Options of the attempts to connect, in order: of several hosts, the one that takes writes is preferred."""
    common = {
        "autocommit": True,
        "prepare_threshold": None,
        "connect_timeout": CONNECT_SECONDS,
        "client_encoding": "UTF8",
        "application_name": "livescore",
        **_KEEPALIVE,
    }
    wanted = ["read-write", "primary"] if _has_several_hosts(url) else ["any"]
    return [{**common, "target_session_attrs": kind} for kind in wanted]


def _has_several_hosts(url: str) -> bool:
    parts = conninfo_to_dict(url)
    return any("," in str(parts.get(name) or "") for name in ("host", "hostaddr"))


def _prepare_threshold(profile: Profile, facts: Facts) -> int | None:
    prepared = profile.prepared == "on" or (profile.prepared == "auto" and not facts.pooled)
    return 1 if prepared else None


def _only(rows: list[Row]) -> Row:
    (row,) = rows
    return row

"""Connections to PostgreSQL, with session settings that do not depend on the database or role.

Start-up ``options`` are not used because PgBouncer rejects them. A direct connection is configured once. A pooler may
share its connections between clients, one transaction at a time, and session settings would affect them all. So only
those that every PgBouncer tracks per client (encoding, dates, time zone) are set for the session, and the others in
each transaction that writes.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import AsyncConnection, IsolationLevel, OperationalError
from psycopg.conninfo import conninfo_to_dict

from livescore.scores import schema

Row = tuple[Any, ...]
Prepared = Literal["auto", "on", "off"]

# Seconds to reach one host, the shortest that psycopg supports.
CONNECT_SECONDS = 2

# Detects within five seconds that the server's machine is gone. The kernel's defaults take two hours.
_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 2,  # seconds
    "keepalives_interval": 1,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,  # milliseconds
}

# PgBouncer sends clients a process id of its own. A different pg_backend_pid() therefore means that there is a pooler.
_FACTS = """
SELECT current_setting('server_encoding'), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
    pg_backend_pid(), current_schema(),
    CASE WHEN NOT pg_is_in_recovery() THEN concat_ws(':', (SELECT system_identifier FROM pg_control_system()),
        left(pg_walfile_name(pg_current_wal_lsn()), 8)) END,
    set_config('DateStyle', 'ISO, YMD', false),
    set_config('TimeZone', 'UTC', false), set_config('standard_conforming_strings', 'on', false)
"""

# Settings that this version of PostgreSQL does not have are skipped. With synchronous_commit off, a crash loses
# acknowledged writes; stricter values than `on` are kept.
APPLY: LiteralString = """
SELECT set_config(name, value, %(local)s) FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting(name, value)
WHERE current_setting(name, true) IS NOT NULL
    AND (name <> 'synchronous_commit' OR current_setting(name) = 'off')
"""


# By SQLSTATE or its class. Neither the statement nor the connection is at fault: an administrator has to act.
_INABILITIES = {
    "42501": "PostgreSQL denies the service's role a right: see the log",
    "53": "PostgreSQL is out of resources: see the log",
    "53100": "PostgreSQL has no disk space left",
    "53200": "PostgreSQL has no memory left",
    "58": "PostgreSQL has a fault of its own: see the log",
    "XX": "PostgreSQL has a fault of its own: see the log",
}


class UnusableDatabase(OperationalError):
    """The server answers but the service cannot use it. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Configuration of the connections of a process.

    Attributes:
        timeout: Seconds for a statement and for a wait for a lock; 0 for no limit.
        prepared: ``on`` to prepare statements on the server, ``off`` not to, ``auto`` to do so without a pooler.
        migrated: True to reject databases with a schema that this version does not support. Commands never do.
    """

    timeout: float = 0.0
    prepared: Prepared = "auto"
    migrated: bool = True

    def settings(self, *, local: bool) -> dict[str, Any]:
        """Return the parameters of :data:`APPLY`. ``local`` settings end with the transaction."""
        milliseconds = str(math.ceil(self.timeout * 1000))
        values = {
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
        return {"local": local, "names": list(values), "values": list(values.values())}


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of a connection.

    Attributes:
        pooled: True if there is a pooler between this process and the server.
        read_only: True if the server accepts no writes.
        server: System identifier and timeline of the server. The timeline changes when a standby is promoted.
    """

    pooled: bool
    read_only: bool
    server: str

    @classmethod
    def of(cls, row: Row, own_process: int) -> "Facts":
        """Evaluate the answer to :data:`_FACTS`.

        Args:
            row: The answer.
            own_process: Server process id as reported when the connection was opened.

        Raises:
            UnusableDatabase: The service cannot use this server or database.
        """
        encoding, in_recovery, read_only, process, schema, server, *_ = row
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
        return cls(process != own_process, read_only, server)


async def connect(url: str, profile: Profile) -> tuple[AsyncConnection[Row], Facts]:
    """Open a connection that commits every statement.

    Raises:
        psycopg.Error: PostgreSQL is away.
        UnusableDatabase: PostgreSQL answers but cannot be used.
    """
    connection = await _reach(url)
    try:
        (row,) = await (await connection.execute(_FACTS)).fetchall()
        facts = Facts.of(row, connection.info.backend_pid)
        if profile.migrated and (objection := schema.objection(await revision(connection))):
            raise UnusableDatabase(objection)
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        connection.prepare_threshold = _prepare_threshold(profile, facts)
        if not facts.pooled:
            await connection.execute(APPLY, profile.settings(local=False), prepare=False)
    except BaseException:
        await connection.close()
        raise
    return connection, facts


async def _reach(url: str) -> AsyncConnection[Row]:
    *preferred, last = _attempts(url)
    for options in preferred:
        with suppress(OperationalError):
            return await AsyncConnection.connect(url, **options)
    return await AsyncConnection.connect(url, **last)


def connect_sync(url: str, profile: Profile) -> tuple[psycopg.Connection[Row], Facts]:
    """Open a blocking connection for commands that do not need the current schema; see :func:`connect`."""
    connection = _reach_sync(url)
    try:
        (row,) = connection.execute(_FACTS).fetchall()
        facts = Facts.of(row, connection.info.backend_pid)
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        connection.prepare_threshold = _prepare_threshold(profile, facts)
        if not facts.pooled:
            connection.execute(APPLY, profile.settings(local=False), prepare=False)
    except BaseException:
        connection.close()
        raise
    return connection, facts


def _reach_sync(url: str) -> psycopg.Connection[Row]:
    *preferred, last = _attempts(url)
    for options in preferred:
        with suppress(OperationalError):
            return psycopg.connect(url, **options)
    return psycopg.connect(url, **last)


async def revision(connection: AsyncConnection[Row]) -> str:
    """Return the revision of the schema, empty before the first migration."""
    ((exists,),) = await (await connection.execute(schema.EXISTS)).fetchall()
    if not exists:
        return ""
    ((found,),) = await (await connection.execute(schema.REVISION)).fetchall()
    return str(found)


async def apply_locally(connection: AsyncConnection[Row], profile: Profile) -> None:
    """Apply the settings to the current transaction, for connections through a pooler."""
    await connection.execute(APPLY, profile.settings(local=True))


def has_read_only_fault(error: BaseException) -> bool:
    """Return True if a statement failed because the server accepts no writes."""
    return isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def inability(error: psycopg.Error) -> str | None:
    """Return why the server cannot execute a correct statement; None if the statement is at fault.

    The text is for clients. That of the error may name files and roles.
    """
    state = error.sqlstate or ""
    return _INABILITIES.get(state) or _INABILITIES.get(state[:2])


def is_away(error: BaseException) -> bool:
    """Return True if PostgreSQL is away or ended the session, False if the statement is at fault."""
    return isinstance(error, OperationalError | psycopg.InterfaceError)


def one_line(error: BaseException) -> str:
    """Return the driver's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _attempts(url: str) -> list[dict[str, Any]]:
    """Return the options of the attempts to connect, in order.

    Of several hosts, one that accepts writes is preferred.
    """
    common = {
        "autocommit": True,
        "prepare_threshold": None,
        "connect_timeout": CONNECT_SECONDS,
        "client_encoding": "UTF8",
        "application_name": "livescore",
        **_KEEPALIVE,
    }
    kinds = ["read-write", "primary"] if _has_several_hosts(url) else ["any"]
    return [{**common, "target_session_attrs": kind} for kind in kinds]


def _has_several_hosts(url: str) -> bool:
    parts = conninfo_to_dict(url)
    return any("," in str(parts.get(name) or "") for name in ("host", "hostaddr"))


def _prepare_threshold(profile: Profile, facts: Facts) -> int | None:
    if profile.prepared == "on" or (profile.prepared == "auto" and not facts.pooled):
        return 1  # from the second execution on
    return None

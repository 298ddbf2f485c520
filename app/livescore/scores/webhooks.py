"""Webhooks in PostgreSQL, as administrators manage them. All SQL is in :mod:`livescore.scores.webhook_statements`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from livescore.http_errors import Conflict, NotFound
from livescore.scores import webhook_statements as sql
from livescore.scores.database import Connection, Database, Row, fetch

# Every event is compared with every webhook.
MAX_WEBHOOKS = 1_000

# Secrets that sign at once, while receivers are updated.
MAX_SECRETS = 5


def message_id(match_id: int, seq: int, created: float) -> str:
    """Return the ``webhook-id`` of an event, the same for all endpoints, attempts and redeliveries.

    The time is part of the id: in a database that was restored from a backup, another event may have the same number.
    """
    return f"evt_{match_id}_{seq}_{round(created * 1000):x}"


def test_message_id(webhook_id: int, number: int) -> str:
    """Return the ``webhook-id`` of a test event."""
    return f"test_{webhook_id}_{number}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A valid secret, without its text. ``expires_at`` is None for the current one."""

    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint.

    Attributes:
        event_types: Types of events that it receives; None for all.
        competition: Competition of the matches of which it receives events; None for all.
        match_id: The only match of which it receives events; None for all.
        disabled_reason: Why the service has disabled it; None if it has not.
        failing_since: First failure since the last success; None if the latest attempt succeeded.
        paused_until: End of the pause that the endpoint asked for with ``Retry-After``.
        secrets: Valid secrets, newest first.
        pending: Number of matches with events that wait for delivery.
    """

    id: int
    url: str
    event_types: list[str] | None
    competition: str | None
    match_id: int | None
    description: str
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    last_success_at: datetime | None
    paused_until: datetime | None
    created_at: datetime
    updated_at: datetime
    secrets: list[Secret]
    pending: int

    @classmethod
    def from_row(cls, *row: Any) -> Self:
        """Return the webhook of a database row."""
        *columns, created, expiries, pending = row
        secrets = [Secret(*pair) for pair in zip(created, expiries, strict=True)]
        return cls(*columns, secrets=secrets, pending=pending)  # type: ignore[misc]  # mypy cannot count the columns


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """A row of the log: one request to an endpoint and its outcome."""

    id: int
    message_id: str
    match_id: int
    seq: int
    type: str
    attempt: int
    outcome: str
    status: int | None
    error: str | None
    seconds: float
    created_at: datetime


class WebhookStore:
    """Reads and changes webhooks. Every method raises ``DatabaseAway`` if PostgreSQL cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, values: Mapping[str, Any], secret: str) -> Webhook:
        """Create a webhook with its first secret.

        Raises:
            Conflict: There are as many webhooks as there may be.
        """

        async def write(connection: Connection) -> Webhook:
            async with connection.transaction():
                ((count,),) = await fetch(connection, sql.COUNT)
                if count >= MAX_WEBHOOKS:
                    raise Conflict(f"There are {MAX_WEBHOOKS} webhooks already: delete one that is no longer needed")
                ((webhook_id,),) = await fetch(connection, sql.CREATE, values)
                await connection.execute(sql.ADD_SECRET, {"webhook_id": webhook_id, "secret": secret})
                return await _read(connection, webhook_id)

        return await self._database.use(write)

    async def all(self) -> list[Webhook]:
        """Return all webhooks, oldest first."""
        return [Webhook.from_row(*row) for row in await self._database.rows(sql.READ_ALL)]

    async def read(self, webhook_id: int) -> Webhook:
        """Return one webhook.

        Raises:
            NotFound: There is no such webhook.
        """
        return await self._database.read(lambda connection: _read(connection, webhook_id))

    async def change(self, webhook_id: int, values: Mapping[str, Any]) -> Webhook:
        """Set some columns. A webhook that is enabled starts again from its cursors, without its failures.

        Raises:
            NotFound: There is no such webhook.
        """

        async def write(connection: Connection) -> Webhook:
            async with connection.transaction():
                await _lock(connection, webhook_id)
                parameters = {**values, "webhook_id": webhook_id}
                await connection.execute(sql.change(values), parameters)
                if values.get("enabled") or "url" in values:
                    await connection.execute(sql.START_AGAIN, {"webhook_id": webhook_id})
                return await _read(connection, webhook_id)

        return await self._database.use(write)

    async def delete(self, webhook_id: int) -> None:
        """Delete a webhook with its cursors and its log.

        Raises:
            NotFound: There is no such webhook.
        """
        if not await self._database.execute(sql.DELETE, {"webhook_id": webhook_id}):
            raise _not_found()

    async def rotate(self, webhook_id: int, secret: str, keep_seconds: float) -> Webhook:
        """Add a secret; those before it stay valid for some seconds.

        Raises:
            NotFound: There is no such webhook.
            Conflict: Too many secrets are valid.
        """

        async def write(connection: Connection) -> Webhook:
            async with connection.transaction():
                await _lock(connection, webhook_id)
                place = {"webhook_id": webhook_id}
                await connection.execute(sql.EXPIRE_OTHER_SECRETS, {**place, "seconds": keep_seconds})
                await connection.execute(sql.ADD_SECRET, {**place, "secret": secret})
                webhook = await _read(connection, webhook_id)
                if len(webhook.secrets) > MAX_SECRETS:
                    raise Conflict(
                        f"{MAX_SECRETS} secrets are valid already: rotate with expiresIn 0, or wait for their end"
                    )
                return webhook

        return await self._database.use(write)

    async def attempts(self, webhook_id: int, limit: int, before: int, outcome: str | None) -> list[LoggedAttempt]:
        """Return a page of the log, newest first.

        Raises:
            NotFound: There is no such webhook.
        """

        async def read(connection: Connection) -> list[Row]:
            await _read(connection, webhook_id)
            parameters = {"webhook_id": webhook_id, "limit": limit, "before": before, "outcome": outcome}
            return await fetch(connection, sql.ATTEMPTS, parameters)

        return [LoggedAttempt(*row) for row in await self._database.read(read)]

    async def redeliver(self, webhook_id: int, since: datetime, match_id: int | None) -> int:
        """Deliver all events since a time once more. Returns the number of matches with such events.

        Raises:
            NotFound: There is no such webhook.
        """

        async def write(connection: Connection) -> int:
            async with connection.transaction():
                await _lock(connection, webhook_id)
                parameters = {"webhook_id": webhook_id, "since": since, "match_id": match_id}
                ((count,),) = await fetch(connection, sql.REDELIVER, parameters)
                return int(count)

        return await self._database.use(write)

    async def test(self, webhook_id: int) -> int:
        """Let a worker send a test event. Returns its number.

        Raises:
            NotFound: There is no such webhook.
        """

        async def write(connection: Connection) -> int:
            async with connection.transaction():
                await _lock(connection, webhook_id)
                ((number,),) = await fetch(connection, sql.TEST, {"webhook_id": webhook_id})
                return int(number)

        return await self._database.use(write)


async def _read(connection: Connection, webhook_id: int) -> Webhook:
    rows = await fetch(connection, sql.READ_ONE, {"webhook_id": webhook_id})
    if not rows:
        raise _not_found()
    return Webhook.from_row(*rows[0])


async def _lock(connection: Connection, webhook_id: int) -> None:
    if not await fetch(connection, sql.LOCK, {"webhook_id": webhook_id}):
        raise _not_found()


def _not_found() -> NotFound:
    return NotFound("Webhook not found")

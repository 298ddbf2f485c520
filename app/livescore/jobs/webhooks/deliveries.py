"""Deliveries: the events after a cursor, one request after the other, under a lease.

A worker leases the cursor of one webhook and one match, sends the next event, and moves the cursor when the endpoint
has taken it. No other worker sends events of the same cursor meanwhile. A worker that stops for longer than its lease
may send an event a second time, but never a later one too early: the next holder starts with the same event, and every
statement of the old holder names a fencing number that is out of date.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

import psycopg
import structlog

from livescore.jobs.webhooks import outcomes
from livescore.jobs.webhooks.outcomes import Attempt, Verdict
from livescore.jobs.webhooks.sender import Sender
from livescore.scores import webhook_statements as sql
from livescore.scores.database import Database, DatabaseAway, Parameters, fetch
from livescore.scores.feed import Event
from livescore.scores.state import timestamp
from livescore.scores.webhooks import message_id, test_message_id
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Requests of this process that are in flight at once, for all endpoints and for one. An endpoint that has failed for
# some seconds gets one at a time, so that it costs little until it works again.
ALL_SLOTS = 256
ENDPOINT_SLOTS = 8
FAILING_GRACE = 10.0

# A lease outlasts the time-out of a request by a part of it and a second, for the statement that follows.
LEASE_MARGIN_PART = 0.25
LEASE_MARGIN = 1.0

# Events that one query reads, and the seconds after which a cursor with more of them makes room for others.
BATCH = 20
TURN_SECONDS = 5.0

# Seconds for which an endpoint must have failed before its first success makes all its retries due.
RECOVERY_SECONDS = 60.0

# Seconds between two records of the success of an endpoint by this process.
SUCCESS_SECONDS = 60.0

# Seconds between two attempts to record the result of a request while PostgreSQL is away.
RECORD_PAUSE = 0.2

_HOUR_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A cursor that this process may deliver from.

    Attributes:
        seq: The last event that is done.
        target: The last event that was to be delivered when the lease began.
        fence: Number of the lease.
        attempts: Failed attempts at the next event.
        failing: Seconds since the first of them.
        secrets: Valid secrets, newest first.
        live: Whether the match is live.
        endpoint_fails: Whether the latest attempt at any event of the webhook failed.
        until: End of the lease, by :func:`time.monotonic` and early rather than late.
    """

    webhook_id: int
    match_id: int
    seq: int
    target: int
    fence: int
    attempts: int
    failing: float
    url: str
    secrets: list[str]
    live: bool
    endpoint_fails: bool
    until: float

    def parameters(self) -> dict[str, Any]:
        """Return what identifies the lease in statements."""
        return {"webhook_id": self.webhook_id, "match_id": self.match_id, "fence": self.fence, "seq": self.seq}


@dataclass(frozen=True, slots=True)
class Message:
    """One event as it is sent."""

    seq: int
    type: str
    id: str
    body: bytes
    created: float


def message_of(event: Event) -> Message:
    """Return the message for an event: its type and time, and the event as clients receive it over WebSocket."""
    moment = timestamp(datetime.fromtimestamp(event.created, UTC))
    body = b'{"type":"%b","timestamp":"%b","data":%b}' % (event.type.encode(), moment.encode(), event.message)
    return Message(event.seq, event.type, message_id(event.match_id, event.seq, event.created), body, event.created)


def message_of_test(webhook_id: int, number: int) -> Message:
    """Return a test event of a webhook."""
    now = time()
    moment = timestamp(datetime.fromtimestamp(now, UTC))
    body = f'{{"type":"test","timestamp":"{moment}","data":{{"webhookId":{webhook_id},"number":{number}}}}}'
    return Message(number, "test", test_message_id(webhook_id, number), body.encode(), now)


class Deliveries:
    """Leases due cursors and delivers from them. Belongs to one event loop.

    Args:
        database: PostgreSQL.
        sender: Sends the requests.
        timeout: Most seconds of one request.
        retry_hours: Hours after which an endpoint without a success is disabled.
        on_free: Called when a delivery ends, so that more can be claimed.
    """

    def __init__(
        self, database: Database, sender: Sender, *, timeout: float, retry_hours: float, on_free: Callable[[], None]
    ) -> None:
        self._database = database
        self._sender = sender
        self._timeout = timeout
        self._lease_seconds = timeout * (1 + LEASE_MARGIN_PART) + LEASE_MARGIN
        self._give_up_seconds = retry_hours * _HOUR_SECONDS
        self._on_free = on_free
        self._tasks: dict[asyncio.Task[None], Lease] = {}
        self._busy: Counter[int] = Counter()
        self._success_noted: dict[int, float] = {}
        self._stopping = False

    @property
    def in_flight(self) -> int:
        """Number of cursors that are being delivered from."""
        return len(self._tasks)

    async def claim(self) -> int:
        """Lease as many due cursors as there is room for and start to deliver. Returns their number.

        Raises:
            DatabaseAway, psycopg.Error: PostgreSQL is away or refuses the statement.
        """
        room = ALL_SLOTS - len(self._tasks)
        if room <= 0 or self._stopping:
            return 0
        until = monotonic() + self._lease_seconds
        parameters = {
            "busy": list(self._busy),
            "counts": list(self._busy.values()),
            "slots": ENDPOINT_SLOTS,
            "grace": FAILING_GRACE,
            "limit": room,
            "lease": self._lease_seconds,
        }
        rows = await self._database.use(lambda connection: fetch(connection, sql.CLAIM, parameters))
        for row in rows:
            lease = Lease(*row, until)  # type: ignore[call-arg]  # mypy cannot count the columns
            task = asyncio.create_task(self._run(lease), name="webhook")
            self._tasks[task] = lease
            self._busy[lease.webhook_id] += 1
            task.add_done_callback(self._end)
        return len(rows)

    async def drain(self, seconds: float) -> None:
        """Let requests in flight end, cancel those that take longer than some seconds, and end all leases."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks.items())
        for task, _ in left:
            task.cancel()
        await asyncio.gather(*(task for task, _ in left), return_exceptions=True)
        await asyncio.gather(*(self._release(lease) for _, lease in left), return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        lease = self._tasks.pop(task)
        self._busy[lease.webhook_id] -= 1
        if not self._busy[lease.webhook_id]:
            del self._busy[lease.webhook_id]
        self._on_free()

    async def _run(self, lease: Lease) -> None:
        try:
            if lease.match_id == sql.TEST_MATCH:
                await self._deliver_test(lease)
            else:
                await self._deliver(lease)
        except (DatabaseAway, psycopg.Error) as error:
            # The lease ends by itself, and another worker or this one goes on.
            log.debug("delivery interrupted", webhook_id=lease.webhook_id, match_id=lease.match_id, error=str(error))
        except Exception:
            log.exception("delivery failed", webhook_id=lease.webhook_id, match_id=lease.match_id)

    # Events of a match

    async def _deliver(self, lease: Lease) -> None:
        """Deliver events in order until none is left, one fails, or the turn is over."""
        turn_ends = monotonic() + TURN_SECONDS
        current: Lease | None = lease
        while current is not None:
            parameters = {**current.parameters(), "limit": BATCH}
            rows = await self._database.rows(sql.PENDING, parameters)
            if not rows:
                await self._finish(current)
                return
            for row in rows:
                if self._stopping or monotonic() > min(turn_ends, current.until - self._timeout):
                    await self._release(current)
                    return
                current = await self._attempt(current, message_of(Event.from_row(*row)))
                if current is None:
                    return

    async def _attempt(self, lease: Lease, message: Message) -> Lease | None:
        """Send one event and record the result. Returns the lease for the next event; None if it has ended."""
        attempt = await self._sender.send(lease.url, message.id, message.body, lease.secrets)
        metrics.webhook_attempt(attempt.verdict.value, attempt.seconds)
        if attempt.verdict is Verdict.DELIVERED:
            metrics.WEBHOOK_DELAY_SECONDS.observe(max(0.0, time() - message.created))
            following = await self._advance(lease, message, attempt, "delivered")
            await self._note_success(lease)
            return following
        return await self._handle_failure(lease, message, attempt)

    async def _handle_failure(self, lease: Lease, message: Message, attempt: Attempt) -> Lease | None:
        number = lease.attempts + 1
        row = await self._record(
            sql.NOTE_FAILURE, {"webhook_id": lease.webhook_id, "pause": outcomes.pause(attempt)}, lease
        )
        endpoint_seconds = float(row[0]) if row else 0.0
        log.debug("delivery attempt failed", webhook_id=lease.webhook_id, status=attempt.status, error=attempt.error)
        if attempt.verdict is Verdict.GONE:
            await self._disable(lease, "the endpoint answered 410 Gone")
        elif endpoint_seconds >= self._give_up_seconds:
            await self._disable(lease, f"no delivery succeeded for {_duration(endpoint_seconds)}")
        elif self._is_hopeless(lease, attempt, number):
            log.warning("event not delivered", webhook_id=lease.webhook_id, match_id=lease.match_id, seq=message.seq)
            return await self._advance(lease, message, attempt, "failed")
        delay = outcomes.retry_delay(attempt, number, live=lease.live)
        parameters = {**_logged(lease, message, attempt, "retrying"), "delay": delay}
        await self._record(sql.RETRY_LATER, parameters, lease)
        return None

    def _is_hopeless(self, lease: Lease, attempt: Attempt, number: int) -> bool:
        """Return True if the event should be recorded as failed, so that it does not block its match for ever.

        The endpoint refuses it, or only this event fails: others were delivered meanwhile.
        """
        if attempt.verdict is Verdict.REFUSED and number >= outcomes.REFUSAL_ATTEMPTS:
            return True
        return lease.failing >= self._give_up_seconds

    async def _advance(self, lease: Lease, message: Message, attempt: Attempt, outcome: str) -> Lease | None:
        """Move the cursor past an event. Returns the lease for the next one; None if it has ended."""
        started = monotonic()
        parameters = {**_logged(lease, message, attempt, outcome), "lease": self._lease_seconds}
        row = await self._record(sql.ADVANCE, parameters, lease)
        if row is None:
            # A redelivery moved the cursor back, or the lease has ended.
            await self._release(lease)
            return None
        (target,) = row
        if message.seq >= target:
            return None
        until = started + self._lease_seconds
        return replace(
            lease, seq=message.seq, target=target, attempts=0, failing=0.0, endpoint_fails=False, until=until
        )

    async def _note_success(self, lease: Lease) -> None:
        """Record that the endpoint works, at most once a minute unless it had failed before."""
        noted = self._success_noted.get(lease.webhook_id, float("-inf"))
        if not lease.endpoint_fails and monotonic() - noted < SUCCESS_SECONDS:
            return
        self._success_noted[lease.webhook_id] = monotonic()
        webhook = {"webhook_id": lease.webhook_id}
        await self._database.execute(sql.RECOVER, {**webhook, "after": RECOVERY_SECONDS})
        await self._database.execute(sql.NOTE_SUCCESS, webhook)

    async def _disable(self, lease: Lease, reason: str) -> None:
        if await self._database.execute(sql.DISABLE, {"webhook_id": lease.webhook_id, "reason": reason}):
            log.warning("webhook disabled", webhook_id=lease.webhook_id, reason=reason)

    # Test events

    async def _deliver_test(self, lease: Lease) -> None:
        """Send a test event once: its failure is an answer too."""
        message = message_of_test(lease.webhook_id, lease.seq + 1)
        attempt = await self._sender.send(lease.url, message.id, message.body, lease.secrets)
        delivered = attempt.verdict is Verdict.DELIVERED
        await self._advance(lease, message, attempt, "delivered" if delivered else "failed")

    # Leases

    async def _finish(self, lease: Lease) -> None:
        """End a lease after its last event."""
        parameters = {**lease.parameters(), "target": lease.target}
        if not await self._database.execute(sql.FINISH, parameters):
            await self._release(lease)

    async def _release(self, lease: Lease) -> None:
        await self._database.execute(sql.RELEASE, lease.parameters())

    async def _record(self, statement: str, parameters: Parameters, lease: Lease) -> tuple[Any, ...] | None:
        """Run a statement that records a result, and repeat it while PostgreSQL is away and the lease holds.

        What is not recorded is sent again. Repeating is safe: a second run finds that the cursor has moved.

        Raises:
            DatabaseAway: PostgreSQL is away for longer.
        """
        while True:
            try:
                rows = await self._database.use(lambda connection: fetch(connection, statement, parameters))
            except DatabaseAway:
                if monotonic() > lease.until:
                    raise
                await asyncio.sleep(RECORD_PAUSE)
            else:
                return rows[0] if rows else None


def _logged(lease: Lease, message: Message, attempt: Attempt, outcome: str) -> dict[str, Any]:
    """Return the parameters of a statement that logs an attempt."""
    return {
        **lease.parameters(),
        "event_seq": message.seq,
        "message_id": message.id,
        "type": message.type,
        "number": lease.attempts + 1,
        "outcome": outcome,
        "status": attempt.status,
        "error": attempt.error or None,
        "seconds": attempt.seconds,
    }


def _duration(seconds: float) -> str:
    hours = seconds / _HOUR_SECONDS
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"

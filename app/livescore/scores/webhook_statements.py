"""The SQL statements of webhooks, with what each returns and which lock it takes.

Two kinds of processes change a cursor. The dispatch moves its ``target`` and starts the cursor of a match. The worker
that holds the lease moves its ``seq``; its statements name the lease by ``fence`` and the ``seq`` that it knows, and
change nothing if another worker or a redelivery has changed either.
"""

from collections.abc import Collection

from livescore.scores.statements import CLUSTER, EVENT_COLUMNS

# Times are those of PostgreSQL, so that the clocks of workers need not agree.
_NOW = "statement_timestamp()"

# The filter of webhook `w`, for a row `event` and its `match`.
_PASSES = """(w.event_types IS NULL OR event.type = ANY(w.event_types))
    AND (w.match_id IS NULL OR event.match_id = w.match_id)
    AND (w.competition IS NULL OR match.competition = w.competition)"""

_VALID_SECRETS = """SELECT s.secret FROM webhook_secret s WHERE s.webhook_id = w.id
    AND (s.expires_at IS NULL OR s.expires_at > statement_timestamp()) ORDER BY s.id DESC"""

TEST_MATCH = 0
"""Match id of the cursor that carries test events."""

# Dispatch

DISPATCH_STATE = f"""
SELECT pg_try_advisory_xact_lock(%(lock)s), horizon, cluster IS NOT DISTINCT FROM {CLUSTER},
    EXISTS (SELECT FROM webhook),
    horizon IS NULL OR EXISTS (SELECT FROM event WHERE txid >= pg_snapshot_xmin(horizon::pg_snapshot))
FROM webhook_dispatch
"""
"""Takes the lock of the dispatch until the transaction ends; the first column is False if another process has it.

Then the horizon, True if it belongs to this cluster, True if there is any webhook, and False if certainly no event is
new.
"""

FORGET_HORIZON = "UPDATE webhook_dispatch SET horizon = NULL WHERE horizon IS NOT NULL"
"""Forgets the horizon while there is no webhook, so that it does not grow old."""


def _dispatch(new_events: str) -> str:
    """Return a statement that moves the cursors to the newest events and the horizon to its own snapshot.

    Idle cursors start before the first new event: earlier ones did not pass the filter at their time. A retry that is
    far away comes within ``live_delay`` seconds if the match is live. The statement returns the number of cursors.

    Args:
        new_events: Condition on ``event``, ``match`` and webhook ``w``.
    """
    return f"""
WITH moved AS (
    UPDATE webhook_dispatch SET horizon = pg_current_snapshot()::text, cluster = {CLUSTER}, dispatched_at = {_NOW}
), fresh AS (
    SELECT w.id AS webhook_id, event.match_id, min(event.seq) AS first, max(event.seq) AS last,
        bool_or(match.status = 'live') AS live
    FROM event JOIN match ON match.id = event.match_id CROSS JOIN webhook w
    WHERE {new_events} AND event.created_at >= w.created_at AND {_PASSES}
    GROUP BY w.id, event.match_id
), changed AS (
    INSERT INTO webhook_cursor AS c (webhook_id, match_id, seq, target, next_attempt_at)
    SELECT webhook_id, match_id, first - 1, last, {_NOW} FROM fresh ORDER BY webhook_id, match_id
    ON CONFLICT (webhook_id, match_id) DO UPDATE SET target = greatest(c.target, excluded.target),
        seq = CASE WHEN c.seq >= c.target THEN greatest(c.seq, excluded.seq) ELSE c.seq END,
        next_attempt_at = CASE WHEN (SELECT live FROM fresh f WHERE f.webhook_id = c.webhook_id
            AND f.match_id = c.match_id) THEN least(c.next_attempt_at, {_NOW} + make_interval(secs => %(live_delay)s))
            ELSE c.next_attempt_at END
    RETURNING 1
)
SELECT count(*) FROM changed
"""


DISPATCH = _dispatch("""event.txid >= pg_snapshot_xmin(%(horizon)s::text::pg_snapshot)
        AND event.txid < pg_snapshot_xmax(pg_current_snapshot())
        AND NOT pg_visible_in_snapshot(event.txid, %(horizon)s::text::pg_snapshot)
        AND event.seq > match.restored_seq""")
"""Dispatches the events that the horizon does not show."""

DISPATCH_BY_TIME = _dispatch("""match.updated_at >= coalesce(
            (SELECT dispatched_at FROM webhook_dispatch) - make_interval(secs => %(margin)s), '-infinity')
        AND event.created_at >= coalesce(
            (SELECT dispatched_at FROM webhook_dispatch) - make_interval(secs => %(margin)s), '-infinity')
        AND event.seq > coalesce((SELECT d.target FROM webhook_cursor d WHERE d.webhook_id = w.id
            AND d.match_id = event.match_id), 0)""")
"""Dispatches without a horizon, which a restored database does not have: transaction ids mean nothing in a new cluster.

Compares the events since ``margin`` seconds before the last dispatch with the cursors.
"""

# Delivery

CLAIM = f"""
WITH claimed AS (
    SELECT due.webhook_id, due.match_id
    FROM (SELECT * FROM webhook WHERE paused_until IS NULL OR paused_until <= {_NOW} ORDER BY random()) w
    LEFT JOIN unnest(%(busy)s::int[], %(counts)s::int[]) AS busy(id, count) ON busy.id = w.id
    CROSS JOIN LATERAL (
        SELECT c.webhook_id, c.match_id FROM webhook_cursor c
        WHERE c.webhook_id = w.id AND c.seq < c.target AND c.next_attempt_at <= {_NOW}
            AND (c.lease_until IS NULL OR c.lease_until <= {_NOW}) AND (w.enabled OR c.match_id = {TEST_MATCH})
        ORDER BY c.next_attempt_at
        LIMIT greatest(0, CASE WHEN w.failing_since < {_NOW} - make_interval(secs => %(grace)s) THEN 1
            ELSE %(slots)s END - coalesce(busy.count, 0))
        FOR UPDATE OF c SKIP LOCKED) due
    LIMIT %(limit)s
)
UPDATE webhook_cursor c SET lease_until = {_NOW} + make_interval(secs => %(lease)s), fence = c.fence + 1
FROM claimed JOIN webhook w ON w.id = claimed.webhook_id LEFT JOIN match m ON m.id = claimed.match_id
WHERE c.webhook_id = claimed.webhook_id AND c.match_id = claimed.match_id
RETURNING c.webhook_id, c.match_id, c.seq, c.target, c.fence, c.attempts,
    coalesce(extract(epoch FROM {_NOW} - c.first_failed_at), 0)::float8, w.url, ARRAY({_VALID_SECRETS}),
    coalesce(m.status = 'live', false), w.failing_since IS NOT NULL
"""
"""Leases due cursors: per webhook as many as it has free ``slots``, one if it has failed for ``grace`` seconds.

Returns the fields of :class:`livescore.jobs.webhooks.deliveries.Lease`. Locks cursors, except those locked already.
"""

PENDING = f"""
SELECT {EVENT_COLUMNS} FROM event JOIN match ON match.id = event.match_id JOIN webhook w ON w.id = %(webhook_id)s
WHERE event.match_id = %(match_id)s AND event.seq > %(seq)s AND {_PASSES}
ORDER BY event.seq LIMIT %(limit)s
"""
"""Returns the next events of a match that pass the filter of a webhook."""

_HELD = """c.webhook_id = %(webhook_id)s AND c.match_id = %(match_id)s AND c.fence = %(fence)s
    AND c.seq = %(seq)s"""

_LOG = """INSERT INTO webhook_attempt (webhook_id, match_id, seq, message_id, type, number, outcome, status, error,
        seconds)
    SELECT %(webhook_id)s, %(match_id)s, %(event_seq)s, %(message_id)s, %(type)s, %(number)s, %(outcome)s,
        %(status)s, %(error)s, %(seconds)s FROM c"""

ADVANCE = f"""
WITH c AS (
    UPDATE webhook_cursor c SET seq = %(event_seq)s, attempts = 0, first_failed_at = NULL,
        lease_until = CASE WHEN %(event_seq)s < c.target THEN {_NOW} + make_interval(secs => %(lease)s) END
    WHERE {_HELD}
    RETURNING c.target
), logged AS ({_LOG})
SELECT target FROM c
"""
"""Moves a cursor past an event and logs the attempt. Returns the target, nothing if the lease is no longer held.

Ends the lease if nothing is left to deliver, otherwise extends it.
"""

RETRY_LATER = f"""
WITH c AS (
    UPDATE webhook_cursor c SET attempts = c.attempts + 1, lease_until = NULL,
        first_failed_at = coalesce(c.first_failed_at, {_NOW}),
        next_attempt_at = {_NOW} + make_interval(secs => %(delay)s)
    WHERE {_HELD}
    RETURNING 1
), logged AS ({_LOG})
SELECT 1 FROM c
"""
"""Ends a lease after a failed attempt, and logs it. Returns nothing if the lease is no longer held."""

RELEASE = f"""
UPDATE webhook_cursor c SET lease_until = NULL, next_attempt_at = {_NOW}
WHERE c.webhook_id = %(webhook_id)s AND c.match_id = %(match_id)s AND c.fence = %(fence)s
"""
"""Ends a lease; the cursor is due at once, after those that wait already."""

FINISH = f"""
UPDATE webhook_cursor c SET seq = greatest(c.seq, c.target), lease_until = NULL WHERE {_HELD} AND c.target = %(target)s
"""
"""Ends a lease when no event passes the filter any more, unless the dispatch has moved the target meanwhile."""

NOTE_SUCCESS = f"""
UPDATE webhook SET last_success_at = {_NOW}, failing_since = NULL, last_failure_at = NULL, paused_until = NULL
WHERE id = %(webhook_id)s
"""
"""Records that an endpoint works."""

RECOVER = f"""
UPDATE webhook_cursor c SET next_attempt_at = {_NOW} FROM webhook w
WHERE w.id = %(webhook_id)s AND w.failing_since < {_NOW} - make_interval(secs => %(after)s)
    AND c.webhook_id = w.id AND c.seq < c.target AND c.next_attempt_at > {_NOW}
"""
"""Makes all retries of an endpoint due that had failed for ``after`` seconds. Run it before NOTE_SUCCESS."""

NOTE_FAILURE = f"""
UPDATE webhook SET last_failure_at = {_NOW},
    failing_since = CASE WHEN last_failure_at > {_NOW} - interval '1 day' THEN coalesce(failing_since, {_NOW})
        ELSE {_NOW} END,
    paused_until = CASE WHEN %(pause)s::float8 IS NULL THEN paused_until
        ELSE {_NOW} + make_interval(secs => %(pause)s) END
WHERE id = %(webhook_id)s
RETURNING extract(epoch FROM {_NOW} - failing_since)::float8
"""
"""Records that an attempt failed. Returns the seconds for which the endpoint has failed without a success.

A day without any attempt interrupts the series.
"""

DISABLE = f"""
UPDATE webhook SET enabled = false, disabled_reason = %(reason)s, updated_at = {_NOW}
WHERE id = %(webhook_id)s AND enabled
"""
"""Disables an endpoint. Touches no row if it is disabled already."""

OVERDUE = f"""
SELECT w.id FROM webhook w
WHERE w.enabled AND w.failing_since IS NULL AND (w.paused_until IS NULL OR w.paused_until <= {_NOW})
    AND (%(webhook_id)s::int IS NULL OR w.id = %(webhook_id)s)
    AND EXISTS (SELECT FROM webhook_cursor c WHERE c.webhook_id = w.id AND c.seq < c.target
        AND c.next_attempt_at <= {_NOW} - make_interval(secs => %(seconds)s)
        AND (c.lease_until IS NULL OR c.lease_until <= {_NOW}))
LIMIT %(limit)s
"""
"""Returns the ids of working webhooks with cursors that have been due for some seconds and are not leased."""

OLDEST_UNDELIVERED = f"""
SELECT extract(epoch FROM {_NOW} - min(pending.created_at))::float8
FROM webhook_cursor c JOIN webhook w ON w.id = c.webhook_id AND w.enabled CROSS JOIN LATERAL (
    SELECT created_at FROM event WHERE event.match_id = c.match_id AND event.seq > c.seq ORDER BY seq LIMIT 1) pending
WHERE c.seq < c.target
"""
"""Returns the age in seconds of the oldest event that waits for delivery; NULL without any."""

EXPIRE_ATTEMPTS = f"""
DELETE FROM webhook_attempt WHERE id IN (
    SELECT id FROM webhook_attempt WHERE created_at < {_NOW} - make_interval(secs => %(age)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""
"""Deletes a batch of the log that is older than ``age`` seconds."""

EXPIRE_SECRETS = f"DELETE FROM webhook_secret WHERE expires_at <= {_NOW}"
"""Deletes the secrets that are no longer valid: few, so without a limit."""

# Management

COUNT = "SELECT count(*) FROM webhook"
"""Returns the number of webhooks."""

CREATE = """
INSERT INTO webhook (url, event_types, competition, match_id, description, enabled)
VALUES (%(url)s, %(event_types)s, %(competition)s, %(match_id)s, %(description)s, %(enabled)s) RETURNING id
"""
"""Creates a webhook and returns its id."""

ADD_SECRET = "INSERT INTO webhook_secret (webhook_id, secret) VALUES (%(webhook_id)s, %(secret)s)"  # noqa: S105  # SQL
"""Adds a secret."""

EXPIRE_OTHER_SECRETS = f"""
UPDATE webhook_secret SET expires_at = least(expires_at, {_NOW} + make_interval(secs => %(seconds)s))
WHERE webhook_id = %(webhook_id)s
"""
"""Lets the present secrets of a webhook end after so many seconds, unless they end before."""

READ = f"""
SELECT w.id, w.url, w.event_types, w.competition, w.match_id, w.description, w.enabled, w.disabled_reason,
    w.failing_since, w.last_success_at, w.paused_until, w.created_at, w.updated_at,
    ARRAY(SELECT s.created_at FROM webhook_secret s WHERE s.webhook_id = w.id
        AND (s.expires_at IS NULL OR s.expires_at > {_NOW}) ORDER BY s.id DESC),
    ARRAY(SELECT s.expires_at FROM webhook_secret s WHERE s.webhook_id = w.id
        AND (s.expires_at IS NULL OR s.expires_at > {_NOW}) ORDER BY s.id DESC),
    (SELECT count(*) FROM webhook_cursor c WHERE c.webhook_id = w.id AND c.seq < c.target)
FROM webhook w
"""
"""Returns the fields of :class:`livescore.scores.webhooks.Webhook` of all webhooks."""

READ_ONE = f"{READ} WHERE w.id = %(webhook_id)s"
"""The same of one webhook."""

READ_ALL = f"{READ} ORDER BY w.id"
"""The same of all, oldest first."""

LOCK = "SELECT id FROM webhook WHERE id = %(webhook_id)s FOR UPDATE"
"""Locks a webhook. Returns nothing if it does not exist."""

CHANGEABLE = ("url", "event_types", "competition", "match_id", "description", "enabled")
"""Columns that clients may change."""


def change(names: Collection[str]) -> str:
    """Return a statement that sets those of the :data:`CHANGEABLE` columns that are named."""
    assignments = [f"{column} = %({column})s" for column in CHANGEABLE if column in names]
    return f"UPDATE webhook SET {', '.join(assignments)}, updated_at = {_NOW} WHERE id = %(webhook_id)s"


START_AGAIN = f"""
WITH w AS (
    UPDATE webhook SET disabled_reason = NULL, failing_since = NULL, last_failure_at = NULL, paused_until = NULL
    WHERE id = %(webhook_id)s
)
UPDATE webhook_cursor SET attempts = 0, first_failed_at = NULL, next_attempt_at = {_NOW}
WHERE webhook_id = %(webhook_id)s AND seq < target
"""
"""Forgets the failures of a webhook and makes everything that waits due at once."""

DELETE = "DELETE FROM webhook WHERE id = %(webhook_id)s"
"""Deletes a webhook with its secrets, cursors and log."""

ATTEMPTS = """
SELECT id, message_id, match_id, seq, type, number, outcome, status, error, seconds, created_at FROM webhook_attempt
WHERE webhook_id = %(webhook_id)s AND id < %(before)s AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
ORDER BY id DESC LIMIT %(limit)s
"""
"""Returns a page of the log of a webhook, newest first."""

REDELIVER = f"""
WITH wanted AS (
    SELECT event.match_id, min(event.seq) AS first, max(event.seq) AS last
    FROM event JOIN match ON match.id = event.match_id JOIN webhook w ON w.id = %(webhook_id)s
    WHERE match.updated_at >= %(since)s AND event.created_at >= %(since)s AND {_PASSES}
        AND (%(match_id)s::int IS NULL OR event.match_id = %(match_id)s)
    GROUP BY event.match_id
), changed AS (
    INSERT INTO webhook_cursor AS c (webhook_id, match_id, seq, target, next_attempt_at)
    SELECT %(webhook_id)s, match_id, first - 1, last, {_NOW} FROM wanted ORDER BY match_id
    ON CONFLICT (webhook_id, match_id) DO UPDATE SET target = greatest(c.target, excluded.target),
        seq = least(c.seq, excluded.seq), attempts = 0, first_failed_at = NULL, next_attempt_at = {_NOW}
    RETURNING 1
)
SELECT count(*) FROM changed
"""
"""Moves the cursors of a webhook back before the first event since a time. Returns the number of matches."""

TEST = f"""
INSERT INTO webhook_cursor AS c (webhook_id, match_id, seq, target) VALUES (%(webhook_id)s, {TEST_MATCH}, 0, 1)
ON CONFLICT (webhook_id, match_id) DO UPDATE SET target = c.target + 1, next_attempt_at = {_NOW}
RETURNING target
"""
"""Adds a test event for a webhook. Returns its number."""

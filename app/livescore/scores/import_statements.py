"""The SQL statements of imports."""

from livescore.scores.match_state import FIXTURE


def _timestamp(column: str) -> str:
    """Return the text of a time as clients receive it: UTC with milliseconds and ``Z``."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


_SUMMARY = f"""i.id, i.status, i.format, i.name, i.total, i.done, i.created, i.updated, i.unchanged, i.failed, i.error,
        {_timestamp("i.created_at")} AS "createdAt", {_timestamp("i.started_at")} AS "startedAt",
        {_timestamp("i.finished_at")} AS "finishedAt" """

_SUMMARY_JSON = f"(SELECT row_to_json(_) FROM (SELECT {_SUMMARY}) _)"
_IMPORT_JSON = f"(SELECT row_to_json(_) FROM (SELECT {_SUMMARY}, i.errors, i.warnings) _)"

_FIXTURE = ", ".join(f'm."{name}"' for name in FIXTURE)

CREATE = f"""
WITH i AS (
    INSERT INTO import (status, name, options, media_type, body, request_id)
    VALUES ('pending', %(name)s, %(options)s, %(media_type)s, %(body)s, %(request_id)s)
    RETURNING *
)
SELECT {_IMPORT_JSON}::text, i.id FROM i
"""
"""Keeps a file to be imported. Returns the import as JSON and its id."""

GET = f"SELECT {_IMPORT_JSON}::text FROM import i WHERE i.id = %(id)s"
"""Returns an import as JSON."""

LIST = f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY id DESC), '') FROM (
    SELECT {_SUMMARY_JSON}::text AS doc, i.id FROM import i ORDER BY i.id DESC LIMIT %(limit)s) page
"""
"""Returns the members of a JSON array: the newest imports, without their errors."""

# Any number; no other statement of the service uses this advisory lock.
LOCK_CLAIMS = "SELECT pg_advisory_xact_lock(4836019274410)"
"""Serializes claims. The lock is held until the transaction ends."""

CLAIM = """
UPDATE import SET status = 'running', lease = %(lease)s, started_at = coalesce(started_at, clock_timestamp()),
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND status IN ('pending', 'running')
    AND NOT EXISTS (SELECT FROM import WHERE lease_until >= clock_timestamp())
RETURNING media_type, options, body, done
"""
"""Takes an import, if it has not ended and no import runs: two files may contain the same match."""

SAVE = """
UPDATE import SET format = %(format)s, total = %(total)s, done = %(done)s, created = created + %(created)s,
    updated = updated + %(updated)s, unchanged = unchanged + %(unchanged)s, failed = failed + %(failed)s,
    errors = CASE WHEN jsonb_array_length(errors) < %(most)s THEN errors || %(errors)s::jsonb ELSE errors END,
    warnings = CASE WHEN jsonb_array_length(warnings) < %(most)s THEN warnings || %(warnings)s::jsonb ELSE warnings END,
    lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND lease = %(lease)s
"""
"""Records the progress of an import and prolongs its lease. Changes no row if another process has taken it."""

FINISH = """
UPDATE import SET status = CASE WHEN %(error)s::text IS NULL THEN 'finished' ELSE 'failed' END, error = %(error)s,
    finished_at = clock_timestamp(), body = NULL, lease = NULL, lease_until = NULL
WHERE id = %(id)s AND lease = %(lease)s
"""
"""Ends an import and deletes its file."""

RELEASE = "UPDATE import SET lease = NULL, lease_until = NULL WHERE id = %(id)s AND lease = %(lease)s"
"""Gives an import back, so that another process can continue it at once."""

NEXT = """
SELECT id FROM import WHERE status IN ('pending', 'running')
    AND NOT EXISTS (SELECT FROM import WHERE lease_until >= clock_timestamp())
ORDER BY id LIMIT 1
"""
"""Returns the id of the oldest import that has not ended, if none runs."""

MATCHES = f"""
SELECT m.external_id, m.id, m.status, m.start_time, m.end_time, m.sport, m.home_team, m.away_team,
    {_FIXTURE}, m.rules,
    EXISTS (SELECT FROM commentary c WHERE c.match_id = m.id AND c.metadata ->> 'importKey' IS NULL
        AND c.event_type = ANY(%(moving)s))
    OR EXISTS (SELECT FROM match_override o WHERE o.match_id = m.id AND o.data ->> 'score' IS NOT NULL) AS has_reporter,
    (SELECT json_agg(json_build_object('id', c.id, 'type', c.event_type, 'message', c.message, 'minute', c.minute,
        'period', c.period, 'period_code', c.period_code, 'stoppage', c.stoppage, 'side', c.side, 'team', c.team,
        'actor', c.actor, 'metadata', c.metadata) ORDER BY c.id)
        FROM commentary c WHERE c.match_id = m.id AND c.metadata ->> 'importKey' IS NOT NULL) AS entries
FROM match m WHERE m.external_id = ANY(%(external_ids)s)
"""
"""Returns the matches with these external ids as an import compares them.

The last columns: True if entries or a score by hand come from elsewhere, and the entries of earlier imports.
"""

"""The SQL of the service. PostgreSQL builds the JSON: no row is turned into objects and back on its way to a client.

A write is one statement: its first part takes the match row and moves ``seq``, so that the row's lock orders the events
of a match by commit and leaves no gap; its last part appends the events and returns them.
"""


def _instant(column: str) -> str:
    """UTC with milliseconds and ``Z``, as clients have always received it."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def _fixture_columns(row: str) -> str:
    return f"""{row}.id, {row}.sport, {row}.home_team AS "homeTeam", {row}.away_team AS "awayTeam", {row}.status,
        {_instant(f"{row}.start_time")} AS "startTime",
        {_instant(f"{row}.end_time")} AS "endTime" """


def _match_columns(row: str) -> str:
    return f"""{_fixture_columns(row)},
        {row}.home_score AS "homeScore", {row}.away_score AS "awayScore",
        {_instant(f"{row}.created_at")} AS "createdAt", {_instant(f"{row}.updated_at")} AS "updatedAt", {row}.seq"""


def _commentary_columns(row: str) -> str:
    return f"""{row}.id, {row}.match_id AS "matchId", {row}.minute, {row}.sequence, {row}.period,
        {row}.event_type AS "eventType", {row}.actor, {row}.team, {row}.message, {row}.metadata, {row}.tags,
        {_instant(f"{row}.created_at")} AS "createdAt", {_instant(f"{row}.updated_at")} AS "updatedAt", {row}.seq"""


def _json(columns: str) -> str:
    return f"(SELECT row_to_json(_) FROM (SELECT {columns}) _)"


MATCH_JSON = _json(_match_columns("m"))
COMMENTARY_JSON = _json(_commentary_columns("c"))
SCORE_JSON = _json('m.id AS "matchId", m.home_score AS "homeScore", m.away_score AS "awayScore"')
DELETED_JSON = _json('c.id, c.match_id AS "matchId"')


def _status_json(old: str) -> str:
    return _json(
        f'm.id AS "matchId", {old} AS "oldStatus", m.status AS "newStatus", {_instant("m.updated_at")} AS "timestamp"'
    )


EVENT_COLUMNS = """event.match_id, event.seq, event.type, event.data::text,
    extract(epoch FROM event.created_at)::float8 AS created, coalesce(event.request_id, '')"""
_APPEND = "INSERT INTO event (match_id, seq, type, data, request_id, created_at)"

# A fingerprint of this feed as it physically is: it changes when the database is restored from a backup, loaded from
# a dump or taken over by a standby that may lack the last events, and nobody has to remember to change it. Only copied
# files keep all of that; whoever finds that they lack events gives the feed another incarnation.
_CLUSTER = """concat_ws(':', (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8), (SELECT oid FROM pg_database WHERE datname = current_database()),
    'event'::regclass::oid)"""
_EPOCH = f"left(md5(concat_ws(':', {_CLUSTER}, catalog.incarnation)), 12)"
# The id of the deployment and the epoch; see livescore.deployment.
ORIGIN = f"SELECT left(translate(deployment::text, '-', ''), 12), {_EPOCH} FROM catalog"
RENEW_EPOCH = f"UPDATE catalog SET incarnation = gen_random_uuid() WHERE {_EPOCH} = %(epoch)s"

_STATUS_BY_CLOCK = """CASE WHEN %(start)s > catalog.now THEN 'scheduled'
    WHEN %(end)s <= catalog.now THEN 'finished' ELSE 'live' END"""

CREATE_MATCH = f"""
WITH catalog AS (
    UPDATE catalog SET last_match_id = last_match_id + 1
    RETURNING last_match_id AS id, date_trunc('milliseconds', clock_timestamp()) AS now
), m AS (
    INSERT INTO match (id, sport, home_team, away_team, status, start_time, end_time, home_score, away_score,
        created_at, updated_at, seq)
    SELECT id, %(sport)s, %(home_team)s, %(away_team)s, {_STATUS_BY_CLOCK}, %(start)s, %(end)s,
        %(home_score)s, %(away_score)s, now, now, 1 FROM catalog
    RETURNING *
)
{_APPEND} SELECT m.id, 1, 'match_created', {MATCH_JSON}, %(request_id)s, m.created_at FROM m
RETURNING {EVENT_COLUMNS}
"""

CREATE_COMMENTARY = f"""
WITH m AS (
    UPDATE match SET seq = seq + 1 + %(scores)s::int, home_score = home_score + %(home)s,
        away_score = away_score + %(away)s, updated_at = date_trunc('milliseconds', clock_timestamp())
    WHERE id = %(match_id)s
    RETURNING *
), c AS (
    INSERT INTO commentary (match_id, seq, minute, sequence, period, event_type, actor, team, message, metadata, tags,
        created_at, updated_at)
    SELECT id, seq - %(scores)s::int, %(minute)s, %(sequence)s, %(period)s, %(event_type)s, %(actor)s, %(team)s,
        %(message)s, %(metadata)s, %(tags)s, updated_at, updated_at FROM m
    RETURNING *
)
{_APPEND}
SELECT c.match_id, c.seq, 'commentary', {COMMENTARY_JSON}, %(request_id)s, c.created_at FROM c
UNION ALL
SELECT m.id, m.seq, 'score_update', {SCORE_JSON}, %(request_id)s, m.updated_at FROM m WHERE %(scores)s
RETURNING {EVENT_COLUMNS}
"""


def _transition(selection: str) -> str:
    """Return a statement that moves due matches in one step to the status that the clock gives them.

    Args:
        selection: Further conditions and the lock. The time of the statement can be looked up in an index,
            clock_timestamp() cannot.
    """
    return f"""
WITH due AS (
    SELECT id, status, start_time, end_time FROM match
    WHERE NOT pinned AND (status = 'scheduled' AND start_time <= statement_timestamp()
        OR status = 'live' AND end_time <= statement_timestamp())
    {selection}
), m AS (
    UPDATE match SET seq = match.seq + 1, updated_at = date_trunc('milliseconds', clock_timestamp()),
        status = CASE WHEN match.end_time <= clock_timestamp() THEN 'finished' ELSE 'live' END
    FROM due WHERE match.id = due.id
    RETURNING match.*, due.status AS old
), e AS (
    {_APPEND}
    SELECT m.id, m.seq, 'match_status_changed', {_status_json("m.old")}, NULL, m.updated_at FROM m
    RETURNING *
)
SELECT e.match_id, e.seq, e.type, e.data::text, extract(epoch FROM e.created_at)::float8, '',
    m.status, extract(epoch FROM
        clock_timestamp() - CASE m.status WHEN 'live' THEN m.start_time ELSE m.end_time END)::float8
FROM e JOIN m ON m.id = e.match_id
"""


# Rows that another session is changing are left for the next sweep, so sweeps neither wait nor block each other.
SWEEP = _transition("ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED")

# The transition of one match waits for the row lock: other writes hold it for milliseconds.
TRANSITION = _transition("AND id = %(match_id)s FOR UPDATE")

# Seconds until the transition of one match (negative: overdue); no row without one. By the clock of PostgreSQL, which
# decides.
UNTIL_TRANSITION = """
SELECT extract(epoch FROM CASE status WHEN 'scheduled' THEN start_time ELSE end_time END - clock_timestamp())::float8
FROM match WHERE id = %(match_id)s AND NOT pinned AND status IN ('scheduled', 'live')
"""

# Seconds until the next transition is due (negative: overdue), NULL without one.
NEXT_TRANSITION = """
SELECT extract(epoch FROM least(
    (SELECT min(start_time) FROM match WHERE status = 'scheduled' AND NOT pinned),
    (SELECT min(end_time) FROM match WHERE status = 'live' AND NOT pinned)) - clock_timestamp())::float8
"""

# What the jobs should be: the matches that change within so many seconds.
UPCOMING = """
SELECT id, status, start_time, end_time FROM match
WHERE NOT pinned AND id > %(after)s AND (
    status = 'scheduled' AND start_time < statement_timestamp() + make_interval(secs => %(horizon)s)
    OR status = 'live' AND end_time < statement_timestamp() + make_interval(secs => %(horizon)s))
ORDER BY id LIMIT %(limit)s
"""

# What is on and what begins within so many seconds. The clock alone makes a match live, so pinned ones are neither; the
# condition is that of the sweep's indexes.
FIXTURES = f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY start_time, id), '') FROM (
    SELECT {_json(_fixture_columns("m"))}::text AS doc, m.start_time, m.id FROM match m
    WHERE NOT pinned AND (status = 'live'
        OR status = 'scheduled' AND start_time <= statement_timestamp() + make_interval(secs => %(within)s))
    ORDER BY m.start_time, m.id LIMIT %(limit)s) page
"""

LOCK_MATCH = """
SELECT sport, home_team, away_team, status, start_time, end_time, home_score, away_score, pinned, clock_timestamp(),
    seq
FROM match WHERE id = %(match_id)s FOR UPDATE
"""

# An event's `type` and the number it takes after the match's present one come in as arrays of equal length.
REVISE_MATCH = f"""
WITH m AS (
    UPDATE match SET seq = seq + cardinality(%(types)s::text[]), sport = %(sport)s, home_team = %(home_team)s,
        away_team = %(away_team)s, status = %(status)s, start_time = %(start)s, end_time = %(end)s,
        home_score = %(home_score)s, away_score = %(away_score)s, pinned = %(pinned)s,
        updated_at = CASE cardinality(%(types)s::text[]) WHEN 0 THEN updated_at  -- an ETag names one body only
            ELSE date_trunc('milliseconds', clock_timestamp()) END
    WHERE id = %(match_id)s
    RETURNING *
)
{_APPEND}
SELECT m.id, m.seq - cardinality(%(types)s::text[]) + kind.number, kind.type, CASE kind.type
    WHEN 'score_update' THEN {SCORE_JSON}
    WHEN 'match_status_changed' THEN {_status_json("%(old_status)s::text")}
    ELSE {MATCH_JSON} END, %(request_id)s, m.updated_at
FROM m, unnest(%(types)s::text[]) WITH ORDINALITY AS kind(type, number)
RETURNING {EVENT_COLUMNS}
"""

LOCK_COMMENTARY = """
SELECT c.event_type, c.metadata, m.seq, c.seq FROM match m JOIN commentary c ON c.match_id = m.id
WHERE m.id = %(match_id)s AND c.id = %(commentary_id)s FOR UPDATE
"""


def _revise_commentary(change: str, kind: str, data: str) -> str:
    """A correction or deletion; the score moves by ``home`` and ``away`` and is floored at zero."""
    return f"""
WITH m AS (
    UPDATE match SET seq = seq + 1 + %(scores)s::int, home_score = greatest(0, home_score + %(home)s),
        away_score = greatest(0, away_score + %(away)s), updated_at = date_trunc('milliseconds', clock_timestamp())
    WHERE id = %(match_id)s
    RETURNING *
), c AS ({change} RETURNING c.*)
{_APPEND}
SELECT c.match_id, m.seq - %(scores)s::int, '{kind}', {data}, %(request_id)s, m.updated_at FROM m, c
UNION ALL
SELECT m.id, m.seq, 'score_update', {SCORE_JSON}, %(request_id)s, m.updated_at FROM m WHERE %(scores)s
RETURNING {EVENT_COLUMNS}
"""


UPDATE_COMMENTARY = _revise_commentary(
    """UPDATE commentary c SET seq = m.seq - %(scores)s::int, updated_at = m.updated_at,
        minute = coalesce(%(minute)s, c.minute), sequence = coalesce(%(sequence)s, c.sequence),
        period = coalesce(%(period)s, c.period), event_type = coalesce(%(event_type)s, c.event_type),
        actor = coalesce(%(actor)s, c.actor), team = coalesce(%(team)s, c.team),
        message = coalesce(%(message)s, c.message), metadata = coalesce(%(metadata)s, c.metadata),
        tags = coalesce(%(tags)s, c.tags)
    FROM m WHERE c.match_id = m.id AND c.id = %(commentary_id)s""",
    "commentary_updated",
    COMMENTARY_JSON,
)

DELETE_COMMENTARY = _revise_commentary(
    "DELETE FROM commentary c USING m WHERE c.match_id = m.id AND c.id = %(commentary_id)s",
    "commentary_deleted",
    DELETED_JSON,
)

MATCH = f"SELECT {MATCH_JSON}::text, m.seq FROM match m WHERE m.id = %(match_id)s"

COMMENTARY = f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY created_at DESC, id DESC), '') FROM (
    SELECT {COMMENTARY_JSON}::text AS doc, c.created_at, c.id FROM commentary c WHERE c.match_id = %(match_id)s
    ORDER BY c.created_at DESC, c.id DESC LIMIT %(limit)s) page
"""


COMMENTARY_ENTRY = f"""
SELECT {COMMENTARY_JSON}::text, c.seq FROM commentary c WHERE c.match_id = %(match_id)s AND c.id = %(commentary_id)s
"""


def list_matches(conditions: list[str]) -> str:
    """A page, newest first, as JSON text, and the cursor of its last match when more follow."""
    where = " AND ".join(conditions) or "true"
    return f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY place) FILTER (WHERE place <= %(limit)s), ''),
    CASE WHEN count(*) > %(limit)s THEN max(key) FILTER (WHERE place = %(limit)s) END
FROM (
    SELECT {MATCH_JSON}::text AS doc, row_number() OVER () AS place,
        (extract(epoch FROM m.created_at) * 1000)::bigint || '.' || m.id AS key
    FROM (SELECT * FROM match WHERE {where} ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1) m
) page
"""


FILTERS = {
    "status": "status = ANY(%(status)s)",
    "sport": "sport = ANY(%(sport)s)",
    "team": "(home_team = ANY(%(team)s) OR away_team = ANY(%(team)s))",
    "from": "start_time >= %(from)s",
    "to": "start_time < %(to)s",
    "updatedSince": "updated_at >= %(updatedSince)s",
    "cursor": "(created_at, id) < (%(cursor_time)s, %(cursor_id)s)",
}

# Where a match stands: its last event and the last one that cannot be read any more.
HEAD = "SELECT seq, pruned_seq FROM match WHERE id = %(match_id)s"

EVENTS = f"""
SELECT {EVENT_COLUMNS} FROM event WHERE match_id = %(match_id)s AND seq > %(since)s ORDER BY seq LIMIT %(limit)s
"""

# Everything that the served matches have beyond what their listeners got: one query heals them all.
MISSED = f"""
SELECT {EVENT_COLUMNS} FROM unnest(%(matches)s::int[], %(seqs)s::int[]) AS served(id, last)
JOIN event ON event.match_id = served.id AND event.seq > served.last
ORDER BY event.match_id, event.seq LIMIT %(limit)s
"""

# Whether a match ends before what was delivered of it.
LACKS = """
SELECT EXISTS (SELECT FROM unnest(%(matches)s::int[], %(seqs)s::int[]) AS served(id, last)
    LEFT JOIN match ON match.id = served.id WHERE coalesce(match.seq, 0) < served.last)
"""

HEADS = "SELECT id, seq FROM match WHERE id = ANY(%(matches)s)"

ALL_HEADS = "SELECT id, seq FROM match"

# A dump carries the transaction ids of the cluster that it was made in. The first process that finds itself on another
# cluster notes how far each match had come, before any horizon of this feed is given to a client.
SETTLE = f"""
WITH settled AS (
    UPDATE catalog SET cluster = {_CLUSTER} WHERE cluster IS DISTINCT FROM {_CLUSTER} RETURNING one_row
)
UPDATE match SET restored_seq = seq WHERE restored_seq <> seq AND EXISTS (SELECT FROM settled)
"""

SETTLED = f"SELECT cluster IS NOT DISTINCT FROM {_CLUSTER} FROM catalog"

HORIZON = "SELECT pg_current_snapshot()::text"


def _unseen(horizon: str) -> str:
    """The condition for events that a horizon does not show; the transaction ids bound what is read by their index."""
    snapshot = f"%({horizon})s::text::pg_snapshot"
    return f"""event.txid >= pg_snapshot_xmin({snapshot}) AND event.txid < pg_snapshot_xmax(pg_current_snapshot())
    AND NOT pg_visible_in_snapshot(event.txid, {snapshot}) AND event.seq > match.restored_seq"""


_UNSEEN = f"event JOIN match ON match.id = event.match_id WHERE {_unseen('horizon')}"

CHANGED = f"SELECT event.match_id, max(event.seq) FROM {_UNSEEN} GROUP BY event.match_id"

_PAGE = """AND (event.match_id, event.seq) > (%(match_id)s, %(seq)s)
ORDER BY event.match_id, event.seq LIMIT %(limit)s"""

SINCE_HORIZON = f"SELECT {EVENT_COLUMNS} FROM {_UNSEEN} {_PAGE}"

# Without what was committed after the target, so that the page's end says how far a reader has come.
BETWEEN_HORIZONS = f"""
SELECT {EVENT_COLUMNS} FROM {_UNSEEN}
    AND pg_visible_in_snapshot(event.txid, %(target)s::text::pg_snapshot) {_PAGE}
"""

# Matches whose pruned events a horizon does not show, and the last of these events.
PRUNED_SINCE = """
SELECT id, pruned_seq FROM match WHERE pruned_seq > restored_seq AND (pruned_txid IS NULL
    OR pruned_txid >= pg_snapshot_xmin(%(horizon)s::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(pruned_txid, %(horizon)s::text::pg_snapshot))
LIMIT %(limit)s
"""

# Whether a reader that has come this far has seen nothing that is still to happen here.
RESUMABLE = """
SELECT pg_snapshot_xmax(%(horizon)s::text::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
    AND NOT EXISTS (SELECT FROM unnest(%(matches)s::int[], %(seqs)s::int[]) AS had(id, last)
        LEFT JOIN match ON match.id = had.id WHERE coalesce(match.seq, 0) < had.last)
"""

CREATED = f"""
SELECT {EVENT_COLUMNS} FROM event JOIN match ON match.id = event.match_id AND event.seq = 1
WHERE match.id > %(last)s ORDER BY match.id LIMIT %(limit)s
"""

LAST_MATCH = "SELECT last_match_id FROM catalog"

_SNAPSHOT = f"""(SELECT row_to_json(_) FROM (SELECT {MATCH_JSON} AS match, (
    SELECT coalesce(json_agg({COMMENTARY_JSON} ORDER BY c.created_at DESC, c.id DESC), '[]') FROM (
        SELECT * FROM commentary WHERE match_id = m.id ORDER BY created_at DESC, id DESC LIMIT %(commentary)s) c
    ) AS commentary) _)::text"""

SNAPSHOT = f"SELECT {_SNAPSHOT}, m.seq FROM match m WHERE m.id = %(match_id)s"

# The states of all matches, newest first, and whether they are later than the horizon.
SNAPSHOTS = f"""
SELECT m.id, m.seq, {_SNAPSHOT}, EXISTS (SELECT FROM {_UNSEEN} AND event.match_id = m.id)
FROM match m WHERE m.id < %(before)s ORDER BY m.id DESC LIMIT %(limit)s
"""

PRUNE = """
WITH m AS (
    UPDATE match SET pruned_seq = seq, pruned_txid = (
        SELECT txid FROM event WHERE event.match_id = match.id AND event.seq = match.seq)
    WHERE id IN (
        SELECT id FROM match WHERE status IN ('finished', 'cancelled') AND pruned_seq < seq
            AND updated_at < clock_timestamp() - make_interval(secs => %(age)s)
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, pruned_seq
)
DELETE FROM event USING m WHERE event.match_id = m.id AND event.seq <= m.pruned_seq
"""

# One at a time per key: who does not get the lock meets a request that is still running.
LOCK_KEY = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(scope)s || %(key)s, 0))"
FIND_KEY = "SELECT fingerprint, status, body FROM idempotency_key WHERE scope = %(scope)s AND key = %(key)s"
KEEP_KEY = """
INSERT INTO idempotency_key (scope, key, fingerprint, status, body)
VALUES (%(scope)s, %(key)s, %(fingerprint)s, %(status)s, %(body)s)
"""
EXPIRE_KEYS = """
DELETE FROM idempotency_key WHERE (scope, key) IN (
    SELECT scope, key FROM idempotency_key
    WHERE created_at < statement_timestamp() - make_interval(secs => %(age)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""

API_KEYS = "SELECT id, name, digest, scopes, revoked_at IS NOT NULL FROM api_key"
ALL_API_KEYS = "SELECT id, name, scopes, created_at, revoked_at FROM api_key ORDER BY created_at"
ADD_API_KEY = "INSERT INTO api_key (id, name, digest, scopes) VALUES (%(id)s, %(name)s, %(digest)s, %(scopes)s)"
REVOKE_API_KEY = "UPDATE api_key SET revoked_at = clock_timestamp() WHERE id = %(id)s AND revoked_at IS NULL"

"""Every SQL statement of the service, with what it returns and which lock it takes.

PostgreSQL builds the JSON, so no row becomes Python objects on its way to a client. Statements named ``…_JSON`` and the
functions that begin with an underscore are parts of statements.

A write is a single statement. Its first part updates the match row and increments ``seq``, and its last part appends
the events and returns them as :data:`EVENT_COLUMNS`. The row lock makes ``seq`` gap-free and puts the events of a match
in the order of their commits.
"""

from livescore.scores.match_state import FIXTURE

# Parts


def _timestamp(column: str) -> str:
    """Return the text of a time as clients receive it: UTC with milliseconds and ``Z``."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def _json(columns: str, source: str = "") -> str:
    """Return a subquery that builds one JSON object, whose members are named by the columns.

    Args:
        columns: The columns.
        source: A ``FROM`` clause for them.
    """
    return f"(SELECT row_to_json(_) FROM (SELECT {columns} {source}) _)"


_FIXTURE_COLUMNS = f"""m.id, m.sport, m.home_team AS "homeTeam", m.away_team AS "awayTeam", m.status,
        {_timestamp("m.start_time")} AS "startTime",
        {_timestamp("m.end_time")} AS "endTime" """

# The state of a match as its entries and overrides have made it, read once for all members of the match. A match that
# no entry has moved has one row of NULLs.
_FOLD = """FROM json_to_record(m.fold) AS fold(period text, clock json, scores json, shootout json, winner text,
        "decidedBy" text, cards json, state json)"""

# A match that the clock has finished has the result of its score.
_WINNER = """coalesce(fold.winner, CASE WHEN m.status IN ('finished', 'awarded') THEN
            CASE sign(m.home_score - m.away_score) WHEN 1 THEN 'home' WHEN -1 THEN 'away' ELSE 'draw' END END)"""
_DECIDED_BY = """coalesce(fold."decidedBy",
            CASE m.status WHEN 'finished' THEN 'regular' WHEN 'awarded' THEN 'awarded' END)"""

_MATCH_COLUMNS = f"""{_FIXTURE_COLUMNS},
        m.home_score AS "homeScore", m.away_score AS "awayScore",
        {_timestamp("m.created_at")} AS "createdAt", {_timestamp("m.updated_at")} AS "updatedAt", m.seq,
        m.competition, m.season, m.stage, m."group", m.round, m.leg, m.match_number AS "matchNumber", m.venue,
        m.referee, m.external_id AS "externalId", m.attendance, m.start_time_confirmed AS "startTimeConfirmed", m.rules,
        fold.period, fold.clock, coalesce(fold.scores, '[]') AS scores, fold.shootout,
        {_WINNER} AS winner, {_DECIDED_BY} AS "decidedBy", m.aggregate, fold.cards, fold.state, m.metadata"""

_COMMENTARY_COLUMNS = f"""c.id, c.match_id AS "matchId", c.minute, c.sequence, c.period,
        c.event_type AS "eventType", c.actor, c.team, c.message, c.metadata, c.tags,
        {_timestamp("c.created_at")} AS "createdAt", {_timestamp("c.updated_at")} AS "updatedAt", c.seq,
        c.side, c.period_code AS "periodCode", c.stoppage, coalesce(c.warnings, '{{}}') AS warnings"""

# The data of events and the bodies of answers. Each refers to a match as `m` or to a commentary as `c`.
_MATCH_JSON = _json(_MATCH_COLUMNS, _FOLD)
_COMMENTARY_JSON = _json(_COMMENTARY_COLUMNS)
_SCORE_COLUMNS = """m.id AS "matchId", m.home_score AS "homeScore", m.away_score AS "awayScore",
        coalesce(fold.scores, '[]') AS scores, fold.shootout, fold.period, fold.clock, fold.state"""
_PERIOD_JSON = _json('m.id AS "matchId", fold.period, fold.clock', _FOLD)
_DELETED_JSON = _json('c.id, c.match_id AS "matchId"')


def _score_json(cause: str) -> str:
    """Return the data of a ``score_update`` event.

    Args:
        cause: Expression of the id of the commentary that moved the score.
    """
    return _json(f"{_SCORE_COLUMNS}, {cause} AS cause", _FOLD)


def _status_json(old_status: str) -> str:
    """Return the data of a ``match_status_changed`` event."""
    return _json(
        f'm.id AS "matchId", {old_status} AS "oldStatus", m.status AS "newStatus", '
        f'{_timestamp("m.updated_at")} AS "timestamp"'
    )


EVENT_COLUMNS = """event.match_id, event.seq, event.type, event.data::text,
    extract(epoch FROM event.created_at)::float8 AS created, coalesce(event.request_id, '')"""
"""The fields of :class:`livescore.scores.feed.Event`, in order."""

# The columns of a match that only describe it; those of livescore.scores.match_state.FIXTURE.
_FIXTURE = ", ".join(f'"{name}"' for name in FIXTURE)
_FIXTURE_VALUES = ", ".join(f"%({name})s" for name in FIXTURE)

EXTERNAL_ID_INDEX = "match_external"
"""The index that keeps two matches from having the same external id."""

_APPEND_EVENTS = "INSERT INTO event (match_id, seq, type, data, request_id, created_at)"

_NOW = "date_trunc('milliseconds', clock_timestamp())"

# A physical fingerprint of the database, which changes by itself: it differs after a restore from a backup, in a
# database loaded from a dump, and after the promotion of a standby that may lack the last events.
CLUSTER = """concat_ws(':', (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8), (SELECT oid FROM pg_database WHERE datname = current_database()),
    'event'::regclass::oid)"""
# Copied data files keep the fingerprint. An instance that finds that the copy lacks events renews `incarnation`.
_EPOCH = f"left(md5(concat_ws(':', {CLUSTER}, catalog.incarnation)), 12)"

# Identity

ORIGIN = f"SELECT left(translate(deployment::text, '-', ''), 12), {_EPOCH} FROM catalog"
"""Returns the id of the deployment and the epoch; see :mod:`livescore.deployment`."""

RENEW_EPOCH = f"UPDATE catalog SET incarnation = gen_random_uuid() WHERE {_EPOCH} = %(epoch)s"
"""Changes the epoch unless it has changed already. Locks the catalog row."""

CLUSTER_IS_RECORDED = f"SELECT cluster IS NOT DISTINCT FROM {CLUSTER} FROM catalog"
"""Returns True if the transaction ids of the feed are those of this cluster."""

RECORD_CLUSTER = f"""
WITH recorded AS (
    UPDATE catalog SET cluster = {CLUSTER} WHERE cluster IS DISTINCT FROM {CLUSTER} RETURNING one_row
)
UPDATE match SET restored_seq = seq WHERE restored_seq <> seq AND EXISTS (SELECT FROM recorded)
"""
"""Records the current cluster in the catalog, and in each match the last event that came from another cluster.

A dump contains the transaction ids of the cluster in which it was made, and they mean nothing in this one. So this runs
before any client receives a horizon. Locks the catalog row and all match rows.
"""

# Writes

CREATE_MATCH = f"""
WITH catalog AS (
    UPDATE catalog SET last_match_id = last_match_id + 1 RETURNING last_match_id AS id, {_NOW} AS now
), m AS (
    INSERT INTO match (id, sport, home_team, away_team, status, start_time, end_time, home_score, away_score,
        created_at, updated_at, seq, initial_home, initial_away, rules, fold, {_FIXTURE})
    SELECT id, %(sport)s, %(home_team)s, %(away_team)s, livescore_status(%(start)s, %(end)s, now), %(start)s, %(end)s,
        %(home_score)s, %(away_score)s, now, now, 1, %(home_score)s, %(away_score)s, %(rules)s, %(fold)s,
        {_FIXTURE_VALUES}
    FROM catalog
    RETURNING *
)
{_APPEND_EVENTS} SELECT m.id, 1, 'match_created', {_MATCH_JSON}, %(request_id)s, m.created_at FROM m
RETURNING {EVENT_COLUMNS}
"""
"""Creates a match. Returns its event. Locks the catalog row, so that match ids are gap-free in commit order."""


def _side(otherwise: str = "NULL") -> str:
    """Return the side of an entry of match `m`: the given one, else that of its team."""
    return f"""coalesce(%(side)s, CASE %(team)s::text WHEN m.home_team THEN 'home' WHEN m.away_team THEN 'away' END,
            {otherwise})"""


CREATE_COMMENTARY = f"""
WITH m AS (
    UPDATE match SET seq = seq + 1, updated_at = {_NOW} WHERE id = %(match_id)s
    RETURNING id, seq, home_team, away_team, updated_at
), c AS (
    INSERT INTO commentary (match_id, seq, minute, sequence, period, event_type, actor, team, message, metadata, tags,
        created_at, updated_at, side, period_code, stoppage)
    SELECT m.id, m.seq, %(minute)s, %(sequence)s, %(period)s, %(event_type)s, %(actor)s, %(team)s, %(message)s,
        %(metadata)s, %(tags)s, m.updated_at, m.updated_at, {_side()}, %(period_code)s, %(stoppage)s
    FROM m
    RETURNING *
)
{_APPEND_EVENTS}
SELECT c.match_id, c.seq, 'commentary', {_COMMENTARY_JSON}, %(request_id)s, c.created_at FROM c
RETURNING {EVENT_COLUMNS}
"""
"""Appends commentary that cannot move the state of its match.

Returns its event, nothing if there is no such match. Locks the match row.
"""

_CORRECTION = """minute = coalesce(%(minute)s, c.minute), sequence = coalesce(%(sequence)s, c.sequence),
        period = coalesce(%(period)s, c.period), event_type = coalesce(%(event_type)s, c.event_type),
        actor = coalesce(%(actor)s, c.actor), team = coalesce(%(team)s, c.team),
        message = coalesce(%(message)s, c.message), metadata = coalesce(%(metadata)s, c.metadata),
        tags = coalesce(%(tags)s, c.tags), period_code = coalesce(%(period_code)s, c.period_code),
        stoppage = coalesce(%(stoppage)s, c.stoppage), warnings = %(warnings)s"""


def _correction(seq: str) -> str:
    """Return a statement that corrects a commentary; NULL keeps a value, except that of the warnings."""
    return f"""UPDATE commentary c SET seq = {seq}, updated_at = m.updated_at, {_CORRECTION}, side = {_side("c.side")}
    FROM m WHERE c.match_id = m.id AND c.id = %(commentary_id)s"""


_DELETION = "DELETE FROM commentary c USING m WHERE c.match_id = m.id AND c.id = %(commentary_id)s"


def _revise_commentary(change: str, event_type: str, data: str) -> str:
    """Return a statement that changes a commentary that cannot move the state of its match.

    It returns its event and locks the match row and the commentary row.
    """
    return f"""
WITH m AS (
    UPDATE match SET seq = seq + 1, updated_at = {_NOW} WHERE id = %(match_id)s
    RETURNING id, seq, home_team, away_team, updated_at
), c AS ({change} RETURNING c.*)
{_APPEND_EVENTS}
SELECT c.match_id, m.seq, '{event_type}', {data}, %(request_id)s, m.updated_at FROM m, c
RETURNING {EVENT_COLUMNS}
"""


UPDATE_COMMENTARY = _revise_commentary(_correction("m.seq"), "commentary_updated", _COMMENTARY_JSON)
"""Corrects a commentary. See :func:`_revise_commentary`."""

DELETE_COMMENTARY = _revise_commentary(_DELETION, "commentary_deleted", _DELETED_JSON)
"""Deletes a commentary. See :func:`_revise_commentary`."""

# Writes that move the state of a match. Python computes the state, so the statements receive it.

MATCH_STATE = """m.sport, m.home_team, m.away_team, m.status, m.start_time, m.end_time, m.home_score, m.away_score,
    m.pinned, m.rules, m.initial_home, m.initial_away, m.fold::text"""
"""The fields of :class:`livescore.scores.match_state.MatchState`, in order."""

NEXT_STEP = "SELECT nextval('commentary_id_seq')::int"
"""Returns the id of the next entry or override. They share a sequence, so that they have one order."""

READ_STATE = f"""
SELECT {_NOW}, m.seq, m.xmin::text, nextval('commentary_id_seq')::int, {MATCH_STATE}
FROM match m WHERE m.id = %(match_id)s
"""
"""Returns the database's time, the seq of a match, the version of its row, the id of its next entry, and its state."""

LOCK_STATE = f"{READ_STATE} FOR UPDATE"
"""Returns the same. Locks the match row."""

LOCK_COMMENTARY = f"""
SELECT {_NOW}, m.seq, c.seq, c.created_at, c.event_type, c.side, c.period_code, c.minute, c.stoppage, c.actor,
    c.metadata, {MATCH_STATE}
FROM match m JOIN commentary c ON c.match_id = m.id WHERE m.id = %(match_id)s AND c.id = %(commentary_id)s FOR UPDATE
"""
"""Returns the database's time, the seqs of a match and of its commentary, the fields of the latter that matter to the
fold, and the state of the match. Locks the match and commentary rows."""

LOCK_MATCH = f"""
SELECT {_NOW}, m.seq, {MATCH_STATE}, {_FIXTURE} FROM match m WHERE m.id = %(match_id)s FOR UPDATE
"""
"""Returns the database's time, the seq of a match, its state and its fixture. Locks the match row."""

STEPS = """
SELECT id, created_at, event_type, side, period_code, minute, stoppage, actor, metadata, NULL::json
FROM commentary WHERE match_id = %(match_id)s AND event_type = ANY(%(moving)s)
UNION ALL
SELECT id, created_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, data FROM match_override WHERE match_id = %(match_id)s
ORDER BY id
"""
"""Returns the entries that may move the state of a match, and its overrides, which have a value in the last column."""

ADD_OVERRIDE = """
INSERT INTO match_override (match_id, id, data, created_at)
VALUES (%(match_id)s, nextval('commentary_id_seq'), %(data)s, %(now)s) RETURNING id
"""
"""Adds an override to the fold of a match. Returns its id."""

_SET_STATE = """seq = seq + cardinality(%(types)s::text[]), status = %(status)s, pinned = %(pinned)s,
        home_score = %(home_score)s, away_score = %(away_score)s, fold = %(fold)s"""


def _event_data(cause: str) -> str:
    """Return the branches of a CASE that build the data of the events that follow an entry or a change by hand.

    Args:
        cause: Expression of the id of the entry.
    """
    return f"""WHEN 'score_update' THEN {_score_json(cause)}
    WHEN 'period_changed' THEN {_PERIOD_JSON}
    WHEN 'match_status_changed' THEN {_status_json("%(old_status)s::text")}
    WHEN 'match_updated' THEN {_MATCH_JSON}"""


def _move_state(change: str, data: str, condition: str = "") -> str:
    """Return a statement that changes an entry and sets the state of its match, with an event of each of the ``types``.

    The statement returns the events and locks the match row and the row of the entry.

    Args:
        change: Statement that changes the entry.
        data: Data of its event, the first one.
        condition: Further condition on the match row; if it does not hold, nothing changes and no event returns.
    """
    statement = f"""
WITH m AS (
    UPDATE match SET {_SET_STATE}, updated_at = %(now)s WHERE id = %(match_id)s {condition}
    RETURNING *
), c AS ({change} RETURNING c.*)
{_APPEND_EVENTS}
SELECT m.id, m.seq - cardinality(%(types)s::text[]) + change.number, change.type, CASE change.type
    {_event_data("c.id")} ELSE {data} END, %(request_id)s, m.updated_at
FROM m, c, unnest(%(types)s::text[]) WITH ORDINALITY AS change(type, number)
RETURNING {EVENT_COLUMNS}
"""
    # psycopg caches only statements of up to 4096 characters; parsing a longer one takes 300 µs.
    return " ".join(statement.split())


_SEQ_OF_ENTRY = "m.seq - cardinality(%(types)s::text[]) + 1"

APPEND_ENTRY = _move_state(
    f"""INSERT INTO commentary AS c (id, match_id, seq, minute, sequence, period, event_type, actor, team, message,
        metadata, tags, created_at, updated_at, side, period_code, stoppage, warnings)
    SELECT %(commentary_id)s, m.id, {_SEQ_OF_ENTRY}, %(minute)s, %(sequence)s, %(period)s, %(event_type)s, %(actor)s,
        %(team)s, %(message)s, %(metadata)s, %(tags)s, m.updated_at, m.updated_at, %(side)s, %(period_code)s,
        %(stoppage)s, %(warnings)s
    FROM m""",
    _COMMENTARY_JSON,
    "AND xmin = %(version)s::xid",
)
"""Appends an entry, provided that the match row is still the version that was read. See :func:`_move_state`."""

CORRECT_ENTRY = _move_state(_correction(_SEQ_OF_ENTRY), _COMMENTARY_JSON)
"""Corrects an entry. See :func:`_move_state`."""

DELETE_ENTRY = _move_state(_DELETION, _DELETED_JSON)
"""Deletes an entry. See :func:`_move_state`."""

REVISE_MATCH = f"""
WITH m AS (
    UPDATE match SET {_SET_STATE}, sport = %(sport)s, home_team = %(home_team)s, away_team = %(away_team)s,
        start_time = %(start)s, end_time = %(end)s, rules = %(rules)s, ({_FIXTURE}) = ROW ({_FIXTURE_VALUES}),
        updated_at = CASE cardinality(%(types)s::text[]) WHEN 0 THEN updated_at ELSE %(now)s END
    WHERE id = %(match_id)s
    RETURNING *
)
{_APPEND_EVENTS}
SELECT m.id, m.seq - cardinality(%(types)s::text[]) + change.number, change.type, CASE change.type
    {_event_data("NULL::int")} END, %(request_id)s, m.updated_at
FROM m, unnest(%(types)s::text[]) WITH ORDINALITY AS change(type, number)
RETURNING {EVENT_COLUMNS}
"""
"""Sets the fields of a match and appends an event of each of the ``types``. Returns the events. Locks the match row.

Without events the ETag stays the same, so ``updated_at``, which is part of the body, must too.
"""

SET_AGGREGATE = f"""
WITH m AS (
    UPDATE match SET seq = seq + 1, aggregate = %(aggregate)s::json, updated_at = {_NOW}
    WHERE id = %(match_id)s AND aggregate::jsonb IS DISTINCT FROM %(aggregate)s::jsonb
    RETURNING *
)
{_APPEND_EVENTS} SELECT m.id, m.seq, 'match_updated', {_MATCH_JSON}, NULL, m.updated_at FROM m
RETURNING {EVENT_COLUMNS}
"""
"""Sets the aggregate of a match if it differs. Returns its event. Locks the match row."""

# The clock


def _is_due(moment: str) -> str:
    """Return the condition for matches that the clock moves on by ``moment``: it is that of two partial indexes.

    An index cannot be searched for a volatile function, so ``moment`` is based on ``statement_timestamp()``.
    """
    return f"""NOT pinned AND (status = 'scheduled' AND start_time <= {moment}
        OR status = 'live' AND end_time <= {moment})"""


def _transition(selection: str) -> str:
    """Return a statement that moves due matches to their status by the clock, in one step.

    The statement returns for each match its event, the new status and the lateness in seconds.

    Args:
        selection: Further conditions, and the lock on the match rows.
    """
    return f"""
WITH due AS (
    SELECT id, status FROM match WHERE {_is_due("statement_timestamp()")}
    {selection}
), m AS (
    UPDATE match SET seq = match.seq + 1, updated_at = {_NOW},
        status = livescore_status(match.start_time, match.end_time, statement_timestamp())
    FROM due WHERE match.id = due.id
    RETURNING match.*, due.status AS old_status
), e AS (
    {_APPEND_EVENTS}
    SELECT m.id, m.seq, 'match_status_changed', {_status_json("m.old_status")}, NULL, m.updated_at FROM m
    RETURNING *
)
SELECT e.match_id, e.seq, e.type, e.data::text, extract(epoch FROM e.created_at)::float8, '',
    m.status, extract(epoch FROM
        clock_timestamp() - CASE m.status WHEN 'live' THEN m.start_time ELSE m.end_time END)::float8
FROM e JOIN m ON m.id = e.match_id
"""


SWEEP = _transition("ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED")
"""Moves a batch of due matches. Rows that are locked already are left to the next sweep, so that it never waits."""

TRANSITION = _transition("AND id = %(match_id)s FOR UPDATE")
"""Moves one match if it is due. Waits for its row lock, which other writes hold for milliseconds."""

UNTIL_TRANSITION = """
SELECT extract(epoch FROM CASE status WHEN 'scheduled' THEN start_time ELSE end_time END - clock_timestamp())::float8
FROM match WHERE id = %(match_id)s AND NOT pinned AND status IN ('scheduled', 'live')
"""
"""Returns the seconds until the clock changes the status of one match, negative if overdue; no row if it does not.

By the clock of PostgreSQL, which decides.
"""

NEXT_TRANSITION = """
SELECT extract(epoch FROM least(
    (SELECT min(start_time) FROM match WHERE status = 'scheduled' AND NOT pinned),
    (SELECT min(end_time) FROM match WHERE status = 'live' AND NOT pinned)) - clock_timestamp())::float8
"""
"""Returns the seconds until the clock changes a status, negative if overdue; NULL if it changes none."""

UPCOMING = f"""
SELECT id, status, start_time, end_time FROM match
WHERE id > %(after)s AND {_is_due("statement_timestamp() + make_interval(secs => %(horizon)s)")}
ORDER BY id LIMIT %(limit)s
"""
"""Returns a page of the matches whose status the clock changes within ``horizon`` seconds."""

# Matches and commentary

MATCH = f"SELECT {_MATCH_JSON}::text, m.seq FROM match m WHERE m.id = %(match_id)s"
"""Returns a match as JSON, and its seq."""

FILTERS = {
    "status": "status = ANY(%(status)s)",
    "sport": "sport = ANY(%(sport)s)",
    "team": "(home_team = ANY(%(team)s) OR away_team = ANY(%(team)s))",
    "from": "start_time >= %(from)s",
    "to": "start_time < %(to)s",
    "updatedSince": "updated_at >= %(updatedSince)s",
    "competition": "competition = ANY(%(competition)s)",
    "season": "season = ANY(%(season)s)",
    "stage": "stage = ANY(%(stage)s)",
    "round": "round = ANY(%(round)s)",
    "group": '"group" = ANY(%(group)s)',
    "cursor": "(created_at, id) < (%(cursor_time)s, %(cursor_id)s)",
}
"""Conditions of :func:`list_matches` by the name of the query parameter."""


def list_matches(conditions: list[str]) -> str:
    """Return the statement for a page of matches, newest first.

    It returns the members of a JSON array, and the cursor of the last one if more follow.
    """
    where = " AND ".join(conditions) or "true"
    return f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY place) FILTER (WHERE place <= %(limit)s), ''),
    CASE WHEN count(*) > %(limit)s THEN max(key) FILTER (WHERE place = %(limit)s) END
FROM (
    SELECT {_MATCH_JSON}::text AS doc, row_number() OVER () AS place,
        (extract(epoch FROM m.created_at) * 1000)::bigint || '.' || m.id AS key
    FROM (SELECT * FROM match WHERE {where} ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1) m
) page
"""


FIXTURES = f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY start_time, id), '') FROM (
    SELECT {_json(_FIXTURE_COLUMNS)}::text AS doc, m.start_time, m.id FROM match m
    WHERE status = 'live' OR status = 'scheduled' AND NOT pinned
        AND start_time <= statement_timestamp() + make_interval(secs => %(within)s)
    ORDER BY m.start_time, m.id LIMIT %(limit)s) page
"""
"""Returns the members of a JSON array: the matches that are live or start within so many seconds, earliest first.

Partial indexes find both.
"""

COMMENTARY = f"""
SELECT coalesce(string_agg(doc, ',' ORDER BY created_at DESC, id DESC), '') FROM (
    SELECT {_COMMENTARY_JSON}::text AS doc, c.created_at, c.id FROM commentary c WHERE c.match_id = %(match_id)s
    ORDER BY c.created_at DESC, c.id DESC LIMIT %(limit)s) page
"""
"""Returns the members of a JSON array: the newest commentary of a match, newest first."""

COMMENTARY_ENTRY = f"""
SELECT {_COMMENTARY_JSON}::text, c.seq FROM commentary c WHERE c.match_id = %(match_id)s AND c.id = %(commentary_id)s
"""
"""Returns one commentary as JSON, and its seq."""

_SNAPSHOT = f"""(SELECT row_to_json(_) FROM (SELECT {_MATCH_JSON} AS match, (
    SELECT coalesce(json_agg({_COMMENTARY_JSON} ORDER BY c.created_at DESC, c.id DESC), '[]') FROM (
        SELECT * FROM commentary WHERE match_id = m.id ORDER BY created_at DESC, id DESC LIMIT %(commentary)s) c
    ) AS commentary) _)::text"""

SNAPSHOT = f"SELECT {_SNAPSHOT}, m.seq FROM match m WHERE m.id = %(match_id)s"
"""Returns a match and its newest commentary as JSON, and its seq."""

# The feed of one match

HEAD = "SELECT seq, pruned_seq FROM match WHERE id = %(match_id)s"
"""Returns the seq of a match's last event, and of the last one that was pruned."""

HEADS = "SELECT id, seq FROM match WHERE id = ANY(%(matches)s)"
"""Returns the ids of the given matches with the seq of each one's last event."""

ALL_HEADS = "SELECT id, seq FROM match"
"""Returns the ids of all matches with the seq of each one's last event."""

EVENTS = f"""
SELECT {EVENT_COLUMNS} FROM event WHERE match_id = %(match_id)s AND seq > %(since)s ORDER BY seq LIMIT %(limit)s
"""
"""Returns a page of a match's events after ``since``."""

MISSED = f"""
SELECT {EVENT_COLUMNS} FROM unnest(%(matches)s::int[], %(seqs)s::int[]) AS served(id, last)
JOIN event ON event.match_id = served.id AND event.seq > served.last
ORDER BY event.match_id, event.seq LIMIT %(limit)s
"""
"""Returns the events after the given seq of each match: a single query fills the gaps of all served matches."""

LACKS = """
SELECT EXISTS (SELECT FROM unnest(%(matches)s::int[], %(seqs)s::int[]) AS served(id, last)
    LEFT JOIN match ON match.id = served.id WHERE coalesce(match.seq, 0) < served.last)
"""
"""Returns True if the feed of any match ends before the given seq."""

# The feed of all matches

LAST_MATCH = "SELECT last_match_id FROM catalog"
"""Returns the id of the newest match."""

CREATED = f"""
SELECT {EVENT_COLUMNS} FROM event JOIN match ON match.id = event.match_id AND event.seq = 1
WHERE match.id > %(last)s ORDER BY match.id LIMIT %(limit)s
"""
"""Returns the ``match_created`` events of the matches after ``last``."""

HORIZON = "SELECT pg_current_snapshot()::text"
"""Returns the current horizon; see :mod:`livescore.scores.horizon`."""

_PG_SNAPSHOT = "%(horizon)s::text::pg_snapshot"

# Events that a horizon does not show. Bounds on the transaction id let the index limit what is read. Events up to
# `restored_seq` have transaction ids of another cluster.
_UNSEEN = f"""event JOIN match ON match.id = event.match_id
WHERE event.txid >= pg_snapshot_xmin({_PG_SNAPSHOT}) AND event.txid < pg_snapshot_xmax(pg_current_snapshot())
    AND NOT pg_visible_in_snapshot(event.txid, {_PG_SNAPSHOT}) AND event.seq > match.restored_seq"""

_PAGE_OF_UNSEEN = """AND (event.match_id, event.seq) > (%(match_id)s, %(seq)s)
ORDER BY event.match_id, event.seq LIMIT %(limit)s"""

CHANGED = f"SELECT event.match_id, max(event.seq) FROM {_UNSEEN} GROUP BY event.match_id"
"""Returns the ids of matches with events that a horizon does not show, with the seq of each one's last event."""

SINCE_HORIZON = f"SELECT {EVENT_COLUMNS} FROM {_UNSEEN} {_PAGE_OF_UNSEEN}"
"""Returns a page of the events that a horizon does not show, by match and seq."""

BETWEEN_HORIZONS = f"""
SELECT {EVENT_COLUMNS} FROM {_UNSEEN}
    AND pg_visible_in_snapshot(event.txid, %(target)s::text::pg_snapshot) {_PAGE_OF_UNSEEN}
"""
"""Returns a page of the events that ``target`` shows and ``horizon`` does not, by match and seq.

Without later events, the end of a page says how far its reader has come.
"""

PRUNED_SINCE = f"""
SELECT id, pruned_seq FROM match WHERE pruned_seq > restored_seq AND (pruned_txid IS NULL
    OR pruned_txid >= pg_snapshot_xmin({_PG_SNAPSHOT})
    AND NOT pg_visible_in_snapshot(pruned_txid, {_PG_SNAPSHOT}))
LIMIT %(limit)s
"""
"""Returns the ids of matches whose pruned events a horizon does not show, with the seq of each one's last one."""

RESUMABLE = f"""
SELECT pg_snapshot_xmax({_PG_SNAPSHOT}) <= pg_snapshot_xmax(pg_current_snapshot())
    AND NOT EXISTS (SELECT FROM unnest(%(matches)s::int[], %(seqs)s::int[]) AS had(id, last)
        LEFT JOIN match ON match.id = had.id WHERE coalesce(match.seq, 0) < had.last)
"""
"""Returns True if a reader at this horizon, with these last seqs, has seen no event that this feed does not have."""

SNAPSHOTS = f"""
SELECT m.id, m.seq, {_SNAPSHOT}, EXISTS (SELECT FROM {_UNSEEN} AND event.match_id = m.id)
FROM match m WHERE m.id < %(before)s ORDER BY m.id DESC LIMIT %(limit)s
"""
"""Returns id, seq and snapshot of a page of matches, newest first, and True if the horizon does not show all of it."""

# Retention

PRUNE = """
WITH m AS (
    UPDATE match SET pruned_seq = seq, pruned_txid = (
        SELECT txid FROM event WHERE event.match_id = match.id AND event.seq = match.seq)
    WHERE id IN (
        SELECT id FROM match WHERE status IN ('finished', 'cancelled', 'abandoned', 'awarded') AND pruned_seq < seq
            AND updated_at < clock_timestamp() - make_interval(secs => %(age)s)
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, pruned_seq
)
DELETE FROM event USING m WHERE event.match_id = m.id AND event.seq <= m.pruned_seq
"""
"""Deletes the events of matches that ended ``age`` seconds ago. Locks the match rows, except those locked already."""

EXPIRE_KEYS = """
DELETE FROM idempotency_key WHERE (scope, key) IN (
    SELECT scope, key FROM idempotency_key
    WHERE created_at < statement_timestamp() - make_interval(secs => %(age)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""
"""Deletes idempotency keys older than ``age`` seconds. Locks their rows, except those locked already."""

# Keys

LOCK_KEY = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(scope)s || %(key)s, 0))"
"""Locks an idempotency key until the transaction ends. Returns False if another transaction holds the lock."""

FIND_KEY = "SELECT fingerprint, status, body FROM idempotency_key WHERE scope = %(scope)s AND key = %(key)s"
"""Returns the fingerprint of the first request with an idempotency key, and its answer."""

KEEP_KEY = """
INSERT INTO idempotency_key (scope, key, fingerprint, status, body)
VALUES (%(scope)s, %(key)s, %(fingerprint)s, %(status)s, %(body)s)
"""
"""Stores the answer to the first request with an idempotency key."""

API_KEYS = "SELECT id, name, digest, scopes, revoked_at IS NOT NULL FROM api_key"
"""Returns all API keys; the last column is True for those that were revoked."""

ALL_API_KEYS = "SELECT id, name, scopes, created_at, revoked_at FROM api_key ORDER BY created_at"
"""Returns all API keys as ``livescore keys list`` prints them."""

ADD_API_KEY = "INSERT INTO api_key (id, name, digest, scopes) VALUES (%(id)s, %(name)s, %(digest)s, %(scopes)s)"
"""Stores an API key."""

REVOKE_API_KEY = "UPDATE api_key SET revoked_at = clock_timestamp() WHERE id = %(id)s AND revoked_at IS NULL"
"""Revokes an API key. Touches no row if it is unknown or revoked already."""

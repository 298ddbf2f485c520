"""The SQL of competitions and standings, except for what changes matches."""

_AS_OF = """to_char(s.as_of AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""

LIST = """
SELECT c.id, c.name, ARRAY(
    SELECT season FROM competition_season WHERE competition = c.id AND season <> '' ORDER BY season DESC)
FROM competition c WHERE c.id > %(after)s ORDER BY c.id LIMIT %(limit)s
"""
"""Returns a page of competitions: id, name and the names of the seasons, latest first."""

NAME = "SELECT name FROM competition WHERE id = %(competition)s"
"""Returns the name of a competition; no row if it does not exist."""

SEASONS = """
SELECT season, rule_set, adjustments, orders, conduct FROM competition_season
WHERE competition = %(competition)s ORDER BY season DESC
"""
"""Returns the seasons of a competition, latest first."""

SEASON = """
SELECT season, rule_set, adjustments, orders, conduct FROM competition_season
WHERE competition = %(competition)s AND season = coalesce(%(season)s::text, (
    SELECT max(season) FROM competition_season WHERE competition = %(competition)s))
"""
"""Returns one season, the latest if ``season`` is NULL."""

STANDINGS = f"""
SELECT nullif(s.stage, ''), nullif(s."group", ''), s.kind, s.seq, {_AS_OF}, s.rows::text FROM standings s
WHERE s.competition = %(competition)s AND s.season = %(season)s AND s.live = %(live)s
    AND (%(stage)s::text IS NULL OR s.stage = %(stage)s) AND (%(group)s::text IS NULL OR s."group" = %(group)s)
ORDER BY s.place
"""
"""Returns the tables of a season."""

DUE = "SELECT DISTINCT competition, season FROM standings_due LIMIT %(limit)s"
"""Returns seasons whose standings are due."""

LOCK_SEASON = "SELECT pg_advisory_xact_lock(hashtextextended(%(competition)s, hashtext(%(season)s)))"
"""Lets only one transaction at a time compute the standings of a season, so that the last one has read the latest."""

TAKE_DUE = "DELETE FROM standings_due WHERE competition = %(competition)s AND season = %(season)s"
"""Deletes the entries of a season. Entries of transactions that have not ended stay, and the season stays due."""


def fixtures(season: str) -> str:
    """Return the statement for all matches of a season in the order of play.

    Args:
        season: The season, empty for matches without one.
    """
    condition = "m.season = %(season)s" if season else "m.season IS NULL"
    return f"""
SELECT m.id, m.home_team, m.away_team, m.home_score, m.away_score, m.status, m.stage, m."group", m.round, m.leg,
    fold.winner, fold."decidedBy", fold.cards, m.aggregate
FROM match m, json_to_record(m.fold) AS fold(winner text, "decidedBy" text, cards json)
WHERE m.competition = %(competition)s AND {condition} ORDER BY m.start_time, m.id
"""


_TABLES = """unnest(%(live)s::bool[], %(kinds)s::text[], %(stages)s::text[], %(groups)s::text[], %(rows)s::text[])
    WITH ORDINALITY AS t(live, kind, stage, "group", rows, place)"""

KEEP_TABLES = f"""
INSERT INTO standings AS s (competition, season, live, kind, stage, "group", place, seq, as_of, rows)
SELECT %(competition)s, %(season)s, t.live, t.kind, t.stage, t."group", t.place, 1,
    date_trunc('milliseconds', clock_timestamp()), t.rows::json
FROM {_TABLES}
ON CONFLICT (competition, season, live, kind, stage, "group") DO UPDATE
SET place = excluded.place, seq = s.seq + 1, as_of = excluded.as_of, rows = excluded.rows
WHERE s.rows::text <> excluded.rows::text OR s.place <> excluded.place
"""
"""Stores the tables of a season, except those that are stored already. ``seq`` counts the changes of a table."""

DELETE_TABLES = f"""
DELETE FROM standings s WHERE s.competition = %(competition)s AND s.season = %(season)s AND NOT EXISTS (
    SELECT FROM {_TABLES}
    WHERE t.live = s.live AND t.kind = s.kind AND t.stage = s.stage AND t."group" = s."group")
"""
"""Deletes all other tables of a season."""

SET_COMPETITION = """
INSERT INTO competition AS c (id, name) VALUES (%(competition)s, %(name)s)
ON CONFLICT (id) DO UPDATE SET name = coalesce(excluded.name, c.name)
"""
"""Creates or names a competition. NULL keeps the name."""

SET_SEASON = """
INSERT INTO competition_season AS s (competition, season, rule_set, adjustments, orders, conduct)
VALUES (%(competition)s, %(season)s, %(rule_set)s, coalesce(%(adjustments)s::json, '[]'),
    coalesce(%(orders)s::json, '{}'), coalesce(%(conduct)s::json, '{}'))
ON CONFLICT (competition, season) DO UPDATE SET rule_set = coalesce(excluded.rule_set, s.rule_set),
    adjustments = coalesce(%(adjustments)s::json, s.adjustments), orders = coalesce(%(orders)s::json, s.orders),
    conduct = coalesce(%(conduct)s::json, s.conduct)
"""
"""Creates a season or changes its decisions. NULL keeps a value."""

ADD_DUE = "INSERT INTO standings_due (competition, season) VALUES (%(competition)s, %(season)s)"
"""Marks a season as due."""

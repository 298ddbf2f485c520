"""Competitions, their standings and the aggregates of ties in PostgreSQL.

Standings follow from the matches of a season alone. A trigger on ``match`` marks a season as due in the transaction
that changes one of its matches; :meth:`Competitions.update` computes what is due and stores it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson
from psycopg.types.json import Json as JsonParameter

from livescore.http_errors import NotFound
from livescore.scores import competition_statements as sql
from livescore.scores import statements
from livescore.scores.database import Connection, Database, Row, fetch
from livescore.scores.feed import Event
from livescore.scores.standings import rule_sets
from livescore.scores.standings.aggregates import Leg, aggregates
from livescore.scores.standings.rules import EXTERNAL, Measure, RuleSet
from livescore.scores.standings.table import Adjustment, Fixture, Season, Table, tables
from livescore.scores.state import Cards, DecidedBy, Json, Score, Status, Winner

# Seasons of one batch that are computed one after the other.
BATCH = 100

_PLAYED: frozenset[Status] = frozenset({"finished", "awarded"})
_RUNNING: frozenset[Status] = frozenset({"live", "interrupted"})
# Matches that will not be played belong to no table.
_WITHOUT_RESULT: frozenset[Status] = frozenset({"cancelled", "abandoned"})


class InvalidSeason(ValueError):
    """A rule set, an adjustment or an order that cannot be stored. The text names the member."""


@dataclass(frozen=True, slots=True)
class CompetitionSeason:
    """A season and its decisions.

    Attributes:
        name: Its name; None for matches without a season.
        rules: Its rule set.
    """

    name: str | None
    rules: RuleSet
    decisions: Season


@dataclass(frozen=True, slots=True)
class Standings:
    """The stored tables of a season, as the members of a JSON array."""

    season: CompetitionSeason
    tables: str


@dataclass(frozen=True, slots=True)
class SeasonChange:
    """What an import says about a season. None keeps what is stored.

    Attributes:
        name: Name of the competition.
        rule_set: Id of a rule set in :data:`livescore.scores.standings.rule_sets.RULE_SETS`.
        orders: Orders of teams by ``lots``, ``ranking`` or ``play_off``.
        conduct: Conduct points by team.
    """

    name: str | None = None
    rule_set: str | None = None
    adjustments: Sequence[Adjustment] | None = None
    orders: Mapping[str, Sequence[str]] | None = None
    conduct: Mapping[str, int] | None = None

    def check(self) -> None:
        """Check the names of the rule set and of the orders.

        Raises:
            InvalidSeason: One is not known.
        """
        if self.rule_set is not None and self.rule_set not in rule_sets.RULE_SETS:
            known = ", ".join(sorted(rule_sets.RULE_SETS))
            raise InvalidSeason(f"ruleSet: {self.rule_set} is not a rule set; use one of {known}")
        unknown = sorted(set(self.orders or {}) - EXTERNAL)
        if unknown:
            raise InvalidSeason(f"orders: {', '.join(unknown)} is not one of {', '.join(sorted(EXTERNAL))}")


@dataclass(slots=True)
class _Match:
    """A match of a season as it is stored."""

    fixture: Fixture
    status: Status
    leg: Leg | None
    match_id: int
    aggregate: Json | None = field(default=None)


class Competitions:
    """Reads and writes of competitions. Every method raises ``DatabaseAway`` if PostgreSQL cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Reads

    async def page(self, limit: int, after: str = "") -> list[tuple[str, str | None, list[str]]]:
        """Return competitions in the order of their ids: id, name and seasons, latest first.

        Args:
            limit: Most competitions.
            after: Id of the last one of the page before.
        """
        rows = await self._database.rows(sql.LIST, {"limit": limit, "after": after})
        return [(id_, name, seasons) for id_, name, seasons in rows]

    async def name(self, competition: str) -> str | None:
        """Return the name of a competition, None if it has none.

        Raises:
            NotFound: There is no such competition.
        """
        row = await self._database.row(sql.NAME, {"competition": competition})
        if row is None:
            raise NotFound("Competition not found")
        return cast(str | None, row[0])

    async def seasons(self, competition: str) -> list[CompetitionSeason]:
        """Return the seasons of a competition, latest first."""
        rows = await self._database.rows(sql.SEASONS, {"competition": competition})
        return [_season(competition, row) for row in rows]

    async def standings(
        self, competition: str, season: str | None, *, live: bool, stage: str | None = None, group: str | None = None
    ) -> Standings:
        """Return the stored tables of a season.

        Args:
            competition: Its id.
            season: Its name; None for the latest one.
            live: Whether running matches count.
            stage: Only tables of this stage.
            group: Only tables of this group.

        Raises:
            NotFound: There is no such season.
        """
        row = await self._database.row(sql.SEASON, {"competition": competition, "season": season})
        if row is None:
            await self.name(competition)
            raise NotFound("The competition has no such season")
        found = _season(competition, row)
        parameters = {
            "competition": competition,
            "season": found.name or "",
            "live": live,
            "stage": stage,
            "group": group,
        }
        rows = await self._database.rows(sql.STANDINGS, parameters)
        return Standings(found, ",".join(_table_json(*row) for row in rows))

    # Writes

    async def set_season(self, competition: str, season: str | None, change: SeasonChange) -> None:
        """Create a season or change its decisions, and mark its standings as due.

        Raises:
            InvalidSeason: The change names an unknown rule set or order.
        """
        change.check()
        adjustments = None
        if change.adjustments is not None:
            adjustments = JsonParameter(
                [{"team": each.team, "points": each.points, "reason": each.reason} for each in change.adjustments]
            )
        parameters = {
            "competition": competition,
            "season": season or "",
            "name": change.name,
            "rule_set": change.rule_set,
            "adjustments": adjustments,
            "orders": None if change.orders is None else JsonParameter(dict(change.orders)),
            "conduct": None if change.conduct is None else JsonParameter(dict(change.conduct)),
        }

        async def write(connection: Connection) -> None:
            async with connection.transaction():
                for statement in (sql.SET_COMPETITION, sql.SET_SEASON, sql.ADD_DUE):
                    await connection.execute(statement, parameters)

        await self._database.use(write)

    async def due(self, limit: int = BATCH) -> list[tuple[str, str]]:
        """Return seasons whose standings are due: competition and name of the season, which may be empty."""
        return [(competition, season) for competition, season in await self._database.rows(sql.DUE, {"limit": limit})]

    async def update(self, competition: str, season: str) -> tuple[list[Event], tuple[str, str]]:
        """Compute the standings of a season and the aggregates of its ties, and store those that changed.

        What is due is deleted in the transaction that stores the tables: after a crash the season is still due.

        Returns:
            The events of matches whose aggregate changed, and id of the deployment and epoch of their database.
        """
        matches = await self._database.use(lambda connection: self._update(connection, competition, season))
        return await self._database.use(lambda connection: self._set_aggregates(connection, matches))

    async def _update(self, connection: Connection, competition: str, season: str) -> list[_Match]:
        parameters = {"competition": competition, "season": season}
        async with connection.transaction():
            await connection.execute(sql.LOCK_SEASON, parameters)
            await connection.execute(sql.TAKE_DUE, parameters)
            matches = [_match(row) for row in await fetch(connection, sql.fixtures(season), parameters)]
            rows = await fetch(connection, sql.SEASON, parameters)
            if not rows:
                return matches
            found = _season(competition, rows[0])
            # Off the event loop: a season of thousands of matches takes some ten milliseconds.
            by_live = await asyncio.to_thread(
                lambda: {live: _tables(matches, found, live=live) for live in (False, True)}
            )
            await _keep(connection, parameters, by_live)
        return matches

    async def _set_aggregates(
        self, connection: Connection, matches: Iterable[_Match]
    ) -> tuple[list[Event], tuple[str, str]]:
        matches = list(matches)
        wanted = aggregates(match.leg for match in matches if match.leg is not None)
        events = []
        for match in sorted(matches, key=lambda match: match.match_id):
            aggregate = wanted.get(match.match_id)
            if aggregate != match.aggregate:
                parameters = {
                    "match_id": match.match_id,
                    "aggregate": None if aggregate is None else JsonParameter(aggregate),
                }
                events += [
                    Event.from_row(*row) for row in await fetch(connection, statements.SET_AGGREGATE, parameters)
                ]
        ((deployment, epoch),) = await fetch(connection, statements.ORIGIN)
        return events, (deployment, epoch)


def _season(competition: str, row: Row) -> CompetitionSeason:
    name, rule_set, adjustments, orders, conduct = row
    rules = rule_sets.RULE_SETS.get(rule_set) or rule_sets.choose(competition, name)
    decisions = Season(
        tuple(Adjustment(each["team"], each["points"], each.get("reason", "")) for each in adjustments),
        cast(Mapping[Measure, Sequence[str]], orders),
        conduct,
    )
    return CompetitionSeason(name or None, rules, decisions)


def _match(row: Row) -> _Match:
    match_id, home, away, home_score, away_score, status, stage, group, round_, leg, *rest = row
    winner, decided_by, cards, aggregate = rest
    score = Score(home_score, away_score)
    by_status: DecidedBy | None = "awarded" if status == "awarded" else None
    fixture = Fixture(
        home,
        away,
        score,
        stage=stage,
        group=group,
        winner=winner,
        decided_by=decided_by or by_status,
        cards=None if cards is None else Cards.from_json(cards),
    )
    its_leg = None
    if leg in (1, 2):
        winner_by_score: Winner | None = score.leader if status in _PLAYED else None
        its_leg = Leg(
            match_id, leg, (stage, round_), home, away, status, score, winner or winner_by_score, fixture.decided_by
        )
    return _Match(fixture, status, its_leg, match_id, aggregate)


def _tables(matches: Iterable[_Match], season: CompetitionSeason, *, live: bool) -> list[Table]:
    counted = _PLAYED | _RUNNING if live else _PLAYED
    fixtures = [
        replace(match.fixture, played=match.status in counted)
        for match in matches
        if match.status not in _WITHOUT_RESULT
    ]
    return tables(fixtures, season.rules, season.decisions)


async def _keep(connection: Connection, season: Mapping[str, Any], by_live: Mapping[bool, Sequence[Table]]) -> None:
    """Store the tables of a season, and delete those that it has no longer."""
    kept = [(live, table) for live, its_tables in by_live.items() for table in its_tables]
    parameters = {
        **season,
        "live": [live for live, _ in kept],
        "kinds": [table.kind for _, table in kept],
        "stages": [table.stage or "" for _, table in kept],
        "groups": [table.group or "" for _, table in kept],
        "rows": [orjson.dumps([row.to_json() for row in table.rows]).decode() for _, table in kept],
    }
    await connection.execute(sql.DELETE_TABLES, parameters)
    await connection.execute(sql.KEEP_TABLES, parameters)


def _table_json(stage: str | None, group: str | None, kind: str, seq: int, as_of: str, rows: str) -> str:
    head = orjson.dumps({"stage": stage, "group": group, "kind": kind, "asOf": as_of, "seq": seq}).decode()
    return f'{head[:-1]},"rows":{rows}}}'

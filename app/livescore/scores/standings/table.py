"""Tables that follow from results by a rule set. Pure, without I/O."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Literal, NamedTuple

from livescore.scores.standings.rules import EXTERNAL, Criterion, Measure, RuleSet
from livescore.scores.state import NO_SCORE, Cards, DecidedBy, Json, Score, Side, Winner

# Matches in `form`.
FORM_MATCHES = 5

# Results that need not follow from the score.
_DECIDED_OTHERWISE: frozenset[DecidedBy | None] = frozenset({"awarded", "retired", "walkover", "defaulted"})

_GOALS_WITHOUT_REPLY = Fraction(10**9)


@dataclass(frozen=True, slots=True)
class Fixture:
    """A match of a competition's season, in the order of play.

    Attributes:
        played: Whether the result counts: the match has ended, or it is running and the table is a live one.
        winner: The winner if the result does not follow from the score.
    """

    home: str
    away: str
    score: Score = NO_SCORE
    played: bool = True
    stage: str | None = None
    group: str | None = None
    winner: Winner | None = None
    decided_by: DecidedBy | None = None
    cards: Cards | None = None

    @property
    def result(self) -> Winner:
        """The side that won, or ``draw``."""
        if self.winner is not None and self.decided_by in _DECIDED_OTHERWISE:
            return self.winner
        return self.score.leader


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Points that a team gains or loses by decision.

    Attributes:
        points: Negative for a deduction.
    """

    team: str
    points: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Season:
    """The decisions about one season that no match contains.

    Attributes:
        orders: The order of teams by lots, by a ranking or by play-offs, best first. The teams of several ties may
            stand in one order.
        conduct: Conduct points by team, negative, in place of those by the cards of matches.
    """

    adjustments: tuple[Adjustment, ...] = ()
    orders: Mapping[Measure, Sequence[str]] = field(default_factory=dict)
    conduct: Mapping[str, int] = field(default_factory=dict)


NO_DECISIONS = Season()


@dataclass(slots=True)
class _Record:
    """The sums of one team over some matches."""

    won: int = 0
    drawn: int = 0
    lost: int = 0
    goals_for: int = 0
    goals_against: int = 0
    away_goals: int = 0

    @property
    def played(self) -> int:
        return self.won + self.drawn + self.lost

    def add(self, fixture: Fixture, side: Side) -> None:
        score = fixture.score
        scored, conceded = (score.home, score.away) if side == "home" else (score.away, score.home)
        self.goals_for += scored
        self.goals_against += conceded
        if side == "away":
            self.away_goals += scored
        if fixture.result == "draw":
            self.drawn += 1
        elif fixture.result == side:
            self.won += 1
        else:
            self.lost += 1


@dataclass(frozen=True, slots=True)
class Row:
    """A team in a table.

    Attributes:
        points: With the adjustment.
        form: The latest results, oldest first: ``W``, ``D`` and ``L``.
        tied: Whether no criterion separates the team from another one.
        decided_by: The criterion that separated the team from the row below; None if none did, and in the last row.
        group: The group of the team.
        advances: In a ranking across groups, whether the position is among those that advance.
    """

    position: int
    team: str
    played: int
    won: int
    drawn: int
    lost: int
    goals_for: int
    goals_against: int
    points: int
    adjustment: int
    form: str
    note: str | None
    tied: bool
    decided_by: str | None
    group: str | None
    advances: bool | None = None

    def to_json(self) -> Json:
        """Return the row as clients receive it."""
        return {
            "position": self.position,
            "team": self.team,
            "played": self.played,
            "won": self.won,
            "drawn": self.drawn,
            "lost": self.lost,
            "goalsFor": self.goals_for,
            "goalsAgainst": self.goals_against,
            "goalDifference": self.goals_for - self.goals_against,
            "points": self.points,
            "adjustment": self.adjustment,
            "form": self.form,
            "note": self.note,
            "tied": self.tied,
            "decidedBy": self.decided_by,
            "group": self.group,
            "advances": self.advances,
        }


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a season.

    Attributes:
        kind: ``group`` and ``stage`` are tables of matches, ``across`` ranks the same position of several groups.
    """

    kind: Literal["group", "stage", "across"]
    stage: str | None
    group: str | None
    rows: tuple[Row, ...]


class _Ranked(NamedTuple):
    """A team in its place, and the criterion that separates it from the next one; None if they are level."""

    team: str
    separator: Criterion | None


def tables(fixtures: Iterable[Fixture], rules: RuleSet, season: Season = NO_DECISIONS) -> list[Table]:
    """Return the tables of a season, in the order of their stages and groups, rankings across groups last.

    Args:
        fixtures: All matches of the season in the order of play, also those to come: they name the teams, and tell
            whether all mutual matches have been played. Matches that will not be played must be left out.
        rules: The rule set.
        season: Decisions about the season.
    """
    by_table = _by_table(list(fixtures), rules)
    groups = [
        (_Ranking(matches, rules, season), stage, group)
        for (stage, group), matches in sorted(by_table.items(), key=lambda item: (item[0][0] or "", item[0][1] or ""))
    ]
    result = [
        Table("stage" if group is None else "group", stage, group, ranking.rows(group))
        for ranking, stage, group in groups
    ]
    if rules.across is not None:
        stages = dict.fromkeys(stage for _, stage, group in groups if group is not None)
        result += [_across(stage, groups, rules, season) for stage in stages]
    return [table for table in result if table.rows]


def _by_table(fixtures: list[Fixture], rules: RuleSet) -> dict[tuple[str | None, str | None], list[Fixture]]:
    by_group = rules.tables == "group" or (rules.tables == "auto" and any(fixture.group for fixture in fixtures))
    result: dict[tuple[str | None, str | None], list[Fixture]] = defaultdict(list)
    if rules.tables == "none":
        return result
    for fixture in fixtures:
        if not by_group or fixture.group:
            result[fixture.stage, fixture.group if by_group else None].append(fixture)
    return result


class _Ranking:
    """The ranking of the teams that appear in some matches."""

    def __init__(self, fixtures: Sequence[Fixture], rules: RuleSet, season: Season) -> None:
        self.fixtures = fixtures
        self._rules = rules
        self._season = season
        self._played = [fixture for fixture in fixtures if fixture.played]
        self.teams = sorted({team for fixture in fixtures for team in (fixture.home, fixture.away)}, key=str.casefold)
        self.records = _records(self._played)
        self._forms = _forms(self._played)
        self._places = {
            measure: {team: place for place, team in enumerate(order)} for measure, order in season.orders.items()
        }

    def rows(self, group: str | None) -> tuple[Row, ...]:
        """Return the rows of the table."""
        ranked = self.rank(self.teams, self._rules.criteria)
        return self.as_rows(ranked, dict.fromkeys(self.teams, group))

    def as_rows(
        self, ranked: Sequence[_Ranked], groups: Mapping[str, str | None], advancing: int = 0
    ) -> tuple[Row, ...]:
        """Return the rows of teams in their order.

        Args:
            ranked: The teams.
            groups: Their groups.
            advancing: Number of teams that advance; 0 if the table does not say so.
        """
        rows: list[Row] = []
        for index, (team, separator) in enumerate(ranked):
            level_above = index > 0 and ranked[index - 1].separator is None
            level_below = index + 1 < len(ranked) and separator is None
            position = rows[-1].position if level_above and self._rules.shared_positions else index + 1
            record = self.records[team]
            rows.append(
                Row(
                    position=position,
                    team=team,
                    played=record.played,
                    won=record.won,
                    drawn=record.drawn,
                    lost=record.lost,
                    goals_for=record.goals_for,
                    goals_against=record.goals_against,
                    points=self._points(team, record, mutual=False),
                    adjustment=self._adjustment(team),
                    form="".join(self._forms[team]),
                    note=self._note(team),
                    tied=level_above or level_below,
                    decided_by=None if separator is None else separator.name,
                    group=groups[team],
                    advances=index < advancing if advancing else None,
                )
            )
        return tuple(rows)

    def rank(self, teams: Sequence[str], criteria: Sequence[Criterion]) -> list[_Ranked]:
        """Return teams in their order by some criteria; level teams by name."""
        return self._rank(list(teams), criteria, 0, list(teams))

    def _rank(self, level: list[str], criteria: Sequence[Criterion], start: int, block: list[str]) -> list[_Ranked]:
        """Return level teams in the order of the criteria from ``start`` on.

        Args:
            level: The teams that no criterion before ``start`` separates.
            criteria: All criteria.
            start: Index of the first one that has not been applied.
            block: The teams that were level at the start of the block of mutual criteria, if ``start`` is inside one.
        """
        index = start
        while len(level) > 1 and index < len(criteria):
            criterion = criteria[index]
            begins_block = criterion.mutual and not (index and criteria[index - 1].mutual)
            if begins_block:
                block = level
            parts = self._split(level, criterion, block)
            index += 1
            ends_block = criterion.mutual and not (index < len(criteria) and criteria[index].mutual)
            if len(parts) > 1:
                following = self._block_start(criteria, index) if self._restarts(criterion, ends_block) else index
                return self._join(parts, criterion, [self._rank(part, criteria, following, block) for part in parts])
            if ends_block and self._rules.reapply == "after_block" and len(level) < len(block):
                index = self._block_start(criteria, index)
        return [_Ranked(team, None) for team in level]

    def _restarts(self, criterion: Criterion, ends_block: bool) -> bool:
        """Return whether teams that a criterion leaves level start the block of mutual criteria again."""
        if not criterion.mutual:
            return False
        return self._rules.reapply == "at_once" or (self._rules.reapply == "after_block" and ends_block)

    @staticmethod
    def _block_start(criteria: Sequence[Criterion], end: int) -> int:
        """Return the index of the first criterion of the mutual block before ``end``."""
        start = end
        while start and criteria[start - 1].mutual:
            start -= 1
        return start

    @staticmethod
    def _join(parts: list[list[str]], criterion: Criterion, ranked: list[list[_Ranked]]) -> list[_Ranked]:
        result: list[_Ranked] = []
        for number, part in enumerate(ranked):
            is_last = number == len(parts) - 1
            result += part if is_last else [*part[:-1], _Ranked(part[-1].team, criterion)]
        return result

    def _split(self, level: list[str], criterion: Criterion, block: list[str]) -> list[list[str]]:
        """Return level teams in parts by their value of a criterion, best first; one part if it does not apply."""
        values = self._values(level, criterion, block)
        if values is None:
            return [level]
        parts: dict[Fraction | int, list[str]] = defaultdict(list)
        for team in level:
            parts[values[team]].append(team)
        return [parts[value] for value in sorted(parts, reverse=True)]

    def _values(self, level: list[str], criterion: Criterion, block: list[str]) -> Mapping[str, Fraction | int] | None:
        """Return the value of a criterion by team; None if it does not apply to these teams."""
        measure = criterion.measure
        if measure in EXTERNAL:
            places = self._places.get(measure, {})
            return {team: -places[team] for team in level} if all(team in places for team in level) else None
        if measure == "conduct":
            return self._conduct(level)
        if criterion.mutual:
            records = self._mutual_records(block)
            if records is None:
                return None
        else:
            records = self.records
            if criterion.after_mutual and self._mutual_records(level) is None:
                return None
        return {team: self._value(team, records[team], criterion) for team in level}

    def _value(self, team: str, record: _Record, criterion: Criterion) -> Fraction | int:
        match criterion.measure:
            case "points":
                return self._points(team, record, criterion.mutual)
            case "goal_difference":
                return record.goals_for - record.goals_against
            case "goals_for":
                return record.goals_for
            case "away_goals":
                return record.away_goals
            case "goal_average":
                if record.goals_against:
                    return Fraction(record.goals_for, record.goals_against)
                return _GOALS_WITHOUT_REPLY if record.goals_for else 0
        raise ValueError(criterion.measure)

    def _points(self, team: str, record: _Record, mutual: bool) -> int:
        points = self._rules.points
        earned = record.won * points.win + record.drawn * points.draw + record.lost * points.loss
        return earned if mutual else earned + self._adjustment(team)

    def _mutual_records(self, teams: Sequence[str]) -> dict[str, _Record] | None:
        """Return the sums over the matches between some teams; None if any of those is still to be played."""
        among = set(teams)
        mutual = [fixture for fixture in self.fixtures if fixture.home in among and fixture.away in among]
        if not all(fixture.played for fixture in mutual):
            return None
        meetings: dict[frozenset[str], int] = defaultdict(int)
        for fixture in mutual:
            meetings[frozenset((fixture.home, fixture.away))] += 1
        if any(meetings[frozenset(pair)] < self._rules.meetings for pair in combinations(teams, 2)):
            return None
        return _records(mutual)

    def _conduct(self, teams: Sequence[str]) -> dict[str, int] | None:
        """Return the conduct points by team; None if the cards of any of their matches are not known."""
        if all(team in self._season.conduct for team in teams):
            return {team: self._season.conduct[team] for team in teams}
        weights = self._rules.conduct
        if weights is None:
            return None
        result = dict.fromkeys(teams, 0)
        for fixture in self._played:
            for side, team in (("home", fixture.home), ("away", fixture.away)):
                if team in result:
                    if fixture.cards is None:
                        return None
                    yellow, twice, red = (
                        getattr(cards, side)
                        for cards in (fixture.cards.yellow, fixture.cards.second_yellow, fixture.cards.red)
                    )
                    single_yellow, direct_red = yellow - 2 * twice, red - twice
                    result[team] -= (
                        single_yellow * weights.yellow + twice * weights.second_yellow + direct_red * weights.red
                    )
        return result

    def _adjustment(self, team: str) -> int:
        return sum(adjustment.points for adjustment in self._season.adjustments if adjustment.team == team)

    def _note(self, team: str) -> str | None:
        """Return the reasons of a team's adjustments."""
        notes = []
        for adjustment in self._season.adjustments:
            if adjustment.team == team:
                number = abs(adjustment.points)
                change = "added" if adjustment.points > 0 else "deducted"
                text = f"{number} {'point' if number == 1 else 'points'} {change}"
                notes.append(f"{text}: {adjustment.reason}" if adjustment.reason else text)
        return "; ".join(notes) or None


def _records(fixtures: Iterable[Fixture]) -> dict[str, _Record]:
    records: dict[str, _Record] = defaultdict(_Record)
    for fixture in fixtures:
        records[fixture.home].add(fixture, "home")
        records[fixture.away].add(fixture, "away")
    return records


def _forms(fixtures: Iterable[Fixture]) -> dict[str, deque[str]]:
    """Return the latest results by team, oldest first."""
    forms: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=FORM_MATCHES))
    letters = {"home": ("W", "L"), "away": ("L", "W"), "draw": ("D", "D")}
    for fixture in fixtures:
        home, away = letters[fixture.result]
        forms[fixture.home].append(home)
        forms[fixture.away].append(away)
    return forms


def _across(
    stage: str | None, groups: list[tuple[_Ranking, str | None, str | None]], rules: RuleSet, season: Season
) -> Table:
    """Return the ranking of the teams in the same position of all groups of a stage."""
    across = rules.across
    if across is None:
        raise ValueError(rules.id)
    group_of: dict[str, str | None] = {}
    fixtures: list[Fixture] = []
    for ranking, its_stage, group in groups:
        if its_stage == stage and group is not None and len(ranking.teams) >= across.position:
            team = ranking.rank(ranking.teams, rules.criteria)[across.position - 1].team
            group_of[team] = group
            fixtures += ranking.fixtures
    overall = _Ranking(fixtures, rules, season)
    return Table(
        "across",
        stage,
        None,
        overall.as_rows(overall.rank(sorted(group_of), across.criteria), group_of, across.advancing),
    )

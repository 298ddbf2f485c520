"""Reads tournaments and league seasons in the JSON formats of the openfootball project, old and new.

Classes with ``File`` in their name mirror the file, so that an error names the field that its author sees.
:class:`Match` and its parts hold the meaning. Sources: https://github.com/openfootball/worldcup.json (and its siblings
for other cups) and https://github.com/openfootball/football.json (leagues).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from livescore.scores.state import Side

# How a match ended, or why it was not played. "unplayed" means: no result yet, and no reason given.
Outcome = Literal["played", "awarded", "abandoned", "postponed", "cancelled", "unplayed"]


class Pair(NamedTuple):
    """Goals of both sides."""

    home: int
    away: int


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal. ``side`` is the side that it counts for, even if a player of the other side scored it."""

    side: Side
    scorer: str | None
    minute: int | None
    stoppage: int = 0
    penalty: bool = False
    own_goal: bool = False
    # Goals of both sides including this one, 0 if the file does not say; orders goals of the same minute.
    total: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """The score at half-time, after 90 minutes, after 120 minutes, and of the penalty shoot-out.

    For an abandoned match it is the score at the abandonment, for an awarded match the score that was awarded.
    """

    half_time: Pair | None = None
    full_time: Pair | None = None
    extra_time: Pair | None = None
    penalties: Pair | None = None

    @property
    def final(self) -> Pair | None:
        """The recorded final score, without the shoot-out; None if the file has no score."""
        return self.extra_time or self.full_time


@dataclass(frozen=True, slots=True)
class Match:
    """A match.

    Attributes:
        row: Number of the match in the file, from 1.
        kick_off: In UTC; noon of ``day`` if the file has no time.
        day: Date in the file, which is that of the venue.
        has_time: True if the file says at what time the match starts.
        stage: ``Group stage`` for a match with a group; the round if it is no matchday, such as ``Semi-finals``.
        number: Number of the match within its competition and season, if the file has one.
    """

    home: str
    away: str
    kick_off: datetime
    score: Score = Score()
    goals: tuple[Goal, ...] = ()
    stage: str | None = None
    round: str | None = None
    group: str | None = None
    number: int | None = None
    ground: str | None = None
    outcome: Outcome = "unplayed"
    day: date | None = None
    has_time: bool = True
    row: int = field(default=0, compare=False)

    @property
    def decided(self) -> bool:
        """True if the match has a result, on the pitch or by decision."""
        return self.outcome in {"played", "awarded"}

    @property
    def title(self) -> str:
        return f"{self.home} \N{EN DASH} {self.away}, {self.kick_off:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Tournament:
    """A file: its name, its matches ordered by kick-off, and warnings about skipped entries."""

    name: str
    matches: tuple[Match, ...]
    warnings: tuple[str, ...] = ()

    @property
    def competition(self) -> str:
        """The name without the season: ``World Cup`` of ``World Cup 2022``."""
        return _SEASON.sub("", self.name).strip() or self.name

    @property
    def season(self) -> str | None:
        """The season in the name, such as ``2022`` or ``2017/18``; None if it has none."""
        found = _SEASON.search(self.name)
        return found["season"] if found else None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in a file.

    Attributes:
        row: Number of the match in the file, from 1.
        match: The match as readers of the file recognise it.
        field: Path of the field, such as ``goals1.0.minute``; empty for the match as a whole.
    """

    row: int
    match: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.match}: field {self.field or '(the match itself)'}: {self.message}"


class FormatError(Exception):
    """The file cannot be read. The text names every match and field in error."""


# Values of `status` in the files and in other feeds, in lower case. Other values have no meaning here.
OUTCOMES: dict[str, Outcome] = {
    "annulled": "cancelled",
    "canceled": "cancelled",
    "cancelled": "cancelled",
    "void": "cancelled",
    "postponed": "postponed",
    "abandoned": "abandoned",
    "interrupted": "abandoned",
    "suspended": "abandoned",
    "awarded": "awarded",
    "walkover": "awarded",
    "w/o": "awarded",
}

# Maximum number of errors shown: a file with more errors has another format.
MAX_PROBLEMS = 10

# Time zone abbreviations in the files → UTC offset in hours.
ZONES = {"UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "BST": 1, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3}
NOON = time(12, tzinfo=UTC)

_SEASON = re.compile(r"\s*\b(?P<season>(?:18|19|20)\d{2}(?:[/-]\d{2}(?:\d{2})?)?)\b")
_GROUP = re.compile(r"Group \w{1,2}")
_MATCHDAY = re.compile(r"(?:(?P<stage>.+), )?(?:(?:Matchday|Round) \d+|\d+\. Round)")

_MINUTE = re.compile(r"(?P<minute>\d{1,3})'?(?:\s*\+\s*(?P<stoppage>\d{1,2}))?'?")
_TIME = re.compile(r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:\s*(?P<zone>\S+))?")
_OFFSET = re.compile(r"(?:UTC|GMT)(?P<sign>[+\-\u2212\u00b1])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?")


class _Minute(NamedTuple):
    minute: int
    stoppage: int


def _minute(value: Any) -> _Minute | None:
    if isinstance(value, str):
        value = value.strip()
    if value in (None, ""):
        return None
    found = None if isinstance(value, bool) else _MINUTE.fullmatch(str(value))
    if not found:
        raise ValueError('a minute is a number such as 90 or a text such as "90+3"')
    return _Minute(int(found["minute"]), int(found["stoppage"] or 0))


def _team(value: Any) -> Any:
    return value.get("name") or value.get("code") if isinstance(value, dict) else value


def _place(value: Any) -> Any:
    return value.get("name") if isinstance(value, dict) else value


def _pair(value: Any) -> Any:
    return None if value in ([], [None, None]) else value


def _score(value: Any) -> Any:
    return {"ft": value} if isinstance(value, list) else value


def _day(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('a date is a text such as "2022-11-20"')
    return value


def _clock(value: Any) -> time | None:
    """Parse ``13:00 UTC-6``, ``20:45 CET`` or ``19:00``; the last has no time zone yet."""
    if value is None or value == "":
        return None
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    hour, minute = (int(found["hour"]), int(found["minute"])) if found else (0, 0)
    if not found or hour > 23 or minute > 59:
        raise ValueError('a time is a text such as "19:00" or "13:00 UTC-6"')
    return time(hour, minute, tzinfo=_zone(found["zone"]))


def _zone(value: Any) -> timezone | None:
    # Some editions have "?" for an unknown time zone.
    if value in (None, "", "?"):
        return None
    text = value.upper() if isinstance(value, str) else ""
    if text in ZONES:
        return timezone(timedelta(hours=ZONES[text]))
    found = _OFFSET.fullmatch(text)
    hours, minutes = (int(found["hours"]), int(found["minutes"] or 0)) if found else (0, 0)
    if not found or hours > 14 or minutes > 59:
        raise ValueError(f'unknown time zone {value!r}; write it as "UTC-6" or as one of {", ".join(ZONES)}')
    offset = timedelta(hours=hours, minutes=minutes)
    is_west = found["sign"] in "-\u2212"
    return timezone(-offset if is_west else offset)


Count = Annotated[int, Field(ge=0, strict=True)]
FilePair = Annotated[tuple[Count, Count] | None, BeforeValidator(_pair)]
# Lengths in characters, as in the API.
Text = Annotated[str, Field(max_length=500)]
Label = Annotated[str, Field(max_length=100)]
Name = Annotated[Text, BeforeValidator(_team), Field(min_length=1)]
Place = Annotated[Text | None, BeforeValidator(_place)]
Group = Annotated[Label | None, BeforeValidator(_place)]
# The rules of football date from 1863; the upper limit keeps conversions to UTC inside the calendar.
Day = Annotated[date, BeforeValidator(_day), Field(ge=date(1863, 1, 1), lt=date(9999, 1, 1))]
Clock = Annotated[time | None, BeforeValidator(_clock)]
Zone = Annotated[timezone | None, PlainValidator(_zone)]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)


class FileGoal(_File):
    """A goal in the file; ``team`` only if a match has one list of goals for both sides."""

    name: Text | None = None
    minute: Annotated[_Minute | None, BeforeValidator(_minute)] = None
    offset: Count | None = None
    penalty: bool | None = None
    owngoal: bool | None = None
    score1: Count | None = None
    score2: Count | None = None
    team: Name | None = None

    def goal(self, side: Side) -> Goal:
        minute, stoppage = self.minute or (None, 0)
        return Goal(
            side=side,
            scorer=self.name or None,
            minute=minute,
            stoppage=stoppage + (self.offset or 0),
            penalty=bool(self.penalty),
            own_goal=bool(self.owngoal),
            total=(self.score1 or 0) + (self.score2 or 0),
        )


class FileScore(_File):
    """The field ``score``; older files have ``score1``, ``score1et`` and so on in the match itself."""

    ht: FilePair = None
    ft: FilePair = None
    et: FilePair = None
    p: FilePair = None


class FileMatch(_File):
    """A match in the file, with the fields of all editions."""

    team1: Name
    team2: Name
    date: Day
    time: Clock = None
    timezone: Zone = None
    score: Annotated[FileScore | None, BeforeValidator(_score)] = None
    score1: Count | None = None
    score2: Count | None = None
    score1i: Count | None = None
    score2i: Count | None = None
    score1et: Count | None = None
    score2et: Count | None = None
    score1p: Count | None = None
    score2p: Count | None = None
    goals1: list[FileGoal] | None = None
    goals2: list[FileGoal] | None = None
    goals: list[FileGoal] | None = None
    num: Count | None = None
    round: Label | None = None
    stage: Label | None = None
    group: Group = None
    ground: Place = None
    stadium: Place = None
    status: str | None = None

    @model_validator(mode="after")
    def _goals_have_a_side(self) -> Self:
        for number, goal in enumerate(self.goals or ()):
            if goal.team not in (self.team1, self.team2):
                raise ValueError(f"goals.{number}.team must be {self.team1} or {self.team2}")
        return self

    def match(self, enclosing_round: str | None) -> Match:
        round_ = self.round or enclosing_round
        group = self.group
        # Files of the Champions League have the group as the round.
        if group is None and round_ is not None and _GROUP.fullmatch(round_):
            group, round_ = round_, None
        return Match(
            home=self.team1,
            away=self.team2,
            kick_off=self._kick_off(),
            score=self._score(),
            goals=tuple(self._goals()),
            stage=self.stage or ("Group stage" if group else _stage(round_)),
            round=round_,
            group=group,
            number=self.num,
            ground=self.ground or self.stadium,
            outcome=self._outcome(),
            day=self.date,
            has_time=self.time is not None,
        )

    def _outcome(self) -> Outcome:
        stated = OUTCOMES.get((self.status or "").lower())
        has_result = self._score().final is not None
        if stated == "awarded" and not has_result:
            return "unplayed"
        return stated or ("played" if has_result else "unplayed")

    def _kick_off(self) -> datetime:
        clock = self.time or NOON
        zone = clock.tzinfo or self.timezone or UTC
        return datetime.combine(self.date, clock.replace(tzinfo=zone)).astimezone(UTC)

    def _score(self) -> Score:
        written = self.score or FileScore()
        return Score(
            half_time=_both(written.ht, self.score1i, self.score2i),
            full_time=_both(written.ft, self.score1, self.score2),
            extra_time=_both(written.et, self.score1et, self.score2et),
            penalties=_both(written.p, self.score1p, self.score2p),
        )

    def _goals(self) -> Iterator[Goal]:
        yield from (goal.goal("home") for goal in self.goals1 or ())
        yield from (goal.goal("away") for goal in self.goals2 or ())
        yield from (goal.goal("away" if goal.team == self.team2 else "home") for goal in self.goals or ())


def _stage(round_: str | None) -> str | None:
    """Return the stage that a round names: ``Semi-finals`` itself, ``League`` of ``League, Matchday 1``."""
    if round_ is None:
        return None
    matchday = _MATCHDAY.fullmatch(round_)
    return matchday["stage"] if matchday else round_


def _both(pair: tuple[int, int] | None, home: int | None, away: int | None) -> Pair | None:
    if pair is None and home is not None and away is not None:
        pair = (home, away)
    return Pair(*pair) if pair else None


def read(path: Path) -> Tournament:
    """Read a tournament.

    Raises:
        FormatError: The file cannot be read; the text names the file and every match and field in error.
    """
    tournament, problems = parse(_document(path), path.stem, str(path))
    if problems:
        raise FormatError("\n".join([f"{path} cannot be read:", *_shortened([str(problem) for problem in problems])]))
    return tournament


def parse(document: Any, name: str, where: str = "the file") -> tuple[Tournament, list[Problem]]:
    """Return the matches of a parsed file that have no error, and the errors of the others.

    Args:
        document: The JSON document.
        name: Name of the tournament if the document has none.
        where: The file, as errors call it.

    Raises:
        FormatError: The document has another structure.
    """
    if not isinstance(document, dict):
        raise FormatError(f'{where} is not a tournament: expected an object with "matches" or "rounds"')
    problems: list[Problem] = []
    matches: list[Match] = []
    for number, (round_, written) in enumerate(_written(document, where), 1):
        try:
            matches.append(replace(FileMatch.model_validate(written).match(round_), row=number))
        except ValidationError as error:
            problems += (_problem(number, written, issue) for issue in error.errors())
    distinct, warnings = _without_repeats(matches)
    given = document.get("name")
    tournament = Tournament(
        given.strip() if isinstance(given, str) and given.strip() else name,
        tuple(sorted(distinct, key=lambda match: match.kick_off)),
        tuple(warnings),
    )
    return tournament, problems


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FormatError(f"{path} cannot be opened: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not a JSON file: {error}") from error


def _written(document: dict[str, Any], where: str) -> Iterator[tuple[str | None, Any]]:
    """Yield the raw data of every match and the name of the round that contains it."""
    if "rounds" not in document:
        yield from ((None, match) for match in _list(document, "matches", where))
        return
    for number, entry in enumerate(_list(document, "rounds", where), 1):
        if not isinstance(entry, dict):
            raise FormatError(f'{where}, round {number}: expected an object with "matches"')
        name = entry.get("name")
        round_ = name if isinstance(name, str) else None
        yield from ((round_, match) for match in _list(entry, "matches", f"{where}, round {number}"))


def _list(container: dict[str, Any], field: str, where: str) -> list[Any]:
    value = container.get(field)
    if not isinstance(value, list):
        raise FormatError(f'{where}: field "{field}" must be a list of {field}')
    return value


def _label(number: int, written: Any) -> str:
    if not isinstance(written, dict):
        return f"match {number}"
    teams = f"{_team(written.get('team1'))} \N{EN DASH} {_team(written.get('team2'))}"
    return f"match {number} ({teams}, {written.get('date')})"


def _problem(row: int, written: Any, issue: Any) -> Problem:
    field = ".".join(str(part) for part in issue["loc"])
    return Problem(row, _label(row, written), field, issue["msg"].removeprefix("Value error, "))


def _without_repeats(matches: list[Match]) -> tuple[list[Match], list[str]]:
    """Keep one entry per match and return a warning for each repetition.

    Teams and kick-off identify a match on the server. Of several entries with equal teams and kick-off, the first one
    with a result is kept: a file usually repeats a fixture to add its result.
    """
    kept: dict[tuple[str, str, datetime], Match] = {}
    warnings = []
    for number, match in enumerate(matches, 1):
        identity = (match.home, match.away, match.kick_off)
        earlier = kept.get(identity)
        if earlier is not None:
            warnings.append(f"match {number} ({match.title}) repeats another match of the file and was skipped")
        if earlier is None or (match.decided and not earlier.decided):
            kept[identity] = match
    return list(kept.values()), warnings


def _shortened(problems: list[str]) -> list[str]:
    shown = [f"  {problem}" for problem in problems[:MAX_PROBLEMS]]
    rest = len(problems) - len(shown)
    return [*shown, f"  and {rest} more"] if rest > 0 else shown

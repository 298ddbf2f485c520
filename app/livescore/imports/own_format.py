"""The import format of this service, as JSON and as CSV; ``docs/imports.md`` describes it."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from livescore.http_errors import BadRequest
from livescore.imports.entries import Record, RecordedEntry
from livescore.imports.openfootball import Problem
from livescore.imports.rows import DocumentError, ImportDocument, ImportOptions, ImportRow, SeasonData
from livescore.scores import rules, sports
from livescore.scores.state import Score, Side

# A match without an `endTime` ends so long after its start.
DEFAULT_DURATION = timedelta(hours=2)

# Characters. The indexes on these columns hold at most 2704 bytes; UTF-8 takes up to four per character.
MAX_NAME_LENGTH = 500
MAX_LABEL_LENGTH = 100
MAX_TEXT_LENGTH = 10_000

EN_DASH = "\N{EN DASH}"

_SHOOTOUTS = {"ice hockey": "SO"}
_POINTS = re.compile(r"(?P<home>\d{1,9})\s*[-:\N{EN DASH}]\s*(?P<away>\d{1,9})")
_PERIOD = re.compile(r"(?P<period>\S+)\s+(?P<points>.+)")


def _points(value: Any) -> Any:
    """Return the object of a score that a CSV cell writes as ``2-1``."""
    found = _POINTS.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and found is None:
        raise ValueError('a score is a text such as "2-1"')
    return value if found is None else {"home": found["home"], "away": found["away"]}


def _periods(value: Any) -> Any:
    """Return the list of periods that a CSV cell writes as ``1H 1-0; 2H 0-2``."""
    if not isinstance(value, str):
        return value
    periods = []
    for part in filter(None, (part.strip() for part in value.split(";"))):
        found = _PERIOD.fullmatch(part)
        if found is None:
            raise ValueError('scores are a text such as "1H 1-0; 2H 0-2"')
        periods.append({"period": found["period"], **_points(found["points"])})
    return periods


def _moment(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("a time is a text such as 2026-06-11T19:00:00Z")
    return value


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL_LENGTH)]
Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]
Count = Annotated[int, Field(ge=0, le=rules.INT4_MAX)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_milliseconds)]
FileStatus = Literal["delayed", "interrupted", "finished", "postponed", "cancelled", "abandoned", "awarded"]


class _Part(BaseModel):
    # A misspelt member would be lost in silence.
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, str_strip_whitespace=True)


class FilePoints(_Part):
    """Points of both sides."""

    home: Count
    away: Count

    def text(self) -> str:
        """Return ``2–1``."""
        return f"{self.home}{EN_DASH}{self.away}"


class FilePeriod(FilePoints):
    """The points of one period alone."""

    period: Annotated[str, Field(min_length=1, max_length=50)]
    tie_break: FilePoints | None = None


class FileEntry(_Part):
    """An entry, with the members of ``POST /matches/{id}/commentary``.

    Attributes:
        key: Identifies the entry within its match; its place by default.
    """

    key: Name | None = None
    event_type: Name
    minute: Count = 0
    period: Count = 1
    period_code: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    stoppage: Count | None = None
    side: Side | None = None
    team: Name | None = None
    actor: Name | None = None
    message: Annotated[Text, Field(min_length=1)] | None = None
    metadata: dict[str, Any] = {}

    def entry(self, place: int) -> RecordedEntry:
        """Return the entry in the terms of the service."""
        return RecordedEntry(
            key=self.key or f"entry-{place}",
            type=self.event_type,
            message=self.message or self.event_type.replace("_", " "),
            minute=self.minute,
            period=self.period,
            period_code=self.period_code,
            stoppage=self.stoppage,
            side=self.side,
            team=self.team,
            actor=self.actor,
            metadata=self.metadata,
        )


class FileMatch(_Part):
    """A match in the file: the members of ``POST /matches``, its result, and its entries if they are known."""

    external_id: Name
    sport: Name | None = None
    home_team: Name
    away_team: Name
    start_time: Moment
    end_time: Moment | None = None
    start_time_confirmed: bool | None = None
    competition: Label | None = None
    season: Label | None = None
    stage: Label | None = None
    group: Label | None = None
    round: Label | None = None
    leg: Count | None = None
    match_number: Count | None = None
    venue: Name | None = None
    referee: Name | None = None
    attendance: Count | None = None
    rules: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    status: FileStatus | None = None
    home_score: Count | None = None
    away_score: Count | None = None
    scores: Annotated[list[FilePeriod], BeforeValidator(_periods)] | None = None
    shootout: Annotated[FilePoints, BeforeValidator(_points)] | None = None
    winner: Side | None = None
    entries: list[FileEntry] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.end_time is not None and self.end_time <= self.start_time:
            raise ValueError("endTime must be after startTime")
        if (self.home_score is None) != (self.away_score is None):
            raise ValueError("homeScore and awayScore belong together")
        if self.entries is not None and (self.scores is not None or self.home_score is not None or self.shootout):
            raise ValueError("either entries or a result (scores, homeScore and awayScore, shootout): one follows")
        keys = [entry.key for entry in self.entries or () if entry.key is not None]
        if len(keys) != len(set(keys)):
            raise ValueError("every key in entries must be different")
        return self

    def values(self, sport: str, season: SeasonData | None) -> dict[str, Any]:
        """Return the columns that the file has, by their names in the store."""
        names = ("stage", "group", "round", "leg", "match_number", "venue", "referee", "attendance", "metadata")
        return {
            "sport": sport,
            "home_team": self.home_team,
            "away_team": self.away_team,
            "start": self.start_time,
            "end": self.end_time or self.start_time + DEFAULT_DURATION,
            "competition": self.competition or (season.competition if season else None),
            "season": self.season or (season.season if season else None),
            "external_id": self.external_id,
            "start_time_confirmed": self.start_time_confirmed,
            **{name: getattr(self, name) for name in names},
        }

    def record(self, sport: str) -> Record:
        """Return entries, rules and status in the terms of the service."""
        if self.entries is not None:
            entries = [entry.entry(place) for place, entry in enumerate(self.entries, 1)]
        elif self.status == "awarded":
            entries = [self._award()]
        else:
            entries = list(self._result(sport))
        status = None if self.status == "awarded" and self.entries is None else self.status
        return Record(tuple(entries), self.rules or {}, status)

    def _result(self, sport: str) -> Iterator[RecordedEntry]:
        """Yield the ends of the periods, which give their points."""
        periods: Sequence[FilePeriod] = self.scores or ()
        if not periods and self.home_score is not None and self.away_score is not None:
            periods = [FilePeriod(period="REG", home=self.home_score, away=self.away_score)]
        for number, period in enumerate(periods, 1):
            metadata: dict[str, Any] = {"score": {"home": period.home, "away": period.away}}
            if period.tie_break is not None:
                metadata["tieBreak"] = period.tie_break.model_dump()
            yield self._end(period.period, number, period, metadata)
        if self.shootout is not None:
            code = _SHOOTOUTS.get(sports.of(sport).name, "PEN")
            yield self._end(code, len(periods) + 1, self.shootout, {"score": self.shootout.model_dump()})

    def _end(self, code: str, number: int, points: FilePoints, metadata: dict[str, Any]) -> RecordedEntry:
        return RecordedEntry(
            key=f"end-{code}",
            type="period_end",
            message=f"{code}: {self.home_team} {points.text()} {self.away_team}",
            minute=0,
            period=number,
            period_code=code,
            metadata=metadata,
        )

    def _award(self) -> RecordedEntry:
        home, away = self.home_score or 0, self.away_score or 0
        leader = Score(home, away).leader
        return RecordedEntry(
            key="award",
            type="award",
            message=f"The match was awarded: {self.home_team} {home}{EN_DASH}{away} {self.away_team}",
            minute=0,
            period=1,
            side=self.winner or (None if leader == "draw" else leader),
            metadata={"scoreDelta": {"home": home, "away": away}},
        )


class FileAdjustment(_Part):
    """Points that a team loses or gets by a decision."""

    team: Name
    points: Annotated[int, Field(ge=-1_000, le=1_000)]
    reason: Text | None = None


class FileSeason(_Part):
    """The members of the document besides its matches."""

    sport: Name | None = None
    competition: Label | None = None
    season: Label | None = None
    name: Name | None = None
    rule_set: Name | None = None
    adjustments: list[FileAdjustment] | None = None
    orders: dict[str, list[Name]] | None = None
    conduct: dict[str, int] | None = None

    def season_data(self, options: ImportOptions) -> SeasonData | None:
        """Return what the file says about the season; None if it names no competition."""
        competition = options.competition or self.competition
        if competition is None:
            return None
        return SeasonData(
            competition=competition,
            season=options.season or self.season,
            name=self.name,
            rule_set=options.rule_set or self.rule_set,
            adjustments=None if self.adjustments is None else tuple(each.model_dump() for each in self.adjustments),
            orders=self.orders,
            conduct=self.conduct,
        )


def read(document: Mapping[str, Any], options: ImportOptions) -> ImportDocument:
    """Read a document.

    Raises:
        DocumentError: The document has no ``matches``, or another of its members is not valid.
    """
    written = document.get("matches")
    if not isinstance(written, list):
        raise DocumentError('field "matches" must be a list of matches')
    try:
        season = FileSeason.model_validate({name: value for name, value in document.items() if name != "matches"})
    except ValidationError as error:
        raise DocumentError("; ".join(f"field {_path(fault)}: {_message(fault)}" for fault in error.errors())) from None
    numbered = [(number, match) for number, match in enumerate(written, 1)]
    return _document("json", numbered, season, options)


def read_csv(body: bytes, options: ImportOptions) -> ImportDocument:
    """Read a table whose columns are named like the members of a match. Empty cells are missing members.

    Raises:
        DocumentError: The file is not UTF-8, or has no header or an unknown column.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"the file is not UTF-8: {error.reason} at byte {error.start}") from None
    header = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is the decimal sign.
    separator = ";" if header.count(";") > header.count(",") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, restkey="(further cells)")
    known = {to_camel(name) for name in FileMatch.model_fields} - {"entries", "rules", "metadata"}
    columns = [(name or "").strip() for name in reader.fieldnames or ()]
    unknown = sorted(set(columns) - known)
    if not columns or unknown:
        reason = f"unknown columns: {', '.join(unknown)}" if unknown else "the first line names no columns"
        raise DocumentError(f"{reason}; known are {', '.join(sorted(known))}")
    reader.fieldnames = columns
    try:
        numbered = [
            (reader.line_num, {name: cell for name, cell in cells.items() if cell not in (None, "")})
            for cells in reader
        ]
    except csv.Error as error:
        raise DocumentError(f"line {reader.line_num}: {error}") from None
    return _document("csv", numbered, FileSeason(), options)


def _document(
    format_: str, numbered: Sequence[tuple[int, Any]], season: FileSeason, options: ImportOptions
) -> ImportDocument:
    rows: list[ImportRow] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    data = season.season_data(options)
    for number, written in numbered:
        try:
            row = _row(number, FileMatch.model_validate(written), season, data)
        except ValidationError as error:
            problems += (Problem(number, _label(written), _path(fault), _message(fault)) for fault in error.errors())
            continue
        except BadRequest as error:
            paths = [(".".join(str(part) for part in issue.path), issue.message) for issue in error.details]
            problems += (Problem(number, _label(written), path, message) for path, message in paths)
            continue
        if row.external_id in seen:
            message = f"row {seen[row.external_id]} has the same externalId"
            problems.append(Problem(number, row.label, "externalId", message))
            continue
        seen[row.external_id] = number
        rows.append(row)
    return ImportDocument(format_, len(numbered), tuple(rows), tuple(problems), season=data)


def _row(number: int, match: FileMatch, season: FileSeason, data: SeasonData | None) -> ImportRow:
    sport = match.sport or season.sport or "football"
    # Checked here, so that the error belongs to the row.
    rules.merged_rules(sport, match.rules)
    return ImportRow(
        number=number,
        label=f"{match.home_team} {EN_DASH} {match.away_team}",
        external_id=match.external_id,
        values=match.values(sport, data),
        record=match.record(sport),
    )


def _label(written: Any) -> str:
    if not isinstance(written, dict):
        return ""
    return f"{written.get('homeTeam')} {EN_DASH} {written.get('awayTeam')}"


def _path(fault: Any) -> str:
    return ".".join(str(part) for part in fault["loc"])


def _message(fault: Any) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")

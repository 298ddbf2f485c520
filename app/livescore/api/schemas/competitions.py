"""Competitions and standings: queries and responses."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from livescore.api.schemas.base import OMITTED, Answer, Query
from livescore.api.schemas.fields import Count, Label, Limit, Timestamp

_FLAGS: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}


def _parse_flag(value: str) -> bool:
    if value not in _FLAGS:
        raise PydanticCustomError("flag", "Input should be 1 or 0")
    return _FLAGS[value]


Flag = Annotated[
    bool, BeforeValidator(_parse_flag), WithJsonSchema({"type": "string", "enum": list(_FLAGS), "default": "0"})
]


class CompetitionsQuery(Query):
    """A page of the list of competitions."""

    limit: Limit = 100
    cursor: Label = Field(OMITTED, description="`nextCursor` of the previous page.")


class StandingsQuery(Query):
    """The season, and which of its tables."""

    season: Label = Field(OMITTED, description="The latest season by default.")
    stage: Label = Field(OMITTED, description="Only tables of this stage.")
    group: Label = Field(OMITTED, description="Only tables of this group.")
    live: Flag = Field(OMITTED, description="`1` counts running matches as if they ended now.")


class CompetitionSummary(Answer):
    """A competition in the list."""

    id: str
    name: str | None
    seasons: list[str]


class CompetitionsAnswer(Answer):
    """A page of competitions, by id."""

    data: list[CompetitionSummary]
    next_cursor: str | None


class PointsPerResult(Answer):
    """Points for a result."""

    win: Count
    draw: Count
    loss: Count


class RuleSetAnswer(Answer):
    """The rules by which teams are ranked."""

    id: str
    article: str = Field(description="The article of the regulations.")
    source: str = Field(description="The regulations, and where the order of the criteria was checked.")
    points: PointsPerResult
    criteria: list[str] = Field(description="In order; the names are those of a row's `decidedBy`.")


class PointsAdjustment(Answer):
    """Points that a team gains or loses by decision."""

    team: str
    points: int
    reason: str


class SeasonAnswer(Answer):
    """A season; `season` is null for matches without one."""

    season: str | None
    rule_set: RuleSetAnswer
    adjustments: list[PointsAdjustment]


class CompetitionDetails(Answer):
    """A competition and its seasons, latest first."""

    id: str
    name: str | None
    seasons: list[SeasonAnswer]


class CompetitionAnswer(Answer):
    """One competition."""

    data: CompetitionDetails


class StandingsRow(Answer):
    """A team in a table."""

    position: Count
    team: str
    played: Count
    won: Count
    drawn: Count
    lost: Count
    goals_for: Count
    goals_against: Count
    goal_difference: int
    points: int = Field(description="With the adjustment.")
    adjustment: int
    form: str = Field(description="The last five results, oldest first.", pattern="^[WDL]{0,5}$")
    note: str | None
    tied: bool = Field(description="Whether no criterion separates the team from another one.")
    decided_by: str | None = Field(description="The criterion that separated the team from the row below.")
    group: str | None
    advances: bool | None = Field(description="In a ranking across groups, whether the position advances.")


class StandingsTable(Answer):
    """One table: of a group, of a stage, or of the teams in the same position of all groups (`across`)."""

    stage: str | None
    group: str | None
    kind: Literal["group", "stage", "across"]
    as_of: Timestamp = Field(description="Time at which the rows changed last.")
    seq: Count = Field(description="Number of changes of the rows.")
    rows: list[StandingsRow]


class SeasonStandings(Answer):
    """The tables of a season."""

    competition: str
    season: str | None
    live: bool
    rule_set: RuleSetAnswer
    tables: list[StandingsTable]


class StandingsAnswer(Answer):
    """Standings."""

    data: SeasonStandings

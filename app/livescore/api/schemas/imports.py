"""Queries and responses of ``/imports``."""

from typing import Literal

from pydantic import Field

from livescore.api.schemas.base import OMITTED, Answer, Query
from livescore.api.schemas.fields import Count, Id, Label, Limit, Name, Timestamp

ImportStatus = Literal["pending", "running", "finished", "failed"]


class ImportQuery(Query):
    """The query of ``POST /imports``."""

    name: Name = Field(OMITTED, description="Name of the file, for people.")
    competition: Label = Field(OMITTED, description="Id of the competition, in place of that in the file.")
    season: Label = Field(OMITTED, description="Season, in place of that in the file.")
    rule_set: Label = Field(OMITTED, alias="ruleSet", description="Rule set of the season's standings.")


class ImportsQuery(Query):
    """The query of ``GET /imports``."""

    limit: Limit = Field(50, description="Most imports.")


class ImportProblem(Answer):
    """An error or a warning about one match of a file."""

    row: Count = Field(description="Number of the match in the file, from 1; in CSV the line. 0 for the file.")
    match: str = Field(description="The match, as readers of the file recognise it.")
    field: str = Field(description="Path of the member, such as `scores.0.home`; empty for the match as a whole.")
    message: str


class ImportSummary(Answer):
    """An import: its progress, and how many of its matches were created, updated, unchanged or refused."""

    id: Id
    status: ImportStatus
    format: str | None = Field(description="`openfootball`, `json` or `csv`; null until the file was read.")
    name: str | None
    total: Count | None = Field(description="Matches in the file; null until it was read.")
    done: Count = Field(description="Matches that are written; those with errors are not among them.")
    created: Count
    updated: Count
    unchanged: Count
    failed: Count = Field(description="Matches with errors.")
    error: str | None = Field(description="Why the file as a whole could not be imported.")
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None


class Import(ImportSummary):
    """An import with its errors and warnings, some 1000 of each at most."""

    errors: list[ImportProblem]
    warnings: list[ImportProblem]


class ImportAnswer(Answer):
    """Response with one import."""

    data: Import


class ImportsAnswer(Answer):
    """Response with imports, newest first."""

    data: list[ImportSummary]

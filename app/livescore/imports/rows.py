"""What a file says, in the terms of the service. Data without rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from livescore.imports.entries import Record
from livescore.imports.openfootball import Problem


class DocumentError(Exception):
    """The file as a whole cannot be imported. The text says why."""


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One match of a file.

    Attributes:
        number: Its number in the file, from 1; in CSV the number of the line.
        label: The match as readers of the file recognise it.
        external_id: Identifies the match in every import.
        values: ``sport``, ``home_team``, ``away_team``, ``start`` and ``end``, and the columns of the fixture that the
            file has.
        record: Its entries, rules and status.
    """

    number: int
    label: str
    external_id: str
    values: Mapping[str, Any]
    record: Record


@dataclass(frozen=True, slots=True)
class SeasonData:
    """What a file says about a competition's season as a whole. None is not in the file."""

    competition: str
    season: str | None
    name: str | None = None
    rule_set: str | None = None
    adjustments: tuple[Mapping[str, Any], ...] | None = None
    orders: Mapping[str, list[str]] | None = None
    conduct: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ImportDocument:
    """A parsed file.

    Attributes:
        total: Number of matches in the file, with those that have errors.
        problems: Errors of matches that cannot be imported.
        warnings: Remarks on matches that are imported.
    """

    format: str
    total: int
    rows: tuple[ImportRow, ...]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    season: SeasonData | None = None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the client says about a file, in place of what the file says itself."""

    competition: str | None = None
    season: str | None = None
    rule_set: str | None = None

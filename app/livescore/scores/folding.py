"""What writes read of a match to fold its entries, and what they store: the steps of the fold, and overrides."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from psycopg.types.json import Json

from livescore.scores import sports
from livescore.scores import statements as sql
from livescore.scores.database import Connection, Row, fetch
from livescore.scores.fold import Folder, Step
from livescore.scores.match_state import FIXTURE, MatchState, changes
from livescore.scores.state import Entry, Override, Score, State

DERIVED_OWN_GOAL = "the side was taken from team: an own goal needs the side that benefits, so send side"


@dataclass(frozen=True, slots=True)
class Settled:
    """A match whose row is locked, with all that its fold consists of.

    Attributes:
        match: The match; its state accounts for the stored score and status.
        steps: Its entries and overrides, in the order of their ids.
    """

    match: MatchState
    steps: list[Step]

    def state_before(self, step_id: int) -> State:
        """Return the state before an entry."""
        return self.match.folder.fold(step for step in self.steps if step.id < step_id)

    def replaced(self, entry: Entry) -> "Settled":
        """Return the same with an entry added or corrected."""
        return replace(self, steps=sorted([*self.without(entry.id).steps, entry], key=lambda step: step.id))

    def without(self, step_id: int) -> "Settled":
        """Return the same without an entry."""
        return replace(self, steps=[step for step in self.steps if step.id != step_id])

    def fold(self) -> State:
        """Return the state after all steps."""
        return self.match.folder.fold(self.steps)


async def settle(connection: Connection, match_id: int, match: MatchState, now: datetime) -> Settled:
    """Read the steps of a match whose row is locked.

    If the stored score or status is not that of the fold, an older version of the service has written it. An override
    then accounts for the difference, so that the next fold does not undo it.
    """
    rows = await fetch(connection, sql.STEPS, {"match_id": match_id, "moving": list(sports.moving())})
    steps = [_step(row) for row in rows]
    if match.state is not None and not match.has_drifted:
        return Settled(match, steps)
    state = match.folder.fold(steps)
    override = match.drift(state, now)
    if override is not None:
        override = await add_override(connection, match_id, override)
        steps.append(override)
        state = match.folder.apply(state, override)
    return Settled(replace(match, state=state), steps)


async def add_override(connection: Connection, match_id: int, override: Override) -> Override:
    """Store an override after all steps of its match. Returns it with its id."""
    parameters = {"match_id": match_id, "data": override.to_json(), "now": override.at}
    ((id_,),) = await fetch(connection, sql.ADD_OVERRIDE, parameters)
    return replace(override, id=id_)


def initial_state(values: Mapping[str, Any]) -> State:
    """Return the state of a new match, from its columns."""
    sport = sports.of(values["sport"])
    rules = sport.rules.model_validate(values.get("rules") or {})
    return Folder(sport, rules, Score(values["home_score"], values["away_score"])).start()


def entry_of(id_: int, at: datetime, values: Mapping[str, Any]) -> Entry:
    """Return the entry of a commentary, from its columns."""
    return Entry(
        id_,
        values["event_type"],
        at,
        values["side"],
        values["period_code"],
        values["minute"],
        values["stoppage"],
        values["actor"],
        values["metadata"] or {},
    )


def warnings_of(match: MatchState, before: State, entry: Entry, *, is_side_derived: bool) -> list[str]:
    """Return what the reporter of an entry should know: contradictions to the state before it, or a derived side."""
    warnings = match.folder.warnings(before, entry)
    return [DERIVED_OWN_GOAL, *warnings] if is_side_derived and entry.type == "own_goal" else warnings


def state_parameters(before: MatchState, after: MatchState, now: datetime, entry_event: str = "") -> dict[str, Any]:
    """Return the parameters by which a statement sets the state of a match and appends the events of the change.

    Args:
        before: The match as it is stored.
        after: The match as it is to be stored.
        now: The database's time.
        entry_event: Type of the first event, that of the entry that made the change.
    """
    types = changes(before, after)
    return {
        "types": [entry_event, *types] if entry_event else types,
        "status": after.status,
        "old_status": before.status,
        "pinned": after.pinned,
        "home_score": after.score.home,
        "away_score": after.score.away,
        "fold": None if after.state is None else after.state.to_json(),
        "now": now,
    }


def match_parameters(after: MatchState) -> dict[str, Any]:
    """Return the parameters that set the details of a match."""
    return {
        **fixture_parameters(after.fixture),
        "sport": after.sport,
        "home_team": after.home_team,
        "away_team": after.away_team,
        "start": after.start_time,
        "end": after.end_time,
        "rules": json_parameter(after.rules),
    }


def fixture_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the columns :data:`FIXTURE`."""
    parameters = {name: values.get(name) for name in FIXTURE}
    confirmed = values.get("start_time_confirmed")
    return {
        **parameters,
        "start_time_confirmed": True if confirmed is None else confirmed,
        "metadata": json_parameter(values.get("metadata")),
    }


def json_parameter(value: Any) -> Json | None:
    """Return a parameter for a column of type json; None for NULL."""
    return None if value is None else Json(value, orjson.dumps)


def _step(row: Row) -> Step:
    id_, at, type_, side, period, minute, stoppage, actor, metadata, override = row
    if override is not None:
        return Override.from_json(id_, at, override)
    return Entry(id_, type_, at, side, period, minute, stoppage, actor, metadata or {})

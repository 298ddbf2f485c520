"""Replays a tournament through the public REST API on a virtual clock, and resumes a replay that was stopped."""

import asyncio
import math
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.text import Text

from livescore.imports import documents, entries, openfootball
from livescore.imports.entries import EN_DASH
from livescore.imports.openfootball import Match, Tournament
from livescore.imports.rows import ImportOptions
from livescore.scores import sports
from livescore.scores.fold import Folder
from livescore_dev import script
from livescore_dev.display import Display, table
from livescore_dev.rest import Client, Record, RequestError, instant
from livescore_dev.script import Step

# At a lower speed a match would take weeks.
MIN_SPEED = 0.01
# A match with a kick-off in the future is created a century earlier, so that it is live at once and a second run finds
# it. At the end of the match its times are corrected.
CENTURY = timedelta(days=36525)
# Time that a match stays live after its planned end: a replay that was stopped can be resumed within this time.
MARGIN = timedelta(days=1)

# Statuses of matches with a result, and of those that no later step changes.
_DECIDED = frozenset({"finished", "awarded"})
_GIVEN_UP = frozenset({"cancelled", "abandoned"})

T = TypeVar("T")


class ReplayError(Exception):
    """The replay cannot continue, or ended with wrong scores. The text names match, field and next step."""


@dataclass(slots=True)
class Summary:
    """Counts of a replay.

    Attributes:
        matches: All matches of the file.
        played: Matches with commentary, including abandoned and awarded ones.
        not_played: Scheduled, postponed and cancelled matches.
        skipped: Matches that the server already had.
        events: Commentary entries written.
        goals: Goals written.
        incomplete: Matches whose goals the file does not list, or not all of them.
        mismatches: Differences between the final scores of the server and of the file.
    """

    matches: int = 0
    played: int = 0
    not_played: int = 0
    skipped: int = 0
    events: int = 0
    goals: int = 0
    incomplete: int = 0
    mismatches: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, int]:
        return {
            "matches": self.matches,
            "played": self.played,
            "not played": self.not_played,
            "skipped": self.skipped,
            "events": self.events,
            "goals": self.goals,
            "incomplete": self.incomplete,
            "mismatches": len(self.mismatches),
        }


async def replay(
    path: Path, *, speed: float, base_url: str, api_key: str | None, console: Console | None = None
) -> Summary:
    """Replay a file of the openfootball project through the REST API.

    Args:
        path: The file, see :mod:`livescore.imports.openfootball`.
        speed: How many times faster than real time. Gaps between matches are skipped.
        base_url: URL of the API, for example ``http://127.0.0.1:8000``.
        api_key: API key of scope write or admin, if the server requires one.
        console: Shows progress and summary; the terminal by default.

    Raises:
        ReplayError: The file cannot be read, the server rejects a request, or a final score differs from the file.
    """
    if not (math.isfinite(speed) and speed >= MIN_SPEED):
        raise ReplayError(f"--speed {speed} must be a number of at least {MIN_SPEED}")
    console = console or Console()
    try:
        tournament = openfootball.read(path)
        for warning in tournament.warnings:
            console.print(Text(f"{path}: {warning}", style="yellow"))
        display = Display(console, tournament.name)
        async with Client(base_url, api_key, display.waiting) as client:
            with display:
                summary = await _Player(tournament, client, speed, display).run()
    except (openfootball.FormatError, RequestError) as error:
        raise ReplayError(str(error)) from error
    console.print(table(summary.rows()))
    if summary.mismatches:
        raise ReplayError("\n".join(["the server and the file disagree:", *summary.mismatches]))
    return summary


@dataclass(slots=True)
class _Task:
    """A match, its record on the server, and the steps left to write; ``steps`` is None if the match is complete."""

    match: Match
    record: Record | None
    steps: list[Step] | None

    @property
    def began(self) -> timedelta:
        """Time since kick-off at which the match starts or resumes."""
        return self.steps[0].at if self.steps else timedelta()

    @property
    def duration(self) -> timedelta:
        return self.steps[-1].at - self.began if self.steps else timedelta()


class _Clock:
    """A virtual clock that starts now and runs ``speed`` times as fast as real time."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def until(self, moment: timedelta) -> None:
        await asyncio.sleep(self._began + moment.total_seconds() / self._speed - self._loop.time())


class _Player:
    """Replays the matches of a tournament."""

    def __init__(self, tournament: Tournament, client: Client, speed: float, display: Display) -> None:
        self.tournament = tournament
        self.client = client
        self.speed = speed
        self.display = display
        self.summary = Summary(matches=len(tournament.matches))
        self.season = documents.season_data(tournament, ImportOptions())

    async def run(self) -> Summary:
        tasks = await _gather(_name_match(match, self._survey(match)) for match in self.tournament.matches)
        self.display.expect(len(tasks), sum(len(task.steps or ()) for task in tasks))
        remaining = []
        for task in tasks:
            if task.steps is None:
                self._skip(task)
            else:
                remaining.append(task)
        await self._perform(remaining)
        return self.summary

    async def _perform(self, tasks: list[_Task]) -> None:
        """Create the matches without commentary at once, and play the others on the virtual clock."""
        played = [task for task in tasks if script.plan(task.match)]
        unplayed = [task for task in tasks if not script.plan(task.match)]
        starts = script.timeline([(task.match.kick_off + task.began, task.duration) for task in played])
        clock = _Clock(self.speed)
        works = [_name_match(task.match, self._enter(task)) for task in unplayed]
        for task, start in zip(played, starts, strict=True):
            works.append(_name_match(task.match, self._play(task, start, clock)))
        await _gather(works)

    async def _survey(self, match: Match) -> _Task:
        """Find the record of a match on the server and the steps that are left to write."""
        record = await self.client.find(match.home, match.away, match.kick_off)
        if record is None and _opening(match) != match.kick_off:
            record = await self.client.find(match.home, match.away, _opening(match))
        steps: list[Step] | None = script.plan(match)
        if record is None:
            return _Task(match, None, steps)
        if steps:
            steps = await self._remaining(match, record, steps)
        elif not await self._needs_status(match, record):
            steps = None
        return _Task(match, record, steps)

    async def _remaining(self, match: Match, record: Record, steps: list[Step]) -> list[Step] | None:
        """Return the steps that an earlier run did not write, or None if the match is over on the server.

        A match that an earlier run postponed is played as soon as the file has its result.
        """
        has_final_score = _score(record) == match.score.final
        is_finished = record.status in _DECIDED
        has_final_times = record.end_time == script.record_end(match)
        if record.status in _GIVEN_UP or (is_finished and has_final_score and has_final_times):
            return None
        done = await self.client.commented(record.id)
        if done & script.LAST_STEPS:
            return [] if has_final_score or not is_finished else None
        # Finished without a step: another client wrote it unless it is 0-0, the score of a match that the clock ended.
        if is_finished and not done and (has_final_score or _score(record) != (0, 0)):
            return None
        return [step for step in steps if step.id not in done]

    async def _needs_status(self, match: Match, record: Record) -> bool:
        """Return True if a match that was not played still has to be postponed or cancelled.

        A match with a score or commentary was played according to another client, and is left unchanged.
        """
        if _unplayed_status(match) in {None, record.status}:
            return False
        return _score(record) == (0, 0) and not await self.client.has_commentary(record.id)

    def _skip(self, task: _Task) -> None:
        self.summary.skipped += 1
        self.display.match_done()
        if task.record:
            self._check(task.match, task.record)

    async def _enter(self, task: _Task) -> None:
        """Create a match that was not played, and set its status unless the clock decides it."""
        match = task.match
        status = _unplayed_status(match)
        record = task.record or await self._create(match, match.kick_off, self._end_of_entry(match))
        if status is not None and record.status != status:
            end = instant(script.record_end(match))
            await self.client.revise(record.id, status=status, startTime=instant(match.kick_off), endTime=end)
        self.summary.not_played += 1
        self.display.match_done()

    def _end_of_entry(self, match: Match) -> datetime:
        """Return an end time in the future, so that the clock does not finish the match before its status is set."""
        end = script.record_end(match)
        return end if end > datetime.now(UTC) else self._hold(timedelta())

    async def _play(self, task: _Task, start: timedelta, clock: _Clock) -> None:
        """Write the remaining steps of a match from ``start`` on the clock, then finish the match."""
        await clock.until(start)
        if task.record is not None and not task.steps:
            record = task.record
        else:
            record = await self._open(task)
        for step in task.steps or ():
            await clock.until(start + step.at - task.began)
            await self._comment(task.match, record.id, step)
        await self._finish(task.match, record.id)
        self.summary.played += 1
        self.display.match_done()

    async def _open(self, task: _Task) -> Record:
        """Make the match live until long after its last step."""
        start = _opening(task.match)
        end = self._hold(task.duration)
        record = task.record
        if record is None:
            return await self._create(task.match, start, end)
        if record.end_time >= end and record.status in ("live", "interrupted"):
            return record
        return await self.client.revise(record.id, startTime=instant(start), endTime=instant(end))

    def _hold(self, duration: timedelta) -> datetime:
        """Return a midnight long after the replay, so that a repeated creation is the same request all day."""
        end = datetime.now(UTC) + MARGIN + duration / self.speed
        return end.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

    async def _create(self, match: Match, start: datetime, end: datetime) -> Record:
        fixture = documents.fixture(match, self.season)
        body = {
            "sport": "football",
            "homeTeam": match.home,
            "awayTeam": match.away,
            "startTime": instant(start),
            "endTime": instant(end),
            **{to_camel(name): value for name, value in fixture.items() if value is not None},
            "rules": entries.record(match).rules,
        }
        return await self.client.create(body, self._key(match, f"match {body['endTime']}"))

    async def _comment(self, match: Match, match_id: int, step: Step) -> None:
        await self.client.comment(match_id, step.body, self._key(match, step.id))
        self.summary.events += 1
        goal = None
        if step.body["eventType"] in script.GOALS:
            self.summary.goals += 1
            goal = f"{step.body['minute']}' {step.body['message']}"
        self.display.event_sent(goal)

    async def _finish(self, match: Match, match_id: int) -> None:
        """Set the times of the real match. Its entries have ended it, unless it was abandoned."""
        change = {"startTime": instant(match.kick_off), "endTime": instant(script.record_end(match))}
        if match.outcome == "abandoned":
            change["status"] = "abandoned"
        if _is_incomplete(match):
            self.summary.incomplete += 1
        self._check(match, await self.client.revise(match_id, **change))

    def _check(self, match: Match, record: Record) -> None:
        """Note a difference between the server and the file."""
        if not match.decided or match.score.final is None:
            return
        expected, actual = _expected(match), _result(record)
        if expected == actual:
            return
        fields = [name for name, value in expected.items() if actual[name] != value]
        difference = "; ".join(f"{name} is {actual[name]}, in the file {expected[name]}" for name in fields)
        self.summary.mismatches.append(
            f"  match {record.id} ({match.title}): {difference}: correct it with PATCH /matches/{record.id}"
        )

    def _key(self, match: Match, step: str) -> str:
        """Return an Idempotency-Key, which is the same for a step in every run."""
        parts = (self.tournament.name, match.home, match.away, instant(match.kick_off), step)
        return str(uuid5(NAMESPACE_URL, "\n".join(("livescore-replay", *parts))))


def _opening(match: Match) -> datetime:
    """Return the start time that makes the match live at once."""
    return match.kick_off if match.kick_off <= datetime.now(UTC) else match.kick_off - CENTURY


def _unplayed_status(match: Match) -> str | None:
    """Return the status of a match without commentary, or None if the clock decides it.

    A past fixture without a result counts as postponed, because the clock would finish it at 0-0.
    """
    if match.outcome in {"cancelled", "postponed"}:
        return match.outcome
    return "postponed" if script.record_end(match) <= datetime.now(UTC) else None


def _is_incomplete(match: Match) -> bool:
    final = match.score.final
    sides = [goal.side for goal in match.goals]
    return final is not None and final != (sides.count("home"), sides.count("away"))


def _expected(match: Match) -> dict[str, Any]:
    """Return what the server must say about a match: the fold of what the file knows, without the steps of a replay."""
    recorded = entries.record(match)
    moment = datetime.now(UTC)
    football = sports.of("football")
    folder = Folder(football, football.rules.model_validate(recorded.rules))
    state = folder.fold(entry.entry(id_, moment) for id_, entry in enumerate(recorded.entries, 1))
    shootout = state.shootout
    return {
        "score": _line(*match.score.final) if match.score.final else None,
        "status": "awarded" if match.outcome == "awarded" else "finished",
        "winner": state.winner,
        "decidedBy": state.decided_by,
        "scores": " ".join(f"{each.period} {_line(each.score.home, each.score.away)}" for each in state.scores),
        "shootout": None if shootout is None else _line(shootout.score.home, shootout.score.away),
    }


def _result(record: Record) -> dict[str, Any]:
    """Return the same of a match on the server."""
    shootout = record.shootout
    return {
        "score": _line(*_score(record)),
        "status": record.status,
        "winner": record.winner,
        "decidedBy": record.decided_by,
        "scores": " ".join(f"{each['period']} {_line(each['home'], each['away'])}" for each in record.scores),
        "shootout": None if shootout is None else _line(shootout["home"], shootout["away"]),
    }


def _line(home: int, away: int) -> str:
    return f"{home}{EN_DASH}{away}"


def _score(record: Record) -> tuple[int, int]:
    return record.home_score, record.away_score


async def _name_match(match: Match, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` and prefix its error with the match."""
    try:
        return await work
    except RequestError as error:
        raise RequestError(f"{match.title}: {error}") from error


async def _gather(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently. The first error cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]

"""Play a tournament through the public REST API by a virtual clock, and continue where an earlier run stopped."""

import asyncio
import math
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from rich.console import Console
from rich.text import Text

from livescore_dev import openfootball, script
from livescore_dev.display import Display, table
from livescore_dev.openfootball import Match, Tournament
from livescore_dev.rest import Client, Record, RequestError, instant
from livescore_dev.script import Step

# Slower than this a match would take weeks.
MIN_SPEED = 0.01
# A match whose kick-off is still to come by this machine's clock is played as if it were a century ago, so that it is
# live at once and a second run finds it; its end gives it its real times.
CENTURY = timedelta(days=36525)
# How much longer than planned a match may stay open: a replay that was stopped can be continued within this time.
MARGIN = timedelta(days=1)


T = TypeVar("T")


class ReplayError(Exception):
    """The replay cannot continue, or ended with wrong scores; the text names match and field and the next step."""


@dataclass(slots=True)
class Summary:
    """Counts of a replay.

    ``played`` includes abandoned and awarded matches, ``not_played`` those that are scheduled, postponed or cancelled,
    ``skipped`` those that the server had already. The goals listed for ``corrected`` matches do not make the score.
    """

    matches: int = 0
    played: int = 0
    not_played: int = 0
    skipped: int = 0
    events: int = 0
    goals: int = 0
    corrected: int = 0
    mismatches: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, int]:
        names = ("matches", "played", "not_played", "skipped", "events", "goals", "corrected")
        return {**{name.replace("_", " "): getattr(self, name) for name in names}, "mismatches": len(self.mismatches)}


async def replay(
    path: Path, *, speed: float, base_url: str, api_key: str | None, console: Console | None = None
) -> Summary:
    """Play a file of the openfootball project through the REST API at ``base_url``.

    Args:
        path: the file, see :mod:`livescore_dev.openfootball`.
        speed: how many times faster than real time; gaps between matches are skipped.
        base_url: where the API is, e.g. ``http://127.0.0.1:8000``.
        api_key: a key that may write, where the server asks for one.
        console: where progress and summary are shown; the terminal by default.

    Raises:
        ReplayError: when the file or the server does not allow it, or when a final score differs from the file's.
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
    """A match, its record on the server, and the steps left to write; ``steps`` is None if nothing at all is left."""

    match: Match
    record: Record | None
    steps: list[Step] | None

    @property
    def began(self) -> timedelta:
        """Return the time since kick-off at which the match starts or continues."""
        return self.steps[0].at if self.steps else timedelta()

    @property
    def duration(self) -> timedelta:
        return self.steps[-1].at - self.began if self.steps else timedelta()


class _Clock:
    """A virtual clock that starts now and runs ``speed`` times as fast as the real one."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def until(self, moment: timedelta) -> None:
        await asyncio.sleep(self._began + moment.total_seconds() / self._speed - self._loop.time())


class _Player:
    """Plays the matches of one tournament."""

    def __init__(self, tournament: Tournament, client: Client, speed: float, display: Display) -> None:
        self.tournament = tournament
        self.client = client
        self.speed = speed
        self.display = display
        self.summary = Summary(matches=len(tournament.matches))
        self.corrected: set[int] = set()

    async def run(self) -> Summary:
        tasks = await _together(_about(match, self._survey(match)) for match in self.tournament.matches)
        self.display.expect(len(tasks), sum(len(task.steps or ()) for task in tasks))
        for task in tasks:
            if task.steps is None:
                self._skip(task)
        await self._perform([task for task in tasks if task.steps is not None])
        return self.summary

    async def _perform(self, tasks: list[_Task]) -> None:
        """Enter the matches without commentary at once, and play the others by the clock of the file."""
        played = [task for task in tasks if script.plan(task.match)]
        starts = script.timeline([(task.match.kick_off + task.began, task.duration) for task in played])
        clock = _Clock(self.speed)
        works = [(task, self._enter(task)) for task in tasks if not script.plan(task.match)]
        works += [(task, self._play(task, start, clock)) for task, start in zip(played, starts, strict=True)]
        await _together(_about(task.match, work) for task, work in works)

    async def _survey(self, match: Match) -> _Task:
        record = await self.client.find(match.home, match.away, match.kick_off)
        if record is None and _opening(match) != match.kick_off:
            record = await self.client.find(match.home, match.away, _opening(match))
        steps = script.plan(match)
        if record is None:
            return _Task(match, None, steps)
        if steps:
            return _Task(match, record, await self._remaining(match, record, steps))
        return _Task(match, record, [] if await self._needs_status(match, record) else None)

    async def _remaining(self, match: Match, record: Record, steps: list[Step]) -> list[Step] | None:
        """Return the steps that an earlier run did not write, or None if the match is over on the server.

        A match that an earlier run postponed is played now that the file has its result.
        """
        right = _score(record) == match.score.final
        over = record.status == "finished"
        if record.status == "cancelled" or (over and right and record.end_time == script.record_end(match)):
            return None
        done = await self.client.commented(record.id)
        if done & script.LAST_STEPS:
            return [] if right or not over else None
        # Finished without a step: entered before it was played and ended by the clock, or written by another client.
        if over and not done and (right or _score(record) != (0, 0)):
            return None
        return [step for step in steps if step.id not in done]

    async def _needs_status(self, match: Match, record: Record) -> bool:
        """Return whether a match that was not played still has to be postponed or cancelled.

        A match with a score or commentary was played according to another client, and is left alone.
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
        """Enter a match that was not played, and set the status that the clock would not give it."""
        match = task.match
        status = _unplayed_status(match)
        record = task.record or await self._create(match, match.kick_off, self._end_of_entry(match))
        if status is not None and record.status != status:
            end = instant(script.record_end(match))
            await self.client.revise(record.id, status=status, startTime=instant(match.kick_off), endTime=end)
        self.summary.not_played += 1
        self.display.match_done()

    def _end_of_entry(self, match: Match) -> datetime:
        """Return an end time in the future, so that the clock does not finish a match that was not played."""
        end = script.record_end(match)
        return end if end > datetime.now(UTC) else self._hold(timedelta())

    async def _play(self, task: _Task, start: timedelta, clock: _Clock) -> None:
        await clock.until(start)
        record = task.record if task.record and not task.steps else await self._open(task)
        for step in task.steps or ():
            await clock.until(start + step.at - task.began)
            await self._correct(task.match, record.id, step)
            await self._comment(task.match, record.id, step)
        await self._finish(task.match, record.id)
        self.summary.played += 1
        self.display.match_done()

    async def _open(self, task: _Task) -> Record:
        """Make the match live until long after its last step."""
        start, end = _opening(task.match), self._hold(task.duration)
        if task.record is None:
            return await self._create(task.match, start, end)
        if task.record.status == "live" and task.record.end_time >= end:
            return task.record
        return await self.client.revise(task.record.id, startTime=instant(start), endTime=instant(end))

    def _hold(self, duration: timedelta) -> datetime:
        """Return a midnight long after the replay, so that a repeated creation is the same request all day long."""
        end = datetime.now(UTC) + MARGIN + duration / self.speed
        return end.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

    async def _create(self, match: Match, start: datetime, end: datetime) -> Record:
        body = {
            "sport": "football",
            "homeTeam": match.home,
            "awayTeam": match.away,
            "startTime": instant(start),
            "endTime": instant(end),
        }
        return await self.client.create(body, self._key(match, f"match {body['endTime']}"))

    async def _comment(self, match: Match, match_id: int, step: Step) -> None:
        await self.client.comment(match_id, step.body, self._key(match, step.id))
        scored = step.body["eventType"] == "goal"
        self.summary.events += 1
        self.summary.goals += scored
        self.display.event_sent(f"{step.body['minute']}' {step.body['message']}" if scored else None)

    async def _correct(self, match: Match, match_id: int, step: Step) -> None:
        """Set the score that the step states, where the goals listed in the file do not add up to it."""
        last = step.id in script.LAST_STEPS
        score = step.score or (match.score.final if last else None)
        if score is not None and _score(await self.client.match(match_id)) != score:
            await self.client.set_score(match_id, score.home, score.away)
            self.corrected.add(match_id)
            self.summary.corrected = len(self.corrected)

    async def _finish(self, match: Match, match_id: int) -> None:
        """End the match now, then set the times at which it really was played."""
        times = {"startTime": instant(match.kick_off), "endTime": instant(script.record_end(match))}
        if match.outcome == "abandoned":
            self._check(match, await self.client.revise(match_id, status=_last_status(match), **times))
        else:
            await self.client.end(match_id)
            self._check(match, await self.client.revise(match_id, **times))

    def _check(self, match: Match, record: Record) -> None:
        final = match.score.final
        if match.decided and final and (record.status != "finished" or _score(record) != final):
            actual = f"{record.home_score}{script.EN_DASH}{record.away_score}, {record.status}"
            expected = f"{final.home}{script.EN_DASH}{final.away}"
            self.summary.mismatches.append(
                f"  match {record.id} ({match.title}): the server has {actual}, the file {expected} (field score): "
                f"correct it with PATCH /matches/{record.id}"
            )

    def _key(self, match: Match, step: str) -> str:
        """An Idempotency-Key: the same for the same step of the same match of the same tournament, in every run."""
        parts = (self.tournament.name, match.home, match.away, instant(match.kick_off), step)
        return str(uuid5(NAMESPACE_URL, "\n".join(("livescore-replay", *parts))))


def _opening(match: Match) -> datetime:
    """Return the start time that makes the match live at once."""
    return match.kick_off if match.kick_off <= datetime.now(UTC) else match.kick_off - CENTURY


def _last_status(match: Match) -> str:
    """Return the status of a match after its last step; the service has none for abandoned matches."""
    return "cancelled" if match.outcome == "abandoned" else "finished"


def _unplayed_status(match: Match) -> str | None:
    """Return the status of a match without commentary, or None if the clock decides it.

    A fixture of the past without a result counts as postponed: the clock would finish it with 0-0.
    """
    if match.outcome in {"cancelled", "postponed"}:
        return match.outcome
    return "postponed" if script.record_end(match) <= datetime.now(UTC) else None


def _score(record: Record) -> tuple[int, int]:
    return record.home_score, record.away_score


async def _about(match: Match, work: Coroutine[Any, Any, T]) -> T:
    """Let an error name the match."""
    try:
        return await work
    except RequestError as error:
        raise RequestError(f"{match.title}: {error}") from error


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; the first failure stops the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]

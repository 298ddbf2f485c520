"""Plays a tournament through the public REST API by a virtual clock, and picks up where an earlier run stopped."""

import asyncio
import math
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from rich.console import Console

from livescore.dev import openfootball, script
from livescore.dev.display import Display, table
from livescore.dev.openfootball import Match, Pair, Tournament
from livescore.dev.rest import Client, Record, RequestError, instant
from livescore.dev.script import Step

# Slower than this a match would take weeks.
MIN_SPEED = 0.01
# A match whose kick-off is still to come by this machine's clock is played as if it were a century ago, so that it is
# live at once and a second run finds it; its end gives it its real times.
CENTURY = timedelta(days=36525)
# How much longer than planned a match may stay open: a replay that was stopped can be continued within this time.
MARGIN = timedelta(days=1)


T = TypeVar("T")


class ReplayError(Exception):
    """The replay cannot go on, or ended with wrong scores; the text names match and field and what to do."""


@dataclass(slots=True)
class Summary:
    """What a replay did. ``skipped`` matches were there already; the goals of ``corrected`` ones do not add up."""

    matches: int = 0
    played: int = 0
    scheduled: int = 0
    skipped: int = 0
    events: int = 0
    goals: int = 0
    corrected: int = 0
    mismatches: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, int]:
        names = ("matches", "played", "scheduled", "skipped", "events", "goals", "corrected")
        return {**{name: getattr(self, name) for name in names}, "mismatches": len(self.mismatches)}


async def replay(
    path: Path, *, speed: float, base_url: str, api_key: str | None, console: Console | None = None
) -> Summary:
    """Play a file of the openfootball project through the REST API at ``base_url``.

    Args:
        path: the file, see :mod:`livescore.dev.openfootball`.
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
    """A match, what the server has of it, and what is left to play; ``steps`` is None when nothing at all is to do."""

    match: Match
    record: Record | None
    steps: list[Step] | None

    @property
    def began(self) -> timedelta:
        """Where the play (re)starts, counted from kick-off."""
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

    async def run(self) -> Summary:
        tasks = await _together(_about(match, self._survey(match)) for match in self.tournament.matches)
        self.display.expect(len(tasks), sum(len(task.steps or ()) for task in tasks))
        for task in tasks:
            if task.steps is None:
                self._skip(task)
        await self._perform([task for task in tasks if task.steps is not None])
        return self.summary

    async def _perform(self, tasks: list[_Task]) -> None:
        """Announce what is still to come at once, and play what was played by the clock of the file."""
        played = [task for task in tasks if task.match.played]
        starts = script.timeline([(task.match.kick_off + task.began, task.duration) for task in played])
        clock = _Clock(self.speed)
        works = [(task, self._announce(task)) for task in tasks if not task.match.played]
        works += [(task, self._play(task, start, clock)) for task, start in zip(played, starts, strict=True)]
        await _together(_about(task.match, work) for task, work in works)

    async def _survey(self, match: Match) -> _Task:
        record = await self.client.find(match.home, match.away, match.kick_off)
        if record is None and _opening(match) != match.kick_off:
            record = await self.client.find(match.home, match.away, _opening(match))
        if record is None:
            return _Task(match, None, script.plan(match))
        return _Task(
            match, record, await self._remaining(match, record) if match.played else _to_announce(match, record)
        )

    async def _remaining(self, match: Match, record: Record) -> list[Step] | None:
        """The steps that an earlier run did not come to; None when the match is over, by us or by somebody else."""
        right = _score(record) == match.score.final
        over = record.status == "finished"
        if record.status in {"postponed", "cancelled"} or (
            over and right and record.end_time == script.record_end(match)
        ):
            return None
        done = await self.client.commented(record.id)
        if script.END in done:
            return [] if right or not over else None
        # Over without a step: announced before it was played and ended by the clock, or written by somebody else.
        if over and not done and (right or _score(record) != (0, 0)):
            return None
        return [step for step in script.plan(match) if step.id not in done]

    def _skip(self, task: _Task) -> None:
        self.summary.skipped += 1
        self.display.match_done()
        if task.record:
            self._check(task.match, task.record)

    async def _announce(self, task: _Task) -> None:
        match = task.match
        record = task.record or await self._create(match, match.kick_off, script.record_end(match))
        if match.cancelled:
            await self.client.revise(record.id, status="cancelled")
        self.summary.scheduled += 1
        self.display.match_done()

    async def _play(self, task: _Task, start: timedelta, clock: _Clock) -> None:
        await clock.until(start)
        record = task.record if task.record and not task.steps else await self._open(task)
        for step in task.steps or ():
            await clock.until(start + step.at - task.began)
            if step.id == script.END:
                await self._correct(task.match, record.id)
            await self._comment(task.match, record.id, step)
        await self._finish(task.match, record.id)
        self.summary.played += 1
        self.display.match_done()

    async def _open(self, task: _Task) -> Record:
        """Make the match live until long after its last step."""
        start, end = _opening(task.match), self._hold(task)
        if task.record is None:
            return await self._create(task.match, start, end)
        if task.record.status == "live" and task.record.end_time >= end:
            return task.record
        return await self.client.revise(task.record.id, startTime=instant(start), endTime=instant(end))

    def _hold(self, task: _Task) -> datetime:
        """A midnight, so that a repeated creation is the same request all day long."""
        end = datetime.now(UTC) + MARGIN + task.duration / self.speed
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

    async def _correct(self, match: Match, match_id: int) -> None:
        """Set the final score where the goals listed in the file do not add up to it."""
        final = _final(match)
        if _score(await self.client.match(match_id)) != final:
            await self.client.set_score(match_id, final.home, final.away)
            self.summary.corrected += 1

    async def _finish(self, match: Match, match_id: int) -> None:
        """End the match now, then write down when it really was."""
        await self.client.end(match_id)
        times = {"startTime": instant(match.kick_off), "endTime": instant(script.record_end(match))}
        self._check(match, await self.client.revise(match_id, **times))

    def _check(self, match: Match, record: Record) -> None:
        if match.played and (record.status != "finished" or _score(record) != _final(match)):
            said = f"{record.home_score}{script.EN_DASH}{record.away_score}, {record.status}"
            wanted = f"{_final(match).home}{script.EN_DASH}{_final(match).away}"
            self.summary.mismatches.append(
                f"  match {record.id} ({match.title}): the server has {said}, the file {wanted} (field score): "
                f"correct it with PATCH /matches/{record.id}"
            )

    def _key(self, match: Match, step: str) -> str:
        """An Idempotency-Key: the same for the same step of the same match of the same tournament, in every run."""
        parts = (self.tournament.name, match.home, match.away, instant(match.kick_off), step)
        return str(uuid5(NAMESPACE_URL, "\n".join(("livescore-replay", *parts))))


def _opening(match: Match) -> datetime:
    """The start time that makes the match live at once."""
    return match.kick_off if match.kick_off <= datetime.now(UTC) else match.kick_off - CENTURY


def _to_announce(match: Match, record: Record) -> list[Step] | None:
    return [] if match.cancelled and record.status != "cancelled" else None


def _score(record: Record) -> tuple[int, int]:
    return record.home_score, record.away_score


def _final(match: Match) -> Pair:
    final = match.score.final
    if final is None:
        raise ReplayError(f"{match.title}: field score is missing")
    return final


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

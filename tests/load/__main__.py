"""``python -m tests.load [--quick] [--json FILE]``: benchmark the service against the textbook application."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.load import floor, scenarios, servers, socket_load
from tests.load.http_load import LoadError, Round, Work, run_round
from tests.load.report import Comparison, Figure, Result, compare, fan_out_figures, process_figures
from tests.load.servers import Backends, Measured
from tests.load.socket_load import FanOut, Pace
from tests.support.service import NotReady

WARM_UP_SECONDS = 0.5
"""Time to prepare statements, fill caches and let the interpreter specialise code."""

OPEN_FILES = 12_000
"""Limit of open files: 5 000 sockets at one end, and as many to spare."""


@dataclass(frozen=True, slots=True)
class Size:
    """Duration of the benchmark."""

    rounds: int
    round_seconds: float
    paced_seconds: float
    bursts: int
    audiences: dict[int, float]
    """Number of subscribers → paced events per second: a rate that keeps the server busy less than half of the time."""


FULL = Size(rounds=7, round_seconds=1.5, paced_seconds=5.0, bursts=10, audiences={1_000: 20.0, 5_000: 8.0})
QUICK = Size(rounds=3, round_seconds=0.5, paced_seconds=1.5, bursts=3, audiences={1_000: 20.0})


class Bench:
    """One run of the benchmark."""

    def __init__(self, backends: Backends, size: Size, progress: Progress) -> None:
        self._backends = backends
        self._size = size
        self._progress = progress
        self._task = progress.add_task("", total=1 + size.rounds * len(scenarios.AIMS) + len(size.audiences))

    def run(self) -> Result:
        """Measure requests first, then each audience with a fresh process."""
        comparisons, figures = self._requests()
        fan_outs = [self._fan_out(subscribers, rate) for subscribers, rate in self._size.audiences.items()]
        figures += [row for each, least in fan_outs for row in fan_out_figures(each, least)]
        return Result(comparisons, figures, [each for each, _ in fan_outs])

    def _requests(self) -> tuple[list[Comparison], list[Figure]]:
        with ExitStack() as stack:
            ours = stack.enter_context(servers.livescore(self._backends))
            theirs = stack.enter_context(servers.textbook(self._backends))
            figures = process_figures(ours.resident_bytes(), theirs.resident_bytes())
            return uvloop.run(self._rounds(ours, theirs)), figures

    async def _rounds(self, ours: Measured, theirs: Measured) -> list[Comparison]:
        prepared = await scenarios.prepare(scenarios.LIVESCORE, ours)
        works = {ours: prepared.works, theirs: (await scenarios.prepare(scenarios.TEXTBOOK, theirs)).works}
        # The service's event goes through Redis to a listener. The textbook application has no listener for its POST.
        async with socket_load.listener(ours.port, prepared.written):
            await self._warm_up(works)
            measured = [await self._round(works, number) for number in range(self._size.rounds)]
        names = scenarios.AIMS
        return [compare(name, [r[name, ours] for r in measured], [r[name, theirs] for r in measured]) for name in names]

    async def _warm_up(self, works: Mapping[Measured, Mapping[str, Work]]) -> None:
        self._progress.update(self._task, description="warm-up")
        for server, kinds in works.items():
            for work in kinds.values():
                await run_round(server, work, WARM_UP_SECONDS)
        self._progress.advance(self._task)

    async def _round(
        self, works: Mapping[Measured, Mapping[str, Work]], number: int
    ) -> dict[tuple[str, Measured], Round]:
        """Measure each kind of request on both servers in direct succession, alternating the order of the servers."""
        measured = {}
        order = list(works) if number % 2 else list(works)[::-1]
        for name in scenarios.AIMS:
            self._progress.update(self._task, description=f"round {number + 1}: {name}")
            for server in order:
                measured[name, server] = await run_round(server, works[server][name], self._size.round_seconds)
            self._progress.advance(self._task)
        return measured

    def _fan_out(self, subscribers: int, rate: float) -> tuple[FanOut, float]:
        """Measure an audience, and directly afterwards the minimum cost of as many deliveries, in CPU microseconds."""
        self._progress.update(self._task, description=f"{subscribers} subscribers")
        pace = Pace(rate, self._size.paced_seconds, self._size.bursts)
        with servers.livescore(self._backends, f"fan-out-{subscribers}") as server:
            result = uvloop.run(socket_load.measure(server, subscribers, pace))
        least = uvloop.run(floor.measure(subscribers, result.message_bytes, pace))
        self._progress.advance(self._task)
        return result, least


def main(
    quick: Annotated[
        bool, typer.Option(help="Run fewer and shorter rounds, with 1 000 subscribers only: under a minute.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
) -> None:
    """Measure the cost of requests, messages and connections, and report missed targets."""
    servers.allow_many_sockets(OPEN_FILES)
    servers.keep_off_the_server_core()
    console = Console()
    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn())
    try:
        with servers.backends() as backends, Progress(*columns, console=console, transient=True) as progress:
            result = Bench(backends, QUICK if quick else FULL, progress).run()
    except (LoadError, NotReady) as error:
        raise SystemExit(f"bench: {error}") from None
    result.show(console)
    if json is not None:
        result.write(json)


if __name__ == "__main__":
    typer.run(main)

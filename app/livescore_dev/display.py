"""The terminal display of a replay: progress bars, the latest goals, and a summary."""

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Latest goals on display: enough for a busy minute of a match day.
TICKER_LINES = 6


class Display:
    """Shows the progress of a replay while its context is active."""

    def __init__(self, console: Console, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._matches = self._progress.add_task("matches", total=0)
        self._events = self._progress.add_task("events", total=0)
        self._title = title
        self._ticker: deque[str] = deque(maxlen=TICKER_LINES)
        self._waiting = ""
        self._console = console
        self._live = Live(console=console, get_renderable=self._render)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
        if not self._console.is_terminal:
            # Rich writes no line break after the last bar of a file or pipe.
            self._console.line()

    def expect(self, matches: int, events: int) -> None:
        """Set the total numbers of matches and events."""
        self._progress.update(self._matches, total=matches)
        self._progress.update(self._events, total=events)

    def match_done(self) -> None:
        self._progress.advance(self._matches)

    def event_sent(self, goal: str | None) -> None:
        """Count an event. A goal is also added to the ticker."""
        self._waiting = ""
        self._progress.advance(self._events)
        if goal:
            self._ticker.append(goal)

    def waiting(self, reason: str) -> None:
        """Show why the replay is waiting: a request is being retried."""
        self._waiting = f"waiting for the server: {reason}"

    def _render(self) -> RenderableType:
        # Text instead of markup, because names may contain brackets; a copy, because Rich renders in its own thread.
        lines = [Text(self._title, style="bold"), *(Text(goal) for goal in tuple(self._ticker))]
        waiting = [Text(self._waiting, style="yellow")] if self._waiting else []
        return Group(*lines, *waiting, self._progress)


def table(rows: dict[str, int]) -> Table:
    """Return a table with one row per figure."""
    result = Table(show_header=False)
    for name, value in rows.items():
        result.add_row(name, str(value))
    return result

"""Rows of the benchmark with their targets, and their presentation."""

import json
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.load.http_load import Round
from tests.load.scenarios import AIMS
from tests.load.socket_load import FanOut

MESSAGE_AIM_MICROSECONDS = 15.0
IDLE_CONNECTION_AIM_KILOBYTES = 8.0
IDLE_PROCESS_AIM_MEGABYTES = 120.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One kind of request: medians over the rounds, in requests per second of the server's CPU."""

    name: str
    livescore: float
    textbook: float
    ratios: list[float]
    aim: float

    @property
    def ratio(self) -> float:
        """Median of the rounds' ratios, as both halves of a round ran under the same conditions."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """True if the ratio reaches its target."""
        return self.ratio >= self.aim


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; ``most`` is its target, if any."""

    name: str
    value: float
    unit: str
    most: float | None = None

    @property
    def met(self) -> bool:
        """True if the value is within its target."""
        return self.most is None or self.value <= self.most


@dataclass(frozen=True, slots=True)
class Result:
    """All measurements of one run."""

    comparisons: list[Comparison]
    figures: list[Figure]
    fan_outs: list[FanOut]

    def write(self, path: Path) -> None:
        """Write the result as JSON."""
        rows = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in self.comparisons]
        figures = [asdict(figure) | {"met": figure.met} for figure in self.figures]
        content = {
            "machine": machine(),
            "requests": rows,
            "figures": figures,
            "fan_out": [asdict(f) for f in self.fan_outs],
        }
        path.write_text(json.dumps(content, indent=2) + "\n")

    def show(self, console: Console) -> None:
        """Print the tables and the conditions of the measurement."""
        console.print(_requests(self.comparisons), _figures(self.figures))
        console.print(f"{machine_line()}. {METHOD}", style="dim")


METHOD = (
    "CPU is user and system time of the server's process by the kernel's clock, server on one core, PostgreSQL, Valkey "
    "and the load on the others; requests are medians of interleaved rounds; a delivered message bears its share of "
    "the POST that caused it; latencies are from POST to arrival at the client, which shares its core with PostgreSQL."
)


def compare(name: str, livescore: Sequence[Round], textbook: Sequence[Round]) -> Comparison:
    """Compare the rounds of both servers."""
    ours, theirs = ([each.per_cpu_second for each in rounds] for rounds in (livescore, textbook))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Comparison(name, statistics.median(ours), statistics.median(theirs), ratios, AIMS[name])


def process_figures(livescore_bytes: int, textbook_bytes: int) -> list[Figure]:
    """Return the resident memory of the idle processes."""
    return [
        Figure("idle API process", livescore_bytes / 1e6, "MB", IDLE_PROCESS_AIM_MEGABYTES),
        Figure("idle textbook process", textbook_bytes / 1e6, "MB"),
    ]


def fan_out_figures(result: FanOut, least: float) -> list[Figure]:
    """Return the figures of one audience; ``least`` is the minimum cost of a paced message in CPU microseconds."""
    subscribers = f"{result.subscribers} subscribers"
    return [
        Figure(f"{subscribers}: without every event", result.subscribers - result.complete, "sockets", 0),
        Figure(f"{subscribers}: paced, CPU", result.paced.cpu_microseconds, "µs/message", MESSAGE_AIM_MICROSECONDS),
        Figure(f"{subscribers}: a bare send, paced, CPU", least, "µs/message"),
        Figure(f"{subscribers}: paced, over a bare send", result.paced.cpu_microseconds / least, "×"),
        Figure(f"{subscribers}: paced, latency p50", result.paced.p50_seconds * 1e3, "ms"),
        Figure(f"{subscribers}: paced, latency p99", result.paced.p99_seconds * 1e3, "ms"),
        Figure(
            f"{subscribers}: ten at once, CPU", result.burst.cpu_microseconds, "µs/message", MESSAGE_AIM_MICROSECONDS
        ),
        Figure(f"{subscribers}: ten at once, latency p99", result.burst.p99_seconds * 1e3, "ms"),
        Figure(f"{subscribers}: handshake, CPU", result.handshake_cpu_microseconds, "µs"),
        Figure(f"{subscribers}: subscription, CPU", result.subscribe_cpu_microseconds, "µs"),
        Figure(f"{subscribers}: idle connection", result.idle_bytes / 1e3, "KB", IDLE_CONNECTION_AIM_KILOBYTES),
    ]


def machine() -> dict[str, Any]:
    """Return the properties of the machine that the figures depend on."""
    packages = ("fastapi", "uvicorn", "uvloop", "psycopg", "sqlmodel", "redis")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "packages": {name: version(name) for name in packages},
    }


def machine_line() -> str:
    """Return :func:`machine` in one line."""
    known = machine()
    packages = ", ".join(f"{name} {number}" for name, number in known["packages"].items())
    return f"{known['processor']}, {known['system']}, Python {known['python']}, {packages}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _requests(rows: Iterable[Comparison]) -> Table:
    table = _table("Requests per CPU second", "livescore", "textbook", "ratio", "worst…best", "aim", "")
    for row in rows:
        spread = f"{min(row.ratios):.2f}…{max(row.ratios):.2f}"
        values = (f"{row.livescore:,.0f}", f"{row.textbook:,.0f}", f"{row.ratio:.2f} ×", spread, f"≥ {row.aim} ×")
        table.add_row(row.name, *values, _mark(row.met))
    return table


def _figures(figures: Iterable[Figure]) -> Table:
    table = _table("Fan-out and memory", "value", "aim", "")
    for figure in figures:
        aim = "" if figure.most is None else f"≤ {figure.most:g} {figure.unit}"
        table.add_row(figure.name, f"{figure.value:,.1f} {figure.unit}", aim, _mark(figure.met) if aim else "")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _mark(met: bool) -> str:
    return "[green]✓[/green]" if met else "[bold red]✗ missed[/bold red]"

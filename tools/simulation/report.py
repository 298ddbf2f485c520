"""Results of the simulation as a table for the terminal and as a section of the page."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.table import Table

from tools.simulation.run import Outcome


class Column(NamedTuple):
    """One figure of the table; smaller is better."""

    title: str
    value: Callable[[Outcome], float]
    digits: int = 0

    def text(self, outcome: Outcome) -> str:
        return f"{self.value(outcome):,.{self.digits}f}".replace(",", " ")


COLUMNS = (
    Column("over target, pod-seconds", lambda one: one.over),
    Column("fullest pod, of target", lambda one: one.fullest, 2),
    Column("dropped", lambda one: one.dropped),
    Column("hints sent", lambda one: one.reconnects),
    Column("pod-hours", lambda one: one.pod_seconds / 3600, 1),
    Column("changes", lambda one: one.changes),
    Column("flaps", lambda one: one.flaps),
    Column("most replicas", lambda one: one.most),
)

Day = Sequence[Outcome]
"""Outcomes of all rules in one scenario."""

SLACK = 0.02
"""Minimum relative difference for a figure to count as better or worse."""


def table(days: Sequence[Day]) -> Table:
    """Return the table for the terminal; figures worse than the HPA's are red."""
    found = Table("scenario", "rule", *(column.title for column in COLUMNS), title="A match day, simulated")
    for day in days:
        for number, outcome in enumerate(day):
            cells = [
                f"[red]{column.text(outcome)}[/red]" if _worse(column, outcome, day) else column.text(outcome)
                for column in COLUMNS
            ]
            found.add_row("" if number else outcome.scenario.name, outcome.rule, *cells)
        found.add_section()
    return found


def markdown(days: Sequence[Day]) -> str:
    """Return the table of the page; figures worse than the HPA's are bold."""
    lines = [
        "| scenario | rule | " + " | ".join(column.title for column in COLUMNS) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for day in days:
        for number, outcome in enumerate(day):
            cells = [
                f"**{column.text(outcome)}**" if _worse(column, outcome, day) else column.text(outcome)
                for column in COLUMNS
            ]
            name = "" if number else f"[{outcome.scenario.name}](scaling/{outcome.scenario.name}.svg)"
            lines.append(f"| {name} | {outcome.rule} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- **{day[0].scenario.name}**: {day[0].scenario.text}." for day in days)])


def _worse(column: Column, outcome: Outcome, day: Day) -> bool:
    hpa = next(one for one in day if one.rule == "HPA")
    return column.value(outcome) > column.value(hpa) * (1 + SLACK)

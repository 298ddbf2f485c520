"""``python -m tools.simulation [SCENARIO…]``: simulate days under all rules. Without names, write all to ``docs``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from tools.simulation.plot import svg
from tools.simulation.report import Day, markdown, table
from tools.simulation.run import rules, run
from tools.simulation.scenarios import Scenario, scenarios

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PLOTS = DOCS / "scaling.md", DOCS / "scaling"
BEGIN, END = "<!-- simulation -->\n", "<!-- /simulation -->\n"
"""Markers in the page; ``make simulate`` rewrites the text between them."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Scenarios to run; all by default.")] = None,
) -> None:
    """Simulate match days."""
    days = [play(scenario) for scenario in track(chosen(names), "Playing", console=Console(stderr=True))]
    # Without a terminal, use the full width: truncated columns are useless.
    console = Console()
    Console(width=max(console.width, 160)).print(table(days))
    if not names:
        write(days)


def chosen(names: Sequence[str] | None) -> Sequence[Scenario]:
    """Return the named scenarios, or all."""
    found = [one for one in scenarios() if not names or one.name in names]
    if not found:
        raise typer.BadParameter(f"choose from {', '.join(one.name for one in scenarios())}")
    return found


def play(scenario: Scenario) -> Day:
    """Run one scenario under each rule."""
    return [run(scenario, name, rule) for name, rule in rules(scenario).items()]


def write(days: Sequence[Day]) -> None:
    """Write the plots, and the table into the page."""
    PLOTS.mkdir(exist_ok=True)
    for day in days:
        (PLOTS / f"{day[0].scenario.name}.svg").write_text(svg(day), encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{markdown(days)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

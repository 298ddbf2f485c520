"""Measurements of the suite, printed as a table at the end of the run."""

from collections.abc import Iterable


class Measurements:
    """Rows of the table, in the order of their first measurement."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def record(self, name: str, value: str) -> None:
        """Record a value, replacing an earlier value of the same name."""
        self._values[name] = value

    def record_seconds(self, name: str, values: Iterable[float]) -> None:
        """Record one or more durations."""
        self.record(name, ", ".join(f"{value:.1f} s" for value in values))

    def table(self) -> list[str]:
        """Return names and values in two aligned columns; empty if nothing was measured."""
        width = max(map(len, self._values), default=0)
        return [f"{name:<{width}}  {value}" for name, value in self._values.items()]


MEASUREMENTS = Measurements()
"""Measurements of this run."""

"""What the suite measured, as a table that ends its run."""

from collections.abc import Iterable


class Measures:
    """Lines of the table, in the order in which they were first measured."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def note(self, name: str, value: str) -> None:
        """Keep one value; a later one of the same name replaces it."""
        self._values[name] = value

    def seconds(self, name: str, values: Iterable[float]) -> None:
        """Keep lengths of time."""
        self.note(name, ", ".join(f"{value:.1f} s" for value in values))

    def table(self) -> list[str]:
        """Names and values in two columns; nothing where nothing was measured."""
        width = max(map(len, self._values), default=0)
        return [f"{name:<{width}}  {value}" for name, value in self._values.items()]


MEASURES = Measures()
"""Of this run."""

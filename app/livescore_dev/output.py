"""The output of the development stack: lines of all processes, each with the name of its process."""

import asyncio
import io
import itertools
import signal

from rich.console import Console
from rich.style import Style

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")
NAME_WIDTH = len("scheduler")


class Output:
    """Merges the lines of several processes; each line starts with the coloured name of its process."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._file = console.file
        self._colours = itertools.cycle(COLOURS)
        self._prefixes: dict[str, str] = {}

    def write(self, name: str, line: str) -> None:
        """Write one line of process ``name``. If the reader of the output is gone, stop the stack as SIGTERM does."""
        try:
            self._file.write(f"{self._prefix(name)}{line}\n")
            self._file.flush()
        except BrokenPipeError:
            self._file = io.StringIO()
            signal.raise_signal(signal.SIGTERM)

    async def merge(self, name: str, stream: asyncio.StreamReader) -> None:
        """Write every line of ``stream`` until its end."""
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # Longer than the limit of the stream, which has dropped the line.
                line = b"(a line too long to show)\n"
            if not line:
                return
            self.write(name, line.decode(errors="replace").rstrip())

    def _prefix(self, name: str) -> str:
        if name not in self._prefixes:
            text = f"{name:<{NAME_WIDTH}} │ "
            style = Style(color=next(self._colours))
            self._prefixes[name] = style.render(text) if self.console.color_system else text
        return self._prefixes[name]

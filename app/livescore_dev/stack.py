"""``livescore dev``: the whole service on one machine, started, watched and stopped together."""

import asyncio
import errno
import io
import itertools
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from ipaddress import ip_address
from typing import IO, Protocol

import httpx
import psutil
from rich.console import Console
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from livescore import addresses
from livescore.settings import Settings, load
from livescore_dev.servers import (
    STOP_SECONDS,
    DevelopmentError,
    PortInUse,
    Postgres,
    Server,
    Valkey,
    exclusive,
    guarded,
)

FIRST_DELAY_SECONDS = 0.5
LAST_DELAY_SECONDS = 10.0
"""Before a process that ended is started again, doubled each time: soon for an accident, rarely for a bug."""

STABLE_SECONDS = 30.0
"""A process that ran this long has recovered: its next end is a new accident."""

POLL_SECONDS = 0.1
"""Between two looks at readiness, a server or its log."""

LINE_BYTES = 1_000_000
"""Longest line of a log that is kept whole; tracebacks with long values stay far below."""

LAST_OUTPUT_SECONDS = 1.0
"""Longest to wait for the output of a process that ended: a child of its own may still hold the pipe."""

PORT_VARIABLES = ("PORT", "MANAGEMENT_PORT")

LOOPBACK = {"HOST": "127.0.0.1", "MANAGEMENT_HOST": "127.0.0.1"}
"""Where a development stack listens unless its environment says otherwise: writes need no key there."""

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")
NAME_WIDTH = len("scheduler")


def run(environment: Mapping[str, str]) -> int:
    """Run the stack that ``environment`` describes until SIGINT or SIGTERM; a second one kills instead of stopping.

    Returns:
        The exit code: 0 after a stop on demand, 1 when the stack cannot run, with the reason in one line on stderr.

    Raises:
        SettingsError: if the environment is not a configuration.
    """
    environment = LOOPBACK | {name: value for name, value in environment.items() if value or name not in LOOPBACK}
    settings = _settings(environment)
    try:
        with ExitStack() as held:
            if not (is_set(environment, "DATABASE_URL") and is_set(environment, "REDIS_URL")):
                held.enter_context(exclusive(settings.data_dir))
            check_ports(settings)
            asyncio.run(Stack(settings, environment).run())
    except DevelopmentError as error:
        sys.stderr.write(f"livescore dev: {error}\n")
        return 1
    return 0


def check_ports(settings: Settings) -> None:
    """Make sure that every API can have its two ports.

    Raises:
        PortInUse: naming the port and the variable to change.
    """
    wanted = [
        (variable, host, base + number)
        for variable, host, base in (
            ("PORT", settings.host, settings.port),
            ("MANAGEMENT_PORT", settings.management_host, settings.management_port),
        )
        for number in range(settings.instances)
    ]
    with ExitStack() as probes:
        for variable, host, port in wanted:
            probes.enter_context(_bound(variable, host, port))


@contextmanager
def _bound(variable: str, host: str, port: int) -> Iterator[None]:
    """Hold a port during the check, so that PORT and MANAGEMENT_PORT cannot be given the same one."""
    with ExitStack() as held:
        try:
            for probe in addresses.bind(host, port):
                held.enter_context(probe).listen()
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "is in use" if taken else f"on {host} is not possible ({error})"
            raise PortInUse(f"port {port} {reason}: set {variable} to another one") from None
        yield


class Output:
    """One readable stream of everybody's lines, each behind the coloured name of whoever wrote it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._file = console.file
        self._colours = itertools.cycle(COLOURS)
        self._prefixes: dict[str, str] = {}

    def write(self, name: str, line: str) -> None:
        """Write one line of ``name``. When nobody reads any more, stop the stack as on SIGTERM, and be silent."""
        try:
            self._file.write(f"{self._prefix(name)}{line}\n")
            self._file.flush()
        except BrokenPipeError:
            self._file = io.StringIO()
            signal.raise_signal(signal.SIGTERM)

    async def merge(self, name: str, stream: asyncio.StreamReader) -> None:
        """Write what comes out of ``stream`` until its end."""
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # A line beyond LINE_BYTES, which the stream has dropped.
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


class Child(Protocol):
    """What the stack starts, watches and stops."""

    @property
    def name(self) -> str:
        """Its name in the output."""
        ...

    async def launch(self) -> None:
        """Start it, again if it has ended."""
        ...

    async def ended(self) -> int:
        """Wait for its end and return its exit code."""
        ...

    async def stop(self) -> None:
        """Stop it in an orderly way, in bounded time."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Program:
    """One ``livescore`` command as a process of its own."""

    def __init__(
        self, output: Output, name: str, command: str, environment: Mapping[str, str], stop_seconds: float
    ) -> None:
        self.name = name
        self._output = output
        self._command = command
        self._environment = environment
        self._stop_seconds = stop_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def launch(self) -> None:
        """Start the process and merge what it writes."""
        process = await asyncio.create_subprocess_exec(
            *guarded([sys.executable, "-m", "livescore", self._command], signal.SIGKILL),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for the stack, which stops everybody in order.
        )
        self._process = process
        if process.stdout is not None:
            self._reader = asyncio.create_task(self._output.merge(self.name, process.stdout))

    async def ended(self) -> int:
        """Wait for the end of the process and of its output."""
        if self._process is None or self._reader is None:
            return 0
        code = await self._process.wait()
        await asyncio.wait([self._reader], timeout=LAST_OUTPUT_SECONDS)
        return code

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when it takes longer than its time."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), self._stop_seconds)
        except TimeoutError:
            self._output.write(self.name, f"killed: it did not stop within {self._stop_seconds:g} s")
            self.kill()
        await self.ended()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()


class EmbeddedServer:
    """PostgreSQL or Valkey; what concerns the developer of its log is merged, the rest stays in its file."""

    def __init__(self, output: Output, server: Server) -> None:
        self.name = server.name
        self._output = output
        self._server = server
        self._log: IO[bytes] | None = None

    async def launch(self) -> None:
        """Start it and wait until it answers; blocking parts run in threads, the process starts from this one."""
        await asyncio.to_thread(self._server.prepare)
        if self._log is None:
            self._log = self._server.log_file.open("ab+")
        self._server.launch()
        await asyncio.to_thread(self._server.wait_ready)

    async def ended(self) -> int:
        """Wait for its end and show its log meanwhile."""
        while self._server.is_running():
            self._show()
            await asyncio.sleep(POLL_SECONDS)
        self._show()
        return self._server.process.returncode if self._server.process else 0

    async def stop(self) -> None:
        """Stop it in at most ``STOP_SECONDS``."""
        await asyncio.to_thread(self._server.stop)

    def kill(self) -> None:
        """SIGKILL."""
        self._server.kill()

    def _show(self) -> None:
        for line in self._log or ():
            text = line.decode(errors="replace").rstrip()
            if self._server.notable(text):
                self._output.write(self.name, text)


class Stack:
    """The servers and processes of one development environment."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.console = Console()
        self.output = Output(self.console)
        self.environment = {"LOG_FORMAT": "console", "PYTHONUNBUFFERED": "1", **environment}
        self._children: list[Child] = []
        self._interrupted = False

    async def run(self) -> None:
        """Start everything, watch over it, and stop it on a signal: APIs, then worker and scheduler, then servers.

        Raises:
            DevelopmentError: if it cannot start; everything has been stopped then.
        """
        main = asyncio.create_task(self._live())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, main, number.name)
        try:
            await main
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
        self.output.write("dev", "stopped")

    async def _live(self) -> None:
        async with AsyncExitStack() as running:
            everybody = await self._start_all(running)
            async with asyncio.TaskGroup() as watch:
                for child in everybody:
                    watch.create_task(self._supervise(child))
                watch.create_task(self._announce())

    # Start

    async def _start_all(self, running: AsyncExitStack) -> list[Child]:
        servers = await self._start_servers(running)
        await self._start(running, [migration := self._program("migrate", "migrate")])
        if code := await migration.ended():
            raise DevelopmentError(f"`livescore migrate` ended with {code}: see its output above")
        others = [self._program(name, name) for name in ("worker", "scheduler")]
        apis = [self._api(number) for number in range(self.settings.instances)]
        await self._start(running, others)
        await self._start(running, apis)
        return [*servers, *others, *apis]

    async def _start_servers(self, running: AsyncExitStack) -> list[EmbeddedServer]:
        """Start what the environment does not name, and put the addresses into it."""
        postgres, valkey = Postgres(self.settings.data_dir), Valkey(self.settings.data_dir)
        wanted: dict[str, Server] = {"DATABASE_URL": postgres, "REDIS_URL": valkey}
        missing = {variable: server for variable, server in wanted.items() if not is_set(self.environment, variable)}
        servers = [EmbeddedServer(self.output, server) for server in missing.values()]
        await self._start(running, servers)
        if "DATABASE_URL" in missing:
            await asyncio.to_thread(postgres.create_database)
        self.environment |= {variable: server.url() for variable, server in missing.items()}
        return servers

    async def _start(self, running: AsyncExitStack, children: Sequence[Child]) -> None:
        """Start ``children`` together; ``running`` stops them together, before all that were started earlier."""
        self._children += children
        running.push_async_callback(_stop, children)
        launches = [asyncio.create_task(child.launch()) for child in children]
        try:
            await asyncio.gather(*launches)
        finally:  # Nobody may start after the stop: a launch that was under way ends first.
            await asyncio.gather(*launches, return_exceptions=True)

    def _api(self, number: int) -> Program:
        ports = {"PORT": self.settings.port + number, "MANAGEMENT_PORT": self.settings.management_port + number}
        drain = self.settings.drain_grace_seconds + self.settings.drain_seconds
        return self._program(f"api-{number}", "api", ports, drain + STOP_SECONDS)

    def _program(
        self, name: str, command: str, ports: Mapping[str, int] | None = None, stop_seconds: float = STOP_SECONDS
    ) -> Program:
        """A command without ports of its own unless some are given: those of the environment are the first API's."""
        inherited = {variable: value for variable, value in self.environment.items() if variable not in PORT_VARIABLES}
        given = {variable: str(port) for variable, port in (ports or {}).items()}
        return Program(self.output, name, command, {**inherited, **given, "INSTANCE": name}, stop_seconds)

    # Watch

    async def _supervise(self, child: Child) -> None:
        """Start ``child`` again whenever it ends."""
        delay = FIRST_DELAY_SECONDS
        while True:
            started = time.monotonic()
            code = await child.ended()
            if time.monotonic() - started > STABLE_SECONDS:
                delay = FIRST_DELAY_SECONDS
            self.output.write(child.name, f"ended with {code}; starts again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY_SECONDS)
            await self._launch_again(child)

    async def _launch_again(self, child: Child) -> None:
        try:
            await child.launch()
        except DevelopmentError as error:
            self.output.write(child.name, str(error))

    async def _announce(self) -> None:
        """Say where everything is once every API is ready, or could be if a key existed."""
        host = _reachable(self.settings.management_host)
        probe = "live" if self.settings.read_keys_required else "ready"
        async with httpx.AsyncClient(timeout=2) as http:
            for number in range(self.settings.instances):
                url = f"http://{host}:{self.settings.management_port + number}/health/{probe}"
                await AsyncRetrying(wait=wait_fixed(POLL_SECONDS), retry=retry_if_result(_is_false))(
                    _answers, http, url
                )
        seconds = time.time() - psutil.Process().create_time()
        self.console.print(Panel(self._addresses(), title=f"LiveScore is ready after {seconds:.1f} s", expand=False))

    def _addresses(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")
        host, management = _reachable(self.settings.host), _reachable(self.settings.management_host)
        for number in range(self.settings.instances):
            public, private = self.settings.port + number, self.settings.management_port + number
            table.add_row("API", f"http://{host}:{public}/docs")
            table.add_row("WebSocket", f"ws://{host}:{public}/ws")
            table.add_row("Metrics", f"http://{management}:{private}/metrics")
        if self.settings.read_keys_required:
            table.add_row("Reads", _needed_key(self.settings))
        table.add_row("Writes", _write_access(self.settings))
        table.add_row("Data", str(self.settings.data_dir.absolute()))
        return table

    # Stop

    def _interrupt(self, main: asyncio.Task[None], name: str) -> None:
        """The first signal stops in order, a further one at once."""
        if self._interrupted:
            for child in self._children:
                child.kill()
            return
        self._interrupted = True
        self.output.write("dev", f"{name}: stopping; once more to kill")
        main.cancel()


async def _stop(children: Sequence[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _is_false(answer: bool) -> bool:
    return not answer


def _write_access(settings: Settings) -> str:
    """Return what a write needs, in a few words."""
    if settings.allow_anonymous_writes:
        return "need no key"
    if settings.dev_api_key:
        return "need DEV_API_KEY"
    if settings.is_production:
        return _needed_key(settings)
    return "need no key, unless some were created"


def _needed_key(settings: Settings) -> str:
    is_default = settings.data_dir == Settings.model_fields["data_dir"].default
    return f"need a key: livescore keys create NAME{'' if is_default else ' (with this DATA_DIR)'}"


def _reachable(host: str) -> str:
    """Return an address, as URLs write it, that this machine can open for a server that listens on `host`."""
    if host in addresses.EVERYWHERE:
        return "localhost"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    loopback = "127.0.0.1" if address.version == 4 else "::1"
    name = loopback if address.is_unspecified else str(address)
    return f"[{name}]" if address.version == 6 else name


def is_set(environment: Mapping[str, str], variable: str) -> bool:
    """Whether a variable has a value; blanks are none."""
    return bool(environment.get(variable, "").strip())


def _settings(environment: Mapping[str, str]) -> Settings:
    """The settings; the addresses of servers that are still to be started have a stand-in."""
    given = {name: environment[name.upper()] for name in Settings.model_fields if is_set(environment, name.upper())}
    return load(**{"database_url": "postgresql:///embedded", "redis_url": "unix:///embedded", **given})

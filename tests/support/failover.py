"""A hot standby, and an address that can be switched from one server to another."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread
from time import monotonic, sleep
from typing import TypeVar
from urllib.parse import quote

import psutil
import psycopg

from tests.support.servers import OwnPostgres

T = TypeVar("T")

STREAMING_SECONDS = 30.0
"""Timeout until a standby replicates; it retries 5 s after a failed connection."""


class Standby(OwnPostgres):
    """A hot standby of another PostgreSQL. The primary acknowledges no write before the standby has applied it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._link: Address | None = None

    def follow(self, primary: OwnPostgres) -> None:
        """Copy the primary, replicate from it, and make its commits wait until the standby has applied them."""
        assert primary.server.process is not None
        program = Path(psutil.Process(primary.server.process.pid).exe()).with_name("pg_basebackup")
        directory, owner = self.server.directory, primary.server.directory.stat()
        self._link = _link(primary, owner.st_uid, owner.st_gid)
        source = primary.server.admin_url().replace(*self._link.detour)
        arguments = ["--dbname", source, "--pgdata", str(directory), "--write-recovery-conf", "--checkpoint", "fast"]
        subprocess.run([str(program), *arguments], check=True, capture_output=True)
        # The copied data contains the primary's socket lock.
        self.server.socket.with_name(f"{self.server.socket.name}.lock").unlink(missing_ok=True)
        for path in (directory, *directory.rglob("*")):
            _give(path, owner.st_uid, owner.st_gid)
        self.server.start()
        # After the copy, so that the standby does not wait for other servers once it is promoted.
        execute(
            primary.server.admin_url(),
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "ALTER SYSTEM SET synchronous_commit = remote_apply",
            "SELECT pg_reload_conf()",
        )
        self._await_replication(primary)

    def promote(self) -> None:
        """Promote the standby and wait until it is the primary."""
        execute(self.server.admin_url(), "SELECT pg_promote()")

    def close(self) -> None:
        """Stop the standby and its replication for good."""
        super().close()
        if self._link is not None:
            self._link.close()
            shutil.rmtree(self._link.directory)

    def _await_replication(self, primary: OwnPostgres) -> None:
        """Wait until the primary streams to the standby and commits wait for the standby."""
        deadline = monotonic() + STREAMING_SECONDS
        query = "SELECT state, sync_state FROM pg_stat_replication"
        with psycopg.connect(primary.server.admin_url(), autocommit=True) as connection:
            while (states := connection.execute(query).fetchall()) != [("streaming", "sync")]:
                assert monotonic() < deadline, f"the standby does not replicate: {states}; its log:\n{self.log}"
                sleep(0.02)


def _link(primary: OwnPostgres, user: int, group: int) -> "Address":
    """Open an address of the primary that this user can reach.

    Test servers started by root run as another user, which may not enter pytest's directories.
    """
    directory = Path(mkdtemp(prefix="livescore-link-"))
    link = Address(directory, primary)
    link.open()
    for path in (directory, link.socket):
        _give(path, user, group)
    return link


def _give(path: Path, user: int, group: int) -> None:
    """Change the owner of a path; requires root."""
    if os.geteuid() == 0:
        shutil.chown(path, user, group)


def admit(server: OwnPostgres, rule: str) -> None:
    """Prepend a rule to ``pg_hba.conf``, in effect until the server restarts."""
    rules = server.server.directory / "pg_hba.conf"
    rules.write_text(f"{rule}\n{rules.read_text()}")
    execute(server.server.admin_url(), "SELECT pg_reload_conf()")


def execute(url: str, *statements: str) -> None:
    """Execute statements, each in its own transaction, with writes allowed on a read-only server too."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def set_read_only(server: OwnPostgres, value: str) -> None:
    """Set ``default_transaction_read_only`` of a running server."""
    execute(
        server.server.admin_url(),
        f"ALTER SYSTEM SET default_transaction_read_only = {value}",
        "SELECT pg_reload_conf()",
    )


class Address:
    """Forwards connections to one server. Open connections stay with their server when the target changes.

    It runs in its own thread, because tests block the event loop while they call services.
    """

    def __init__(self, directory: Path, server: OwnPostgres) -> None:
        self.directory = directory
        self.socket = directory / ".s.PGSQL.5432"
        self._target = server.server.socket
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        #: Part of the URL of ``server``, and its replacement that leads through this address.
        self.detour = (quote(str(self._target.parent)), quote(str(directory)))
        #: The ``DATABASE_URL`` through this address, with the user, password and database of ``server``.
        self.url = server.url.replace(*self.detour)

    def lead_to(self, server: OwnPostgres) -> None:
        """Forward new connections to this server."""
        self._target = server.server.socket

    def cut(self) -> None:
        """Close every connection."""
        self._run(self._cut())

    def open(self) -> None:
        """Start listening."""
        self._thread.start()
        self._server = self._run(asyncio.start_unix_server(self._serve, self.socket))

    def close(self) -> None:
        """Close the address and every connection."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, to_server = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, to_server}
        copies = [asyncio.create_task(_copy(reader, to_server)), asyncio.create_task(_copy(answers, writer))]
        self._tasks.update(copies)
        await asyncio.gather(*copies)
        self._tasks.difference_update(copies)
        self._open -= {writer, to_server}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.transport.abort()

"""What commands that manage a running service share: its database, its Redis, and errors on one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import psycopg
import typer
from psycopg.errors import UndefinedTable

from livescore.scores.sessions import Profile, connect_sync
from livescore.settings import Settings, load
from livescore.telemetry import logs


@contextmanager
def database(command: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Connect to the database. Any database error is printed as one line and ends the process with status 1.

    Args:
        command: Name of the command, such as ``keys``.
    """
    url = _database_url()
    try:
        connection, _ = connect_sync(url, Profile(prepared="off"))
        with connection:
            yield connection
    except UndefinedTable:
        fail(command, "the database has no schema yet: run `livescore migrate`")
    except psycopg.Error as error:
        fail(command, one_line(error, url))


def settings() -> Settings:
    """Return the settings. URLs that are unset are those of the `livescore dev` that is running in ``DATA_DIR``."""
    embedded = {"database_url": _embedded("postgres"), "redis_url": _embedded("valkey")}
    return load(**{name: url for name, url in embedded.items() if url is not None})


def _database_url() -> str:
    return _embedded("postgres") or settings().database_url.get_secret_value()


def _embedded(name: str) -> str | None:
    """Return the URL of an embedded server that is running, unless the environment names another one."""
    variable = "DATABASE_URL" if name == "postgres" else "REDIS_URL"
    if os.environ.get(variable, "").strip():
        return None
    data_dir = load(database_url="postgresql://", redis_url="redis://").data_dir
    if not (data_dir / name).is_dir():
        return None
    from livescore_dev.servers import Postgres, Valkey

    server = Postgres(data_dir) if name == "postgres" else Valkey(data_dir)
    return server.url() if server.socket.exists() else None


def one_line(error: object, url: str) -> str:
    """Return an error on one line, without the password: libpq quotes a URL that it cannot parse."""
    return " ".join(str(logs.redact(str(error), (url,))).split())


def fail(command: str, reason: str) -> NoReturn:
    """Print why a command failed, and exit with status 1."""
    typer.echo(f"livescore {command}: {reason}", err=True)
    raise typer.Exit(1)

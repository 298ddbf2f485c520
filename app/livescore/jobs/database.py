"""PostgreSQL for the threads of worker and scheduler: one connection, made again after every failure."""

from contextlib import suppress
from typing import Any

import psycopg

from livescore.scores.database import Parameters, Row
from livescore.settings import Settings

# Seconds; libpq knows no shorter one.
CONNECT_SECONDS = 2

# Finds a server whose machine is gone within five seconds: the kernel's own defaults take two hours.
_KEEPALIVE = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5000}


class Database:
    """A connection that commits every statement. Belongs to one thread.

    Every method raises :class:`psycopg.Error` when PostgreSQL is away or refuses the statement; the next call connects
    anew, whatever the error was, because a migration may have changed what the old connection had prepared.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url.get_secret_value()
        self._milliseconds = int(settings.database_timeout_seconds * 1000)
        self._connection: psycopg.Connection[Row] | None = None

    def rows(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """All rows of one statement."""
        return self._run(statement, parameters).fetchall()

    def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run one write; how many rows it touched."""
        return self._run(statement, parameters).rowcount

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _run(self, statement: str, parameters: Parameters | None) -> psycopg.Cursor[Row]:
        try:
            self._connection = self._connection or self._connect()
            return self._connection.execute(statement, parameters)
        except psycopg.Error:
            self.close()
            raise

    def _connect(self) -> psycopg.Connection[Row]:
        options: dict[str, Any] = {"application_name": "livescore", "connect_timeout": CONNECT_SECONDS, **_KEEPALIVE}
        limits = f"-c statement_timeout={self._milliseconds} -c lock_timeout={self._milliseconds} -c timezone=UTC"
        return psycopg.connect(self._url, autocommit=True, prepare_threshold=1, options=limits, **options)

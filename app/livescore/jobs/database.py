"""PostgreSQL for the threads of worker and scheduler: one connection, made again after every failure."""

from contextlib import suppress

import psycopg

from livescore.scores import sessions
from livescore.scores.database import Parameters, Row
from livescore.scores.sessions import Facts, Profile
from livescore.settings import Settings


class Database:
    """A connection that commits every statement. Belongs to one thread.

    Every method raises :class:`psycopg.Error` when PostgreSQL is away, cannot be used or refuses the statement. The
    next call then opens another connection, whatever the error was: the address may lead to another server, and a
    migration may have changed what the old connection had prepared.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url.get_secret_value()
        self._profile = Profile(settings.database_timeout_seconds, settings.database_prepared_statements)
        self._opened: tuple[psycopg.Connection[Row], Facts] | None = None

    def rows(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """All rows of one statement."""
        return self._run(statement, parameters)[0]

    def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run one write; how many rows it touched."""
        return self._run(statement, parameters)[1]

    def close(self) -> None:
        """Close the connection."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(psycopg.Error):
                opened[0].close()

    def _run(self, statement: str, parameters: Parameters | None) -> tuple[list[Row], int]:
        """The rows of a statement, if it returns any, and how many rows it touched."""
        try:
            self._opened = self._opened or sessions.connect_sync(self._url, self._profile)
            connection, facts = self._opened
            if not facts.pooled:
                return _result(connection.execute(statement, parameters, binary=True))
            with sessions.transaction(connection, self._profile):
                return _result(connection.execute(statement, parameters, binary=True))
        except psycopg.Error:
            self.close()
            raise


def _result(cursor: psycopg.Cursor[Row]) -> tuple[list[Row], int]:
    return (cursor.fetchall() if cursor.description else []), cursor.rowcount

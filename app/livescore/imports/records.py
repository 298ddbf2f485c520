"""The imports of this service, as clients see them: files that are kept until a worker has written their matches."""

from dataclasses import asdict

from psycopg.types.json import Json

from livescore.http_errors import NotFound
from livescore.imports.rows import ImportOptions
from livescore.scores import import_statements as sql
from livescore.scores.database import Connection, Database, fetch


class ImportRecords:
    """Creates and reads imports. A worker runs them, see :class:`livescore.imports.importer.Importer`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, body: bytes, media_type: str, name: str | None, options: ImportOptions, request_id: str
    ) -> tuple[str, int]:
        """Keep a file. Returns the import as JSON and its id."""
        parameters = {
            "body": body,
            "media_type": media_type,
            "name": name,
            "options": Json(asdict(options)),
            "request_id": request_id,
        }

        async def write(connection: Connection) -> tuple[str, int]:
            ((text, import_id),) = await fetch(connection, sql.CREATE, parameters)
            return text, import_id

        return await self._database.use(write)

    async def get(self, import_id: int) -> str:
        """Return an import as JSON.

        Raises:
            NotFound: There is no such import.
        """
        row = await self._database.row(sql.GET, {"id": import_id})
        if row is None:
            raise NotFound("Import not found")
        return str(row[0])

    async def list(self, limit: int) -> str:
        """Return the members of a JSON array: the newest imports, without their errors."""
        row = await self._database.row(sql.LIST, {"limit": limit})
        return str(row[0]) if row else ""

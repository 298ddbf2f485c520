"""A database of the service for the length of a block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from livescore.scores.database import Database


@asynccontextmanager
async def opened(url: str, *, size: int, timeout: float) -> AsyncIterator[Database]:
    """Yield a database and close it at the end."""
    database = Database(url, size=size, timeout=timeout)
    try:
        yield database
    finally:
        await database.close()

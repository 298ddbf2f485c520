"""The dispatch: finds new events and moves the cursors of the webhooks that want them.

One process at a time does it, under an advisory lock that ends with its transaction. The same transaction moves the
cursors and the horizon, so an event is dispatched exactly once, whatever dies in between.
"""

from livescore.jobs.webhooks.outcomes import LONGEST_LIVE_DELAY
from livescore.scores import webhook_statements as sql
from livescore.scores.database import Connection, Database, fetch
from livescore.scores.store import Store

# Key of the advisory lock, an arbitrary number that nothing else in the database uses.
ADVISORY_LOCK = 0x6C73_7765_6268

# Seconds before the last dispatch from which a restored database is compared: clocks of two servers may differ.
RESTORE_MARGIN = 60.0


class Dispatcher:
    """Dispatches new events.

    Attributes:
        has_webhooks: True if there was any webhook at the last dispatch.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.has_webhooks = False

    async def dispatch(self) -> int:
        """Dispatch everything new. Returns the number of cursors with new events; 0 if another process dispatches.

        Raises:
            DatabaseAway, psycopg.Error: PostgreSQL is away or refuses a statement.
        """
        dispatched = await self._database.use(self._dispatch)
        if dispatched is None:
            # The transaction ids in the feed are those of another cluster. Record that first, like every reader.
            await Store(self._database).origin()
            dispatched = await self._database.use(self._dispatch_by_time)
        return dispatched

    async def _dispatch(self, connection: Connection) -> int | None:
        """Dispatch by the horizon. Returns None if there is no valid one."""
        async with connection.transaction():
            ((locked, horizon, is_own_cluster, has_webhooks, has_news),) = await fetch(
                connection, sql.DISPATCH_STATE, {"lock": ADVISORY_LOCK}
            )
            self.has_webhooks = has_webhooks
            if not locked:
                return 0
            if not has_webhooks:
                if horizon is not None:
                    await connection.execute(sql.FORGET_HORIZON)
                return 0
            if horizon is None or not is_own_cluster:
                return None
            if not has_news:
                return 0
            parameters = {"horizon": horizon, "live_delay": LONGEST_LIVE_DELAY}
            ((count,),) = await fetch(connection, sql.DISPATCH, parameters)
            return int(count)

    async def _dispatch_by_time(self, connection: Connection) -> int:
        async with connection.transaction():
            ((locked, *_),) = await fetch(connection, sql.DISPATCH_STATE, {"lock": ADVISORY_LOCK})
            if not locked:
                return 0
            parameters = {"margin": RESTORE_MARGIN, "live_delay": LONGEST_LIVE_DELAY}
            ((count,),) = await fetch(connection, sql.DISPATCH_BY_TIME, parameters)
            return int(count)

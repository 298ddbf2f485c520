"""The database that the feeds of this process belong to."""

import asyncio

import structlog

from livescore.deployment import ID_LENGTH, Deployment, Origin
from livescore.scores.store import Store

log = structlog.get_logger(__name__)


class Identity:
    """Deployment and epoch of the database, as last read from it.

    Args:
        prefix: ``REDIS_PREFIX``.

    Attributes:
        epoch: Fingerprint of the database; empty until PostgreSQL was read.
        deployment: None until PostgreSQL was read. Nothing is published and no channel is subscribed to before.
        origin: Origin of the events that this process publishes.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.epoch = ""
        self.deployment: Deployment | None = None
        self.origin = Origin(Deployment(prefix, ""), "")
        self._stamp = b""
        self._known = asyncio.Event()

    async def read_if_unknown(self, store: Store) -> None:
        """Read the identity unless it is known.

        Raises:
            DatabaseAway: If PostgreSQL cannot be read.
        """
        if not self.epoch:
            deployment_id, epoch = await store.origin()
            self.update(deployment_id, epoch)

    def change_epoch(self, epoch: str) -> None:
        """Continue with another epoch of the same deployment."""
        self.epoch = epoch

    def update(self, deployment_id: str, epoch: str) -> bool:
        """Take over what was read from the database. Returns True if the deployment is another one than before."""
        self.epoch = epoch
        if not deployment_id:
            return False
        deployment = Deployment(self._prefix, deployment_id)
        self.origin = Origin(deployment, epoch)
        self._stamp = self.origin.stamp
        if deployment == self.deployment:
            return False
        log.info("deployment identified", namespace=deployment.namespace)
        self.deployment = deployment
        self._known.set()
        return True

    @property
    def is_known(self) -> asyncio.Event:
        """Event that is set once the deployment is known."""
        return self._known

    def redis_name(self, channel: str) -> str:
        """Return the name of a channel on Redis."""
        return self.origin.deployment.name(channel)

    def is_own(self, stamp: bytes) -> bool:
        """Return True if an envelope with this stamp carries an event of this database."""
        return stamp == self._stamp

    def is_own_deployment(self, stamp: bytes) -> bool:
        """Return True if an envelope comes from this deployment, of any epoch."""
        return stamp[:ID_LENGTH] == self._stamp[:ID_LENGTH]

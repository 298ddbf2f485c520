"""The identity of a deployment, and its names on a Redis that other deployments may share.

Pub/Sub ignores the database numbers of Redis, so only names can separate deployments.
"""

from dataclasses import dataclass

ID_LENGTH = 12
"""Hexadecimal digits of a deployment's id and of an epoch."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """All processes of one database.

    Attributes:
        prefix: ``REDIS_PREFIX``.
        id: Generated when the database is migrated for the first time, and stored in the table ``catalog``. It is part
            of dumps, so a restored database keeps it.
    """

    prefix: str
    id: str

    @property
    def namespace(self) -> str:
        """Return the prefix of all names, for example ``livescore:4be0643f1d98``."""
        return f"{self.prefix}:{self.id}"

    def name(self, *parts: str | int) -> str:
        """Return the name of a key or channel. It has no braces, so that a cluster spreads channels over its shards."""
        return ":".join((self.namespace, *map(str, parts)))

    def job_id(self, name: str) -> str:
        """Return an id for an RQ job: only letters, digits, hyphens and underscores are allowed."""
        return f"{self.prefix}-{self.id}-{name}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The database that an event comes from.

    Attributes:
        deployment: Its deployment.
        epoch: Fingerprint of the database. A copy of a database has the same deployment id but another epoch.
    """

    deployment: Deployment
    epoch: str

    @property
    def stamp(self) -> bytes:
        """Return the first bytes of every envelope on Redis: deployment id and epoch."""
        return self.deployment.id.encode() + self.epoch.encode()

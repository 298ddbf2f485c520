"""Identity of a deployment, and its names on a Redis that several deployments may share.

Pub/Sub ignores Redis' database numbers, so only names keep deployments apart.
"""

from dataclasses import dataclass

ID_LENGTH = 12
"""Hexadecimal digits of a deployment's id, and of an epoch."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """All processes of one database.

    Attributes:
        prefix: ``REDIS_PREFIX``.
        id: drawn when the database is migrated for the first time. It is stored in the table ``catalog``, so a dump
            carries it and a restored database keeps it.
    """

    prefix: str
    id: str

    @property
    def namespace(self) -> str:
        """Beginning of every name, for example ``livescore:4be0643f1d98``."""
        return f"{self.prefix}:{self.id}"

    def name(self, *parts: str | int) -> str:
        """Return the name of a key or channel. Without braces, so that channels spread over a cluster's shards."""
        return ":".join((self.namespace, *map(str, parts)))

    def job_id(self, name: str) -> str:
        """Return an RQ job id, which may consist of letters, digits, hyphens and underscores only."""
        return f"{self.prefix}-{self.id}-{name}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Database that an event comes from.

    Attributes:
        deployment: names of its deployment.
        epoch: fingerprint of the database. A copy of a database has the same deployment id but another epoch.
    """

    deployment: Deployment
    epoch: str

    @property
    def stamp(self) -> bytes:
        """Beginning of every envelope on Redis: deployment id and epoch."""
        return self.deployment.id.encode() + self.epoch.encode()

"""The children of a LiveScore: pure functions from what is wanted and what is known to manifests."""

from livescore_operator.components import (
    api,
    config,
    hpa,
    migration,
    monitoring,
    network,
    postgres,
    process,
    redis,
    worker,
)
from livescore_operator.components.common import Credentials, Facts, Scale
from livescore_operator.resource import LiveScore, Manifest

__all__ = ["Credentials", "Facts", "Scale", "build", "references"]


def build(resource: LiveScore, facts: Facts) -> list[Manifest]:
    """Everything that is wanted now, in the order in which it is applied."""
    return [
        *config.build(resource, facts),
        *network.build(resource, facts),
        *postgres.build(resource, facts),
        *redis.build(resource, facts),
        *migration.build(resource, facts),
        *_processes(resource, facts),
        *monitoring.build(resource, facts),
    ]


def references(resource: LiveScore) -> frozenset[str]:
    """Secrets and ConfigMaps of others whose digests :attr:`Facts.checksums` should hold: `Secret/<name>`."""
    spec = resource.spec
    return frozenset().union(*(process.references(resource, part) for part in (spec.api, spec.worker, spec.scheduler)))


def _processes(resource: LiveScore, facts: Facts) -> list[Manifest]:
    image = facts.serving_image
    if not image:
        return []
    return [*api.build(resource, facts, image), *hpa.build(resource, facts), *worker.build(resource, facts, image)]

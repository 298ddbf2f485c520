"""Builders of the owned objects of a LiveScore: pure functions from spec and context to manifests."""

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
from livescore_operator.components.common import BuildContext, Credentials, Scale
from livescore_operator.resource import LiveScore, Manifest

__all__ = ["BuildContext", "Credentials", "Scale", "build", "references"]


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return the desired objects, in the order in which they are applied."""
    return [
        *config.build(resource, context),
        *network.build(resource, context),
        *postgres.build(resource, context),
        *redis.build(resource, context),
        *migration.build(resource, context),
        *_processes(resource, context),
        *monitoring.build(resource, context),
    ]


def references(resource: LiveScore) -> frozenset[str]:
    """Return the user's Secrets and ConfigMaps whose digests :attr:`BuildContext.checksums` needs: `Secret/<name>`."""
    spec = resource.spec
    return frozenset().union(*(process.references(resource, part) for part in (spec.api, spec.worker, spec.scheduler)))


def _processes(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    image = context.serving_image
    if not image:
        return []
    return [
        *api.build(resource, context, image),
        *hpa.build(resource, context),
        *worker.build(resource, context, image),
    ]

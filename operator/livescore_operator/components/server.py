"""A server of one pod with one volume: standalone PostgreSQL and Redis."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from livescore_operator.components import pods
from livescore_operator.components.common import (
    HISTORY,
    RETAINED,
    BuildContext,
    ClaimTemplate,
    manifest,
    selector,
)
from livescore_operator.quantities import canonical
from livescore_operator.resource import LiveScore, Manifest, Storage

POSTGRES_PORT, REDIS_PORT = 5432, 6379

VOLUME = "data"


@dataclass(frozen=True)
class Server:
    """What tells one server from another.

    Attributes:
        component: Its label and the end of its name.
        port: Number of its TCP port, which has the component's name.
        user: User and group of its processes.
        storage: Its volume.
        container: Its container, which mounts `data`.
        checksum: Digest of what it reads when it starts.
        stop_seconds: How long it may take to stop.
        volumes: More volumes.
    """

    component: str
    port: int
    user: int
    storage: Storage
    container: Manifest
    checksum: str
    stop_seconds: int
    volumes: list[Manifest] = field(default_factory=list)


def build(resource: LiveScore, context: BuildContext, server: Server) -> list[Manifest]:
    """Headless Service, StatefulSet, and the claim where its volume exists."""
    return [_service(resource, server), _stateful_set(resource, context, server), *_claims(resource, context, server)]


def name(resource: LiveScore, component: str) -> str:
    """Name of the Service and of the StatefulSet."""
    return f"{resource.name}-{component}"


def host(resource: LiveScore, component: str) -> str:
    """Name under which the pods of the cluster find it."""
    return f"{name(resource, component)}.{resource.namespace}.svc"


def claim(resource: LiveScore, component: str) -> str:
    """Name of the PersistentVolumeClaim that the StatefulSet makes."""
    return f"{VOLUME}-{name(resource, component)}-0"


def storages(resource: LiveScore) -> Iterator[tuple[str, Storage]]:
    """Return the component and the wanted volume of each server that the operator runs itself."""
    spec = resource.spec
    if spec.postgres.mode == "standalone":
        yield "postgres", spec.postgres.storage
    if spec.redis.mode == "standalone":
        yield "redis", spec.redis.storage


def template(stateful_set: Manifest | None) -> ClaimTemplate | None:
    """Return the claim template of a StatefulSet; others may add templates of their own, in any place."""
    templates = ((stateful_set or {}).get("spec") or {}).get("volumeClaimTemplates") or []
    spec = next((one["spec"] for one in templates if one["metadata"]["name"] == VOLUME), None)
    if spec is None:
        return None
    return ClaimTemplate(spec["resources"]["requests"]["storage"], spec.get("storageClassName"))


def _service(resource: LiveScore, server: Server) -> Manifest:
    label = server.component
    port = {"name": label, "port": server.port, "protocol": "TCP", "targetPort": label}
    selected = selector(resource, label)
    spec = {"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack", "selector": selected, "ports": [port]}
    return manifest(resource, "v1", "Service", name(resource, label), label, spec=spec)


def _stateful_set(resource: LiveScore, context: BuildContext, server: Server) -> Manifest:
    label = server.component
    spec = {
        "replicas": 1,
        "serviceName": name(resource, label),
        # OrderedReady would wait for ever for a pod that cannot become ready instead of replacing it.
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": HISTORY,
        "selector": {"matchLabels": selector(resource, label)},
        "template": _template(resource, server),
        "volumeClaimTemplates": [_claim_template(resource, context, server)],
    }
    return manifest(resource, "apps/v1", "StatefulSet", name(resource, label), label, spec=spec)


def _template(resource: LiveScore, server: Server) -> Manifest:
    return pods.template(
        resource,
        server.component,
        server.container,
        user=server.user,
        checksum=server.checksum,
        volumes=server.volumes,
        # Volumes come as root's.
        security={"fsGroup": server.user, "fsGroupChangePolicy": "OnRootMismatch"},
        terminationGracePeriodSeconds=server.stop_seconds,
    )


def _claim_template(resource: LiveScore, context: BuildContext, server: Server) -> Manifest:
    # Immutable: it keeps the size and the class it began with, the claim itself grows.
    wanted = ClaimTemplate(server.storage.size, server.storage.storage_class_name)
    made = context.claimed.get(name(resource, server.component), wanted)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": made.storage_class,
        "resources": _request(made.size),
    }
    return {"metadata": {"name": VOLUME}, "spec": spec}


def _claims(resource: LiveScore, context: BuildContext, server: Server) -> list[Manifest]:
    """Return the claim once it exists: its size may grow, and nothing may delete it by mistake.

    The annotations are not in the claim template, which is immutable in the StatefulSets that exist.
    """
    label = claim(resource, server.component)
    if label not in context.claims:
        return []
    metadata = {"name": label, "namespace": resource.namespace, "annotations": dict(RETAINED)}
    # Always with its size: a server-side apply that leaves a field out removes it.
    spec = {"resources": {"requests": {"storage": context.claims[label]}}}
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}]


def _request(size: str) -> dict[str, Any]:
    return {"requests": {"storage": canonical(size)}}

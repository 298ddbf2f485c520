"""A server with one pod and one volume: standalone PostgreSQL and Redis."""

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
    """Parameters of a server.

    Attributes:
        component: Component label, and suffix of the names.
        port: TCP port; it is named after the component.
        user: User and group ID of the processes.
        storage: Volume.
        container: Container, which mounts `data`.
        checksum: Digest of everything that the server reads at start.
        stop_seconds: Seconds that the server may take to stop.
        volumes: Additional volumes.
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
    """Return headless Service and StatefulSet, and the claim if it exists."""
    return [_service(resource, server), _stateful_set(resource, context, server), *_claims(resource, context, server)]


def name(resource: LiveScore, component: str) -> str:
    """Return the name of the Service and of the StatefulSet."""
    return f"{resource.name}-{component}"


def host(resource: LiveScore, component: str) -> str:
    """Return the DNS name of the server."""
    return f"{name(resource, component)}.{resource.namespace}.svc"


def claim(resource: LiveScore, component: str) -> str:
    """Return the name of the PersistentVolumeClaim that the StatefulSet creates."""
    return f"{VOLUME}-{name(resource, component)}-0"


def storages(resource: LiveScore) -> Iterator[tuple[str, Storage]]:
    """Yield component and desired volume of each server that the operator runs."""
    spec = resource.spec
    if spec.postgres.mode == "standalone":
        yield "postgres", spec.postgres.storage
    if spec.redis.mode == "standalone":
        yield "redis", spec.redis.storage


def template(stateful_set: Manifest | None) -> ClaimTemplate | None:
    """Return the claim template of a StatefulSet. Webhooks may have added others, in any position."""
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
        # OrderedReady would wait for a pod that cannot become ready instead of replacing it.
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
        # New volumes belong to root.
        security={"fsGroup": server.user, "fsGroupChangePolicy": "OnRootMismatch"},
        terminationGracePeriodSeconds=server.stop_seconds,
    )


def _claim_template(resource: LiveScore, context: BuildContext, server: Server) -> Manifest:
    # Immutable: it keeps its first size and class; the claim itself may grow.
    wanted = ClaimTemplate(server.storage.size, server.storage.storage_class_name)
    made = context.claimed.get(name(resource, server.component), wanted)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": made.storage_class,
        "resources": _request(made.size),
    }
    return {"metadata": {"name": VOLUME}, "spec": spec}


def _claims(resource: LiveScore, context: BuildContext, server: Server) -> list[Manifest]:
    """Return the claim if it exists, with its desired size and protected from deletion by other tools.

    The annotations are not in the claim template, which is immutable in existing StatefulSets.
    """
    label = claim(resource, server.component)
    if label not in context.claims:
        return []
    metadata = {"name": label, "namespace": resource.namespace, "annotations": dict(RETAINED)}
    # Always with the size: a server-side apply removes fields that it omits.
    spec = {"resources": {"requests": {"storage": context.claims[label]}}}
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}]


def _request(size: str) -> dict[str, Any]:
    return {"requests": {"storage": canonical(size)}}

"""The status of a LiveScore. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from livescore_operator.claims import is_bound
from livescore_operator.components import migration, server
from livescore_operator.components.common import selector
from livescore_operator.conditions import settled
from livescore_operator.planning import Key
from livescore_operator.resource import (
    API_VERSION,
    KIND,
    Condition,
    Draining,
    Endpoints,
    LiveScore,
    Manifest,
    Metadata,
    Plan,
    Scaling,
    Status,
    Volume,
    Volumes,
)


class Scaled(NamedTuple):
    """The part of the status about the number of API pods.

    Attributes:
        connections: Open WebSockets of all API pods; None if no pod could be read.
        scaling: Scaling decision; None if autoscaling.mode is none.
        draining: Pods that drain before they are removed.
    """

    connections: int | None
    scaling: Scaling | None
    draining: Sequence[Draining]


def status(
    resource: LiveScore,
    owned: Mapping[Key, Manifest],
    conditions: list[Condition],
    serving_image: str | None,
    scaled: Scaled,
    plan: Plan | None,
) -> Status:
    """Return the whole status of a LiveScore."""
    deployment = owned.get(("Deployment", resource.api_name)) or {}
    now, wanted = deployment.get("status") or {}, (deployment.get("spec") or {}).get("replicas", 0)
    ready = now.get("readyReplicas", 0)
    return Status(
        observed_generation=resource.metadata.generation,
        conditions=conditions,
        replicas=now.get("replicas", 0),
        ready_replicas=ready,
        api=f"{ready}/{wanted}",
        selector=",".join(f"{name}={value}" for name, value in selector(resource, "api").items()),
        connections=resource.status.connections if scaled.connections is None else scaled.connections,
        scaling=scaled.scaling,
        draining=list(scaled.draining),
        settled=settled(resource, owned, len(scaled.draining)),
        image=serving_image if deployment else resource.status.image,
        schema_image=_migrated(resource, owned) or resource.status.schema_image,
        volumes=volumes(resource, owned),
        endpoints=endpoints(resource),
        plan=plan,
    )


def _migrated(resource: LiveScore, owned: Mapping[Key, Manifest]) -> str | None:
    job = owned.get(("Job", migration.name(resource)))
    return resource.spec.image if job and migration.succeeded(job) else None


def volumes(resource: LiveScore, owned: Mapping[Key, Manifest]) -> Volumes | None:
    """Return the claims of the servers that the operator runs; None if there is none yet."""
    found: dict[str, Volume] = {}
    for component, _ in server.storages(resource):
        claim = owned.get(("PersistentVolumeClaim", server.claim(resource, component)))
        if claim is None:
            continue
        # The rules of the CRD check whether the name is present, so every bound claim needs one here.
        volume = (claim["spec"].get("volumeName") or "unknown") if is_bound(claim) else None
        template = server.template(owned.get(("StatefulSet", server.name(resource, component))))
        found[component] = Volume(
            claim=claim["metadata"]["name"],
            volume=volume,
            storage_class_name=template.storage_class if template else None,
        )
    return Volumes.model_validate(found) if found else None


def endpoints(resource: LiveScore) -> Endpoints:
    """Return the URLs of the service."""
    host = f"{resource.name}.{resource.namespace}.svc:{resource.spec.api.port}"
    ingress = resource.spec.api.ingress
    scheme = "https" if ingress and ingress.tls_secret_name else "http"
    return Endpoints(
        service=f"http://{host}",
        websocket=f"ws://{host}/ws",
        ingress=f"{scheme}://{ingress.host}" if ingress else None,
    )


def manifest(metadata: Metadata, written: Status) -> Manifest:
    """Return the manifest to apply to the status subresource."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace},
        "status": dumped(written),
    }


def dumped(written: Status) -> dict[str, Any]:
    """Return a status as JSON, without the fields that :mod:`livescore_operator.ownership` writes."""
    return written.model_dump(by_alias=True, exclude_none=True, exclude={"operator", "contender"})

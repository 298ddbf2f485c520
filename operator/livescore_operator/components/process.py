"""Workloads that run the image of the service: API, worker, scheduler and migration."""

from collections.abc import Iterable, Iterator
from typing import Any

from livescore_operator.components import config, credentials, pods
from livescore_operator.components.common import HISTORY, BuildContext, fingerprint, manifest, selector
from livescore_operator.resource import (
    MANAGEMENT_PORT,
    RESERVED_ENV,
    Api,
    EnvVar,
    KeyReference,
    LiveScore,
    Manifest,
    Scheduler,
    Worker,
)

# User ID in the image, see Dockerfile.
USER = 10001

Process = Api | Worker | Scheduler


def deployment(
    resource: LiveScore,
    context: BuildContext,
    component: str,
    wanted: Process,
    container: Manifest,
    *,
    pod: Manifest,
    **spec: Any,
) -> Manifest:
    """Return the Deployment of a component, with `pod` added to the spec of its pods and `spec` to its own."""
    template = pods.template(
        resource,
        component,
        container,
        user=USER,
        extra=wanted.template,
        checksum=checksum(resource, context, wanted),
        topologySpreadConstraints=_spread(resource, component, wanted),
        **pod,
    )
    selected = {"selector": {"matchLabels": selector(resource, component)}, "template": template}
    body = {**spec, "revisionHistoryLimit": HISTORY, **selected}
    return manifest(resource, "apps/v1", "Deployment", f"{resource.name}-{component}", component, spec=body)


def container(resource: LiveScore, name: str, command: str, image: str, wanted: Process, **fields: Any) -> Manifest:
    """Return a container that runs `livescore <command>`."""
    return pods.container(
        name,
        image,
        wanted.resources,
        imagePullPolicy=resource.spec.image_pull_policy,
        command=["livescore", command],
        envFrom=[{"configMapRef": {"name": config.config_name(resource)}}],
        env=_environment(resource, wanted.env),
        **fields,
    )


def probes() -> Manifest:
    """Return the probes of a process with a management port.

    Liveness depends only on the process itself: a restart does not repair a database.
    """
    return {
        "startupProbe": _probe("live", periodSeconds=1, failureThreshold=60),
        "readinessProbe": _probe("ready", periodSeconds=2, timeoutSeconds=3, failureThreshold=2),
        "livenessProbe": _probe("live", periodSeconds=10, timeoutSeconds=3, failureThreshold=3),
    }


def management() -> Manifest:
    """Return the port of metrics, probes and drain."""
    return pods.port("management", MANAGEMENT_PORT)


def checksum(resource: LiveScore, context: BuildContext, wanted: Process) -> str:
    """Return a fingerprint of everything that a process reads at start. A change rolls the pods."""
    foreign = {reference: context.checksums.get(reference) for reference in references(resource, wanted)}
    read = [config.data(resource), credentials.urls(resource, context.credentials), foreign]
    return fingerprint(context.credentials.checksum_key, read)


def references(resource: LiveScore, wanted: Process) -> set[str]:
    """Return the user's objects that a process reads, as `Secret/<name>` and `ConfigMap/<name>`."""
    sources = [variable.value_from for variable in wanted.env if variable.value_from]
    secrets = [config.database(resource), config.redis(resource), *(source.secret_key_ref for source in sources)]
    if isinstance(wanted, Api):
        secrets.append(wanted.api_keys_secret)
    maps = [source.config_map_key_ref for source in sources]
    return {*_named("Secret", secrets), *_named("ConfigMap", maps)} - {f"Secret/{credentials.name(resource)}"}


def _named(kind: str, read: Iterable[KeyReference | None]) -> Iterator[str]:
    return (f"{kind}/{reference.name}" for reference in read if reference)


def _environment(resource: LiveScore, own: list[EnvVar]) -> list[Manifest]:
    database, redis = config.database(resource), config.redis(resource)
    return [
        pods.secret_variable("DATABASE_URL", database.name, database.key),
        pods.secret_variable("REDIS_URL", redis.name, redis.key),
        # The CRD rejects reserved names as well, but objects stored under an older CRD are not validated again.
        *(pods.given(variable) for variable in own if variable.name not in RESERVED_ENV),
    ]


def _probe(path: str, **timing: int) -> Manifest:
    return {"httpGet": {"path": f"/health/{path}", "port": "management"}, **timing}


def _spread(resource: LiveScore, component: str, wanted: Process) -> list[Manifest]:
    chosen = wanted.template.topology_spread_constraints
    return [_over_nodes(selector(resource, component))] if chosen is None else chosen


def _over_nodes(labels: dict[str, str]) -> Manifest:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
        # Spread each revision separately: otherwise old pods influence where new ones are scheduled during a roll-out.
        "matchLabelKeys": ["pod-template-hash"],
    }

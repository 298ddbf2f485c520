"""The API: a Deployment that adds new pods before it removes old ones, and drains pods before they stop."""

from livescore_operator.components import config, credentials, pods, process
from livescore_operator.components.common import BuildContext, manifest, selector
from livescore_operator.resource import KeyReference, LiveScore, Manifest

# Name of the API container. Webhooks may add other containers to its pods.
CONTAINER = "api"

# Seconds after grace and deadline for requests in flight to end, see docs/operations.md.
STOP_SECONDS = 15

# Seconds for which a new pod must be ready before an old one is removed.
MIN_READY_SECONDS = 2

# Seconds without progress after which a roll-out counts as failed: enough to pull an image and to start.
PROGRESS_SECONDS = 600


def build(resource: LiveScore, context: BuildContext, image: str) -> list[Manifest]:
    """Return Deployment and PodDisruptionBudget of the API."""
    return [_deployment(resource, context, image), *_budget(resource)]


def _deployment(resource: LiveScore, context: BuildContext, image: str) -> Manifest:
    api = resource.spec.api
    return process.deployment(
        resource,
        context,
        "api",
        api,
        _container(resource, image),
        pod={
            "volumes": _volumes(resource),
            # No preStop hook: SIGTERM starts the drain, a hook would only delay it.
            "terminationGracePeriodSeconds": config.DRAIN_GRACE_SECONDS + api.drain.deadline_seconds + STOP_SECONDS,
        },
        # None if a HorizontalPodAutoscaler owns the field.
        replicas=context.scale.replicas,
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        minReadySeconds=MIN_READY_SECONDS,
        progressDeadlineSeconds=PROGRESS_SECONDS,
    )


def _container(resource: LiveScore, image: str) -> Manifest:
    api = resource.spec.api
    ports = [pods.port("http", api.port), process.management()]
    mounts = [{"name": "admin-key", "mountPath": config.ADMIN_FOLDER, "readOnly": True}]
    if api.api_keys_secret:
        mounts.append({"name": "api-keys", "mountPath": config.KEYS_FOLDER, "readOnly": True})
    return process.container(resource, CONTAINER, "api", image, api, ports=ports, mounts=mounts, **process.probes())


def _volumes(resource: LiveScore) -> list[Manifest]:
    admin = KeyReference(name=credentials.name(resource), key=credentials.ADMIN_KEY)
    volumes = [_secret_volume("admin-key", admin, credentials.ADMIN_KEY)]
    if keys := resource.spec.api.api_keys_secret:
        volumes.append(_secret_volume("api-keys", keys, config.KEYS_FILE))
    return volumes


def _secret_volume(name: str, reference: KeyReference, path: str) -> Manifest:
    """Return a volume with one key of a Secret.

    It is mounted as a directory: the kubelet does not update files that are mounted directly.
    """
    items = [{"key": reference.key, "path": path}]
    return {"name": name, "secret": {"secretName": reference.name, "items": items}}


def _budget(resource: LiveScore) -> list[Manifest]:
    budget = resource.spec.api.pod_disruption_budget
    spec = {
        "maxUnavailable": budget.max_unavailable,
        "selector": {"matchLabels": selector(resource, "api")},
        # A pod that is not ready serves no client, and must not block the drain of its node.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    name = resource.api_name
    return [manifest(resource, "policy/v1", "PodDisruptionBudget", name, "api", spec=spec)] if budget.enabled else []

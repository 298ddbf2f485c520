"""Pods as the `restricted` Pod Security Standard wants them. Every pod of a LiveScore is made here."""

from typing import Any

from livescore_operator.components.common import labels_of
from livescore_operator.quantities import canonical
from livescore_operator.resource import GROUP, LiveScore, Manifest, Model, PodTemplate, Resources

CHECKSUM = f"{GROUP}/checksum"

# Root file systems are read-only; this is what a library may leave in a temporary folder. Above it the pod is evicted.
SCRATCH_SIZE = "64Mi"
_TMP = "/tmp"  # noqa: S108 - a volume of this container alone


def template(
    resource: LiveScore,
    component: str,
    container: Manifest,
    *,
    user: int,
    extra: PodTemplate | None = None,
    checksum: str | None = None,
    volumes: list[Manifest] | None = None,
    security: Manifest | None = None,
    **spec: Any,
) -> Manifest:
    """A pod template with one container.

    Args:
        resource: Whose pods these are.
        component: Label of the pods.
        container: From :func:`container`.
        user: User and group of all processes.
        extra: What the resource adds to these pods; it cannot replace the operator's labels.
        checksum: Digest of what the pods read when they start, so that a change rolls them.
        volumes: More volumes than the scratch space.
        security: More of the pod's securityContext.
        spec: More of the pod's spec.
    """
    added = extra or PodTemplate()
    return {
        "metadata": {
            "labels": {**added.labels, **labels_of(resource, component)},
            "annotations": {**added.annotations, CHECKSUM: checksum},
        },
        "spec": {
            "serviceAccountName": resource.name,
            "automountServiceAccountToken": False,
            # Else every Service of the namespace puts its address into the environment, one called "api" as API_PORT.
            "enableServiceLinks": False,
            "imagePullSecrets": [given(secret) for secret in resource.spec.image_pull_secrets],
            "securityContext": {**_security(user), **(security or {})},
            "containers": [container],
            "volumes": [scratch("tmp"), *(volumes or [])],
            **_placement(added),
            **spec,
        },
    }


def container(
    name: str, image: str, resources: Resources, mounts: list[Manifest] | None = None, **fields: Any
) -> Manifest:
    """A container without any privilege that writes to its mounts only."""
    return {
        "name": name,
        "image": image,
        **fields,
        "resources": amounts(resources),
        "volumeMounts": [{"name": "tmp", "mountPath": _TMP}, *(mounts or [])],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def amounts(resources: Resources) -> Manifest:
    """Requests and limits of a container."""
    return {
        "requests": {key: canonical(amount) for key, amount in resources.requests.items()},
        "limits": {key: canonical(amount) for key, amount in resources.limits.items()},
    }


def scratch(name: str) -> Manifest:
    """A small volume that goes with its pod."""
    return {"name": name, "emptyDir": {"sizeLimit": SCRATCH_SIZE}}


def port(name: str, number: int) -> Manifest:
    """A named TCP port of a container."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def secret_variable(name: str, secret: str, key: str) -> Manifest:
    """An environment variable from a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def given(model: Model) -> Manifest:
    """The fields of a model that say something: the API server drops empty ones."""
    return {key: value for key, value in model.model_dump(by_alias=True).items() if value not in (None, "")}


def _security(user: int) -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _placement(extra: PodTemplate) -> Manifest:
    return {
        "nodeSelector": extra.node_selector,
        "tolerations": [given(toleration) for toleration in extra.tolerations],
        "affinity": extra.affinity,
        "priorityClassName": extra.priority_class_name,
    }

"""Pod templates that meet the `restricted` Pod Security Standard. Every pod of a LiveScore is built here."""

from typing import Any

from livescore_operator.components.common import labels_of
from livescore_operator.quantities import canonical
from livescore_operator.resource import GROUP, LiveScore, Manifest, Model, PodTemplate, Resources

CHECKSUM = f"{GROUP}/checksum"

# Size of the temporary directory; root file systems are read-only. A pod that exceeds it is evicted.
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
    """Return a pod template with one container.

    Args:
        resource: The LiveScore.
        component: Component label of the pods.
        container: Container from :func:`container`.
        user: User and group ID of all processes.
        extra: Additions of the spec; they cannot replace labels of the operator.
        checksum: Digest of everything that the pods read at start, so that a change rolls them.
        volumes: Volumes in addition to the temporary directory.
        security: Additional fields of the pod's securityContext.
        spec: Additional fields of the pod's spec.
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
            # Otherwise every Service of the namespace adds variables; one named "api" would set API_PORT.
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
    """Return a container without privileges, which can write only to its mounts."""
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
    """Return requests and limits of a container."""
    return {
        "requests": {key: canonical(amount) for key, amount in resources.requests.items()},
        "limits": {key: canonical(amount) for key, amount in resources.limits.items()},
    }


def scratch(name: str) -> Manifest:
    """Return a small volume that is deleted with its pod."""
    return {"name": name, "emptyDir": {"sizeLimit": SCRATCH_SIZE}}


def port(name: str, number: int) -> Manifest:
    """Return a named TCP port of a container."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def secret_variable(name: str, secret: str, key: str) -> Manifest:
    """Return an environment variable from a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def given(model: Model) -> Manifest:
    """Return the fields of a model that are not empty; the API server drops empty ones."""
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

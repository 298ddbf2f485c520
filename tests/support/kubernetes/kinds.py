"""The kinds that the operator and its tests know, and where the API has them."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of one version."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()

    @property
    def group(self) -> str:
        """The API group, empty for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version without the group."""
        return self.api_version.rpartition("/")[2]

    @property
    def qualified(self) -> str:
        """The plural as error messages write it: ``deployments.apps``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """The path of a collection, an object or a subresource; without a namespace, of all namespaces."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return "".join([root, scope, f"/{self.plural}", *(f"/{part}" for part in (name, subresource) if part)])


def _kinds(api_version: str, *kinds: tuple[str, str], namespaced: bool = True, subresources: str = "") -> list[Kind]:
    return [Kind(api_version, kind, plural, namespaced, frozenset(subresources.split())) for kind, plural in kinds]


BUILT_IN = [
    *_kinds("v1", ("ConfigMap", "configmaps"), ("Secret", "secrets"), ("Event", "events")),
    *_kinds("v1", ("ServiceAccount", "serviceaccounts"), subresources="token"),
    *_kinds("v1", ("Service", "services"), ("PersistentVolumeClaim", "persistentvolumeclaims"), subresources="status"),
    *_kinds("v1", ("Pod", "pods"), subresources="status log"),
    *_kinds("v1", ("Namespace", "namespaces"), namespaced=False, subresources="status finalize"),
    *_kinds("v1", ("Node", "nodes"), namespaced=False, subresources="status"),
    *_kinds("apps/v1", ("Deployment", "deployments"), ("StatefulSet", "statefulsets"), subresources="status scale"),
    *_kinds("apps/v1", ("ReplicaSet", "replicasets"), subresources="status scale"),
    *_kinds("apps/v1", ("ControllerRevision", "controllerrevisions")),
    *_kinds("batch/v1", ("Job", "jobs"), subresources="status"),
    *_kinds("policy/v1", ("PodDisruptionBudget", "poddisruptionbudgets"), subresources="status"),
    *_kinds("networking.k8s.io/v1", ("Ingress", "ingresses"), subresources="status"),
    *_kinds("networking.k8s.io/v1", ("NetworkPolicy", "networkpolicies")),
    *_kinds("coordination.k8s.io/v1", ("Lease", "leases")),
    *_kinds("autoscaling/v2", ("HorizontalPodAutoscaler", "horizontalpodautoscalers"), subresources="status"),
    *_kinds("rbac.authorization.k8s.io/v1", ("Role", "roles"), ("RoleBinding", "rolebindings")),
    *_kinds(
        "rbac.authorization.k8s.io/v1",
        ("ClusterRole", "clusterroles"),
        ("ClusterRoleBinding", "clusterrolebindings"),
        namespaced=False,
    ),
    *_kinds("apiregistration.k8s.io/v1", ("APIService", "apiservices"), namespaced=False, subresources="status"),
    *_kinds("storage.k8s.io/v1", ("StorageClass", "storageclasses"), namespaced=False),
    *_kinds(
        "apiextensions.k8s.io/v1",
        ("CustomResourceDefinition", "customresourcedefinitions"),
        namespaced=False,
        subresources="status",
    ),
]

LIVESCORE = Kind("livescore.dev/v1", "LiveScore", "livescores", subresources=frozenset({"status", "scale"}))
CLUSTER = Kind("postgresql.cnpg.io/v1", "Cluster", "clusters", subresources=frozenset({"status"}))
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")

KINDS = {kind.kind: kind for kind in [*BUILT_IN, LIVESCORE, CLUSTER, POD_MONITOR]}
"""Every kind by its name: no two groups used here share one."""


def of(manifest: Json) -> Kind:
    """The kind of an object.

    Raises:
        KeyError: it is none of :data:`KINDS`.
    """
    kind = KINDS[manifest["kind"]]
    if kind.api_version != manifest["apiVersion"]:
        raise KeyError(f"{manifest['apiVersion']} {manifest['kind']}")
    return kind


def definition(kind: Kind) -> Json:
    """A CustomResourceDefinition that admits anything, for kinds that another operator would bring."""
    names = {"kind": kind.kind, "plural": kind.plural, "singular": kind.kind.lower(), "listKind": f"{kind.kind}List"}
    version: Json = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    if "status" in kind.subresources:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {"group": kind.group, "names": names, "scope": "Namespaced", "versions": [version]},
    }

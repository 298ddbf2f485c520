"""The kinds that the operator and its tests use, and their URLs."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind in one version."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Version without the group."""
        return self.api_version.rpartition("/")[2]

    @property
    def qualified(self) -> str:
        """Plural in the notation of error messages: ``deployments.apps``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Return the path of a collection, an object or a subresource; of all namespaces if none is given."""
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
"""Every kind by name; the names are unique across the groups used here."""


def of(manifest: Json) -> Kind:
    """Return the kind of an object.

    Raises:
        KeyError: the kind is not in :data:`KINDS`.
    """
    kind = KINDS[manifest["kind"]]
    if kind.api_version != manifest["apiVersion"]:
        raise KeyError(f"{manifest['apiVersion']} {manifest['kind']}")
    return kind


def definition(kind: Kind) -> Json:
    """Return a CustomResourceDefinition that accepts any object, for kinds that other operators would install."""
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

"""Lists our objects in the cluster, to compare what an uninstallation leaves with the documentation."""

from tests.e2e.kubectl import Kubectl

CLUSTER = ("customresourcedefinitions", "clusterroles", "clusterrolebindings", "apiservices", "namespaces")
"""Cluster-scoped kinds that installations create."""

NOISE = {"events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "pods.metrics.k8s.io"}
"""Kinds of events and of objects that the cluster derives from others and removes by itself."""

DEFAULTS = {"ConfigMap/kube-root-ca.crt", "ConfigMap/openshift-service-ca.crt", "ServiceAccount/default"}
"""Objects in every namespace; the second where OpenShift's controller manager runs."""

CRD = "CustomResourceDefinition/livescores.livescore.dev"
LEASE = "Lease/livescore-operator"


def retained_objects(name: str = "demo") -> set[str]:
    """Return the objects that a deleted LiveScore leaves, as documented in docs/operator.md (Deletion)."""
    volumes = {f"PersistentVolumeClaim/data-{name}-{server}-0" for server in ("postgres", "redis")}
    return {*volumes, f"Secret/{name}-credentials"}


def cluster_objects(kubectl: Kubectl) -> set[str]:
    """Return our cluster-scoped objects as ``Kind/name``, except the APIServices derived from a CRD."""
    rows = _rows(kubectl.run("get", ",".join(CLUSTER), "-o", _COLUMNS, "--no-headers"))
    ours = {row for row in rows if "livescore" in row or "custom.metrics" in row}
    return {row for row in ours if not (row.startswith("APIService/") and row.endswith("livescore.dev"))}


def namespace_objects(kubectl: Kubectl) -> set[str]:
    """Return all objects of the namespace, of any kind, as ``Kind/name``."""
    listed = kubectl.run("api-resources", "--namespaced=true", "--verbs=list", "-o", "name").split()
    kinds = ",".join(sorted(set(listed) - NOISE))
    return _rows(kubectl.run("get", kinds, "--ignore-not-found", "-o", _COLUMNS, "--no-headers")) - DEFAULTS


_COLUMNS = "custom-columns=KIND:.kind,NAME:.metadata.name"


def _rows(text: str) -> set[str]:
    return {"/".join(line.split()) for line in text.splitlines() if line.strip()}

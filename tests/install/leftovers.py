"""What is in the cluster of ours: to compare what an uninstallation leaves with what the documents say."""

from tests.e2e.kubectl import Kubectl

CLUSTER = ("customresourcedefinitions", "clusterroles", "clusterrolebindings", "apiservices", "namespaces")
"""Kinds that belong to no namespace and that anybody here makes."""

NOISE = {"events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "pods.metrics.k8s.io"}
"""What happened, and what the cluster makes of something else and takes away by itself."""

DEFAULTS = {"ConfigMap/kube-root-ca.crt", "ConfigMap/openshift-service-ca.crt", "ServiceAccount/default"}
"""In every namespace; the second one where the controller manager is OpenShift's."""

CRD = "CustomResourceDefinition/livescores.livescore.dev"
LEASE = "Lease/livescore-operator"


def data(name: str = "demo") -> set[str]:
    """What a LiveScore leaves, as docs/operator.md (Deletion) has it."""
    volumes = {f"PersistentVolumeClaim/data-{name}-{server}-0" for server in ("postgres", "redis")}
    return {*volumes, f"Secret/{name}-credentials"}


def in_cluster(kubectl: Kubectl) -> set[str]:
    """``Kind/name`` of what belongs to no namespace; what the API server makes of a CRD is none of it."""
    rows = _rows(kubectl.run("get", ",".join(CLUSTER), "-o", _COLUMNS, "--no-headers"))
    ours = {row for row in rows if "livescore" in row or "custom.metrics" in row}
    return {row for row in ours if not (row.startswith("APIService/") and row.endswith("livescore.dev"))}


def within(kubectl: Kubectl) -> set[str]:
    """``Kind/name`` of everything in the namespace of ``kubectl``, of whatever kind."""
    listed = kubectl.run("api-resources", "--namespaced=true", "--verbs=list", "-o", "name").split()
    kinds = ",".join(sorted(set(listed) - NOISE))
    return _rows(kubectl.run("get", kinds, "--ignore-not-found", "-o", _COLUMNS, "--no-headers")) - DEFAULTS


_COLUMNS = "custom-columns=KIND:.kind,NAME:.metadata.name"


def _rows(text: str) -> set[str]:
    return {"/".join(line.split()) for line in text.splitlines() if line.strip()}

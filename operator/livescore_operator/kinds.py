"""Every kind of object that the operator reads or writes, declared once.

Watches, pruning, the rights that are checked before the start and the roles in ``k8s/`` and ``charts/`` follow from
this table; tests compare the roles with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from livescore_operator.resource import API_VERSION, GROUP, KIND, PLURAL

# Label of every owned resource.
MANAGED_BY = {"app.kubernetes.io/managed-by": "livescore-operator"}

# Label of the Secrets that are watched: the operator's own have it, users may set it on theirs. Other Secrets of the
# cluster never reach the operator.
WATCH = f"{GROUP}/watch"
WATCHED_SECRETS = {WATCH: "true"}

READ = ("get", "list", "watch")
# A server-side apply needs `patch`, and `create` if the object does not exist.
MANAGE = (*READ, "create", "patch", "delete")


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        name: Kind, for example ``Deployment``.
        api_version: Group and version, for example ``apps/v1``.
        plural: Name of the resource in URLs and roles.
        verbs: Rights that the operator needs in the namespaces that it serves.
        subresources: The same for subresources, by their names.
        owned: Whether the operator creates such objects for a LiveScore.
        watched: Labels that select the objects that are watched; None if the kind is not watched.
        optional: Whether the kind belongs to another operator, and may not be installed.
        holds_data: Whether objects hold data, and are therefore never pruned.
    """

    name: str
    api_version: str
    plural: str
    verbs: tuple[str, ...] = ()
    subresources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owned: bool = False
    watched: Mapping[str, str] | None = None
    optional: bool = False
    holds_data: bool = False

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Version within the group."""
        return self.api_version.rpartition("/")[2]

    @property
    def full_name(self) -> str:
        """Kind and group: ``Cluster.postgresql.cnpg.io``."""
        return f"{self.name}.{self.group}"


def _owned(name: str, api_version: str, plural: str) -> Kind:
    """Return a kind that the operator creates, watches and prunes."""
    return Kind(name, api_version, plural, MANAGE, owned=True, watched=MANAGED_BY)


_TABLE = (
    Kind(KIND, API_VERSION, PLURAL, READ, {"status": ("patch",), "finalizers": ("update",)}),
    # Owned resources, in the order in which they are listed.
    _owned("ConfigMap", "v1", "configmaps"),
    # Passwords outlive the LiveScore: the operator has no right to delete Secrets.
    Kind("Secret", "v1", "secrets", (*READ, "create", "patch"), owned=True, watched=WATCHED_SECRETS),
    _owned("Service", "v1", "services"),
    _owned("ServiceAccount", "v1", "serviceaccounts"),
    _owned("Deployment", "apps/v1", "deployments"),
    _owned("StatefulSet", "apps/v1", "statefulsets"),
    _owned("Job", "batch/v1", "jobs"),
    _owned("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    _owned("Ingress", "networking.k8s.io/v1", "ingresses"),
    _owned("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
    _owned("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers"),
    Kind(
        "Cluster",
        "postgresql.cnpg.io/v1",
        "clusters",
        ("get", "list", "create", "patch"),
        owned=True,
        optional=True,
        holds_data=True,
    ),
    Kind(
        "PodMonitor",
        "monitoring.coreos.com/v1",
        "podmonitors",
        ("get", "list", "create", "patch", "delete"),
        owned=True,
        optional=True,
    ),
    # Created by StatefulSets. A claim is deleted only while it has no volume, to correct its class or size.
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", ("list", "patch", "delete"), holds_data=True),
    Kind("Pod", "v1", "pods", ("list", "patch"), {"log": ("get",)}),
    Kind("Event", "v1", "events", ("list", "create")),
    # Rights on the kinds below are not given in every served namespace: see k8s/operator and the metrics adapter.
    Kind("Lease", "coordination.k8s.io/v1", "leases"),
    Kind("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles"),
    Kind("APIService", "apiregistration.k8s.io/v1", "apiservices"),
    Kind("SubjectAccessReview", "authorization.k8s.io/v1", "subjectaccessreviews"),
    Kind("SelfSubjectAccessReview", "authorization.k8s.io/v1", "selfsubjectaccessreviews"),
)

KINDS = {kind.name: kind for kind in _TABLE}

CLUSTER, POD_MONITOR = KINDS["Cluster"], KINDS["PodMonitor"]

OWNED = tuple(kind for kind in _TABLE if kind.owned)
WATCHED = tuple(kind for kind in _TABLE if kind.watched is not None)
OPTIONAL = tuple(kind for kind in _TABLE if kind.optional)

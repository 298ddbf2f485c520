"""What must be true before the operator works: the CRD is installed, and all its rights are granted.

Kopf watches nothing of a kind that is missing when it starts, and retries a watch that is forbidden without an end. So
both are checked before it starts, until they are true; the probe of readiness says what is missing meanwhile.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from livescore_operator.cluster import KINDS, Cluster
from livescore_operator.errors import ReconcileError
from livescore_operator.resource import GROUP, KIND, PLURAL

log = structlog.get_logger(__name__)

# Between two attempts. Rights that were just granted, and a CRD that was just made, are noticed within it.
RETRY_SECONDS = 3.0

# Reviews in flight at once: the rights are some eighty for each namespace.
CONCURRENCY = 10

_WRITTEN = ("get", "list", "watch", "create", "patch", "delete")

# Verbs by kind, or kind and subresource, as in k8s/rbac; a test compares.
VERBS: dict[str, Sequence[str]] = {
    KIND: ("get", "list", "watch"),
    f"{KIND}/status": ("patch",),
    f"{KIND}/finalizers": ("update",),
    "ConfigMap": _WRITTEN,
    "Service": _WRITTEN,
    "ServiceAccount": _WRITTEN,
    "Deployment": _WRITTEN,
    "StatefulSet": _WRITTEN,
    "Job": _WRITTEN,
    "PodDisruptionBudget": _WRITTEN,
    "Ingress": _WRITTEN,
    "NetworkPolicy": _WRITTEN,
    "HorizontalPodAutoscaler": _WRITTEN,
    "Secret": ("get", "list", "watch", "create", "patch"),
    "PersistentVolumeClaim": ("list", "patch", "delete"),
    "Pod": ("list", "patch"),
    "Pod/log": ("get",),
    "Event": ("list", "create"),
    "PodMonitor": ("get", "list", "create", "patch", "delete"),
    "Cluster": ("get", "list", "create", "patch"),
}


class Right(NamedTuple):
    """A verb on a kind; without a namespace in all of them, with a name on the object of that name only."""

    verb: str
    kind: str
    namespace: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        """The resource as roles name it: `deployments`, `livescores/status`."""
        kind, slash, subresource = self.kind.partition("/")
        return f"{KINDS[kind][1]}{slash}{subresource}"

    @property
    def group(self) -> str:
        """The API group, empty for the core."""
        version = KINDS[self.kind.partition("/")[0]][0]
        return version.rpartition("/")[0]

    @property
    def attributes(self) -> dict[str, str]:
        """What a SelfSubjectAccessReview asks for."""
        resource, _, subresource = self.resource.partition("/")
        found = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {name: value for name, value in found.items() if value}


def rights(namespaces: Sequence[str], lease_namespace: str, lease: str) -> list[Right]:
    """Return every right that the operator needs.

    Args:
        namespaces: Namespaces that are served; none for all of them.
        lease_namespace: Namespace of the Lease.
        lease: Name of the Lease.
    """
    return [
        *(Right(verb, kind, each) for each in namespaces or [""] for kind, verbs in VERBS.items() for verb in verbs),
        Right("create", "Lease", lease_namespace),
        *(Right(verb, "Lease", lease_namespace, lease) for verb in ("get", "update")),
    ]


class Preflight:
    """Checks until everything is there.

    Args:
        cluster: The API server.
        namespaces: Namespaces that are served; none for all of them.
        lease_namespace: Namespace of the Lease.
        lease: Name of the Lease.

    Attributes:
        problem: What is missing, for people; empty once nothing is.
    """

    def __init__(self, cluster: Cluster, namespaces: Sequence[str], lease_namespace: str, lease: str) -> None:
        self._cluster = cluster
        self._namespaces = namespaces
        self._rights = rights(namespaces, lease_namespace, lease)
        self.problem = "not checked yet"

    async def run(self) -> None:
        """Return as soon as nothing is missing."""
        while problem := await self._find_problem():
            if problem != self.problem:
                log.warning("the operator cannot work yet", problem=problem)
            self.problem = problem
            await asyncio.sleep(RETRY_SECONDS)
        self.problem = ""

    async def _find_problem(self) -> str:
        try:
            missing = await self._missing_rights()
            if missing:
                return f"rights are missing, see docs/operator.md#rights: {_listed(missing)}"
            return await self._find_missing_definition()
        except ReconcileError as error:
            return f"the API server cannot be asked: {error}"

    async def _find_missing_definition(self) -> str:
        """List LiveScores in every namespace that is served."""
        found = [await self._cluster.is_listable(KIND, namespace) for namespace in self._namespaces or [""]]
        name = f"{PLURAL}.{GROUP}"
        return "" if all(found) else f"the CustomResourceDefinition {name} is not installed: apply k8s/crd"

    async def _missing_rights(self) -> list[Right]:
        turns = asyncio.Semaphore(CONCURRENCY)

        async def is_missing(right: Right) -> bool:
            async with turns:
                return not await self._cluster.may(right.attributes)

        missing = await asyncio.gather(*(is_missing(right) for right in self._rights))
        return [right for right, is_gone in zip(self._rights, missing, strict=True) if is_gone]


def _listed(missing: Iterable[Right]) -> str:
    """Return rights in few words: `create, patch deployments.apps in sports`."""
    verbs: dict[str, list[str]] = {}
    for right in missing:
        resource = f"{right.resource}.{right.group}" if right.group else right.resource
        place = f" in {right.namespace}" if right.namespace else ""
        verbs.setdefault(f"{resource}{place}", []).append(right.verb)
    return "; ".join(f"{', '.join(each)} {resource}" for resource, each in verbs.items())

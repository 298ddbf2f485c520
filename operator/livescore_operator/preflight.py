"""Checks before the start: the CRD is installed, and all rights are granted.

Kopf does not watch kinds that are missing when it starts, and retries a forbidden watch for ever. Therefore both are
checked until they are true; meanwhile the readiness probe reports what is missing.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from livescore_operator.cluster import Cluster
from livescore_operator.errors import ReconcileError
from livescore_operator.kinds import KINDS
from livescore_operator.resource import GROUP, KIND, PLURAL

log = structlog.get_logger(__name__)

# Seconds between two attempts: how long it takes to notice that rights were granted, or that the CRD was installed.
RETRY_SECONDS = 3.0

# Concurrent reviews; there are some eighty for each namespace.
CONCURRENCY = 10


class Right(NamedTuple):
    """A right that the operator needs.

    Attributes:
        verb: For example ``list``.
        kind: Kind, or kind and subresource: ``Pod/log``.
        namespace: Namespace; empty for all.
        name: Name of the only object that is meant; empty for all.
    """

    verb: str
    kind: str
    namespace: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        """Resource as roles name it: ``deployments``, ``livescores/status``."""
        kind, slash, subresource = self.kind.partition("/")
        return f"{KINDS[kind].plural}{slash}{subresource}"

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return KINDS[self.kind.partition("/")[0]].group

    @property
    def attributes(self) -> dict[str, str]:
        """Resource attributes of a SelfSubjectAccessReview."""
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
        namespaces: Namespaces that are served; empty for all.
        lease_namespace: Namespace of the Lease.
        lease: Name of the Lease.
    """
    return [
        *(right for namespace in namespaces or [""] for right in _rights_in(namespace)),
        Right("create", "Lease", lease_namespace),
        *(Right(verb, "Lease", lease_namespace, lease) for verb in ("get", "update")),
    ]


def _rights_in(namespace: str) -> list[Right]:
    found: list[Right] = []
    for kind in KINDS.values():
        found += [Right(verb, kind.name, namespace) for verb in kind.verbs]
        for subresource, verbs in kind.subresources.items():
            found += [Right(verb, f"{kind.name}/{subresource}", namespace) for verb in verbs]
    return found


class Preflight:
    """Waits until the operator can work.

    Args:
        cluster: The API server.
        namespaces: Namespaces that are served; empty for all.
        lease_namespace: Namespace of the Lease.
        lease: Name of the Lease.

    Attributes:
        problem: What is missing; empty once nothing is.
    """

    def __init__(self, cluster: Cluster, namespaces: Sequence[str], lease_namespace: str, lease: str) -> None:
        self._cluster = cluster
        self._namespaces = namespaces
        self._rights = rights(namespaces, lease_namespace, lease)
        self.problem = "not checked yet"

    async def run(self) -> None:
        """Wait until nothing is missing."""
        while problem := await self._find_problem():
            if problem != self.problem:
                log.warning("operator not ready", problem=problem)
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
            return f"the API server does not respond: {error}"

    async def _find_missing_definition(self) -> str:
        """Return that the CRD is not installed, by listing LiveScores in every served namespace; empty if it is."""
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
    """Return rights as a short text: `create, patch deployments.apps in sports`."""
    verbs: dict[str, list[str]] = {}
    for right in missing:
        resource = f"{right.resource}.{right.group}" if right.group else right.resource
        place = f" in {right.namespace}" if right.namespace else ""
        verbs.setdefault(f"{resource}{place}", []).append(right.verb)
    return "; ".join(f"{', '.join(each)} {resource}" for resource, each in verbs.items())

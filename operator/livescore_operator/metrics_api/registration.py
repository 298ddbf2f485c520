"""What makes an API server of the metrics adapter: whom it trusts, its certificate, and its APIServices.

Every replica reads all of it once a minute. The first one makes the Secret of the certificate; the leader alone renews
it and registers. One group can have one adapter: where another one holds it, this one stays out.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import structlog

from livescore_operator.cluster import KINDS, Cluster
from livescore_operator.components.common import MANAGED_BY
from livescore_operator.errors import FieldConflict, NotLeading, ReconcileError
from livescore_operator.metrics_api.access import RequestHeaderConfig, ServerTls
from livescore_operator.metrics_api.adapter import GROUP
from livescore_operator.metrics_api.certificates import Identity, make, renewed
from livescore_operator.resource import Manifest
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

# Between two looks; what others change or break is noticed within it.
INTERVAL_SECONDS = 60.0

# After a look that failed.
RETRY_SECONDS = 15.0

# Where every cluster says who vouches for users.
AUTHENTICATION = ("kube-system", "extension-apiserver-authentication")

# Of the Service, whatever the port of the pods is.
PORT = 443

# Of the versions among each other; clients take the highest that they know.
PRIORITIES = {"v1beta2": 200, "v1beta1": 100}

# Of the group among all others, the least: nobody looks for its short names.
GROUP_PRIORITY = 100

State = Literal["Unknown", "Registered", "OtherAdapter"]


class Registration:
    """Keeps the adapter known to the API server.

    Args:
        cluster: where that is.
        tls: what learns whom to trust and what to show.
        namespace: of the operator.
        service: that leads to the adapters of all replicas.
        role: the ClusterRole that admits to registration: who removes it removes the APIServices.
        leading: whether this process leads.
        led: waits until it does.
        now: an aware time.
        port: of the Service.

    Attributes:
        state: of the APIServices, as last seen.
        other: the Service of another adapter that holds the group, as ``namespace/name``; empty where none does.
        problem: why the last look failed, for people; empty if it did not.
    """

    def __init__(
        self,
        cluster: Cluster,
        tls: ServerTls,
        namespace: str,
        service: str,
        role: str,
        leading: Callable[[], bool],
        led: Callable[[], Awaitable[None]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        port: int = PORT,
    ) -> None:
        self._cluster, self._tls = cluster, tls
        self._namespace, self._service, self._role, self._port = namespace, service, role, port
        self._leading, self._led, self._now = leading, led, now
        self._identity: Identity | None = None
        self.state: State = "Unknown"
        self.other = ""
        self.problem = "not looked yet"

    async def run(self) -> None:
        """Look every minute, and whenever this process begins to lead, until cancelled."""
        while True:
            led = self._leading()
            seconds = INTERVAL_SECONDS if await self.turn() else RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await (asyncio.Event().wait() if led else self._led())

    async def turn(self) -> bool:
        """Look once, do what follows from it, and return whether nothing failed."""
        steps = (self._learn, self._keep_identity, self._register)
        problems = [problem for step in steps if (problem := await self._try(step))]
        self.problem = "; ".join(problems)
        return not problems

    async def _try(self, step: Callable[[], Awaitable[None]]) -> str:
        """Return why a step failed; empty if it did not."""
        try:
            await step()
        except NotLeading:
            return "another process leads"
        except (ReconcileError, FieldConflict, ValueError) as error:
            log.warning("the metrics adapter could not be kept up", error=str(error))
            return str(error)
        return ""

    # RequestHeaderConfig

    async def _learn(self) -> None:
        """Whom the API server gives its word by."""
        found = await self._cluster.get("ConfigMap", *AUTHENTICATION)
        self._tls.set_client_config(RequestHeaderConfig.read((found or {}).get("data") or {}))

    # The certificate

    @property
    def _host(self) -> str:
        """The name that API servers ask the adapter for."""
        return f"{self._service}.{self._namespace}.svc"

    async def _keep_identity(self) -> None:
        secret = await self._cluster.get("Secret", self._namespace, f"{self._service}-tls") or await self._made()
        identity = Identity.read(secret.get("data") or {})
        if self._leading():
            identity = await self._renewed(secret, identity)
        if identity is None:
            raise ValueError(f"the Secret {self._service}-tls holds no certificate; the leader will make one")
        self._tls.set_identity(identity)
        self._identity = identity

    async def _made(self) -> Manifest:
        """The Secret that was not there: made by this replica, or by a faster one."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{self._service}-tls", "namespace": self._namespace, "labels": MANAGED_BY},
            "type": "kubernetes.io/tls",
            "data": make(self._host, self._now()).data,
        }
        if await self._cluster.create_secret(secret):
            log.info("certificate made", host=self._host)
        return await self._cluster.get("Secret", self._namespace, f"{self._service}-tls") or {}

    async def _renewed(self, secret: Manifest, old: Identity | None) -> Identity | None:
        new = renewed(old, self._host, self._now()) if old else make(self._host, self._now())
        if new == old or not await self._cluster.replace_secret({**secret, "data": new.data}):
            return old
        log.info("certificate renewed", host=self._host)
        return new

    # The APIServices

    async def _register(self) -> None:
        names = {version: f"{version}.{GROUP}" for version in PRIORITIES}
        found = {version: await self._cluster.get("APIService", "", name) for version, name in names.items()}
        others = [_service(one) for one in found.values() if one is not None and not self._is_ours(one)]
        if self._leading():
            await (self._withdraw(found) if others else self._apply(found))
        elif None in found.values() and not others:
            self._tell("Unknown", "")
            return
        self._tell("OtherAdapter" if others else "Registered", others[0] if others else "")

    def _is_ours(self, found: Manifest) -> bool:
        """Whether it was made by an operator in this namespace; one in another namespace is another adapter."""
        labels = found["metadata"].get("labels") or {}
        service = found["spec"].get("service") or {}
        return MANAGED_BY.items() <= labels.items() and service.get("namespace") == self._namespace

    async def _apply(self, found: Mapping[str, Manifest | None]) -> None:
        if self._identity is None:
            raise ValueError("there is no certificate yet that the API server could trust")
        owners = await self._owners()
        for version, old in found.items():
            new = self._api_service(version, self._identity, owners)
            if old is None or not _holds(old, new):
                # Where it was not there, nothing is forced: somebody may have been faster.
                await self._cluster.apply(new, force=old is not None)

    async def _withdraw(self, found: Mapping[str, Manifest | None]) -> None:
        """Two adapters with a version each would be one of which half cannot be seen."""
        for one in found.values():
            if one is not None and self._is_ours(one):
                await self._cluster.delete({**one, "kind": "APIService"})

    async def _owners(self) -> list[Manifest]:
        """What the APIServices go with: no manifest has them, and while they lead nowhere no namespace gets deleted."""
        role = await self._cluster.get("ClusterRole", "", self._role)
        if role is None:
            return []
        owner = {"apiVersion": KINDS["ClusterRole"][0], "kind": "ClusterRole", "name": self._role}
        return [{**owner, "uid": role["metadata"]["uid"]}]

    def _api_service(self, version: str, identity: Identity, owners: list[Manifest]) -> Manifest:
        return {
            "apiVersion": KINDS["APIService"][0],
            "kind": "APIService",
            "metadata": {
                "name": f"{version}.{GROUP}",
                "labels": MANAGED_BY,
                **({"ownerReferences": owners} if owners else {}),
            },
            "spec": {
                "group": GROUP,
                "version": version,
                "groupPriorityMinimum": GROUP_PRIORITY,
                "versionPriority": PRIORITIES[version],
                "service": {"namespace": self._namespace, "name": self._service, "port": self._port},
                "caBundle": base64.b64encode(identity.authorities.encode()).decode(),
                "insecureSkipTLSVerify": False,
            },
        }

    def _tell(self, state: State, other: str) -> None:
        metrics.ADAPTER_REGISTERED.set(state == "Registered")
        if (state, other) == (self.state, self.other):
            return
        self.state, self.other = state, other
        if state == "OtherAdapter":
            log.warning("another adapter serves the metrics API: this one stays out", group=GROUP, service=other)
        else:
            log.info("metrics adapter", state=state)


def _service(found: Manifest) -> str:
    """Who serves an APIService."""
    service = found["spec"].get("service") or {}
    return f"{service['namespace']}/{service['name']}" if service else "the API server itself"


def _owners(found: Manifest) -> list[Manifest]:
    owners: list[Manifest] = found["metadata"].get("ownerReferences", [])
    return owners


def _holds(old: Manifest, new: Manifest) -> bool:
    """Whether it is as it should be; what is false is left out by the API server."""
    spec: Manifest = new["spec"]
    return _owners(old) == _owners(new) and {key: old["spec"].get(key, False) for key in spec} == spec

"""Registration of the metrics adapter with the API server: request-header CA, certificate and APIServices.

Every replica compares all three once a minute. The first replica creates the Secret of the certificate; only the leader
renews it and writes the APIServices.

A cluster has one metrics API. If another adapter serves it, this one stays out: it withdraws its own APIServices and
reports the other one. An APIService that this adapter registered and another party redirected within its namespace is
restored, as it may be a mistake; once it was redirected to the same Service ``MAX_RESTORES`` times, that Service is
another adapter, and this one stays out instead of fighting over the APIService.
"""

import asyncio
import base64
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from livescore_operator.cluster import FIELD_MANAGER, Cluster
from livescore_operator.errors import FieldConflict, NotLeading, ReconcileError
from livescore_operator.kinds import KINDS, MANAGED_BY
from livescore_operator.metrics_api.adapter import GROUP
from livescore_operator.metrics_api.authentication import RequestHeaderConfig
from livescore_operator.metrics_api.certificates import Identity, make, renewed
from livescore_operator.metrics_api.tls import ServerTls
from livescore_operator.resource import Manifest
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

# Interval of the checks: changes by others are noticed within it.
INTERVAL_SECONDS = 60.0

# Delay after a failed check.
RETRY_SECONDS = 15.0

# ConfigMap with the request-header CA and header names.
AUTHENTICATION = ("kube-system", "extension-apiserver-authentication")

# Port of the Service. Its target port is the one that the pods listen on.
PORT = 443

# versionPriority of each version; clients take the highest that they know.
PRIORITIES = {"v1beta2": 200, "v1beta1": 100}

# groupPriorityMinimum, low because the short names of this group are not meant to win over any other.
GROUP_PRIORITY = 100

# Restores of an APIService from the same Service within RESTORE_PERIOD until that Service counts as another adapter.
# GitOps tools reapply within minutes; a person who corrects a mistake needs one restore.
MAX_RESTORES = 3
RESTORE_PERIOD = timedelta(days=1)

State = Literal["Unknown", "Registered", "OtherAdapter"]


class Registration:
    """Keeps the adapter registered.

    Args:
        cluster: The API server.
        tls: TLS context that gets the certificate and the request-header CA.
        namespace: Namespace of the operator.
        service: Service in front of the adapters of all replicas.
        role: ClusterRole used as owner of the APIServices, so that they are garbage-collected with it.
        leading: Returns True if this process is the leader.
        led: Waits until this process is the leader.
        now: Returns the current time, with a time zone.
        port: Port of the Service.

    Attributes:
        state: State of the APIServices in the last check.
        other: Service of the other adapter, as ``namespace/name``; empty without one.
        problem: Why the last check failed, for people; empty if it succeeded.
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
        self._cluster = cluster
        self._tls = tls
        self._namespace = namespace
        self._service = service
        self._role = role
        self._port = port
        self._leading = leading
        self._led = led
        self._now = now
        self._identity: Identity | None = None
        # Times of recent restores, by name of the APIService and the Service to which it had been redirected.
        self._restores: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
        self.state: State = "Unknown"
        self.other = ""
        self.problem = "not checked yet"

    async def run(self) -> None:
        """Check every minute, and at once when this process becomes the leader, until cancelled."""
        while True:
            led = self._leading()
            seconds = INTERVAL_SECONDS if await self.check() else RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await (asyncio.Event().wait() if led else self._led())

    async def check(self) -> bool:
        """Run all steps once, even if one fails. Returns True if none failed."""
        steps = (self._load_client_config, self._keep_identity, self._register)
        problems = [await self._try(step) for step in steps]
        self.problem = "; ".join(problem for problem in problems if problem)
        return not self.problem

    async def _try(self, step: Callable[[], Awaitable[None]]) -> str:
        """Return why a step failed; empty if it succeeded."""
        try:
            await step()
        except NotLeading:
            return "another process leads"
        except (ReconcileError, FieldConflict, ValueError) as error:
            log.warning("registration of the metrics adapter failed", error=str(error))
            return str(error)
        return ""

    async def _load_client_config(self) -> None:
        """Load the request-header CA and header names."""
        config_map = await self._cluster.get("ConfigMap", *AUTHENTICATION)
        self._tls.set_client_config(RequestHeaderConfig.read((config_map or {}).get("data") or {}))

    # The certificate

    @property
    def _host(self) -> str:
        """The DNS name by which API servers connect to the adapter."""
        return f"{self._service}.{self._namespace}.svc"

    @property
    def _secret_name(self) -> str:
        return f"{self._service}-tls"

    async def _keep_identity(self) -> None:
        secret = await self._cluster.get("Secret", self._namespace, self._secret_name) or await self._create_secret()
        identity = Identity.read(secret.get("data") or {})
        if self._leading():
            identity = await self._renew(secret, identity)
        if identity is None:
            raise ValueError(f"Secret {self._secret_name} has no usable certificate; the leader will create one")
        self._tls.set_identity(identity)
        self._identity = identity

    async def _create_secret(self) -> Manifest:
        """Create the missing Secret, and return it; another replica may have been faster."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._secret_name, "namespace": self._namespace, "labels": MANAGED_BY},
            "type": "kubernetes.io/tls",
            "data": make(self._host, self._now()).data,
        }
        if await self._cluster.create_secret(secret):
            log.info("certificate created", host=self._host)
        return await self._cluster.get("Secret", self._namespace, self._secret_name) or {}

    async def _renew(self, secret: Manifest, old: Identity | None) -> Identity | None:
        """Store the next identity if a renewal is due. Returns the old one if it is not, or if the write was lost."""
        new = renewed(old, self._host, self._now()) if old else make(self._host, self._now())
        if new == old or not await self._cluster.replace_secret({**secret, "data": new.data}):
            return old
        log.info("certificate renewed", host=self._host)
        return new

    # The APIServices

    async def _register(self) -> None:
        registered: dict[str, Manifest | None] = {}
        for version in PRIORITIES:
            registered[version] = await self._cluster.get("APIService", "", f"{version}.{GROUP}")
        existing = [api_service for api_service in registered.values() if api_service is not None]
        others = [api_service for api_service in existing if not self._is_ours(api_service)]
        if self._leading():
            if others:
                await self._stay_out(existing)
            else:
                await self._apply(registered)
        elif not others and len(existing) < len(PRIORITIES):
            self._report("Unknown", "")
            return
        self._report("OtherAdapter" if others else "Registered", _service(others[0]) if others else "")

    def _is_ours(self, api_service: Manifest) -> bool:
        """Return True if an operator in this namespace registered it, and no other adapter claims it."""
        labels = api_service["metadata"].get("labels") or {}
        service = api_service["spec"].get("service") or {}
        if not MANAGED_BY.items() <= labels.items() or service.get("namespace") != self._namespace:
            return False
        return len(self._recent_restores(api_service)) < MAX_RESTORES

    def _recent_restores(self, api_service: Manifest) -> list[datetime]:
        restores = self._restores.get((api_service["metadata"]["name"], _service(api_service)), [])
        return [at for at in restores if self._now() - at < RESTORE_PERIOD]

    async def _apply(self, registered: Mapping[str, Manifest | None]) -> None:
        if self._identity is None:
            raise ValueError("there is no certificate yet that the API server could trust")
        owners = await self._owners()
        for version, old in registered.items():
            new = self._api_service(version, self._identity, owners)
            if old is None:
                # Without force: another adapter may have registered in the meantime.
                await self._cluster.apply(new)
            elif not _matches(old, new):
                self._note_restore(old)
                # The API server rejects the write if the APIService was changed after it was read.
                new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
                await self._cluster.apply(new, force=True)

    def _note_restore(self, api_service: Manifest) -> None:
        """Remember that an APIService leads to another Service than ours and is about to be restored."""
        name, service = api_service["metadata"]["name"], _service(api_service)
        if service != f"{self._namespace}/{self._service}":
            self._restores[name, service] = [*self._recent_restores(api_service), self._now()]
            log.warning("APIService was redirected; restoring it", api_service=name, service=service)

    async def _stay_out(self, existing: list[Manifest]) -> None:
        """Withdraw our APIServices: with one version each, two adapters would both be incomplete."""
        for api_service in existing:
            if self._is_ours(api_service):
                await self._cluster.delete({**api_service, "kind": "APIService"})
            elif not _is_applied_by_operator(api_service):
                await self._disown(api_service)

    async def _disown(self, api_service: Manifest) -> None:
        """Remove our label and owner from an APIService that another adapter took over.

        With our owner it would be garbage-collected when this operator is uninstalled.
        """
        metadata = api_service["metadata"]
        labels = metadata.get("labels") or {}
        owners = [owner for owner in _owners(api_service) if (owner["kind"], owner["name"]) != self._owner_key]
        changes: Manifest = {}
        if owners != _owners(api_service):
            changes["ownerReferences"] = owners or None
        if MANAGED_BY.items() <= labels.items():
            changes["labels"] = dict.fromkeys(MANAGED_BY)
        if changes:
            await self._cluster.patch_metadata({**api_service, "kind": "APIService"}, changes)

    @property
    def _owner_key(self) -> tuple[str, str]:
        return "ClusterRole", self._role

    async def _owners(self) -> list[Manifest]:
        """Return the owner of the APIServices; empty if there is no such ClusterRole.

        No manifest contains the APIServices, so only an owner removes them with the operator. An APIService without an
        adapter breaks discovery, and blocks the deletion of namespaces.
        """
        kind, name = self._owner_key
        role = await self._cluster.get(kind, "", name)
        if role is None:
            return []
        return [{"apiVersion": KINDS[kind].api_version, "kind": kind, "name": name, "uid": role["metadata"]["uid"]}]

    def _api_service(self, version: str, identity: Identity, owners: list[Manifest]) -> Manifest:
        return {
            "apiVersion": KINDS["APIService"].api_version,
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

    def _report(self, state: State, other: str) -> None:
        """Export the state, and log it if it changed."""
        metrics.ADAPTER_REGISTERED.set(state == "Registered")
        if (state, other) == (self.state, self.other):
            return
        self.state, self.other = state, other
        if state == "OtherAdapter":
            log.warning("another adapter serves the metrics API; this one stays out", group=GROUP, service=other)
        else:
            log.info("metrics adapter", state=state)


def _service(api_service: Manifest) -> str:
    """Return the Service of an APIService, as ``namespace/name``."""
    service = api_service["spec"].get("service") or {}
    return f"{service['namespace']}/{service['name']}" if service else "the API server itself"


def _owners(api_service: Manifest) -> list[Manifest]:
    owners: list[Manifest] = api_service["metadata"].get("ownerReferences", [])
    return owners


def _is_applied_by_operator(api_service: Manifest) -> bool:
    """Return True if a LiveScore operator, in any namespace, set the Service of an APIService."""
    for entry in api_service["metadata"].get("managedFields") or []:
        spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if entry.get("manager") == FIELD_MANAGER and "f:name" in (spec.get("f:service") or {}):
            return True
    return False


def _matches(old: Manifest, new: Manifest) -> bool:
    """Return True if an APIService is as it should be. The API server omits fields that are false."""
    spec: Manifest = new["spec"]
    return _owners(old) == _owners(new) and {key: old["spec"].get(key, False) for key in spec} == spec

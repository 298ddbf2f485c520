"""Registration of the metrics adapter: its Secret, its APIServices, and requests through the API server."""

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import httpx
import pytest
import yaml
from aiohttp import web
from structlog.testing import capture_logs

from livescore_operator.cluster import Cluster, connect
from livescore_operator.kinds import KINDS
from livescore_operator.metrics_api.adapter import GROUP, Adapter
from livescore_operator.metrics_api.authorization import SubjectAccessAuthorizer
from livescore_operator.metrics_api.certificates import OVERLAP, Identity, make
from livescore_operator.metrics_api.provider import MetricsProvider
from livescore_operator.metrics_api.registration import (
    AUTHENTICATION,
    MAX_RESTORES,
    PRIORITIES,
    RESTORE_PERIOD,
    Registration,
)
from livescore_operator.metrics_api.tls import ServerTls
from livescore_operator.resource import METRIC
from livescore_operator.settings import Settings
from livescore_operator.telemetry import metrics
from tests.support.forkserver import ForkServer
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.faults import WRITES, Faults
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import ApiError, Kube, eventually
from tests.support.kubernetes.server import Server
from tests.support.kubernetes.stopping import stop
from tests.support.operators import Operator
from tests.support.ports import Port

SERVICE, SECRET = "livescore-operator-metrics", "livescore-operator-metrics-tls"
ROLE = "livescore-operator-registration"
NAMES = [f"{version}.{GROUP}" for version in PRIORITIES]
K8S = Path(__file__).parents[2] / "k8s"
OVERLAY = K8S / "overlays" / "metrics-adapter"
LIFE = timedelta(days=90)


@pytest.fixture
async def kube(api: Server, kube: Kube) -> AsyncIterator[Kube]:
    """The namespace of this test, on a server with a request-header configuration and without a metrics API."""
    if not api.is_real:
        await _trust(api.access)
    yield kube
    for kind, name in (("ClusterRole", ROLE), *(("APIService", name) for name in NAMES)):
        with contextlib.suppress(ApiError):
            await kube.delete(kind, name)


async def _trust(access: Access) -> None:
    """Write the request-header configuration, as a real server does itself."""
    async with Kube(access, AUTHENTICATION[0]) as system:
        data = {"requestheader-client-ca-file": ""}
        metadata = {"name": AUTHENTICATION[1], "namespace": AUTHENTICATION[0]}
        await system.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, force=True)


@pytest.fixture
async def cluster(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with connect() as connected:
        yield connected


class Replica:
    """One operator, reduced to its adapter."""

    def __init__(self, cluster: Cluster, namespace: str, leads: bool = True, port: int = 443) -> None:
        self.leads = leads
        self.now = datetime.now(UTC)
        self.tls = ServerTls()
        self.led = asyncio.Event()
        self.registration = Registration(
            cluster, self.tls, namespace, SERVICE, ROLE, lambda: self.leads, self._led, lambda: self.now, port
        )

    async def _led(self) -> None:
        await self.led.wait()

    @property
    def identity(self) -> Identity | None:
        return self.tls._identity


async def stored_identity(kube: Kube) -> Identity:
    """Return the identity in the Secret."""
    identity = Identity.read((await kube.get("Secret", SECRET))["data"])
    assert identity
    return identity


async def bundles(kube: Kube) -> set[str]:
    """Return the CA bundles that the API server trusts."""
    found = [await kube.get("APIService", name) for name in NAMES]
    return {base64.b64decode(one["spec"]["caBundle"]).decode() for one in found}


def foreign(version: str, namespace: str = "monitoring", **labels: str) -> Json:
    """Return the APIService of another adapter."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{GROUP}", "labels": labels},
        "spec": {
            "group": GROUP,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": namespace, "name": "prometheus-adapter", "port": 443},
            "insecureSkipTLSVerify": True,
        },
    }


# The certificate


async def test_secret_is_created_by_the_first_replica(kube: Kube, cluster: Cluster) -> None:
    replica = Replica(cluster, kube.namespace, leads=False)
    assert await replica.registration.check()

    secret = await kube.get("Secret", SECRET)
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "livescore-operator"}
    assert replica.identity == await stored_identity(kube)
    assert replica.tls.is_ready


async def test_replicas_starting_together_use_the_same_certificate(kube: Kube, cluster: Cluster) -> None:
    replicas = [Replica(cluster, kube.namespace, leads=number == 3) for number in range(8)]
    assert all(await asyncio.gather(*(replica.registration.check() for replica in replicas)))
    assert {replica.identity for replica in replicas} == {await stored_identity(kube)}


async def test_leader_renews_and_other_replicas_read(kube: Kube, cluster: Cluster) -> None:
    leader, other = Replica(cluster, kube.namespace), Replica(cluster, kube.namespace, leads=False)
    for replica in (leader, other):
        await replica.registration.check()
    before = await stored_identity(kube)
    for replica in (leader, other):
        replica.now += LIFE * 2 / 3

    await other.registration.check()
    assert await stored_identity(kube) == before, "only the leader renews"
    with capture_logs() as logs:
        await leader.registration.check()
    after = await stored_identity(kube)
    assert after.certificate != before.certificate
    assert after.authorities == before.authorities
    assert (leader.identity, other.identity) == (after, before)
    await other.registration.check()
    assert other.identity == after
    assert "certificate renewed" in [line["event"] for line in logs]
    assert "PRIVATE" not in str(logs)


async def test_new_ca_is_registered_before_it_is_needed(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    for days in (0, 60, 60, 60, 60, 4):
        leader.now += timedelta(days=days)
        await leader.registration._keep_identity()
    assert (await stored_identity(kube)).authorities.count("BEGIN") == 2
    await leader.registration.check()
    both = await stored_identity(kube)
    assert await bundles(kube) == {both.authorities}

    leader.now += OVERLAP
    await leader.registration.check()
    assert (await stored_identity(kube)).certificate != both.certificate
    assert await bundles(kube) == {both.authorities}


async def test_slower_renewal_adopts_the_other_s_result(kube: Kube, cluster: Cluster) -> None:
    leader, old = Replica(cluster, kube.namespace), Replica(cluster, kube.namespace)
    await leader.registration.check()
    stale = await kube.get("Secret", SECRET)
    leader.now += LIFE * 2 / 3
    old.now += LIFE * 2 / 3
    await leader.registration.check()

    assert not await cluster.replace_secret({**stale, "data": make("x", old.now).data})
    await old.registration.check()
    assert old.identity == leader.identity == await stored_identity(kube)


@pytest.mark.parametrize("data", [{"tls.crt": "", "tls.key": ""}, {"tls.crt": "eA==", "tls.key": "eA==", "ca.crt": ""}])
async def test_unusable_secret_is_filled_by_the_leader(kube: Kube, cluster: Cluster, data: dict[str, str]) -> None:
    metadata = {"name": SECRET, "labels": {"mine": "x"}}
    await kube.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data}
    )
    other, leader = Replica(cluster, kube.namespace, leads=False), Replica(cluster, kube.namespace)

    assert not await other.registration.check()
    assert not other.tls.is_ready
    assert await leader.registration.check()
    assert await other.registration.check()
    assert other.identity == await stored_identity(kube)
    assert (await kube.get("Secret", SECRET))["metadata"]["labels"] == {"mine": "x"}


async def test_deleted_secret_is_recreated_and_trusted(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    await kube.delete("Secret", SECRET)
    await leader.registration.check()
    assert await bundles(kube) == {(await stored_identity(kube)).authorities}


# APIServices


async def test_both_api_versions_target_the_service(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    with capture_logs() as logs:
        assert await leader.registration.check()

    for version, priority in PRIORITIES.items():
        spec = (await kube.get("APIService", f"{version}.{GROUP}"))["spec"]
        assert spec["service"] == {"namespace": kube.namespace, "name": SERVICE, "port": 443}
        assert (spec["group"], spec["version"], spec["versionPriority"]) == (GROUP, version, priority)
        assert spec["groupPriorityMinimum"] == 100
        assert not spec.get("insecureSkipTLSVerify")
    assert await bundles(kube) == {(await stored_identity(kube)).authorities}
    assert (leader.registration.state, leader.registration.other) == ("Registered", "")
    assert metrics.ADAPTER_REGISTERED._value.get() == 1
    assert {"event": "metrics adapter", "state": "Registered", "log_level": "info"} in logs


async def test_nothing_is_written_while_nothing_changes(
    kube: Kube, faults: Faults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(faults.access.write(tmp_path / "counted.yaml")))
    async with connect() as cluster:
        leader = Replica(cluster, kube.namespace)
        await leader.registration.check()
        assert faults.count("create", "patch") == 3
        faults.reset()
        await leader.registration.check()
    assert faults.count(*WRITES) == 0
    assert faults.count("get") == 5


async def test_non_leader_registers_nothing_and_reports_the_state(kube: Kube, cluster: Cluster) -> None:
    other = Replica(cluster, kube.namespace, leads=False)
    await other.registration.check()
    assert [await kube.find("APIService", name) for name in NAMES] == [None, None]
    assert (other.registration.state, metrics.ADAPTER_REGISTERED._value.get()) == ("Unknown", 0)

    await Replica(cluster, kube.namespace).registration.check()
    await other.registration.check()
    assert other.registration.state == "Registered"


@pytest.mark.parametrize(
    "change",
    [
        {"service": {"name": "foreign"}},
        {"versionPriority": 7},
        {"caBundle": base64.b64encode(make("x", datetime.now(UTC)).authorities.encode()).decode()},
        {"caBundle": None, "insecureSkipTLSVerify": True},
    ],
)
async def test_foreign_changes_are_reverted(kube: Kube, cluster: Cluster, change: Json) -> None:
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    await kube.patch("APIService", NAMES[0], {"spec": change})
    await kube.delete("APIService", NAMES[1])

    assert await leader.registration.check()
    spec = (await kube.get("APIService", NAMES[0]))["spec"]
    assert (spec["service"]["name"], spec["versionPriority"]) == (SERVICE, 200)
    assert not spec.get("insecureSkipTLSVerify")
    assert await bundles(kube) == {(await stored_identity(kube)).authorities}


async def owners(kube: Kube) -> list[str]:
    """Return the owner uids of both APIServices."""
    found = [await kube.get("APIService", name) for name in NAMES]
    return [owner["uid"] for one in found for owner in one["metadata"].get("ownerReferences", [])]


async def test_api_services_are_owned_by_the_cluster_role(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    assert await leader.registration.check()
    assert await owners(kube) == []

    for _ in range(2):
        role = await kube.create(
            {"apiVersion": KINDS["ClusterRole"].api_version, "kind": "ClusterRole", "metadata": {"name": ROLE}}
        )
        assert await leader.registration.check()
        assert await owners(kube) == [role["metadata"]["uid"]] * 2
        await kube.delete("ClusterRole", ROLE)


@pytest.mark.parametrize("version", PRIORITIES)
async def test_existing_adapter_is_kept_and_reported_once(kube: Kube, cluster: Cluster, version: str) -> None:
    made = await kube.create(foreign(version))
    leader = Replica(cluster, kube.namespace)
    with capture_logs() as logs:
        for _ in range(3):
            assert await leader.registration.check()

    found = [await kube.find("APIService", name) for name in NAMES]
    assert [one["spec"] for one in found if one] == [made["spec"]]
    assert (leader.registration.state, leader.registration.other) == ("OtherAdapter", "monitoring/prometheus-adapter")
    assert metrics.ADAPTER_REGISTERED._value.get() == 0
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert line["service"] == "monitoring/prometheus-adapter"


async def test_later_adapter_takes_the_group_and_returns_it(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    theirs = foreign("v1beta1", **{"app.kubernetes.io/managed-by": "Helm"})
    await kube.delete("APIService", f"v1beta1.{GROUP}")
    await kube.create(theirs)

    await leader.registration.check()
    assert await kube.find("APIService", f"v1beta2.{GROUP}") is None
    assert leader.registration.other == "monitoring/prometheus-adapter"

    await kube.delete("APIService", f"v1beta1.{GROUP}")
    await leader.registration.check()
    assert leader.registration.state == "Registered"
    assert await bundles(kube) == {(await stored_identity(kube)).authorities}


async def redirect(kube: Kube, namespace: str, name: str, version: str = "v1beta2") -> None:
    """Lead an APIService to another adapter's Service, as its installation does."""
    service = {"namespace": namespace, "name": name, "port": 443}
    await kube.patch("APIService", f"{version}.{GROUP}", {"spec": {"service": service}}, fieldManager="another")


async def test_repeatedly_applied_adapter_of_the_namespace_keeps_the_group(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    assert await leader.registration.check()
    with capture_logs() as logs:
        for _ in range(MAX_RESTORES):
            await redirect(kube, kube.namespace, "prometheus-adapter")
            assert await leader.registration.check()
            assert (await kube.get("APIService", NAMES[0]))["spec"]["service"]["name"] == SERVICE
        await redirect(kube, kube.namespace, "prometheus-adapter")
        for _ in range(2):
            assert await leader.registration.check()

    theirs = await kube.get("APIService", NAMES[0])
    assert theirs["spec"]["service"]["name"] == "prometheus-adapter"
    assert await kube.find("APIService", NAMES[1]) is None, "no adapter with half of the versions"
    assert leader.registration.other == f"{kube.namespace}/prometheus-adapter"
    assert metrics.ADAPTER_REGISTERED._value.get() == 0
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings == [
        *["APIService was redirected; restoring it"] * MAX_RESTORES,
        "another adapter serves the metrics API; this one stays out",
    ]

    successor = Replica(cluster, kube.namespace)
    assert await successor.registration.check()
    assert successor.registration.state == "OtherAdapter", "a restarted operator does not start the fight again"

    await kube.delete("APIService", NAMES[0])
    assert await leader.registration.check()
    assert leader.registration.state == "Registered"


async def test_occasional_foreign_changes_are_reverted_every_time(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    for _ in range(MAX_RESTORES + 1):
        await redirect(kube, kube.namespace, "typo")
        await leader.registration.check()
        leader.now += RESTORE_PERIOD / (MAX_RESTORES - 1)
    assert (await kube.get("APIService", NAMES[0]))["spec"]["service"]["name"] == SERVICE
    assert leader.registration.state == "Registered"


async def test_api_service_taken_over_is_not_deleted_with_the_operator(kube: Kube, cluster: Cluster) -> None:
    await kube.create(
        {"apiVersion": KINDS["ClusterRole"].api_version, "kind": "ClusterRole", "metadata": {"name": ROLE}}
    )
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    await redirect(kube, "monitoring", "prometheus-adapter")
    await kube.patch("APIService", NAMES[0], {"metadata": {"labels": {"theirs": "x"}}}, fieldManager="another")

    assert await leader.registration.check()

    theirs = await kube.get("APIService", NAMES[0])
    assert not theirs["metadata"].get("ownerReferences")
    assert theirs["metadata"]["labels"] == {"theirs": "x"}
    assert theirs["spec"]["service"]["namespace"] == "monitoring"


async def test_api_service_of_another_operator_keeps_its_label_and_owner(kube: Kube, cluster: Cluster) -> None:
    await kube.create(
        {"apiVersion": KINDS["ClusterRole"].api_version, "kind": "ClusterRole", "metadata": {"name": ROLE}}
    )
    other = Replica(cluster, "elsewhere")
    other.registration._identity = make("elsewhere", other.now)
    await other.registration._register()
    before = await kube.get("APIService", NAMES[0])

    leader = Replica(cluster, kube.namespace)
    assert await leader.registration.check()

    assert leader.registration.other == f"elsewhere/{SERVICE}"
    assert (await kube.get("APIService", NAMES[0]))["metadata"] == before["metadata"]


async def test_adapter_registered_between_read_and_write_is_not_overwritten(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    await kube.patch("APIService", NAMES[0], {"spec": {"versionPriority": 7}})
    read = {"v1beta2": await kube.get("APIService", NAMES[0])}
    await redirect(kube, "monitoring", "prometheus-adapter")

    assert await leader.registration._try(lambda: leader.registration._apply(read))

    assert (await kube.get("APIService", NAMES[0]))["spec"]["service"]["namespace"] == "monitoring"


async def test_operator_of_another_namespace_is_a_different_adapter(kube: Kube, cluster: Cluster) -> None:
    await kube.create(foreign("v1beta1", "other", **{"app.kubernetes.io/managed-by": "livescore-operator"}))
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    assert leader.registration.other == "other/prometheus-adapter"


async def test_group_served_by_the_api_server_is_left_alone(kube: Kube, cluster: Cluster) -> None:
    local = foreign("v1beta1")
    local["spec"] = {key: local["spec"][key] for key in ("group", "version", "groupPriorityMinimum", "versionPriority")}
    await kube.create(local)
    leader = Replica(cluster, kube.namespace)
    await leader.registration.check()
    assert leader.registration.other == "the API server itself"


async def test_concurrently_registered_adapter_is_not_overwritten(kube: Kube, cluster: Cluster) -> None:
    leader = Replica(cluster, kube.namespace)
    await leader.registration._keep_identity()
    await kube.create({**foreign("v1beta2"), "spec": {**foreign("v1beta2")["spec"], "insecureSkipTLSVerify": False}})

    assert await leader.registration._try(lambda: leader.registration._apply({"v1beta2": None}))
    assert (await kube.get("APIService", NAMES[0]))["spec"]["service"]["namespace"] == "monitoring"


async def test_failing_step_does_not_block_the_others(
    kube: Kube, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = Replica(cluster, kube.namespace)

    async def broken() -> None:
        raise ValueError("certificate")

    monkeypatch.setattr(leader.registration, "_load_client_config", broken)
    assert not await leader.registration.check()
    assert leader.registration.state == "Registered"


async def test_new_leader_registers_at_once(kube: Kube, cluster: Cluster) -> None:
    replica = Replica(cluster, kube.namespace, leads=False)
    running = asyncio.create_task(replica.registration.run())
    try:
        await kube.present("Secret", SECRET)
        assert await kube.find("APIService", NAMES[0]) is None
        replica.leads = True
        replica.led.set()
        await kube.present("APIService", NAMES[1])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# Requests through the API server


class Aggregated:
    """A registered adapter behind the API server."""

    def __init__(self, kube: Kube, server: Server) -> None:
        self.kube, self.server, self.access = kube, server, server.access

    async def find(self, namespace: str, selector: str) -> Sequence[Json]:
        return [_pod("demo-0", "10.0.0.1"), _pod("demo-1", "10.0.0.2")]

    async def connections(self, addresses: Sequence[str]) -> Mapping[str, int]:
        return {address: count for address, count in (("10.0.0.1", 40), ("10.0.0.2", 1500)) if address in addresses}

    def path(self, version: str = "v1beta2", name: str = "*", metric: str = METRIC) -> str:
        return f"/apis/{GROUP}/{version}/namespaces/{self.kube.namespace}/pods/{name}/{metric}"

    async def get(self, path: str, access: Access | None = None, **query: str) -> httpx.Response:
        """Request a path as `kubectl get --raw` does."""
        access = access or self.access
        async with httpx.AsyncClient(
            base_url=access.url, headers=access.headers, verify=access.context() or False, trust_env=False
        ) as http:
            return await http.get(path, params=query)

    async def available(self) -> bool:
        """Return True if the API server considers both versions available."""
        answers = [await self.get(f"/apis/{GROUP}/{version}") for version in PRIORITIES]
        return all(answer.status_code == 200 for answer in answers)


@pytest.fixture
async def aggregated(real_api: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Aggregated]:
    monkeypatch.setenv("KUBECONFIG", str(real_api.access.write(tmp_path / "admin.yaml")))
    async with Kube(real_api.access, f"test-{datetime.now(UTC):%H%M%S%f}") as kube, connect() as cluster:
        await kube.make_namespace()
        found = Aggregated(kube, real_api)
        async with _registered(found, cluster):
            yield found
        for name in NAMES:
            await kube.delete("APIService", name)
        await kube.remove_namespace()


@contextlib.asynccontextmanager
async def _registered(found: Aggregated, cluster: Cluster) -> AsyncIterator[None]:
    port = Port()
    replica = Replica(cluster, found.kube.namespace, port=port.number)
    values = MetricsProvider(found.find, found.connections)
    application = Adapter(replica.tls, SubjectAccessAuthorizer(cluster.review), values).application()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port.number, ssl_context=replica.tls.context).start()
    # A bare API server has no controller for endpoints; an ExternalName leads to loopback without them.
    spec = {"type": "ExternalName", "externalName": "localhost"}
    await found.kube.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": spec})
    try:
        assert await replica.registration.check()
        await eventually(found.available, 30)
        yield
    finally:
        await stop(runner)
        port.release()


def _pod(name: str, ip: str) -> Json:
    return {"metadata": {"name": name}, "status": {"phase": "Running", "podIP": ip}}


async def test_api_server_proxies_authorized_users_to_the_metric(aggregated: Aggregated) -> None:
    for version in PRIORITIES:
        answer = await aggregated.get(aggregated.path(version), labelSelector="app.kubernetes.io/instance=demo")
        assert answer.status_code == 200, answer.text
        values = {item["describedObject"]["name"]: item["value"] for item in answer.json()["items"]}
        assert (answer.json()["apiVersion"], values) == (f"{GROUP}/{version}", {"demo-0": "40", "demo-1": "1500"})
    one = await aggregated.get(aggregated.path(name="demo-0"))
    assert [item["value"] for item in one.json()["items"]] == ["40"]
    assert (await aggregated.get(aggregated.path(name="demo-9"))).status_code == 404
    for name in NAMES:
        service = await aggregated.kube.present("APIService", name, _is_available)
        assert service["spec"]["service"]["name"] == SERVICE
    await _is_discovered(aggregated)
    await _is_refused_to_accounts_without_the_right(aggregated)


def _is_available(service: Json) -> bool:
    conditions = service.get("status", {}).get("conditions", [])
    return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)


async def _is_discovered(aggregated: Aggregated) -> None:
    """Wait until both kinds of discovery, per group and aggregated, list the group."""
    group = (await aggregated.get(f"/apis/{GROUP}")).json()
    assert group["preferredVersion"] == {"groupVersion": f"{GROUP}/v1beta2", "version": "v1beta2"}
    found = await eventually(lambda: _in_aggregated_discovery(aggregated), 60)
    assert found == dict.fromkeys(PRIORITIES, f"pods/{METRIC}")


async def _in_aggregated_discovery(aggregated: Aggregated) -> dict[str, str]:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with httpx.AsyncClient(
        base_url=aggregated.access.url, verify=aggregated.access.context() or False, trust_env=False
    ) as http:
        groups = (await http.get("/apis", headers={"Accept": accept})).json()["items"]
    versions = [one for group in groups if group["metadata"]["name"] == GROUP for one in group["versions"]]
    return {
        one["version"]: f"{resource['resource']}/{resource['subresources'][0]['subresource']}"
        for one in versions
        for resource in one.get("resources", [])
        if one.get("freshness") == "Current"
    }


async def _is_refused_to_accounts_without_the_right(aggregated: Aggregated) -> None:
    kube = aggregated.kube
    await kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "horizontal"}})
    server = await asyncio.to_thread(aggregated.server.access_of, kube.namespace, "horizontal")
    denied = await aggregated.get(aggregated.path(), server)
    assert denied.status_code == 403
    reader = next(one for one in shipped("ClusterRole") if one["metadata"]["name"].endswith("reader"))
    await kube.create({**reader, "kind": "Role", "metadata": {"name": "reader", "namespace": kube.namespace}})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    await kube.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": reference,
            "subjects": [{"kind": "ServiceAccount", "name": "horizontal", "namespace": kube.namespace}],
        }
    )

    async def allowed() -> bool:
        return (await aggregated.get(aggregated.path(), server)).status_code == 200

    await eventually(allowed, 15)
    assert (await aggregated.get(aggregated.path(), replace(server, token="no token"))).status_code == 401


# Manifests and permissions


def shipped(*kinds: str) -> list[Json]:
    """Return the objects added by the overlay, of these kinds or of all."""
    paths = sorted(OVERLAY.glob("*.yaml"))
    found = [one for path in paths if path.stem != "kustomization" for one in yaml.safe_load_all(path.read_text())]
    return [one for one in found if not kinds or one["kind"] in kinds]


def test_manifests_match_the_settings() -> None:
    fields = Settings.model_fields
    (service,), (patch,) = shipped("Service"), shipped("Deployment")
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]

    assert service["metadata"] == {
        "name": fields["metrics_adapter_service"].default,
        "namespace": fields["pod_namespace"].default,
    }
    assert port["containerPort"] == fields["metrics_adapter_port"].default
    assert [(one["port"], one["targetPort"]) for one in service["spec"]["ports"]] == [(443, port["name"])]
    assert container["env"] == [{"name": "METRICS_ADAPTER", "value": "true"}]
    assert fields["metrics_adapter_role"].default == ROLE


def test_permissions_are_limited_by_name_if_possible() -> None:
    rules = [rule for role in shipped("ClusterRole", "Role") for rule in role["rules"]]
    named = {name for rule in rules for name in rule.get("resourceNames", [])}

    assert named == {SECRET, ROLE, *NAMES}
    assert [rule["verbs"] for rule in rules if "resourceNames" not in rule] == [["create"], ["get"], ["create"]]
    assert not any("*" in item for rule in rules for items in rule.values() for item in items)


def test_every_role_is_bound_and_every_binding_has_a_role() -> None:
    roles = {one["metadata"]["name"] for one in shipped("Role", "ClusterRole")}
    bound = {one["roleRef"]["name"] for one in shipped("RoleBinding", "ClusterRoleBinding")}
    assert bound == roles | {"system:auth-delegator", "extension-apiserver-authentication-reader"}


async def test_operator_with_the_shipped_permissions_registers_and_serves(
    real_api: Server, operator_forks: ForkServer, tmp_path: Path
) -> None:
    """The process's account has only the permissions granted by the overlay and the defaults it builds on."""
    async with Kube(real_api.access, f"test-{datetime.now(UTC):%H%M%S%f}") as kube:
        await kube.make_namespace()
        await kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "livescore-operator"}})
        bound = await _grant(kube)
        access = await asyncio.to_thread(real_api.access_of, kube.namespace, "livescore-operator")
        port = Port()
        operator = Operator(
            *(tmp_path, "operator", kube.namespace, access.write(tmp_path / "kubeconfig.yaml"), operator_forks),
            METRICS_ADAPTER="true",
            METRICS_ADAPTER_PORT=str(port.number),
        )
        try:
            await operator.start()
            await operator.until("/metrics", lambda answer: "adapter_registered 1.0" in answer.text, 30)
            assert (
                await _shown(port.number, (await stored_identity(kube)).authorities, f"{SERVICE}.{kube.namespace}.svc")
                == 200
            )
            assert "cannot" not in operator.log
            assert "PRIVATE" not in operator.log
            assert await operator.stop() == 0
        finally:
            operator.close()
            operator.release()
            port.release()
            print(operator.log[-20_000:])
            for kind, name in bound:
                await kube.delete(kind, name)
            async with Kube(real_api.access, AUTHENTICATION[0]) as system:
                await system.delete("RoleBinding", f"livescore-operator-authentication-reader-{kube.namespace}")
            for name in NAMES:
                with contextlib.suppress(ApiError):
                    await kube.delete("APIService", name)
            await kube.remove_namespace()


async def _shown(port: int, authorities: str, host: str) -> int:
    """Return the status of a probe over TLS that trusts the Secret's CAs."""
    context = ssl.create_default_context(cadata=authorities)
    url = f"https://127.0.0.1:{port}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context, server_hostname=host) as answer:
        return answer.status


async def _grant(kube: Kube) -> list[tuple[str, str]]:
    """Grant the permissions of the manifests to the account in this test's namespace; return cluster-scoped objects."""
    bodies = [_moved(one, kube.namespace) for one in (*_defaults(), *shipped(*ROLES))]
    for body in bodies:
        await kube.create(body)
    return [(body["kind"], body["metadata"]["name"]) for body in bodies if "namespace" not in body["metadata"]]


ROLES = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def _defaults() -> list[Json]:
    """Return the predefined roles that the overlay refers to, and their bindings."""
    paths = [path for folder in ("rbac", "operator") for path in sorted((K8S / folder).glob("*role*.yaml"))]
    return [one for path in paths for one in yaml.safe_load_all(path.read_text())]


def _moved(one: Json, namespace: str) -> Json:
    """Move an object to another namespace, or rename it if it is cluster-scoped."""
    moved: Json = json.loads(json.dumps(one).replace("livescore-system", namespace))
    named = [moved["metadata"]]
    if "roleRef" in moved and not moved["roleRef"]["name"].startswith(("system:", "extension-")):
        named.append(moved["roleRef"])
    for part in named:
        part["name"] = f"{part['name']}-{namespace}"
    return moved

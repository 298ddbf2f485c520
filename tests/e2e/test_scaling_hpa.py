"""A HorizontalPodAutoscaler scales on the metric that the operator serves, and owns the number of replicas."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from livescore_operator.resource import API_VERSION, KIND, METRIC
from tests.e2e.environment import OPERATOR_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.load_scenario import (
    MAX_PODS,
    MIN_PODS,
    RAMP_SECONDS,
    TARGET,
    WINDOW_SECONDS,
    LoadScenario,
    assert_within_bounds,
    grow,
    load_scenario,
    scale_down,
    shrink,
    spec,
    start_at_minimum,
)
from tests.e2e.stack import Stack
from tests.e2e.system import MANIFESTS, NAMESPACE, System
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube, eventually

pytestmark = pytest.mark.timeout(1800)

NAME = "mode hpa"

OVERLAY = MANIFESTS.parent / "overlays/metrics-adapter"

METRICS = "/apis/custom.metrics.k8s.io/v1beta2"
API_SERVICES = ("v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io")
CERTIFICATE = "livescore-operator-metrics-tls"

# The HPA's tolerance is cluster-wide, 0.1 by default, so 7 pods of 40 can be enough for 300 if it measures at 7 pods.
COUNTS = (MAX_PODS - 1, MAX_PODS)

REGISTERED_SECONDS = 120.0
"""Timeout until the API server uses the adapter: certificate, registration, and endpoints of the Service."""

METRIC_SECONDS = 30.0
"""Timeout until the metric covers all sockets: the clients hinted last may still be reconnecting."""


@pytest.fixture
async def adapter(system: System, access: Access) -> AsyncIterator[System]:
    """The operator with its metrics adapter, which is removed after the test."""
    before, after = await documents(system.kubectl, MANIFESTS), await documents(system.kubectl, OVERLAY)
    try:
        await apply(system, after)
        async with Kube(access, NAMESPACE) as kube:
            await eventually(lambda: metrics_registered(kube), REGISTERED_SECONDS)
        yield system
    finally:
        await apply(system, before)
        await remove(system.kubectl, [one for one in after if identity(one) not in map(identity, before)])


async def documents(kubectl: Kubectl, folder: Path) -> list[Json]:
    """Return what ``kubectl apply -k`` would apply, with the operator's image of this cluster."""
    text = (await kubectl("kustomize", str(folder))).replace("livescore-operator:dev", OPERATOR_IMAGE)
    return list(yaml.safe_load_all(text))


async def apply(system: System, manifests: list[Json]) -> None:
    """Apply each manifest in its own namespace, and wait until an operator pod of these manifests leads."""
    for namespace in sorted({space(one) for one in manifests}):
        await system.kubectl.within(namespace).apply(*(one for one in manifests if space(one) == namespace))
    await system.rolled_out()
    await system.wait_for_leader()


async def remove(kubectl: Kubectl, manifests: list[Json]) -> None:
    """Delete the objects of the overlay and of its operator; the APIServices first, because discovery calls them."""
    await kubectl("delete", "apiservice", *API_SERVICES, "--ignore-not-found")
    for one in manifests:
        await kubectl.within(space(one))("delete", one["kind"], one["metadata"]["name"], "--ignore-not-found")
    await kubectl("delete", "secret", CERTIFICATE, "--ignore-not-found")


def identity(manifest: Json) -> tuple[str, str, str]:
    return manifest["kind"], space(manifest), manifest["metadata"]["name"]


def space(manifest: Json) -> str:
    """Return the namespace of a manifest; the operator's if it names none."""
    namespace: str = manifest["metadata"].get("namespace", NAMESPACE)
    return namespace


async def metrics_registered(kube: Kube) -> bool:
    """Return True if the API server serves both versions of the metrics."""
    found = [await kube.find("APIService", name) for name in API_SERVICES]
    return all(one is not None and available(one) for one in found)


def available(api_service: Json) -> bool:
    conditions = api_service.get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Available", "True") for one in conditions)


@pytest.mark.usefixtures("adapter")
async def test_hpa_follows_the_sockets_and_no_socket_is_dropped(stack: Stack) -> None:
    await start_at_minimum(stack, **spec("hpa", TARGET, MAX_PODS, WINDOW_SECONDS))
    async with load_scenario(stack) as scenario:
        count = await grow(scenario, NAME, COUNTS)
        await eventually(lambda: metric_matches_sockets(scenario), METRIC_SECONDS)
        await assert_scaled_by_hpa(stack, count)
        await shrink(scenario, NAME)
        await scenario.record(NAME)
        scenario.timeline.save("cluster-hpa", "mode hpa: 300 clients come, 280 of them go; seconds")
        await scenario.assert_received()
        assert scenario.clients.dropped == []
        assert_within_bounds(scenario.timeline.samples)
        await assert_scaled_by_hpa(stack, MIN_PODS)
        await stack.wait_ready()


@pytest.mark.usefixtures("adapter")
async def test_hpa_can_target_the_livescore_itself(stack: Stack) -> None:
    given = spec("none", TARGET, MAX_PODS, WINDOW_SECONDS)
    await stack.up(**{**given, "api": {**given["api"], "replicas": MIN_PODS}})
    async with load_scenario(stack) as scenario:
        await stack.kubectl.apply(foreign_hpa(stack))
        await scenario.clients.join(TARGET * 3, RAMP_SECONDS / 3)
        count = await scenario.wait_for_pods((3, 4))
        assert (await stack.get())["spec"]["api"]["replicas"] == count
        await scenario.clients.leave(TARGET * 2)
        await scenario.wait_for_pods({MIN_PODS})
        assert (await stack.get())["spec"]["api"]["replicas"] == MIN_PODS
        await scenario.assert_received()
        assert scenario.clients.dropped == []


def foreign_hpa(stack: Stack) -> Json:
    """Return a HorizontalPodAutoscaler that targets the LiveScore and is not managed by the operator."""
    target = {"type": "AverageValue", "averageValue": str(TARGET)}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "foreign"},
        "spec": {
            "scaleTargetRef": {"apiVersion": API_VERSION, "kind": KIND, "name": stack.name},
            "minReplicas": MIN_PODS,
            "maxReplicas": 4,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": target}}],
            "behavior": {"scaleDown": scale_down(WINDOW_SECONDS)},
        },
    }


async def metric_matches_sockets(scenario: LoadScenario) -> bool:
    """Return True if the metric lists every pod and its values add up to all sockets."""
    path = f"{METRICS}/namespaces/{scenario.stack.kubectl.namespace}/pods/*/{METRIC}"
    items = json.loads(await scenario.stack.kubectl("get", "--raw", path))["items"]
    values = {item["describedObject"]["name"]: int(item["value"]) for item in items}
    return set(values) == await scenario.pods() and sum(values.values()) == len(scenario.clients.active)


async def assert_scaled_by_hpa(stack: Stack, count: int) -> None:
    """Assert that the HPA set the number of replicas by the metric, and that the operator does not manage it."""
    autoscaler = await stack.kube.get("HorizontalPodAutoscaler", f"{stack.name}-api")
    conditions = {one["type"]: one["status"] for one in autoscaler["status"]["conditions"]}
    assert (conditions["ScalingActive"], autoscaler["status"]["desiredReplicas"]) == ("True", count)
    deployment = await stack.kube.get("Deployment", f"{stack.name}-api")
    assert deployment["spec"]["replicas"] == count
    assert not any(one.startswith("livescore-operator") for one in replica_owners(deployment))


def replica_owners(deployment: Json) -> list[str]:
    """Return the field managers of the number of replicas."""
    entries = deployment["metadata"]["managedFields"]
    return [one["manager"] for one in entries if "f:replicas" in one.get("fieldsV1", {}).get("f:spec", {})]

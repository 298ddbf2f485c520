"""A HorizontalPodAutoscaler scales on the metric that the operator serves, and the operator leaves it the number."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from livescore_operator.resource import API_VERSION, KIND, METRIC
from tests.e2e.environment import OPERATOR_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.rush import (
    LEAST,
    MOST,
    RAMP_SECONDS,
    TARGET,
    WINDOW_SECONDS,
    Rush,
    bounded,
    grow,
    rush,
    scale_down,
    shrink,
    spec,
    up,
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

# Its tolerance is that of the whole cluster, a tenth by default: 7 pods of 40 may do for 300, if it saw 7 first.
COUNTS = (MOST - 1, MOST)

REGISTERED_SECONDS = 120.0
"""Longest until the API server asks the adapter: its certificate, its registration, and endpoints of its Service."""

METRIC_SECONDS = 30.0
"""Longest until the metric tells all sockets: the last that were asked to come in again may still be on their way."""


@pytest.fixture
async def adapter(system: System, access: Access) -> AsyncIterator[System]:
    """The operator with its metrics adapter, and afterwards without."""
    before, after = await documents(system.kubectl, MANIFESTS), await documents(system.kubectl, OVERLAY)
    try:
        await apply(system, after)
        async with Kube(access, NAMESPACE) as kube:
            await eventually(lambda: served(kube), REGISTERED_SECONDS)
        yield system
    finally:
        await apply(system, before)
        await remove(system.kubectl, [one for one in after if identity(one) not in map(identity, before)])


async def documents(kubectl: Kubectl, folder: Path) -> list[Json]:
    """What ``kubectl apply -k`` would apply, with the operator's image of this cluster."""
    text = (await kubectl("kustomize", str(folder))).replace("livescore-operator:dev", OPERATOR_IMAGE)
    return list(yaml.safe_load_all(text))


async def apply(system: System, manifests: list[Json]) -> None:
    """Apply each in its own namespace, and wait until an operator of theirs leads."""
    for namespace in sorted({space(one) for one in manifests}):
        await system.kubectl.within(namespace).apply(*(one for one in manifests if space(one) == namespace))
    await system.rolled_out()
    await system.led()


async def remove(kubectl: Kubectl, manifests: list[Json]) -> None:
    """Take away what the overlay brought, and what its operator made: first what everybody's discovery would ask."""
    await kubectl("delete", "apiservice", *API_SERVICES, "--ignore-not-found")
    for one in manifests:
        await kubectl.within(space(one))("delete", one["kind"], one["metadata"]["name"], "--ignore-not-found")
    await kubectl("delete", "secret", CERTIFICATE, "--ignore-not-found")


def identity(manifest: Json) -> tuple[str, str, str]:
    return manifest["kind"], space(manifest), manifest["metadata"]["name"]


def space(manifest: Json) -> str:
    """Its namespace; the operator's for what has none."""
    namespace: str = manifest["metadata"].get("namespace", NAMESPACE)
    return namespace


async def served(kube: Kube) -> bool:
    """Whether the API server has both versions of the metrics."""
    found = [await kube.find("APIService", name) for name in API_SERVICES]
    return all(one is not None and available(one) for one in found)


def available(api_service: Json) -> bool:
    conditions = api_service.get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Available", "True") for one in conditions)


@pytest.mark.usefixtures("adapter")
async def test_an_autoscaler_follows_the_sockets_and_nobody_is_dropped(stack: Stack) -> None:
    await up(stack, **spec("hpa", TARGET, MOST, WINDOW_SECONDS))
    async with rush(stack) as found:
        count = await grow(found, NAME, COUNTS)
        await eventually(lambda: measured(found), METRIC_SECONDS)
        await decided(stack, count)
        await shrink(found, NAME)
        await found.note(NAME)
        found.timeline.keep("cluster-hpa", "mode hpa: 300 clients come, 280 of them go; seconds")
        await found.holds()
        assert found.crowd.dropped == []
        bounded(found.timeline.samples)
        await decided(stack, LEAST)
        await stack.ready()


@pytest.mark.usefixtures("adapter")
async def test_an_autoscaler_may_target_the_livescore_itself(stack: Stack) -> None:
    given = spec("none", TARGET, MOST, WINDOW_SECONDS)
    await stack.up(**{**given, "api": {**given["api"], "replicas": LEAST}})
    async with rush(stack) as found:
        await stack.kubectl.apply(foreign(stack))
        await found.crowd.join(TARGET * 3, RAMP_SECONDS / 3)
        count = await found.settled((3, 4))
        assert (await stack.get())["spec"]["api"]["replicas"] == count
        await found.crowd.leave(TARGET * 2)
        await found.settled({LEAST})
        assert (await stack.get())["spec"]["api"]["replicas"] == LEAST
        await found.holds()
        assert found.crowd.dropped == []


def foreign(stack: Stack) -> Json:
    """Somebody else's autoscaler."""
    target = {"type": "AverageValue", "averageValue": str(TARGET)}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "somebodys"},
        "spec": {
            "scaleTargetRef": {"apiVersion": API_VERSION, "kind": KIND, "name": stack.name},
            "minReplicas": LEAST,
            "maxReplicas": 4,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": target}}],
            "behavior": {"scaleDown": scale_down(WINDOW_SECONDS)},
        },
    }


async def measured(found: Rush) -> bool:
    """Whether the metric tells the sockets of each pod."""
    path = f"{METRICS}/namespaces/{found.stack.kubectl.namespace}/pods/*/{METRIC}"
    items = json.loads(await found.stack.kubectl("get", "--raw", path))["items"]
    told = {item["describedObject"]["name"]: int(item["value"]) for item in items}
    return set(told) == await found.pods() and sum(told.values()) == len(found.crowd.present)


async def decided(stack: Stack, count: int) -> None:
    """See that the autoscaler gave the number, by the metric, and that the operator has no part in it."""
    autoscaler = await stack.kube.get("HorizontalPodAutoscaler", f"{stack.name}-api")
    conditions = {one["type"]: one["status"] for one in autoscaler["status"]["conditions"]}
    assert (conditions["ScalingActive"], autoscaler["status"]["desiredReplicas"]) == ("True", count)
    deployment = await stack.kube.get("Deployment", f"{stack.name}-api")
    assert deployment["spec"]["replicas"] == count
    assert not any(one.startswith("livescore-operator") for one in owners(deployment))


def owners(deployment: Json) -> list[str]:
    """Who owns its number of replicas."""
    entries = deployment["metadata"]["managedFields"]
    return [one["manager"] for one in entries if "f:replicas" in one.get("fieldsV1", {}).get("f:spec", {})]

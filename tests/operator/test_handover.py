"""The owner of the API's replicas changes with the mode, while the number stays the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from livescore_operator import pod_client
from livescore_operator.cluster import FIELD_MANAGER, HANDOVER_MANAGER, connect
from livescore_operator.scaling.drain import UNKNOWN_COST
from tests.operator.scene import START, Scene, opened
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube, eventually

CONTROLLER = "kube-controller-manager"
"""Field manager of HorizontalPodAutoscalers."""


def by_autoscaler(**more: Any) -> Json:
    """Return a spec with ten sockets per pod and two to six pods, scaled by an HPA."""
    return {"mode": "hpa", "minReplicas": 2, "maxReplicas": 6, "targetConnectionsPerPod": 10, **more}


@pytest.fixture
async def scene(kube: Kube, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    # The pods respond from this event loop: on a busy machine that may take longer than real pods are given.
    monkeypatch.setattr(pod_client, "TIMEOUT_SECONDS", 30.0)
    async with connect(30) as cluster, opened(kube, cluster) as found:
        yield found


class Recording:
    """All numbers of replicas the API's Deployment ever had, in order, and the last version seen."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.version = ""

    async def record(self, scene: Scene) -> None:
        """Watch until cancelled."""
        async with scene.kube.watch("Deployment") as events:
            async for event in events:
                if event["object"]["metadata"]["name"] == "demo-api":
                    self.numbers.append(event["object"]["spec"].get("replicas", 0))
                    self.version = event["object"]["metadata"]["resourceVersion"]


@asynccontextmanager
async def recorded(scene: Scene) -> AsyncIterator[list[int]]:
    """Record the numbers of replicas during the block; the list is complete after it."""
    recording = Recording()
    watching = asyncio.create_task(recording.record(scene))

    async def caught_up() -> bool:
        return bool(recording.version == (await scene.deployment())["metadata"]["resourceVersion"])

    try:
        await eventually(caught_up)
        yield recording.numbers
        await eventually(caught_up)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def managers(scene: Scene) -> set[str]:
    """Return the field managers of the number of replicas."""
    entries = (await scene.deployment())["metadata"]["managedFields"]
    return {one["manager"] for one in entries if "f:replicas" in one["fieldsV1"].get("f:spec", {})}


async def pod_versions(scene: Scene) -> list[str]:
    """Return the versions of all pods."""
    return [one["metadata"]["resourceVersion"] for one in await scene.kube.list("Pod")]


async def test_replicas_are_kept_across_mode_changes(scene: Scene) -> None:
    await scene.up(api={"replicas": 4}, autoscaling={"rebalance": {"enabled": False}})
    assert await managers(scene) == {FIELD_MANAGER}
    modes = [by_autoscaler(), {"mode": "connections"}, {"mode": "hpa"}, {"mode": "none"}, {"mode": "connections"}]

    async with recorded(scene) as numbers:
        for autoscaling in modes:
            await scene.edit(autoscaling=autoscaling)
            for _ in range(3):
                await scene.step(1)
            ours = FIELD_MANAGER in await managers(scene)
            assert ours == (autoscaling["mode"] != "hpa")
            found = await scene.kube.find("HorizontalPodAutoscaler", "demo-api")
            assert (found is not None) == (autoscaling["mode"] == "hpa")

    assert set(numbers) == {4}, "the number changed for a moment"
    assert await scene.messages("FieldConflict") == []
    assert await scene.messages("Scaled") == []
    assert len(scene.fleet.pods) == 4

    await scene.load(20, 20, 10, 0)
    assert await scene.replicas() == 5
    assert await managers(scene) == {FIELD_MANAGER}
    assert await scene.messages("FieldConflict") == [], "the operator conflicted with itself"


async def test_replicas_stay_owned_until_the_hpa_first_changes_them(scene: Scene) -> None:
    await scene.up(api={"replicas": 4})
    await scene.edit(autoscaling=by_autoscaler())
    await scene.step()
    assert await managers(scene) == {HANDOVER_MANAGER}

    await scene.scale("Deployment", "demo-api", 5, CONTROLLER)
    assert await managers(scene) == {CONTROLLER}

    async with recorded(scene) as numbers:
        for _ in range(3):
            await scene.step(60)
        await scene.edit(api={"securityMode": "DRY_RUN"})
        await scene.step()
    assert set(numbers) == {5}
    assert await scene.messages("FieldConflict") == []
    assert len(scene.fleet.pods) == 5

    await scene.edit(autoscaling={"mode": "connections"})
    async with recorded(scene) as numbers:
        await scene.step()
        await scene.step()
    assert set(numbers) == {5}, "the number is taken over unchanged"
    assert FIELD_MANAGER in await managers(scene)


async def test_hpa_is_created_from_the_spec_and_reported(scene: Scene) -> None:
    await scene.up(autoscaling=by_autoscaler())

    spec = (await scene.kube.get("HorizontalPodAutoscaler", "demo-api"))["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == "livescore_websocket_connections"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "10"}
    assert await scene.replicas() == 2
    assert await scene.condition("ScalingActive") == ("False", "AutoscalerStarting")
    found = await scene.scaling()
    assert (found["replicas"], found["reason"]) == (2, "HorizontalPodAutoscaler")
    assert FIELD_MANAGER not in await managers(scene), "from the second reconcile on"

    conditions = [{"type": type, "status": "True", "reason": "Fine"} for type in ("AbleToScale", "ScalingActive")]
    status = {"desiredReplicas": 3, "currentReplicas": 2, "conditions": conditions}
    await scene.kube.set_status("HorizontalPodAutoscaler", "demo-api", status)
    await scene.scale("Deployment", "demo-api", 3, CONTROLLER)
    await scene.step()
    assert (await scene.scaling())["replicas"] == 3
    assert await scene.condition("ScalingActive") == ("True", "Autoscaler")
    assert await scene.replicas() == 3


@pytest.mark.parametrize(("desired", "replicas"), [(0, 2), (5, 5)], ids=["never decided", "decided"])
async def test_lost_deployment_is_recreated_with_replicas_within_bounds(
    scene: Scene, desired: int, replicas: int
) -> None:
    await scene.up(autoscaling=by_autoscaler())
    status = {"desiredReplicas": desired, "currentReplicas": desired}
    await scene.kube.set_status("HorizontalPodAutoscaler", "demo-api", status)
    await scene.kube.delete("Deployment", "demo-api")
    await scene.kube.gone("Deployment", "demo-api")
    await scene.fleet.clear()

    await scene.reconcile()
    assert await scene.replicas() == replicas

    async with recorded(scene) as numbers:
        await scene.step()
        await scene.step()
    assert set(numbers) == {replicas}
    assert FIELD_MANAGER not in await managers(scene)


async def test_hpa_starting_without_pods_begins_at_its_minimum(scene: Scene) -> None:
    """Without initial replicas, it would stay at zero for good."""
    await scene.up(api={"replicas": 0})
    assert await scene.replicas() == 0

    await scene.edit(autoscaling=by_autoscaler())
    await scene.step()
    await scene.step()

    assert await scene.replicas() == 2
    assert await managers(scene) == {HANDOVER_MANAGER}


async def test_deletion_cost_follows_the_number_of_sockets(scene: Scene) -> None:
    await scene.up(autoscaling=by_autoscaler(minReplicas=3))

    await scene.load(4, 0, 100)
    assert list((await scene.fleet.costs()).values()) == ["3", "0", "7"]
    versions = await pod_versions(scene)
    scene.fleet.set_sockets(7, 0, 70)
    await scene.reconcile()
    assert await pod_versions(scene) == versions, "the cost is not written for every socket"

    scene.fleet.set_sockets(7, 1, 70)
    scene.fleet.pods["demo-api-3"].silent = True
    await scene.reconcile()
    assert list((await scene.fleet.costs()).values()) == ["3", "1", str(UNKNOWN_COST)]


async def test_plan_of_the_handover_shows_no_change_of_replicas(scene: Scene) -> None:
    await scene.up(api={"replicas": 4})
    await scene.edit(autoscaling=by_autoscaler(), reconcilePolicy="Plan")

    async with recorded(scene) as numbers:
        await scene.step()

    plan = (await scene.status())["plan"]
    assert plan["summary"] == "1 to create, 1 to update, 0 to delete"
    assert "planned HorizontalPodAutoscaler/demo-api" in plan["diff"]
    assert not [line for line in plan["diff"].splitlines() if line[:1] in "+-" and " replicas:" in line]
    assert set(numbers) == {4}
    assert await managers(scene) == {FIELD_MANAGER}
    assert set((await scene.fleet.costs()).values()) == {"0"}, "as in mode none"


async def test_matches_raise_the_minimum_of_the_hpa(scene: Scene) -> None:
    match_day = {"enabled": True, "leadMinutes": 20, "expectedConnections": 50}
    await scene.up(autoscaling=by_autoscaler(matchDay=match_day))
    names = {"sport": "football", "homeTeam": "Reds", "awayTeam": "Blues", "status": "scheduled"}
    times = [f"{START + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (15, 135)]
    scene.fleet.fixtures = [{"id": 7, **names, "startTime": times[0], "endTime": times[1]}]

    async def least() -> int:
        found: int = (await scene.kube.get("HorizontalPodAutoscaler", "demo-api"))["spec"]["minReplicas"]
        return found

    assert await scene.step() == 60.0
    assert await least() == 5
    assert (await scene.scaling())["floor"]["replicas"] == 5
    assert await scene.replicas() == 2, "the autoscaler follows it, not the operator"

    scene.fleet.fixtures = None
    await scene.step(60)
    assert await least() == 5
    scene.fleet.fixtures = []
    await scene.step(60)
    assert await least() == 2


async def test_kubectl_scale_changes_the_deployment_in_mode_none(scene: Scene) -> None:
    await scene.up()
    assert await scene.condition("ScalingActive") == ("False", "ModeNone")

    await scene.scale("LiveScore", "demo", 3, "kubectl")
    await scene.step()
    await scene.step()

    assert await scene.replicas() == 3
    found = await scene.kube.get("LiveScore", "demo", subresource="scale")
    assert (found["spec"], found["status"]["replicas"]) == ({"replicas": 3}, 3)
    assert len(await scene.kube.list("Pod", found["status"]["selector"])) == 3
    assert "scaling" not in await scene.status()

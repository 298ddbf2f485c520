"""Scaling by connections against an API server: pods are added with the load, and removed only when empty."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from livescore_operator import pod_client
from livescore_operator.cluster import connect
from livescore_operator.scaling.drain import RELEASE_SECONDS, VICTIM_COST
from tests.operator.scene import START, Scene, opened
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube

ONE, TWO, THREE, FOUR = (f"demo-api-{number}" for number in range(1, 5))

DRAIN, STAY = "/drain", "/drain?cancel=true"

DEADLINE = 40.0
"""Time limit of a drain in seconds: grace, deadline of the spec, and time to notice."""

CAREFUL = 301.0
"""Longer than the stabilization window of scaleDown."""

AT_ONCE: Json = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


def by_connections(**more: Any) -> Json:
    """Return a spec with ten sockets per pod and two to six pods, without rebalancing unless requested."""
    bounds = {"minReplicas": 2, "maxReplicas": 6, "targetConnectionsPerPod": 10}
    return {"mode": "connections", **bounds, "rebalance": {"enabled": False}, **more}


@pytest.fixture
async def scene(kube: Kube, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    # The pods respond from this event loop: on a busy machine that may take longer than real pods are given.
    monkeypatch.setattr(pod_client, "TIMEOUT_SECONDS", 30.0)
    async with connect(30) as cluster, opened(kube, cluster) as found:
        yield found


async def versions(scene: Scene) -> dict[str, str]:
    """Return the versions of everything the operator may write."""
    pods = await scene.kube.list("Pod")
    return {**await scene.versions(), **{one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in pods}}


# Up


async def test_load_adds_pods_with_a_reason(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections())
    assert await scene.replicas() == 2
    assert await scene.condition("ScalingActive") == ("True", "Connections")

    await scene.load(20, 15)

    assert await scene.replicas() == 4
    found = await scene.scaling()
    assert (found["replicas"], found["reason"]) == (4, "ScaleUp")
    assert found["message"] == "35 connections need 4 pods of 10 each"
    assert found["readings"] == {"pods": 2, "unread": 0, "mean": 18, "highest": 20}
    assert found["lastScaleTime"] == "2026-06-11T17:00:00Z"
    assert (await scene.status())["connections"] == 35
    assert await scene.messages("Scaled") == [("Normal", f"2 → 4 API pods: {found['message']}")]
    assert scene.metric("scalings_total", direction="up") == 1
    assert scene.metric("scaling_replicas") == 4
    assert scene.metric("connection_spread") == pytest.approx(20 / 17.5)

    await scene.step()
    assert list(scene.fleet.pods) == [ONE, TWO, THREE, FOUR]
    assert scene.fleet.new_commands == {}, "no pod has to drain"


async def test_unchanged_load_causes_no_write_and_no_requeue(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections())
    await scene.load(9, 9)
    before = await versions(scene)

    assert await scene.reconcile() is None

    scene.now += timedelta(seconds=CAREFUL)
    await scene.reconcile()
    assert await versions(scene) == before


async def test_silent_pod_never_lowers_the_number_and_is_reported(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections())
    await scene.load(20, 10)
    await scene.load(0, 10, 10)
    scene.fleet.pods[TWO].silent = True

    for seconds in (0.0, CAREFUL, CAREFUL):
        assert await scene.step(seconds) == 15.0, "requeued although nothing happened"

    assert await scene.replicas() == 3
    assert scene.fleet.new_commands == {}
    found = await scene.scaling()
    assert (found["reason"], found["readings"]["unread"]) == ("ReadingsMissing", 1)
    assert scene.metric("silent_pods") == 1

    for pod in scene.fleet.pods.values():
        pod.silent = True
    await scene.step(CAREFUL)
    assert await scene.replicas() == 3
    assert await scene.condition("ScalingActive") == ("False", "NoReadings")


async def test_foreign_change_of_replicas_is_reverted(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections(scaleDown=AT_ONCE))
    await scene.load(9, 9)

    await scene.scale("Deployment", "demo-api", 1, "kubectl")
    await scene.reconcile()
    assert await scene.replicas() == 2, "at once"

    await scene.step()
    await scene.scale("Deployment", "demo-api", 4, "kubectl")
    await scene.step()
    assert scene.fleet.new_commands == {THREE: [DRAIN], FOUR: [DRAIN]}, "surplus pods are drained as usual"
    await scene.step(1)
    assert await scene.replicas() == 2
    warnings = await scene.messages("FieldConflict")
    assert [type for type, _ in warnings] == ["Warning", "Warning"]
    assert all("kubectl" in message for _, message in warnings)


async def test_lost_deployment_is_recreated_with_the_same_replicas(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections())
    await scene.load(20, 15)
    await scene.kube.delete("Deployment", "demo-api")
    await scene.kube.gone("Deployment", "demo-api")
    await scene.fleet.clear()

    await scene.reconcile()

    assert await scene.replicas() == 4


# Down


async def set_up_surplus(scene: Scene, *sockets: int, **autoscaling: Any) -> None:
    """Set up three pods with the load of two, before any drain."""
    await scene.up(autoscaling=by_connections(**autoscaling))
    await scene.load(20, 10)
    await scene.load(*sockets)
    assert await scene.replicas() == 3
    assert scene.fleet.new_commands == {}


async def test_pod_is_drained_before_removal(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)

    again = await scene.step(CAREFUL)

    assert again == 1.0
    assert scene.fleet.new_commands == {TWO: [DRAIN]}, "the one with the fewest sockets"
    assert await scene.fleet.costs() == {ONE: None, TWO: str(VICTIM_COST), THREE: None}
    deadline = f"{scene.now + timedelta(seconds=DEADLINE):%Y-%m-%dT%H:%M:%SZ}"
    assert await scene.draining() == {TWO: {"pod": TWO, "connections": 2, "deadline": deadline, "released": False}}
    assert await scene.messages("Draining") == [("Normal", f"draining {TWO} before removal")]
    assert (await scene.scaling())["replicas"] == 2
    assert scene.metric("draining_pods") == 1

    await scene.load(9, 1, 5, seconds=10)
    assert await scene.replicas() == 3
    assert (await scene.draining())[TWO]["connections"] == 1
    assert scene.fleet.new_commands == {}

    await scene.load(9, 0, 6, seconds=10)
    assert await scene.replicas() == 2
    assert (await scene.draining())[TWO]["released"]
    (_, message) = (await scene.messages("Scaled"))[-1]
    assert message.startswith("3 → 2 API pods: 15 connections need 2 pods")
    assert scene.metric("scalings_total", direction="down") == 1

    await scene.step(1)
    assert list(scene.fleet.pods) == [ONE, THREE], "exactly the drained pod was removed"
    assert await scene.draining() == {}
    assert await scene.messages("OtherPodRemoved") == []
    assert scene.fleet.new_commands == {}
    assert scene.metric("draining_pods") == 0


async def test_pod_that_does_not_empty_is_removed_at_its_deadline(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.step(CAREFUL)

    await scene.step(DEADLINE - 1)
    assert await scene.replicas() == 3

    await scene.step(1)
    assert await scene.replicas() == 2
    await scene.step()
    assert list(scene.fleet.pods) == [ONE, THREE]


async def test_returning_load_keeps_the_pod(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.step(CAREFUL)
    assert scene.fleet.new_commands == {TWO: [DRAIN]}

    await scene.load(15, 2, 12, seconds=1)

    assert scene.fleet.new_commands == {TWO: [STAY]}
    assert set((await scene.fleet.costs()).values()) == {None}
    assert await scene.draining() == {}
    assert await scene.messages("DrainCancelled") == [("Normal", f"cancelled the drain of {TWO}: needed again")]
    await scene.step(DEADLINE)
    assert await scene.replicas() == 3
    assert list(scene.fleet.pods) == [ONE, TWO, THREE]


async def test_restarted_operator_continues_a_drain(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.step(CAREFUL)
    deadline = (await scene.draining())[TWO]["deadline"]
    assert scene.fleet.new_commands == {TWO: [DRAIN]}

    scene.restart()
    await scene.step(10)
    assert scene.fleet.new_commands == {}
    assert (await scene.draining())[TWO]["deadline"] == deadline

    scene.restart()
    await scene.load(8, 0, 7, seconds=1)
    assert await scene.replicas() == 2

    scene.restart()
    await scene.step(1)
    assert list(scene.fleet.pods) == [ONE, THREE]
    assert await scene.draining() == {}
    assert scene.fleet.new_commands == {}


async def test_operator_killed_before_writing_the_status_finds_the_draining_pod(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.edit(autoscaling={"scaleDown": AT_ONCE})
    await scene.step()
    await scene.kube.set_status("LiveScore", "demo", {"draining": None})
    scene.restart()

    await scene.load(1, 2, 5, seconds=1)

    assert list(await scene.draining()) == [TWO]
    assert scene.fleet.new_commands == {TWO: [DRAIN, DRAIN]}, "the same pod again, and no other"


async def start_rollout(scene: Scene) -> None:
    """Start a rollout: one of three pods has the new template so far."""
    await scene.kube.set_status("Deployment", "demo-api", {"replicas": 3, "updatedReplicas": 1})
    await scene.reconcile()


async def test_no_pod_is_drained_during_a_rollout(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    scene.now += timedelta(seconds=CAREFUL)

    await start_rollout(scene)
    assert scene.fleet.new_commands == {}
    assert (await scene.scaling())["reason"] == "RollingOut"

    await scene.step(CAREFUL)
    assert scene.fleet.new_commands == {TWO: [DRAIN]}
    await start_rollout(scene)
    assert scene.fleet.new_commands == {TWO: [STAY]}
    assert await scene.draining() == {}


async def test_removal_of_another_pod_is_reported(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.step(CAREFUL)
    await scene.load(9, 0, 6, seconds=1)
    assert await scene.replicas() == 2
    assert scene.fleet.new_commands == {TWO: [DRAIN]}

    await scene.fleet.remove(ONE)
    await scene.step(1)
    assert scene.fleet.new_commands == {}
    await scene.step(RELEASE_SECONDS)

    text = f"{TWO}: drained, but Kubernetes removed another pod instead; serving again"
    assert await scene.messages("OtherPodRemoved") == [("Warning", text)]
    assert scene.fleet.new_commands == {TWO: [STAY]}
    await scene.step(1)
    assert set((await scene.fleet.costs()).values()) == {None}
    assert list(scene.fleet.pods) == [TWO, THREE]


@pytest.mark.parametrize("autoscaling", [{"mode": "none"}, {"mode": "hpa"}], ids=["none", "hpa"])
async def test_drains_are_cancelled_when_the_mode_changes(scene: Scene, autoscaling: Json) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.step(CAREFUL)
    assert scene.fleet.new_commands == {TWO: [DRAIN]}

    await scene.edit(autoscaling=autoscaling, api={"replicas": 3})
    scene.fleet.pods[TWO].silent = True
    await scene.step(1)
    scene.fleet.pods[TWO].silent = False
    for _ in range(3):
        await scene.step(1)

    assert scene.fleet.new_commands == {TWO: [STAY]}
    assert await scene.draining() == {}
    assert (await scene.fleet.costs())[TWO] == "2"
    assert await scene.replicas() == 3


# No commands


@pytest.mark.parametrize("spec", [{"suspend": True}, {"reconcilePolicy": "Plan"}], ids=["suspended", "planned"])
async def test_pods_get_no_commands_while_reconciling_is_paused(scene: Scene, spec: Json) -> None:
    rebalance = {"enabled": True}
    await set_up_surplus(scene, 8, 2, 5, rebalance=rebalance)
    await scene.edit(**spec)

    await scene.step(CAREFUL)
    await scene.load(500, 0, 0, seconds=CAREFUL)

    assert scene.fleet.new_commands == {}
    assert await scene.replicas() == 3
    assert await scene.draining() == {}
    assert set((await scene.fleet.costs()).values()) == {None}


async def test_pods_get_no_commands_while_the_reconcile_is_incomplete(scene: Scene) -> None:
    await set_up_surplus(scene, 8, 2, 5)
    await scene.edit(api={"apiKeysSecret": {"name": "missing", "key": "keys"}})

    await scene.step(CAREFUL)
    assert await scene.condition("Ready") == ("False", "SecretNotFound")
    assert scene.fleet.new_commands == {}
    assert await scene.draining() == {}

    await scene.edit(api={"apiKeysSecret": None})
    await scene.step()
    assert scene.fleet.new_commands == {TWO: [DRAIN]}

    await scene.edit(api={"apiKeysSecret": {"name": "missing", "key": "keys"}})
    await scene.load(9, 0, 6, seconds=DEADLINE)
    assert await scene.replicas() == 3, "the drain that had begun is unchanged"
    assert list(await scene.draining()) == [TWO]


# Rebalance


async def test_overfull_pods_shed_a_bounded_part_of_their_surplus(scene: Scene) -> None:
    rebalance = {"enabled": True, "tolerance": 0.2, "perSecond": 4}
    await scene.up(autoscaling=by_connections(targetConnectionsPerPod=100, rebalance=rebalance))
    await scene.load(145, 145)

    again = await scene.load(195, 85, 10, seconds=5)

    assert scene.fleet.new_commands == {ONE: ["/shed?count=20&perSecond=4"]}, "4 a second, for 5 seconds"
    assert again == 5.0
    assert scene.metric("shed_connections_total") == 20
    assert scene.metric("connection_spread") == pytest.approx(195 / (290 / 3))

    await scene.load(185, 90, 15, seconds=4.9)
    assert scene.fleet.new_commands == {}, "not before the shed sockets are seen elsewhere"
    await scene.load(115, 95, 80, seconds=0.1)
    assert scene.fleet.new_commands == {}, "within the tolerance"
    assert scene.metric("connection_spread") == pytest.approx(115 / (290 / 3))


async def test_no_pod_sheds_while_pods_start_or_stop(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections(minReplicas=3, maxReplicas=3, rebalance={"enabled": True}))
    scene.fleet.set_sockets(50, 0, 0)
    await start_rollout(scene)
    assert scene.fleet.new_commands == {}

    await scene.edit(autoscaling={"minReplicas": 2, "scaleDown": AT_ONCE})
    await scene.load(19, 1, 0)
    assert scene.fleet.new_commands == {THREE: [DRAIN]}
    await scene.load(18, 1, 1, seconds=5)
    assert scene.fleet.new_commands == {}, "one drains"

    await scene.load(19, 1, 0)
    await scene.step(1)
    await scene.step(1)
    assert scene.fleet.new_commands == {ONE: ["/shed?count=9&perSecond=2"]}


# Match day


def match(start: timedelta, status: str = "scheduled") -> Json:
    """Return a match of two hours."""
    times = [f"{START + at:%Y-%m-%dT%H:%M:%SZ}" for at in (start, start + timedelta(hours=2))]
    names = {"sport": "football", "homeTeam": "Reds", "awayTeam": "Blues"}
    return {"id": 7, **names, "status": status, "startTime": times[0], "endTime": times[1]}


MATCH_DAY = {"enabled": True, "leadMinutes": 20, "expectedConnections": 50}


async def test_pods_are_added_before_kick_off_and_removed_after_the_end(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections(matchDay=MATCH_DAY, scaleDown=AT_ONCE))
    scene.fleet.fixtures = [match(timedelta(minutes=30))]

    assert await scene.step() == 60.0, "the next matches only come closer"
    assert "floor" not in await scene.scaling()
    assert scene.fleet.asked[-1] == 1320, "includes matches that count before the next check"

    await scene.step(570)
    assert "floor" not in await scene.scaling()
    assert await scene.step(5) == 25.5, "requeued for the exact moment, not for the next minute"
    await scene.step(25.5)
    assert await scene.replicas() == 5
    found = await scene.scaling()
    assert found["reason"] == "MatchDayFloor"
    assert found["floor"]["replicas"] == 5
    assert found["floor"]["until"] == "2026-06-11T19:30:00Z"
    assert found["floor"]["message"].startswith("5 pods until 19:30 UTC: 1 match, 50 connections expected")
    assert scene.metric("scaling_floor") == 5

    scene.fleet.fixtures = None
    await scene.step(60)
    assert (await scene.scaling())["floor"] == found["floor"], "unreadable fixtures change nothing"

    scene.fleet.fixtures = []
    await scene.step(60)
    assert "floor" not in await scene.scaling()
    assert scene.metric("scaling_floor") == 0
    assert await scene.draining() != {}


async def test_end_of_a_match_is_awaited_even_without_fixtures(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections(matchDay=MATCH_DAY, scaleDown=AT_ONCE))
    scene.fleet.fixtures = [match(timedelta(minutes=-119, seconds=-30))]
    await scene.step()
    scene.fleet.fixtures = None

    after = await scene.step(25)
    assert "floor" in await scene.scaling()
    assert after is not None
    assert after <= 5.5, "not at the next minute"
    await scene.step(5.5)
    assert "floor" not in await scene.scaling()


# Metrics


async def test_metrics_are_absent_if_not_scaled_or_deleted(scene: Scene) -> None:
    await scene.up(autoscaling=by_connections())
    await scene.load(20, 15)
    assert (scene.metric("scaling_replicas"), scene.metric("scaling_floor")) == (4, 0)

    await scene.edit(autoscaling={"mode": "none"}, api={"replicas": 4})
    await scene.load(0, 0, 0, 0)
    assert (scene.metric("scaling_replicas"), scene.metric("scaling_floor")) == (None, None)
    assert scene.metric("connection_spread") is None, "there are no sockets"
    assert scene.metric("silent_pods") == 0

    await scene.kube.delete("LiveScore", "demo")
    await scene.reconcile()
    assert scene.metric("silent_pods") is None
    assert scene.metric("draining_pods") is None
    assert scene.metric("scalings_total", direction="up") is None

"""The modes of autoscaling without a cluster: each plans from the same state in its own way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livescore_operator.resource import Draining, Floor, LiveScore, Manifest, Scaling, timestamp
from livescore_operator.scaling import modes
from livescore_operator.scaling.algorithm import History
from livescore_operator.scaling.drain import POLL_SECONDS, VICTIM_COST
from livescore_operator.scaling.forecast import MatchDayForecast
from livescore_operator.scaling.plan import UNREAD_SECONDS, ApiState, ScalingPlan
from livescore_operator.scaling.pod import Pod

NOW = datetime(2026, 6, 11, 17, tzinfo=UTC)
HISTORY = History(recommendations=((NOW.timestamp() - 10, 3),))
MODES = ("none", "connections", "hpa")
LATER = timestamp(NOW + timedelta(minutes=1))


def livescore(mode: str, status: Manifest | None = None, **autoscaling: Any) -> LiveScore:
    """Two to six pods with a target of 10 connections; api.replicas is 4."""
    bounds = {"minReplicas": 2, "maxReplicas": 6, "targetConnectionsPerPod": 10}
    spec = {"image": "livescore:1", "api": {"replicas": 4}, "autoscaling": {"mode": mode, **bounds, **autoscaling}}
    return LiveScore.parse({"metadata": {"name": "demo"}, "spec": spec, "status": status or {}})


def state(*connections: int | None, draining: bool = False, **fields: Any) -> ApiState:
    """Ready pods a, b, c… with these connections, as many as the Deployment has replicas."""
    pods = [Pod(name, True, count, draining=draining) for name, count in zip("abcdef", connections, strict=False)]
    known = [count for count in connections if count is not None]
    return ApiState(**{"pods": tuple(pods), "connections": sum(known), "current": len(pods), **fields})


def plan(
    resource: LiveScore, found: ApiState, match_day: MatchDayForecast | None = None, history: History = HISTORY
) -> ScalingPlan:
    return modes.of(resource).plan(resource, found, match_day or MatchDayForecast(), history, NOW)


def replicas(result: ScalingPlan) -> tuple[int | None, int]:
    return result.scale.replicas, result.scale.minimum


@pytest.mark.parametrize(("mode", "initial"), [("none", 4), ("connections", 2), ("hpa", 2)])
def test_a_new_deployment_starts_with_the_replicas_of_its_mode(mode: str, initial: int) -> None:
    resource = livescore(mode)
    assert modes.of(resource).initial_replicas(resource) == initial


def test_only_the_mode_none_leaves_the_number_to_people() -> None:
    assert [modes.of(livescore(mode)).automatic for mode in MODES] == [False, True, True]


@pytest.mark.parametrize(("mode", "expected"), [("none", (4, 2)), ("connections", (5, 2)), ("hpa", (None, 2))])
def test_the_same_load_leads_to_the_replicas_of_the_mode(mode: str, expected: tuple[int | None, int]) -> None:
    assert replicas(plan(livescore(mode), state(20, 20, 10))) == expected


@pytest.mark.parametrize(("floor", "minimum"), [(1, 2), (5, 5), (9, 6)])
def test_a_floor_raises_the_minimum_up_to_the_maximum(floor: int, minimum: int) -> None:
    match_day = MatchDayForecast(Floor(replicas=floor, message="a match"), changes_in=600.0)
    for mode in ("connections", "hpa"):
        result = plan(livescore(mode), state(10, 10), match_day)
        assert result.scale.minimum == minimum
        assert result.status is not None
        assert result.status.floor == match_day.floor


@pytest.mark.parametrize(
    ("current", "status", "expected"),
    [
        (3, {"desiredReplicas": 5}, None),
        (None, {"desiredReplicas": 5}, 5),
        (None, {}, 2),
        (0, {"desiredReplicas": 0}, 2),
    ],
    ids=["running", "deleted Deployment", "new Deployment", "scaled to zero"],
)
def test_the_mode_hpa_sets_replicas_only_to_start(current: int | None, status: Manifest, expected: int | None) -> None:
    found = state(current=current, autoscaler={"metadata": {}, "status": status})
    assert plan(livescore("hpa"), found).scale.replicas == expected


def test_a_deleted_deployment_comes_back_with_the_last_desired_number() -> None:
    before = {"scaling": Scaling(replicas=5, reason="ScaleUp").model_dump(by_alias=True, exclude_none=True)}
    result = plan(livescore("connections", before), state(current=None), history=History())
    assert result.scale.replicas == 5


@pytest.mark.parametrize("mode", ["none", "hpa"])
def test_a_mode_without_decisions_cancels_our_drains_until_the_pods_confirm(mode: str) -> None:
    ours = Draining(pod="a", connections=1, deadline=LATER)
    status = {"draining": [ours.model_dump(by_alias=True)]}
    pods = (Pod("a", False, 1, draining=True), Pod("by-hand", False, 1, draining=True), Pod("c", True, 9))

    result = plan(livescore(mode, status), state(pods=pods, current=3))

    assert result.steps.cancel == ("a",), "a drain that a person started is left alone"
    assert [member.pod for member in result.draining] == ["a"]
    assert result.requeue_after == POLL_SECONDS
    assert result.history == History(), "recommendations of the past do not count if the mode returns"
    confirmed = plan(livescore(mode, status), state(9, 1, 9))
    assert (confirmed.steps.cancel, confirmed.draining) == ((), ())


def test_a_new_leader_does_not_take_back_the_drains_of_its_predecessor() -> None:
    ours = Draining(pod="c", connections=1, deadline=LATER)
    status = {"draining": [ours.model_dump(by_alias=True)]}
    pods = (*state(8, 8).pods, Pod("c", False, 1, draining=True))
    result = plan(livescore("connections", status), state(pods=pods, current=3), history=History())
    assert (result.steps.cancel, [member.pod for member in result.draining]) == ((), ["c"])


def test_deletion_costs_follow_the_connections_unless_the_operator_drains_itself() -> None:
    pods = [Pod("a", True, 5), Pod("b", True, 0), Pod("c", False, 3, draining=True)]
    costs = {mode: [modes.of(livescore(mode)).deletion_cost(pod, {"c"}) for pod in pods] for mode in MODES}
    assert costs == {
        "none": [3, 0, VICTIM_COST],
        "connections": [None, None, VICTIM_COST],
        "hpa": [3, 0, VICTIM_COST],
    }


def test_an_unread_pod_is_read_again_soon_where_the_load_counts() -> None:
    delays = {mode: plan(livescore(mode), state(10, None)).requeue_after for mode in MODES}
    assert delays == {"none": None, "connections": UNREAD_SECONDS, "hpa": UNREAD_SECONDS}

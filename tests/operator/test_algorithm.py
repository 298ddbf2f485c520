"""The number of API pods: tables of single decisions, properties of all decisions, and whole runs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore_operator.resource import Autoscaling, ScaleDown, ScaleUp, ScalingPolicy
from livescore_operator.scaling import algorithm
from livescore_operator.scaling.algorithm import (
    AT_MAXIMUM,
    AT_MINIMUM,
    AT_TARGET,
    DISABLED,
    MATCH_DAY_FLOOR,
    NO_READINGS,
    READINGS_MISSING,
    REASONS,
    ROLLING_OUT,
    SCALE_DOWN,
    SCALE_UP,
    STABILIZING,
    STEP_LIMITED,
    WITHIN_TOLERANCE,
    Decision,
    History,
    record,
)
from livescore_operator.scaling.pod import Pod

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
NOW = 10_000.0
INTERVAL_SECONDS = 15.0

FREE = [ScalingPolicy(type="Pods", value=1000, period_seconds=1)]
"""Permits any step."""


def autoscaling(**fields: Any) -> Autoscaling:
    """Return a spec with a target of 100 connections and no limits of pace; tests override what they cover."""
    free: dict[str, Any] = {
        "mode": "connections",
        "min_replicas": 1,
        "max_replicas": 20,
        "target_connections_per_pod": 100,
        "scale_up": ScaleUp(policies=FREE),
        "scale_down": ScaleDown(stabilization_window_seconds=0, policies=FREE),
    }
    return Autoscaling(**{**free, **fields})


def ready_pods(*connections: int | None, **fields: bool) -> list[Pod]:
    """Return ready pods with these numbers of connections."""
    return [Pod(f"pod-{number}", True, count, **fields) for number, count in enumerate(connections)]


def decide(
    spec: Autoscaling,
    current: int,
    pods: Sequence[Pod],
    *,
    floor: int = 0,
    rolling: bool = False,
    history: History | None = None,
    now: float = NOW,
) -> Decision:
    return algorithm.decide(spec, current, pods, floor=floor, rolling=rolling, history=history or History(), now=now)


# What the load asks for


@pytest.mark.parametrize(
    ("current", "loads", "replicas", "reason"),
    [
        pytest.param(2, [100, 100], 2, AT_TARGET, id="as wanted"),
        pytest.param(2, [110, 110], 2, WITHIN_TOLERANCE, id="upper end of the tolerance"),
        pytest.param(2, [111, 110], 3, SCALE_UP, id="above the tolerance"),
        pytest.param(10, [90] * 10, 10, WITHIN_TOLERANCE, id="lower end of the tolerance"),
        pytest.param(10, [90] * 9 + [89], 9, SCALE_DOWN, id="below the tolerance"),
        pytest.param(4, [1, 0, 0, 0], 1, SCALE_DOWN, id="one connection"),
        pytest.param(4, [0, 0, 0, 0], 1, AT_MINIMUM, id="no connections"),
        pytest.param(2, [5000, 0], 20, AT_MAXIMUM, id="more than allowed"),
        pytest.param(0, [], 1, AT_MINIMUM, id="from nothing"),
        pytest.param(25, [100] * 25, 20, AT_MAXIMUM, id="a lowered maximum"),
        pytest.param(3, [], 3, NO_READINGS, id="every pod gone"),
    ],
)
def test_pods_follow_the_sum_of_connections(current: int, loads: list[int], replicas: int, reason: str) -> None:
    decision = decide(autoscaling(), current, ready_pods(*loads))
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_tolerance_is_exact_despite_floats() -> None:
    for current in range(1, 200):
        decision = decide(autoscaling(max_replicas=1000), current, ready_pods(110 * current))
        assert decision.replicas == current


def test_starting_pod_counts_as_capacity() -> None:
    started = [*ready_pods(200, 200), Pod("new-1", False, None), Pod("new-2", False, 0)]
    decision = decide(autoscaling(), 4, started)
    assert (decision.replicas, decision.reason) == (4, AT_TARGET)


@pytest.mark.parametrize("going", [{"draining": True}, {"terminating": True}, {"draining": True, "terminating": True}])
def test_clients_of_a_departing_pod_count_for_the_others(going: dict[str, bool]) -> None:
    leaving = Pod("leaving", True, 150, **going)
    decision = decide(autoscaling(), 3, [*ready_pods(125, 125), leaving])
    assert (decision.replicas, decision.reason) == (4, SCALE_UP)


def test_departing_pod_is_not_replaced_once_its_clients_are_back() -> None:
    decision = decide(autoscaling(), 3, [*ready_pods(150, 150), Pod("leaving", True, 0, draining=True)])
    assert (decision.replicas, decision.reason) == (3, AT_TARGET)


# Missing readings


@pytest.mark.parametrize(
    ("loads", "replicas", "reason"),
    [
        pytest.param([None, None, None], 3, NO_READINGS, id="none"),
        pytest.param([10, 10, None], 3, READINGS_MISSING, id="fewer by what is known"),
        pytest.param([150, 145, None], 3, AT_TARGET, id="just these by what is known"),
        pytest.param([300, 300, None], 6, SCALE_UP, id="more by what is known"),
    ],
)
def test_missing_readings_neither_remove_nor_add_pods(loads: list[int | None], replicas: int, reason: str) -> None:
    decision = decide(autoscaling(), 3, ready_pods(*loads))
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_missing_reading_does_not_restart_the_window() -> None:
    spec = autoscaling(scale_down=ScaleDown(policies=FREE))
    history = History(recommendations=((NOW, 5),))
    flaky = decide(spec, 10, ready_pods(40, 40, 40, None, *[40] * 6), history=history, now=NOW + 300)
    assert (flaky.replicas, flaky.reason) == (10, READINGS_MISSING)
    whole = decide(spec, 10, ready_pods(*[40] * 10), history=flaky.history, now=NOW + 315)
    assert (whole.replicas, whole.reason) == (5, STABILIZING)


def test_absence_of_all_readings_is_recorded_as_the_current_number() -> None:
    spec = autoscaling(scale_down=ScaleDown(policies=FREE))
    mute = decide(spec, 10, ready_pods(*[None] * 10), history=History(recommendations=((NOW - 600, 5),)))
    assert decide(spec, 10, ready_pods(*[40] * 10), history=mute.history, now=NOW + 15).replicas == 10


def test_silent_pod_that_is_not_serving_blocks_nothing() -> None:
    lost = [Pod("lost", False, None), Pod("gone", True, None, terminating=True), Pod("idle", True, None, draining=True)]
    decision = decide(autoscaling(), 4, [*ready_pods(50), *lost])
    assert (decision.replicas, decision.reason) == (1, SCALE_DOWN)


def test_no_pod_is_removed_while_none_serves() -> None:
    pods = [Pod("starting", False, None), Pod("leaving", True, 10, draining=True)]
    assert decide(autoscaling(), 4, pods).reason == NO_READINGS


def test_minimum_applies_without_readings() -> None:
    decision = decide(autoscaling(min_replicas=4), 3, ready_pods(None, None, None))
    assert (decision.replicas, decision.reason) == (4, AT_MINIMUM)


# Roll-outs


@pytest.mark.parametrize(
    ("load", "replicas", "reason"), [(20, 3, ROLLING_OUT), (100, 3, AT_TARGET), (400, 12, SCALE_UP)]
)
def test_rollout_may_add_pods_but_removes_none(load: int, replicas: int, reason: str) -> None:
    decision = decide(autoscaling(), 3, ready_pods(load, load, load), rolling=True)
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_lowered_maximum_applies_even_during_a_rollout() -> None:
    decision = decide(autoscaling(max_replicas=2), 3, ready_pods(100, 100, 100), rolling=True)
    assert (decision.replicas, decision.reason) == (2, AT_MAXIMUM)


# Match days


@pytest.mark.parametrize(
    ("floor", "replicas", "reason"),
    [(0, 2, AT_TARGET), (1, 2, AT_TARGET), (2, 2, AT_TARGET), (5, 5, MATCH_DAY_FLOOR), (99, 20, AT_MAXIMUM)],
)
def test_matches_raise_the_floor_up_to_the_maximum(floor: int, replicas: int, reason: str) -> None:
    decision = decide(autoscaling(), 2, ready_pods(100, 100), floor=floor)
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_floor_keeps_pods_that_the_load_does_not_need() -> None:
    decision = decide(autoscaling(), 6, ready_pods(*[10] * 6), floor=5)
    assert (decision.replicas, decision.reason) == (5, MATCH_DAY_FLOOR)


def test_floor_at_the_minimum_is_not_the_reason() -> None:
    assert decide(autoscaling(min_replicas=3), 3, ready_pods(10, 10, 10), floor=3).reason == AT_MINIMUM


def test_floor_ignores_the_window_but_respects_the_policies() -> None:
    steps = [ScalingPolicy(type="Pods", value=3, period_seconds=60)]
    spec = autoscaling(scale_up=ScaleUp(stabilization_window_seconds=600, policies=steps))
    history = History(recommendations=((NOW - 1, 2),))
    decision = decide(spec, 2, ready_pods(10, 10), floor=9, history=history)
    assert (decision.replicas, decision.reason) == (5, STEP_LIMITED)


def test_minimum_applies_immediately() -> None:
    slow = ScaleUp(stabilization_window_seconds=600, policies=[ScalingPolicy(type="Pods", value=1, period_seconds=60)])
    spec = autoscaling(min_replicas=8, scale_up=slow)
    assert decide(spec, 2, ready_pods(10, 10)).replicas == 8


def test_briefly_absent_floor_removes_no_pod() -> None:
    spec = autoscaling(scale_down=ScaleDown(policies=FREE))
    seen = decide(spec, 5, ready_pods(*[10] * 5), floor=5)
    lost = decide(spec, 5, ready_pods(*[10] * 5), floor=0, history=seen.history, now=NOW + 15)
    assert (lost.replicas, lost.reason, lost.requeue_after) == (5, STABILIZING, 285)


# Stabilization


@pytest.mark.parametrize(
    ("age", "replicas", "again"), [(1.0, 5, 299.0), (299.0, 5, 1.0), (300.0, 1, None), (400.0, 1, None)]
)
def test_scale_down_uses_the_highest_number_of_the_window(age: float, replicas: int, again: float | None) -> None:
    spec = autoscaling(scale_down=ScaleDown(policies=FREE))
    history = History(recommendations=((NOW - age, 5),))
    decision = decide(spec, 6, ready_pods(100, *[0] * 5), history=history)
    assert (decision.replicas, decision.requeue_after) == (replicas, again)
    assert decision.reason == (SCALE_DOWN if replicas == 1 else STABILIZING)


@pytest.mark.parametrize(
    ("age", "replicas", "again"), [(1.0, 4, 59.0), (59.0, 4, 1.0), (60.0, 9, None), (400.0, 9, None)]
)
def test_scale_up_uses_the_lowest_number_of_the_window(age: float, replicas: int, again: float | None) -> None:
    spec = autoscaling(scale_up=ScaleUp(stabilization_window_seconds=60, policies=FREE))
    history = History(recommendations=((NOW - age, 4),))
    decision = decide(spec, 3, ready_pods(300, 300, 300), history=history)
    assert (decision.replicas, decision.requeue_after) == (replicas, again)
    assert decision.reason == (SCALE_UP if replicas == 9 else STABILIZING)


def test_window_never_reverses_the_direction() -> None:
    history = History(recommendations=((NOW - 1, 15),))
    spec = autoscaling(scale_down=ScaleDown(policies=FREE))
    assert decide(spec, 6, ready_pods(*[10] * 6), history=history).replicas == 6


def test_restarted_operator_removes_no_pod_for_a_window() -> None:
    spec = autoscaling(scale_down=ScaleDown(policies=FREE))
    first = decide(spec, 6, ready_pods(*[10] * 6))
    assert (first.replicas, first.reason, first.requeue_after) == (6, STABILIZING, 300)
    assert first.requeue_after is not None
    later = decide(spec, 6, ready_pods(*[10] * 6), history=first.history, now=NOW + first.requeue_after)
    assert (later.replicas, later.reason) == (1, SCALE_DOWN)


def test_windows_shorter_than_the_decision_interval_still_end() -> None:
    spec = autoscaling(scale_down=ScaleDown(stabilization_window_seconds=10, policies=FREE))
    first = decide(spec, 6, ready_pods(*[10] * 6))
    assert decide(spec, 6, ready_pods(*[10] * 6), history=first.history, now=NOW + 15).replicas == 1


# Steps


def up(*policies: tuple[Any, int, int], select: Any = "Max") -> dict[str, ScaleUp]:
    steps = [ScalingPolicy(type=kind, value=value, period_seconds=period) for kind, value, period in policies]
    return {"scale_up": ScaleUp(select_policy=select, policies=steps)}


def down(*policies: tuple[Any, int, int], select: Any = "Max") -> dict[str, ScaleDown]:
    steps = [ScalingPolicy(type=kind, value=value, period_seconds=period) for kind, value, period in policies]
    return {"scale_down": ScaleDown(stabilization_window_seconds=0, select_policy=select, policies=steps)}


BOTH = (("Percent", 50, 60), ("Pods", 2, 30))


@pytest.mark.parametrize(
    ("rules", "changes", "replicas", "reason", "again"),
    [
        pytest.param(up(("Pods", 3, 60)), (), 13, STEP_LIMITED, None, id="pods"),
        pytest.param(up(("Percent", 25, 60)), (), 13, STEP_LIMITED, None, id="percent, rounded up"),
        pytest.param(up(*BOTH), (), 15, STEP_LIMITED, None, id="the larger one"),
        pytest.param(up(*BOTH, select="Min"), (), 12, STEP_LIMITED, None, id="the smaller one"),
        pytest.param(up(*BOTH, select="Disabled"), (), 10, DISABLED, None, id="disabled"),
        pytest.param(up(("Pods", 12, 60)), (), 20, AT_MAXIMUM, None, id="large enough"),
        pytest.param(up(("Pods", 3, 60)), ((NOW - 20, 2),), 11, STEP_LIMITED, 40, id="partly used up"),
        pytest.param(up(("Pods", 3, 60)), ((NOW - 20, 5),), 10, STEP_LIMITED, 40, id="more than used up"),
        pytest.param(up(("Pods", 3, 60)), ((NOW - 60, 5),), 13, STEP_LIMITED, None, id="used up before the period"),
        pytest.param(up(("Pods", 3, 60)), ((NOW - 5, -2),), 15, STEP_LIMITED, 55, id="back to the period's start"),
        pytest.param(up(*BOTH), ((NOW - 20, 2), (NOW - 40, 1)), 11, STEP_LIMITED, 10, id="each in its own period"),
    ],
)
def test_scale_up_respects_the_policies(
    rules: dict[str, Any], changes: tuple[tuple[float, int], ...], replicas: int, reason: str, again: float | None
) -> None:
    decision = decide(autoscaling(**rules), 10, ready_pods(*[1000] * 10), history=History(changes=changes))
    assert (decision.replicas, decision.reason, decision.requeue_after) == (replicas, reason, again)


@pytest.mark.parametrize(
    ("rules", "changes", "replicas", "reason", "again"),
    [
        pytest.param(down(("Pods", 3, 60)), (), 7, STEP_LIMITED, None, id="pods"),
        pytest.param(down(("Percent", 25, 60)), (), 7, STEP_LIMITED, None, id="percent, rounded down"),
        pytest.param(down(*BOTH), (), 5, STEP_LIMITED, None, id="the larger one"),
        pytest.param(down(*BOTH, select="Min"), (), 8, STEP_LIMITED, None, id="the smaller one"),
        pytest.param(down(*BOTH, select="Disabled"), (), 10, DISABLED, None, id="disabled"),
        pytest.param(down(("Percent", 100, 15)), (), 1, SCALE_DOWN, None, id="all of them"),
        pytest.param(down(("Pods", 3, 60)), ((NOW - 20, -2),), 9, STEP_LIMITED, 40, id="partly used up"),
        pytest.param(down(("Pods", 3, 60)), ((NOW - 20, -5),), 10, STEP_LIMITED, 40, id="more than used up"),
        pytest.param(down(("Pods", 3, 60)), ((NOW - 5, 2),), 5, STEP_LIMITED, 55, id="back to the period's start"),
    ],
)
def test_scale_down_respects_the_policies(
    rules: dict[str, Any], changes: tuple[tuple[float, int], ...], replicas: int, reason: str, again: float | None
) -> None:
    decision = decide(autoscaling(**rules), 10, ready_pods(*[1] * 10), history=History(changes=changes))
    assert (decision.replicas, decision.reason, decision.requeue_after) == (replicas, reason, again)


def test_percentages_are_exact() -> None:
    """With floats, 100 pods and 10 percent are 110.00000000000001, rounded up to 111."""
    spec = autoscaling(max_replicas=1000, **up(("Percent", 10, 60)))
    assert decide(spec, 100, ready_pods(50_000)).replicas == 110


def test_changes_are_kept_for_the_longest_policy_period() -> None:
    history = record(record(record(History(), 0.0, 3), 10.0, -1), 1805.0, 2)
    assert history.changes == ((10.0, -1), (1805.0, 2))
    assert record(history, 1806.0, 0) == history


def test_message_explains_the_number() -> None:
    decision = decide(autoscaling(**up(("Pods", 3, 60))), 10, [*ready_pods(*[200] * 9), Pod("silent", True, None)])
    assert decision.message == (
        "1800 connections need 18 pods of 100 each; 1 of 10 serving pods cannot be read; the policies allow 13 for now"
    )


# Properties


@dataclass(frozen=True)
class Case:
    """The inputs of a decision."""

    spec: Autoscaling
    current: int
    pods: list[Pod]
    floor: int
    rolling: bool
    history: History

    def decide(self) -> Decision:
        return decide(self.spec, self.current, self.pods, floor=self.floor, rolling=self.rolling, history=self.history)


POLICIES = st.lists(
    st.builds(
        ScalingPolicy,
        type=st.sampled_from(["Pods", "Percent"]),
        value=st.integers(1, 200),
        period_seconds=st.integers(1, 1800),
    ),
    min_size=1,
    max_size=2,
)
RULES = {
    "stabilization_window_seconds": st.sampled_from([0, 10, 60, 300]),
    "select_policy": st.sampled_from(["Max", "Min", "Disabled"]),
    "policies": POLICIES,
}
SPECS = st.builds(
    lambda low, more, **fields: Autoscaling(min_replicas=low, max_replicas=low + more, **fields),
    low=st.integers(1, 30),
    more=st.integers(0, 60),
    target_connections_per_pod=st.integers(1, 300),
    tolerance=st.sampled_from([0, 0.05, 0.1, 0.5, 1]),
    scale_up=st.builds(ScaleUp, **RULES),
    scale_down=st.builds(ScaleDown, **RULES),
)
TIMES = st.floats(NOW - 2000, NOW, allow_nan=False)
HISTORIES = st.builds(
    lambda asked, done: History(tuple(sorted(asked)), tuple(sorted(done))),
    st.lists(st.tuples(TIMES, st.integers(1, 90)), max_size=3, unique_by=lambda one: one[1]),
    st.lists(st.tuples(TIMES, st.integers(-5, 5)), max_size=3),
)
PODS = st.lists(
    st.builds(
        Pod,
        name=st.just("any"),
        ready=st.booleans() | st.just(True),
        connections=st.integers(0, 900) | st.none(),
        draining=st.booleans(),
        terminating=st.booleans(),
    ),
    max_size=5,
)
CASES = st.builds(Case, SPECS, st.integers(0, 100), PODS, st.integers(0, 100), st.booleans(), HISTORIES)


def with_all_readings(pods: Iterable[Pod]) -> list[Pod]:
    """Return the same pods with all readings present."""
    return [replace(pod, connections=pod.connections or 0) for pod in pods]


@given(CASES)
def test_replicas_stay_within_the_bounds(case: Case) -> None:
    decision = case.decide()
    assert case.spec.min_replicas <= decision.replicas <= case.spec.max_replicas
    assert decision.reason in REASONS
    assert decision.message


@given(CASES)
def test_decision_is_deterministic(case: Case) -> None:
    assert case.decide() == case.decide()


@given(CASES, st.integers(0, 5000))
def test_more_load_never_means_fewer_pods(case: Case, more: int) -> None:
    few = [*case.pods, Pod("another", True, 0)]
    many = [*case.pods, Pod("another", True, more)]
    assert replace(case, pods=few).decide().replicas <= replace(case, pods=many).decide().replicas


@given(CASES, st.data())
def test_missing_reading_never_lowers_the_number(case: Case, data: st.DataObject) -> None:
    silent = data.draw(st.lists(st.booleans(), min_size=len(case.pods), max_size=len(case.pods)))
    pods = [replace(pod, connections=None) if mute else pod for pod, mute in zip(case.pods, silent, strict=True)]
    decision = replace(case, pods=pods).decide()
    if any(pod.serving and pod.connections is None for pod in pods) or not any(pod.serving for pod in pods):
        assert decision.replicas >= min(case.current, case.spec.max_replicas)


@given(CASES)
def test_rollout_never_lowers_the_number(case: Case) -> None:
    assert replace(case, rolling=True).decide().replicas >= min(case.current, case.spec.max_replicas)


@given(CASES, st.integers(1, 5))
def test_surge_pods_do_not_raise_the_number(case: Case, surge: int) -> None:
    """Pods of the new ReplicaSet take over clients of the old one: the load, and therefore the number, stays."""
    rolling = replace(case, rolling=True, pods=with_all_readings(case.pods))
    new = [Pod(f"new-{number}", True, 0) for number in range(surge)]
    assert replace(rolling, pods=[*rolling.pods, *new]).decide().replicas == rolling.decide().replicas


@given(CASES, st.data())
def test_distribution_of_clients_does_not_matter(case: Case, data: st.DataObject) -> None:
    """A client counts once, whether its pod drains, terminates or starts."""
    pods = [Pod("serves", True, 0), *with_all_readings(case.pods)]
    load = sum(pod.connections or 0 for pod in pods)
    moved = []
    for pod in pods[1:]:
        left = data.draw(st.integers(0, load))
        moved.append(replace(pod, connections=left, draining=data.draw(st.booleans())))
        load -= left
    moved.append(Pod("serves", True, load))
    assert replace(case, pods=pods).decide().replicas == replace(case, pods=moved).decide().replicas


@given(CASES)
def test_changes_respect_every_applicable_policy(case: Case) -> None:
    decision = case.decide()
    inside = case.spec.min_replicas < decision.replicas < case.spec.max_replicas
    if not inside or decision.replicas == case.current:
        return
    upwards = decision.replicas > case.current
    rules = case.spec.scale_up if upwards else case.spec.scale_down
    moves = []
    for policy in rules.policies:
        done = sum(delta for at, delta in case.history.changes if at > NOW - policy.period_seconds)
        start = case.current - done
        most = policy.value if policy.type == "Pods" else abs(start) * policy.value / 100
        moves.append(abs(decision.replicas - start) <= most + 1 or (decision.replicas > start) != upwards)
    assert rules.select_policy != "Disabled"
    assert any(moves) if rules.select_policy == "Max" else all(moves)


@given(CASES)
def test_histories_are_bounded(case: Case) -> None:
    history = case.decide().history
    numbers = [replicas for _, replicas in history.recommendations]
    assert len(numbers) == len(set(numbers)) > 0
    assert history.recommendations[-1][0] == NOW


@given(CASES)
def test_nothing_changes_before_the_announced_time(case: Case) -> None:
    decision = case.decide()
    wait = 1e6 if decision.requeue_after is None else decision.requeue_after
    assert wait > 0
    if decision.replicas == case.current and decision.reason in (STABILIZING, STEP_LIMITED):
        early = decide(
            case.spec,
            case.current,
            case.pods,
            floor=case.floor,
            rolling=case.rolling,
            history=decision.history,
            now=NOW + wait * 0.99,
        )
        assert early.replicas == case.current


# Runs


def run_decisions(case: Case, loads: Iterable[int]) -> list[int]:
    """Return the number of pods after each decision, each carried out at once."""
    current, history, now, numbers = case.current, case.history, NOW, []
    for load in loads:
        pods = [Pod("all", True, load)]
        found = decide(case.spec, current, pods, floor=case.floor, history=history, now=now)
        history = record(found.history, now, found.replicas - current)
        current = found.replicas
        numbers.append(current)
        now += INTERVAL_SECONDS
    return numbers


@given(CASES, st.integers(0, 20_000))
def test_constant_load_never_flaps(case: Case, load: int) -> None:
    """From any state, the number moves in one direction from the bounds, and then stays."""
    numbers = run_decisions(replace(case, history=History()), [load] * 60)
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True))


@given(st.integers(1, 60), st.integers(0, 20_000))
def test_constant_load_converges(current: int, load: int) -> None:
    spec = autoscaling(max_replicas=1000)
    numbers = run_decisions(Case(spec, current, [], 0, False, History()), [load] * 30)
    assert len(set(numbers[-10:])) == 1
    assert load <= numbers[-1] * 100 * 1.1 + 1e-6


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=100))
def test_noise_within_a_window_never_lowers_the_number(loads: list[int]) -> None:
    spec = autoscaling(scale_down=ScaleDown(stabilization_window_seconds=3600, policies=FREE))
    numbers = run_decisions(Case(spec, 1, [], 0, False, History()), loads)
    assert numbers == sorted(numbers)


def test_defaults_double_within_fifteen_seconds_and_remove_one_a_minute() -> None:
    spec = Autoscaling(mode="connections", min_replicas=1, max_replicas=100, target_connections_per_pod=100)
    rise = run_decisions(Case(spec, 4, [], 0, False, History()), [4000] * 5)
    assert rise == [8, 16, 32, 40, 40]
    fall = run_decisions(Case(spec, 5, [], 0, False, History()), [50] * 40)
    assert fall[:20] == [5] * 20
    assert fall[20:36:4] == [4, 3, 2, 1]


# Documentation


def test_every_reason_is_documented() -> None:
    rows = dict(re.findall(r"^\| `([A-Z][A-Za-z]+)` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {reason: rows.get(reason) for reason in REASONS} == REASONS

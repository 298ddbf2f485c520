"""Overfull pods shed their surplus: never more, never faster than allowed, and not for random variation."""

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livescore_operator.resource import Rebalance
from livescore_operator.scaling.pod import Pod
from livescore_operator.scaling.rebalance import share, spread, surplus

FAST = Rebalance(tolerance=0.1, per_second=10_000)

LOADS = st.lists(st.integers(0, 20_000), min_size=1, max_size=30)
REBALANCES = st.builds(Rebalance, tolerance=st.floats(0.05, 1), per_second=st.integers(1, 10_000))
SECONDS = st.floats(0.01, 60)


def serving(*loads: int | None) -> list[Pod]:
    """Return pods p00, p01, … with these numbers of sockets."""
    return [Pod(f"p{number:02}", ready=True, connections=load) for number, load in enumerate(loads)]


def loads(pods: Iterable[Pod]) -> dict[str, int]:
    return {pod.name: pod.connections or 0 for pod in pods}


@pytest.mark.parametrize(
    ("pods", "shed"),
    [
        ([], {}),
        (serving(5000), {}),
        (serving(0, 0), {}),
        (serving(5000, 5000), {}),
        (serving(6000, 0), {"p00": 3000}),
        (serving(5000, 5000, 0), {"p00": 1666, "p01": 1666}),
        (serving(1100, 900), {}),
        (serving(1101, 899), {"p00": 101}),
        (serving(48, 32), {}),
        (serving(53, 27), {"p00": 13}),
        (serving(5000, None, 0), {}),
    ],
    ids=[
        "no pods",
        "one pod",
        "no sockets",
        "even",
        "a new pod",
        "two old ones",
        "at the tolerance",
        "above the tolerance",
        "chance, though above the tolerance",
        "more than chance",
        "one silent pod",
    ],
)
def test_pod_sheds_its_surplus_over_the_mean(pods: list[Pod], shed: dict[str, int]) -> None:
    assert surplus(pods, FAST, 1.0) == shed


def test_disabled_rebalance_sheds_nothing() -> None:
    assert surplus(serving(6000, 0), Rebalance(enabled=False), 1.0) == {}


@pytest.mark.parametrize(
    "other",
    [
        Pod("x", ready=False, connections=0),
        Pod("x", ready=True, connections=0, draining=True),
        Pod("x", ready=True, connections=0, terminating=True),
        Pod("x", ready=False, connections=None),
    ],
    ids=["not ready", "draining", "terminating", "silent, without new clients"],
)
def test_only_pods_that_accept_connections_count(other: Pod) -> None:
    assert surplus([*serving(5000), other], FAST, 1.0) == {}
    assert surplus([*serving(6000, 0), other], FAST, 1.0) == {"p00": 3000}


def test_round_sheds_no_more_than_its_duration_allows() -> None:
    slow = Rebalance(tolerance=0.1, per_second=20)
    assert surplus(serving(9000, 0), slow, 5.0) == {"p00": 100}
    assert surplus(serving(9000, 0), slow, 0.01) == {}
    assert surplus(serving(4000, 2000, 0, 0), slow, 5.0) == {"p00": 83, "p01": 17}


@pytest.mark.parametrize(
    ("wanted", "budget", "parts"),
    [
        ({"a": 3, "b": 1}, 4, {"a": 3, "b": 1}),
        ({"a": 3, "b": 1}, 2, {"a": 2}),
        ({"b": 1, "a": 1, "c": 1}, 2, {"a": 1, "b": 1}),
        ({"a": 1, "b": 98}, 50, {"a": 1, "b": 49}),
        ({"a": 2, "b": 2}, 0, {}),
        ({"a": 0}, 5, {}),
    ],
)
def test_a_budget_is_divided_by_the_largest_remainder(
    wanted: dict[str, int], budget: int, parts: dict[str, int]
) -> None:
    assert share(wanted, budget) == parts


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**6), max_size=20), st.integers(0, 10**6))
def test_budget_is_used_fully_without_exceeding_any_request(wanted: dict[str, int], budget: int) -> None:
    parts = share(wanted, budget)
    assert sum(parts.values()) == min(budget, sum(wanted.values()))
    assert all(0 < count <= wanted[name] for name, count in parts.items())


@given(LOADS, REBALANCES, SECONDS)
def test_shedding_is_bounded_and_never_goes_below_the_mean(
    counts: list[int], rebalance: Rebalance, seconds: float
) -> None:
    pods = serving(*counts)
    shed, mean = surplus(pods, rebalance, seconds), sum(counts) / len(counts)
    assert sum(shed.values()) <= rebalance.per_second * seconds
    for name, count in shed.items():
        assert count >= 1
        assert loads(pods)[name] > mean * (1 + rebalance.tolerance)
        assert loads(pods)[name] - count >= mean


@given(st.integers(0, 10**6), st.integers(1, 50), REBALANCES)
def test_balanced_pods_shed_nothing(count: int, pods: int, rebalance: Rebalance) -> None:
    assert surplus(serving(*[count] * pods), rebalance, 60.0) == {}


@given(LOADS, REBALANCES, st.randoms(use_true_random=False))
def test_the_order_of_the_pods_does_not_matter(counts: list[int], rebalance: Rebalance, chance: random.Random) -> None:
    pods = serving(*counts)
    assert surplus(chance.sample(pods, len(pods)), rebalance, 1.0) == surplus(pods, rebalance, 1.0)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=20), st.floats(0.05, 1))
def test_rebalancing_converges_if_clients_spread_evenly(counts: list[int], tolerance: float) -> None:
    """The rounds are bounded by the surplus sockets, and no socket is lost."""
    rebalance, total = Rebalance(tolerance=tolerance, per_second=100), sum(counts)
    rounds = 2 + len(counts) + math.ceil(total / rebalance.per_second)
    for _ in range(rounds):
        shed = surplus(serving(*counts), rebalance, 1.0)
        if not shed:
            break
        counts = after_reconnects(counts, shed)
    assert surplus(serving(*counts), rebalance, 1.0) == {}
    assert sum(counts) == total


def after_reconnects(counts: list[int], shed: dict[str, int]) -> list[int]:
    """Return the sockets after the shed clients reconnected, to each pod in turn, emptiest first."""
    kept = [count - shed.get(f"p{number:02}", 0) for number, count in enumerate(counts)]
    order = sorted(range(len(kept)), key=kept.__getitem__)
    each, more = divmod(sum(shed.values()), len(kept))
    return [count + each + (order.index(number) < more) for number, count in enumerate(kept)]


@pytest.mark.parametrize(
    ("pods", "value"),
    [
        ([], None),
        (serving(0, 0), None),
        (serving(None), None),
        (serving(7), 1.0),
        (serving(5, 5), 1.0),
        (serving(9000, 0, 0), 3.0),
        (serving(30, 10, None), 1.5),
        ([*serving(5, 5), Pod("x", ready=True, connections=100, draining=True)], 1.0),
    ],
)
def test_spread_is_the_maximum_divided_by_the_mean(pods: list[Pod], value: float | None) -> None:
    assert spread(pods) == value


@given(LOADS)
def test_the_spread_lies_between_one_and_the_number_of_pods(counts: list[int]) -> None:
    value = spread(serving(*counts))
    assert (value is None) is not any(counts)
    assert value is None or 1 <= value <= len(counts)

"""Rebalancing: sockets stay where they were opened, so after a scale-up overfull pods shed some of theirs. Pure.

A serving pod is **overfull** if it holds more than the mean of all serving pods plus the larger of ``tolerance`` times
the mean and twice the square root of the mean. The second term is the random spread of a load balancer: with random
placement the connections of a pod deviate from the mean by about its square root, and 19 of 20 pods lie within twice
that. Shedding within it would only redistribute at random. It is the larger term below about 100 connections per pod
(with a tolerance of 0.2).

An overfull pod sheds what it holds above the mean, never more. All pods together shed at most ``perSecond`` sockets a
second, shared in proportion to their surplus. Each round computes the surplus from new readings, so lost or repeated
rounds do no harm. Shedding ends when no pod is overfull.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from livescore_operator.resource import Rebalance
from livescore_operator.scaling.pod import Pod

# Standard deviations of a random spread that count as balanced: 19 of 20 pods lie within two.
CHANCE_DEVIATIONS = 2.0


def surplus(pods: Sequence[Pod], rebalance: Rebalance, seconds: float) -> dict[str, int]:
    """Return the number of sockets that each overfull pod should shed in this round.

    Args:
        pods: All API pods.
        rebalance: Settings of the spec.
        seconds: Length of the round, in which the sockets are to be closed.

    Returns:
        Sockets by pod name, at least 1 each; empty if nothing is to be shed, or if a serving pod is unread.
    """
    serving = [pod for pod in pods if pod.serving]
    loads = {pod.name: pod.connections for pod in serving if pod.connections is not None}
    if not rebalance.enabled or not loads or len(loads) < len(serving):
        return {}
    mean = sum(loads.values()) / len(loads)
    limit = mean + max(rebalance.tolerance * mean, CHANCE_DEVIATIONS * math.sqrt(mean))
    excess = {name: load - math.ceil(mean) for name, load in loads.items() if load > limit}
    return share(excess, budget=math.floor(rebalance.per_second * seconds))


def share(requests: Mapping[str, int], budget: int) -> dict[str, int]:
    """Divide a budget in proportion to the requests, by the largest remainder method; ties are broken by name.

    Returns:
        The share of each name, at most its request. Names without a share are left out.
    """
    total = sum(requests.values())
    if total <= budget:
        shares = dict(requests)
    else:
        shares = {name: request * budget // total for name, request in requests.items()}
        by_remainder = sorted(requests, key=lambda name: (-(requests[name] * budget % total), name))
        for name in by_remainder[: budget - sum(shares.values())]:
            shares[name] += 1
    return {name: count for name, count in shares.items() if count}


def spread(pods: Iterable[Pod]) -> float | None:
    """Return the connections of the fullest serving pod divided by the mean; 1.0 is perfectly even.

    Unread pods are left out. None if no pod holds a connection.
    """
    loads = [pod.connections for pod in pods if pod.serving and pod.connections is not None]
    if not any(loads):
        return None
    return max(loads) * len(loads) / sum(loads)

"""Old sockets stay where they were opened; after a scale-up overfull pods ask some of theirs to come in again. Pure.

Among serving pods (ready, neither draining nor terminating) that all tell their sockets, a pod is **overfull** above
the mean plus the larger of ``tolerance`` times the mean and twice the square root of the mean. The second term is what
chance alone does: where a load balancer spreads sockets at random, the number on a pod varies by about the square root
of the mean, and 19 of 20 pods lie within twice that. To shed within it would only throw the dice again. It is the
larger one where pods hold few sockets (below 100 on the average with a tolerance of 0.2).

An overfull pod sheds what it has above the mean, never more. All pods together shed at most ``perSecond`` sockets a
second; where that is too little for all, each gets its part by its surplus. The surplus is found anew each round from
new readings, so rounds that were lost or came twice do no harm, and it ends when no pod is overfull.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from livescore_operator.resource import Rebalance
from livescore_operator.scaling.algorithm import Pod

# Standard deviations of a random spread that are left alone: 19 of 20 pods lie within two.
CHANCE_DEVIATIONS = 2.0


def surplus(pods: Sequence[Pod], rebalance: Rebalance, seconds: float) -> dict[str, int]:
    """How many sockets each overfull pod is to shed in this round.

    Args:
        pods: all API pods.
        rebalance: what the spec says.
        seconds: length of the round, until the next call: the sockets are to be closed within it.

    Returns:
        Sockets by name of the pod, at least one each; empty where there is nothing to shed, or where a serving pod
        does not tell its sockets.
    """
    loads = {pod.name: pod.connections for pod in pods if pod.serving}
    known = {name: load for name, load in loads.items() if load is not None}
    if not rebalance.enabled or not known or len(known) < len(loads):
        return {}
    mean = sum(known.values()) / len(known)
    limit = mean + max(rebalance.tolerance * mean, CHANCE_DEVIATIONS * math.sqrt(mean))
    over = {name: load - math.ceil(mean) for name, load in known.items() if load > limit}
    return share(over, math.floor(rebalance.per_second * seconds))


def share(wanted: Mapping[str, int], budget: int) -> dict[str, int]:
    """Divide a budget in proportion to what each wants, by the largest remainder; equal ones by name.

    Nobody gets more than it wants, and who gets nothing is missing.
    """
    total = sum(wanted.values())
    if total <= budget:
        return {name: count for name, count in wanted.items() if count}
    parts = {name: count * budget // total for name, count in wanted.items()}
    by_remainder = sorted(wanted, key=lambda name: (-(wanted[name] * budget % total), name))
    for name in islice(by_remainder, budget - sum(parts.values())):
        parts[name] += 1
    return {name: count for name, count in parts.items() if count}


def spread(pods: Iterable[Pod]) -> float | None:
    """How unevenly the sockets lie: those of the fullest serving pod, divided by the mean of all; 1 is even.

    Pods that do not tell are left out. None where nobody holds a socket.
    """
    loads = [pod.connections for pod in pods if pod.serving and pod.connections is not None]
    return max(loads) * len(loads) / sum(loads) if any(loads) else None

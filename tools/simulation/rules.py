"""Scaling rules: the operator's own modules, and a HorizontalPodAutoscaler as documented.

The HPA follows Kubernetes' documentation (autoscaling/v2): a pods metric by its average, the controller's defaults,
no ``behavior``. Its pods behave like ours: they drain on SIGTERM as well.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from livescore_operator.resource import Autoscaling, Draining
from livescore_operator.scaling import drain, forecast, rebalance
from livescore_operator.scaling.algorithm import History, decide, record
from livescore_operator.scaling.forecast import Fixture
from livescore_operator.scaling.pod import Pod
from tools.simulation.cluster import DRAIN_SECONDS, GRACE_SECONDS, Cluster

SYNC_SECONDS = 15
"""Interval between two decisions: the HPA controller's default, and ``CONNECTIONS_SECONDS`` of our operator."""

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
"""Start of the simulated day."""

STOP_SECONDS = 15.0
"""Time beyond its drain after which a pod is removed anyway."""


class Rule(Protocol):
    """Observes the cluster every second and sets its replicas."""

    def act(self, cluster: Cluster, silent: Iterator[bool]) -> None: ...


class Operator:
    """``autoscaling.mode: connections``, with the operator's own decisions, drains, rebalancing and floors."""

    def __init__(self, spec: Autoscaling, fixtures: Sequence[Fixture] = ()) -> None:
        self._spec = spec
        self._fixtures = fixtures
        self._history = History()
        self._draining: tuple[Draining, ...] = ()
        self._desired = 0
        self._looks = False

    def act(self, cluster: Cluster, silent: Iterator[bool]) -> None:
        if cluster.now % SYNC_SECONDS == 0:
            pods = cluster.seen(silent)
            self._decide(cluster, pods)
            self._drain(cluster, pods)
            balance(cluster, pods, self._spec)
        elif self._looks:
            self._drain(cluster, cluster.seen(silent))

    def _decide(self, cluster: Cluster, pods: Sequence[Pod]) -> None:
        decision = decide(
            self._spec,
            cluster.replicas,
            pods,
            floor=self._floor(cluster.now),
            rolling=cluster.rolling,
            history=self._history,
            now=cluster.now,
        )
        self._desired, self._history = decision.replicas, decision.history

    def _floor(self, now: float) -> int:
        moment = MIDNIGHT + timedelta(seconds=now)
        floor = forecast.floor(self._spec, [_at(one, moment) for one in self._fixtures], (), moment)
        return floor.replicas if floor else 0

    def _drain(self, cluster: Cluster, pods: Sequence[Pod]) -> None:
        steps = drain.plan(
            pods,
            self._draining,
            current=cluster.replicas,
            desired=self._desired,
            rolling=cluster.rolling,
            deadline_seconds=GRACE_SECONDS + DRAIN_SECONDS + STOP_SECONDS,
            now=MIDNIGHT + timedelta(seconds=cluster.now),
        )
        self._draining, self._looks = steps.draining, steps.requeue_after is not None
        self._command(cluster, steps)
        self._history = record(self._history, cluster.now, steps.replicas - cluster.replicas)
        cluster.replicas = steps.replicas

    def _command(self, cluster: Cluster, steps: drain.Steps) -> None:
        victims = {one.pod for one in steps.draining}
        for pod in cluster.pods:
            pod.cost = drain.VICTIM_COST if pod.name in victims else 0
            if pod.name in steps.begin:
                pod.drain(cluster.now)
            if pod.name in steps.cancel:
                pod.cancel()


def balance(cluster: Cluster, pods: Sequence[Pod], spec: Autoscaling) -> None:
    """Set how many sockets each overfull pod sheds until the next round."""
    surplus = {} if cluster.rolling else rebalance.surplus(pods, spec.rebalance, SYNC_SECONDS)
    for pod in cluster.pods:
        pod.shedding = surplus.get(pod.name, 0) / SYNC_SECONDS


def _at(fixture: Fixture, moment: datetime) -> Fixture:
    """Return the fixture as the service reports it at this moment."""
    live = fixture.start <= moment < fixture.end
    return Fixture(fixture.id, fixture.sport, fixture.home_team, fixture.away_team, live, fixture.start, fixture.end)


# The HPA

TOLERANCE = 0.1
WINDOW_SECONDS = 300.0
STEP_SECONDS = 15.0
STEP_PODS = 4


class Hpa:
    """A HorizontalPodAutoscaler with the same target and bounds; ``balanced`` adds our rebalancing."""

    def __init__(self, spec: Autoscaling, *, balanced: bool = False) -> None:
        self._spec, self._balanced = spec, balanced
        self._target = spec.target_connections_per_pod
        self._low, self._high = spec.min_replicas, spec.max_replicas
        self._recommended: list[tuple[float, int]] = []
        self._raised: list[tuple[float, int]] = []

    def act(self, cluster: Cluster, silent: Iterator[bool]) -> None:
        if cluster.now % SYNC_SECONDS:
            return
        pods = cluster.seen(silent)
        wanted = self._calculate(cluster.replicas, pods)
        if wanted is not None:
            cluster.replicas = self._normalize(cluster.replicas, wanted, cluster.now)
        if self._balanced:
            balance(cluster, pods, self._spec)

    def _calculate(self, current: int, pods: Sequence[Pod]) -> int | None:
        """Return the replicas for the pods' average; None if no pod has the metric.

        Terminating pods are ignored. A pod without the metric, including a starting one, counts as on target when
        scaling down and as empty when scaling up.
        """
        counted = [pod for pod in pods if not pod.terminating]
        values = [pod.connections for pod in counted if pod.connections is not None]
        if not values:
            return None
        ratio = sum(values) / len(values) / self._target
        missing = len(counted) - len(values)
        if not missing:
            return current if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * len(values))
        return self._with_missing(current, ratio, sum(values), len(counted), missing)

    def _with_missing(self, current: int, ratio: float, total: int, count: int, missing: int) -> int:
        assumed = total + (missing * self._target if ratio < 1 else 0)
        corrected = assumed / count / self._target
        turned = (ratio < 1 < corrected) or (ratio > 1 > corrected)
        wanted = math.ceil(corrected * count)
        against = (corrected < 1 and wanted > current) or (corrected > 1 and wanted < current)
        return current if abs(corrected - 1) <= TOLERANCE or turned or against else wanted

    def _normalize(self, current: int, wanted: int, now: float) -> int:
        """Apply stabilization when scaling down, steps when scaling up, and the bounds."""
        recent = [one for one in self._recommended if one[0] > now - WINDOW_SECONDS] or [(now, current)]
        self._recommended = [*recent, (now, wanted)]
        stable = max(replicas for _, replicas in self._recommended)
        replicas = wanted if wanted >= current else min(stable, current)
        self._raised = [one for one in self._raised if one[0] > now - STEP_SECONDS]
        start = current - sum(delta for _, delta in self._raised)
        allowed = max(current, 2 * start, start + STEP_PODS)
        result = max(self._low, min(replicas, allowed, self._high))
        self._raised += [(now, result - current)] if result > current else []
        return result

"""One day under one rule, and its measurements."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tools.simulation.cluster import Cluster
from tools.simulation.rules import Hpa, Operator, Rule
from tools.simulation.scenarios import Scenario

OVER_TARGET = 1.25
"""A pod is over target beyond this multiple of its target, which leaves room for a minute's growth."""

FLAP_SECONDS = 600.0
"""A change is a flap if it reverses another one of the last ten minutes."""

POINTS = 240
"""Number of points of a plotted line."""

SEED = 5
"""Seed for the choice of unreadable pods, the same in every run."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one moment for a plot; the fullest pod is the maximum since the previous sample."""

    minute: float
    clients: float
    replicas: int
    mean: float
    fullest: float


@dataclass
class Outcome:
    """Measurements of a day.

    Attributes:
        over: pod-seconds over target.
        fullest: maximum sockets of a pod, relative to the target.
        pod_seconds: seconds of all pods, including starting and stopping ones.
        changes: number of changes of the replicas.
        flaps: changes that reverse another one of the ``FLAP_SECONDS`` before.
    """

    scenario: Scenario
    rule: str
    over: float = 0.0
    fullest: float = 0.0
    pod_seconds: float = 0.0
    changes: int = 0
    flaps: int = 0
    most: int = 0
    dropped: float = 0.0
    reconnects: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    _last: tuple[float, int] = (float("-inf"), 0)
    _peak: float = 0.0

    def changed(self, now: float, delta: int) -> None:
        """Record a change of the replicas."""
        before, direction = self._last
        self.changes += 1
        self.flaps += now - before <= FLAP_SECONDS and delta * direction < 0
        self._last = now, delta

    def see(self, cluster: Cluster) -> None:
        """Record one second."""
        target = self.scenario.spec.target_connections_per_pod
        loads = [pod.connections for pod in cluster.pods]
        highest = max(loads, default=0.0)
        if highest > OVER_TARGET * target:
            self.over += sum(load > OVER_TARGET * target for load in loads)
        self.fullest = max(self.fullest, highest / target)
        self.pod_seconds += len(loads)
        self.most = max(self.most, cluster.replicas)
        self._peak = max(self._peak, highest)
        if cluster.now % max(1, self.scenario.minutes * 60 // POINTS) == 0:
            self._sample(cluster)

    def _sample(self, cluster: Cluster) -> None:
        serving = [pod.connections for pod in cluster.pods if pod.takes(cluster.now)]
        mean = sum(serving) / len(serving) if serving else 0.0
        self.samples.append(Sample(cluster.now / 60, cluster.clients, cluster.replicas, mean, self._peak))
        self._peak = 0.0


def rules(scenario: Scenario) -> dict[str, Rule]:
    """Return our rule, our rule without match days if the scenario has them, the HPA, and the HPA with rebalancing."""
    spec = scenario.spec
    plain = spec.model_copy(update={"match_day": spec.match_day.model_copy(update={"enabled": False})})
    found: dict[str, Rule] = {"ours": Operator(spec, scenario.fixtures)}
    if spec.match_day.enabled:
        found["ours, match day off"] = Operator(plain)
    return {**found, "HPA": Hpa(spec), "HPA, rebalanced": Hpa(spec, balanced=True)}


def run(scenario: Scenario, name: str, rule: Rule) -> Outcome:
    """Simulate the day."""
    outcome = Outcome(scenario, name)
    start = scenario.audience(0)
    needed = -(-int(start) // scenario.spec.target_connections_per_pod)
    cluster = Cluster(max(scenario.spec.min_replicas, needed), scenario.session_minutes * 60)
    silent = _silent(scenario, cluster)
    for _ in range(scenario.minutes * 60):
        _happen(scenario, cluster)
        cluster.step(scenario.audience((cluster.now + 1) / 60))
        before = cluster.replicas
        rule.act(cluster, silent)
        if cluster.replicas != before:
            outcome.changed(cluster.now, cluster.replicas - before)
        outcome.see(cluster)
    outcome.dropped, outcome.reconnects = cluster.dropped, cluster.reconnects
    return outcome


def _silent(scenario: Scenario, cluster: Cluster) -> Iterator[bool]:
    chance = random.Random(SEED)
    while True:
        yield chance.random() < scenario.silent(cluster.now / 60)


def _happen(scenario: Scenario, cluster: Cluster) -> None:
    if scenario.roll_out is not None and cluster.now == scenario.roll_out * 60:
        cluster.roll_out()
    if scenario.node_loss is not None and cluster.now == scenario.node_loss[0] * 60:
        cluster.lose(scenario.node_loss[1])

"""One day under one rule, and what is measured of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.cluster import Cluster
from tests.simulation.rules import Hpa, Operator, Rule
from tests.simulation.scenarios import Scenario

OVER_TARGET = 1.25
"""A pod with more than so many times its target is over it: the target leaves room for what comes within a minute."""

FLAP_SECONDS = 600.0
"""A change that takes back one of the last ten minutes is a flap."""

POINTS = 240
"""Of a plotted line."""

SEED = 5
"""Which pods cannot be read is drawn anew for each run, and each time alike."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a plot shows of one moment; the fullest pod is that of the time since the sample before."""

    minute: float
    clients: float
    replicas: int
    mean: float
    fullest: float


@dataclass
class Outcome:
    """What a day was like.

    Attributes:
        over: seconds of all pods, added up, in which they were over their target.
        fullest: most sockets of a pod, as a part of the target.
        pod_seconds: of all pods, whether they serve, start or stop.
        changes: how often the number of replicas was changed.
        flaps: changes against one within ``FLAP_SECONDS`` before.
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
        """The number of replicas is another one."""
        before, direction = self._last
        self.changes += 1
        self.flaps += now - before <= FLAP_SECONDS and delta * direction < 0
        self._last = now, delta

    def see(self, cluster: Cluster) -> None:
        """One second has passed."""
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
    """Ours, ours without match day where the scenario has one, the HPA, and the HPA with our rebalance."""
    spec = scenario.spec
    plain = spec.model_copy(update={"match_day": spec.match_day.model_copy(update={"enabled": False})})
    found: dict[str, Rule] = {"ours": Operator(spec, scenario.fixtures)}
    if spec.match_day.enabled:
        found["ours, match day off"] = Operator(plain)
    return {**found, "HPA": Hpa(spec), "HPA, rebalanced": Hpa(spec, balanced=True)}


def run(scenario: Scenario, name: str, rule: Rule) -> Outcome:
    """Play the day."""
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

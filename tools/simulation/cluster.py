"""Pods, their clients and the Deployment, second by second.

Clients are modelled as a fluid: arrivals spread evenly over the accepting pods, departures are proportional to each
pod's sockets, and sockets are floats. So the model is deterministic and loses no clients by rounding.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, inf

from livescore_operator.scaling.pod import Pod

START_SECONDS = 20.0
"""Time from the creation of a pod until it is ready: pull, start, database connection, two probes."""

GRACE_SECONDS = 5.0
"""Time during which a draining pod still accepts new clients, until all load balancers know."""

DRAIN_SECONDS = 30.0
"""Time over which it then closes its sockets one by one: ``api.drain.deadlineSeconds``."""

RETURN_SECONDS = 2
"""Maximum time until a client that received a hint is back, in seconds."""

LOSS_RETURN_SECONDS = 10
"""Time over which the clients of a lost node return: each detects the loss and waits for a random time."""

UNREADY_SECONDS = 40.0
"""Time until the cluster marks the pods of a lost node unready: ``node-monitor-grace-period``."""

EVICTION_SECONDS = 300.0
"""Additional time until it evicts them: ``tolerationSeconds`` of ``node.kubernetes.io/unreachable``."""

SURGE = 0.25
"""Fraction of additional pods during a rollout: ``maxSurge`` of the API's Deployment."""


@dataclass(slots=True, eq=False)
class Machine:
    """One pod."""

    name: str
    version: int
    ready_at: float
    connections: float = 0.0
    draining_at: float = inf
    terminating_at: float = inf
    closing_at: float = inf
    lost_at: float = inf
    cost: int = 0
    shedding: float = 0.0

    def lives(self) -> bool:
        """Return True if the Deployment counts the pod."""
        return self.terminating_at == inf

    def drain(self, now: float) -> None:
        """Start draining."""
        self.draining_at = self.closing_at = min(self.closing_at, now)

    def cancel(self) -> None:
        """Cancel the drain."""
        self.draining_at, self.closing_at = inf, self.terminating_at

    def terminate(self, now: float) -> None:
        """Handle SIGTERM, which also starts a drain."""
        self.terminating_at = min(self.terminating_at, now)
        self.closing_at = min(self.closing_at, now)

    def is_ready(self, now: float) -> bool:
        """Return the readiness seen by Kubernetes, which notices the loss of a node late."""
        return self.ready_at <= now < min(self.closing_at + GRACE_SECONDS, self.lost_at + UNREADY_SECONDS)

    def takes(self, now: float) -> bool:
        """Return True if new clients reach the pod; clients that try a dead pod are assumed to retry at once."""
        return self.ready_at <= now < self.lost_at and now - GRACE_SECONDS < self.closing_at

    def seen(self, now: float, *, silent: bool) -> Pod:
        """Return the pod as the operator observes it."""
        tells = self.ready_at <= now < self.lost_at and not silent
        return Pod(
            self.name,
            self.is_ready(now),
            round(self.connections) if tells else None,
            draining=tells and self.draining_at <= now,
            terminating=not self.lives(),
        )


@dataclass(slots=True)
class Cluster:
    """One Deployment and all its clients.

    Attributes:
        session_seconds: mean session length; every departing client is replaced by a new one.
        waiting: arriving clients by the second of their arrival.
        reconnects: sockets closed by the service so far, each after a hint.
        dropped: sockets closed without a hint.
        rolling: True during a rollout.
    """

    replicas: int
    session_seconds: float
    now: float = 0.0
    version: int = 1
    pods: list[Machine] = field(default_factory=list)
    waiting: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    clients: float = 0.0
    reconnects: float = 0.0
    dropped: float = 0.0
    created: int = 0
    rolling: bool = False

    def __post_init__(self) -> None:
        self._create(self.replicas)
        for pod in self.pods:
            pod.ready_at = self.now

    def connected(self) -> float:
        """Return the number of sockets of all pods."""
        return sum(pod.connections for pod in self.pods)

    def step(self, audience: float) -> None:
        """Advance by one second, after which ``audience`` clients want to be connected."""
        self.now += 1.0
        self._leave(audience)
        self._close()
        self._arrive()
        self._reap()
        self._deploy()

    # Clients

    def _leave(self, audience: float) -> None:
        connected = self.connected()
        churn = connected / self.session_seconds
        come, go = churn + max(0.0, audience - self.clients), churn + max(0.0, self.clients - audience)
        self.clients = audience
        self.waiting[int(self.now)] += come
        kept = max(0.0, 1.0 - go / connected) if connected else 0.0
        for pod in self.pods:
            pod.connections *= kept
        self._give_up(go - (connected - connected * kept))

    def _give_up(self, count: float) -> None:
        """Remove clients that are not connected at the moment."""
        total = sum(self.waiting.values())
        if count > 0 and total > 0:
            kept = max(0.0, 1.0 - count / total)
            for second in self.waiting:
                self.waiting[second] *= kept

    def _close(self) -> None:
        """Close sockets: stopping pods at a pace that leaves none at the end, others as many as they have to shed."""
        for pod in [pod for pod in self.pods if pod.closing_at < inf or pod.shedding]:
            begun = pod.closing_at + GRACE_SECONDS
            if begun <= self.now:
                left = begun + DRAIN_SECONDS - self.now
                self._dismiss(pod, pod.connections / left if left > 1 else pod.connections)
            elif pod.shedding:
                self._dismiss(pod, min(pod.shedding, pod.connections))

    def _dismiss(self, pod: Machine, count: float) -> None:
        pod.connections -= count
        self.reconnects += count
        self.waiting[int(self.now) + RETURN_SECONDS] += count

    def _arrive(self) -> None:
        arriving = self.waiting.pop(int(self.now), 0.0)
        now, closing = self.now, self.now - GRACE_SECONDS
        takers = [pod for pod in self.pods if pod.ready_at <= now < pod.lost_at and closing < pod.closing_at]
        if not takers:
            self.waiting[int(self.now) + 1] += arriving
            return
        each = arriving / len(takers)
        for pod in takers:
            pod.connections += each

    # The Deployment

    def _create(self, count: int) -> None:
        for _ in range(count):
            self.created += 1
            self.pods.append(Machine(f"pod-{self.created}", self.version, self.now + START_SECONDS))

    def _terminate(self, pods: Iterable[Machine]) -> None:
        for pod in pods:
            pod.terminate(self.now)

    def _reap(self) -> None:
        """Remove stopped pods and those of lost nodes; sockets still open are dropped."""
        going = [pod for pod in self.pods if pod.terminating_at < inf or pod.lost_at < inf]
        gone = [pod for pod in going if self._is_gone(pod)]
        for pod in gone:
            self.dropped += pod.connections
            self.waiting[int(self.now) + RETURN_SECONDS] += pod.connections
        if gone:
            self.pods = [pod for pod in self.pods if pod not in gone]

    def _is_gone(self, pod: Machine) -> bool:
        if pod.lost_at < inf:
            return self.now >= min(pod.lost_at + UNREADY_SECONDS + EVICTION_SECONDS, pod.terminating_at)
        since = pod.terminating_at
        empty = self.now >= since + GRACE_SECONDS and pod.connections < 0.5
        return empty or self.now >= since + GRACE_SECONDS + DRAIN_SECONDS

    def _deploy(self) -> None:
        """Act as the Deployment's controllers: set the number of pods and, during a rollout, their version."""
        live = [pod for pod in self.pods if pod.terminating_at == inf]
        new = [pod for pod in live if pod.version == self.version]
        self.rolling = self.rolling and not (len(new) == len(live) and all(pod.is_ready(self.now) for pod in new))
        if len(new) == len(live):
            self._create(self.replicas - len(live))
            if len(live) > self.replicas:
                self._terminate(sorted(live, key=self._rank)[: len(live) - self.replicas])
            return
        surge = ceil(self.replicas * SURGE)
        self._create(min(self.replicas - len(new), self.replicas + surge - len(live)))
        old = sorted((pod for pod in live if pod.version < self.version), key=self._rank)
        unready = sum(not pod.is_ready(self.now) for pod in live)
        self._terminate(old[: max(0, len(live) - unready - self.replicas)])

    def _rank(self, pod: Machine) -> tuple[bool, int, float]:
        """Return the removal order of a ReplicaSet: unready pods first, then by deletion cost, then the youngest."""
        return pod.is_ready(self.now), pod.cost, -pod.ready_at

    # Disturbances

    def roll_out(self) -> None:
        """Start a rollout of a new image."""
        self.version += 1
        self.rolling = True

    def lose(self, part: float) -> None:
        """Lose a node with this fraction of the pods: the oldest."""
        victims = [pod for pod in self.pods if pod.lost_at == inf][: round(part * len(self.pods))]
        for pod in victims:
            pod.lost_at = self.now
            self.dropped += pod.connections
            for second in range(1, LOSS_RETURN_SECONDS + 1):
                self.waiting[int(self.now) + second] += pod.connections / LOSS_RETURN_SECONDS
            pod.connections = 0.0

    def seen(self, silent: Iterator[bool]) -> list[Pod]:
        """Return all pods as the operator observes them; ``silent`` yields True for each pod that cannot be read."""
        return [pod.seen(self.now, silent=next(silent)) for pod in self.pods]

"""Pods, their clients and the Deployment, second by second.

Clients are a fluid: new ones are spread evenly over the pods that take any, those who leave do so everywhere alike, and
the sockets of a pod are a float. So nothing depends on chance, and no client is lost by rounding.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, inf

from livescore_operator.scaling.pod import Pod

START_SECONDS = 20.0
"""From the creation of a pod until it is ready: pulled, started, connected to its database, probed twice."""

GRACE_SECONDS = 5.0
"""A pod that drains still takes newcomers for so long, until every load balancer knows."""

DRAIN_SECONDS = 30.0
"""Over which it then closes its sockets, one after the other: ``api.drain.deadlineSeconds``."""

RETURN_SECONDS = 2
"""After a hint a client is back within so many seconds."""

LOSS_RETURN_SECONDS = 10
"""Over which the clients of a lost node come back: each finds out for itself, and waits for a time by chance."""

UNREADY_SECONDS = 40.0
"""After which the cluster calls the pods of a lost node unready: ``node-monitor-grace-period``."""

EVICTION_SECONDS = 300.0
"""For how much longer it then keeps them: ``tolerationSeconds`` of ``node.kubernetes.io/unreachable``."""

SURGE = 0.25
"""Part of the pods that a roll-out may add for a while: ``maxSurge`` of the API's Deployment."""


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
        """Whether its Deployment counts on it."""
        return self.terminating_at == inf

    def drain(self, now: float) -> None:
        """It is told to empty itself."""
        self.draining_at = self.closing_at = min(self.closing_at, now)

    def cancel(self) -> None:
        """It is told to serve on."""
        self.draining_at, self.closing_at = inf, self.terminating_at

    def terminate(self, now: float) -> None:
        """It gets SIGTERM, upon which it empties itself as well."""
        self.terminating_at = min(self.terminating_at, now)
        self.closing_at = min(self.closing_at, now)

    def is_ready(self, now: float) -> bool:
        """What Kubernetes says; of a lost node it finds out late."""
        return self.ready_at <= now < min(self.closing_at + GRACE_SECONDS, self.lost_at + UNREADY_SECONDS)

    def takes(self, now: float) -> bool:
        """Whether newcomers get here; those who try a dead pod are taken to try another one at once."""
        return self.ready_at <= now < self.lost_at and now - GRACE_SECONDS < self.closing_at

    def seen(self, now: float, *, silent: bool) -> Pod:
        """As an operator sees it."""
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
    """One Deployment and everybody who wants to be connected to it.

    Attributes:
        session_seconds: for how long a client stays on the average, before another one comes in its place.
        waiting: clients on their way to a pod, by the second in which they arrive.
        reconnects: sockets that were closed by the service so far, each told before.
        dropped: sockets that were closed without a word.
        rolling: whether a roll-out is under way.
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
        """Sockets of all pods."""
        return sum(pod.connections for pod in self.pods)

    def step(self, audience: float) -> None:
        """One second, after which so many clients want to be connected."""
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
        """Clients leave that are not connected just now."""
        total = sum(self.waiting.values())
        if count > 0 and total > 0:
            kept = max(0.0, 1.0 - count / total)
            for second in self.waiting:
                self.waiting[second] *= kept

    def _close(self) -> None:
        """Pods that stop close their sockets at a pace that leaves none at the end; others shed what they were told."""
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
        """Pods that have stopped, and those of lost nodes, go; whoever is still connected is dropped."""
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
        """What the Deployment's controllers do: the right number, and in a roll-out the right version."""
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
        """A ReplicaSet removes unready pods first, then the cheapest, then the youngest."""
        return pod.is_ready(self.now), pod.cost, -pod.ready_at

    # What happens to it

    def roll_out(self) -> None:
        """A new image."""
        self.version += 1
        self.rolling = True

    def lose(self, part: float) -> None:
        """A node dies with this part of the pods: the oldest."""
        victims = [pod for pod in self.pods if pod.lost_at == inf][: round(part * len(self.pods))]
        for pod in victims:
            pod.lost_at = self.now
            self.dropped += pod.connections
            for second in range(1, LOSS_RETURN_SECONDS + 1):
                self.waiting[int(self.now) + second] += pod.connections / LOSS_RETURN_SECONDS
            pod.connections = 0.0

    def seen(self, silent: Iterator[bool]) -> list[Pod]:
        """All pods as an operator sees them; ``silent`` says of each whether it cannot be read."""
        return [pod.seen(self.now, silent=next(silent)) for pod in self.pods]

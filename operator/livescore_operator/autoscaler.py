"""How many API pods there are, in every mode: read the pods, decide, and tell them what becomes of their sockets.

What is decided, and why, is pure and stands in ``scaling``. Here is only the order in which it happens.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from livescore_operator import conditions
from livescore_operator.cluster import Cluster
from livescore_operator.components import config
from livescore_operator.components.common import Scale
from livescore_operator.events import Recorder
from livescore_operator.observation import Observation
from livescore_operator.resource import Draining, Floor, Learnt, LiveScore, Manifest, Readings, Scaling
from livescore_operator.scaling import algorithm, drain, forecast, rebalance
from livescore_operator.scaling.algorithm import Decision, History, Pod
from livescore_operator.scaling.connections import Crowd, Reading
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

Key = tuple[str, str]

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

# Between two rounds in which overfull pods shed: long enough for those that left to be seen elsewhere.
REBALANCE_SECONDS = 5.0

# How often pods are asked again that did not tell, and fixtures that come nearer.
UNREAD_SECONDS = 15.0
FIXTURES_SECONDS = 60.0

# From when a pod closed its last socket until that was read.
NOTICE_SECONDS = 5.0

HPA = "HorizontalPodAutoscaler"


@dataclass(frozen=True)
class Assessment:
    """What was read and decided in one round.

    Attributes:
        pods: the API pods as they are.
        connections: of all of them; None where there are pods and none tells.
        scale: how many there should be.
        scaling: for the status; None in mode none.
        steps: of a scale-down; in other modes than connections those that take one back.
        decision: in mode connections.
        rolling: whether a roll-out is under way.
        again: seconds until the next look although nothing happens.
        kept: pods that were being emptied, where nothing new is done about them.
    """

    pods: tuple[Pod, ...]
    connections: int | None
    scale: Scale
    scaling: Scaling | None = None
    steps: drain.Steps | None = None
    decision: Decision | None = None
    rolling: bool = False
    again: float | None = None
    kept: tuple[Draining, ...] | None = None

    @property
    def draining(self) -> list[Draining]:
        """Pods that are emptied, for the status."""
        if self.kept is not None:
            return list(self.kept)
        return list(self.steps.draining) if self.steps else []


@dataclass
class _Memory:
    """What is remembered of one LiveScore. All of it may be lost: decisions are then more careful for a while."""

    history: History = field(default_factory=History)
    shed_at: float = -math.inf


class Autoscaler:
    """Scales LiveScores.

    Args:
        cluster: where pods get their deletion cost.
        recorder: of Events.
        now: the clock.
    """

    def __init__(self, cluster: Cluster, recorder: Recorder, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._now = now
        self._memories: dict[Key, _Memory] = {}
        self.crowd = Crowd()

    def forget(self, key: Key) -> None:
        """It is gone."""
        self._memories.pop(key, None)
        self.crowd.forget(key)

    # Reading and deciding: nothing is changed

    async def assess(self, resource: LiveScore, seen: Observation) -> Assessment:
        """Read the pods, and decide how many there should be."""
        addresses = seen.addresses
        readings = await self.crowd.read(_key(resource), tuple(sorted(addresses.values())))
        pods = _pods(seen, readings)
        connections = None if addresses and not readings else sum(one.connections for one in readings.values())
        floor, learnt = await self._match_day(resource, seen, pods, connections)
        scale = Scale(resource.spec.api.replicas, _least(resource, floor))
        base = Assessment(pods, connections, scale, rolling=_rolling(seen, resource))
        mode = resource.spec.autoscaling.mode
        if mode == "connections":
            return self._decided(resource, seen, base, floor, learnt)
        base = _withdrawn(resource, seen, base, self._now())
        return base if mode == "none" else _observed(resource, seen, base, floor, learnt)

    async def _match_day(
        self, resource: LiveScore, seen: Observation, pods: Iterable[Pod], connections: int | None
    ) -> tuple[Floor | None, list[Learnt]]:
        """The floor by the fixtures, and what was learnt; as they were where no pod tells of fixtures."""
        wanted, before = resource.spec.autoscaling, resource.status.scaling or Scaling(replicas=0, reason="")
        if wanted.mode == "none" or not wanted.match_day.enabled:
            return None, []
        told = [seen.addresses[pod.name] for pod in pods if pod.serving and pod.name in seen.addresses]
        fixtures = _parsed(await self.crowd.fixtures(told, wanted.match_day.lead_minutes * 60))
        if fixtures is None:
            return before.floor, before.learnt
        whole = connections is not None and not any(pod.serving and pod.connections is None for pod in pods)
        learnt = forecast.learn(before.learnt, fixtures, connections or 0, self._now()) if whole else before.learnt
        return forecast.floor(wanted, fixtures, learnt, self._now()), list(learnt)

    def _decided(
        self, resource: LiveScore, seen: Observation, base: Assessment, floor: Floor | None, learnt: list[Learnt]
    ) -> Assessment:
        current = _current(resource, seen, base.scale.least)
        memory, now = self._memory(resource), self._now()
        decision = algorithm.decide(
            resource.spec.autoscaling,
            current,
            _marked(resource, base.pods),
            floor=floor.replicas if floor else 0,
            rolling=base.rolling,
            history=memory.history if memory.history.recommendations else _begun(resource, current, now.timestamp()),
            now=now.timestamp(),
        )
        memory.history = decision.history
        steps = drain.plan(
            base.pods,
            resource.status.draining,
            current=current,
            desired=decision.replicas,
            rolling=base.rolling,
            deadline_seconds=_drain_seconds(resource),
            now=now,
        )
        return replace(
            base,
            scale=replace(base.scale, replicas=steps.replicas),
            scaling=_status(resource, base.pods, decision.replicas, decision.reason, decision.message, floor, learnt),
            steps=steps,
            decision=decision,
            again=_soonest(decision.again, steps.again, _periodic(resource, base.pods)),
        )

    def _memory(self, resource: LiveScore) -> _Memory:
        return self._memories.setdefault(_key(resource), _Memory(_resumed(resource, self._now())))

    # What follows from it

    async def act(self, resource: LiveScore, seen: Observation, found: Assessment) -> Assessment:
        """Tell the pods, once the children are as they should be; the assessment with what follows for the status.

        Raises:
            Transient: when the API server does not take a deletion cost.
        """
        await self._set_costs(resource, seen, found)
        await self._drain(resource, seen, found)
        changed = await self._tell_change(resource, seen, found)
        shed = await self._rebalance(resource, seen, found)
        scaling = found.scaling
        if scaling is not None and changed:
            scaling = scaling.model_copy(update={"last_scale_time": f"{self._now():%Y-%m-%dT%H:%M:%SZ}"})
        _tell_metrics(resource, found)
        return replace(found, scaling=scaling, again=_soonest(found.again, REBALANCE_SECONDS if shed else None))

    def wait(self, resource: LiveScore, found: Assessment) -> Assessment:
        """Tell the pods nothing, as nothing came of the assessment: what was begun stands as it stood."""
        found = replace(found, scaling=resource.status.scaling, kept=tuple(resource.status.draining))
        _tell_metrics(resource, found)
        return found

    async def _set_costs(self, resource: LiveScore, seen: Observation, found: Assessment) -> None:
        """Let Kubernetes remove those first that were emptied, or in other modes those with the fewest sockets."""
        victims = {one.pod for one in found.draining}
        for pod in found.pods:
            cost = _cost(resource, pod, victims)
            if not pod.terminating and _cost_of(seen.pods[pod.name]) != cost:
                await self._cluster.annotate("Pod", resource.namespace, pod.name, {DELETION_COST: cost})

    async def _drain(self, resource: LiveScore, seen: Observation, found: Assessment) -> None:
        steps, before = found.steps, {one.pod for one in resource.status.draining}
        if steps is None:
            return
        for name in steps.begin:
            await self._tell(seen, name, self.crowd.drain)
        for name in steps.cancel:
            await self._tell(seen, name, self.crowd.stay)
        begun = sorted(set(steps.begin) - before)
        if begun:
            await self._event(resource, "Draining", f"{', '.join(begun)}: emptied, then removed")
        if steps.cancel:
            await self._event(resource, "DrainCancelled", f"{', '.join(steps.cancel)}: needed again")
        if steps.strays:
            text = f"{', '.join(steps.strays)}: emptied, but others were removed instead; back at work"
            await self._event(resource, "OtherPodRemoved", text, "Warning")

    async def _tell(self, seen: Observation, name: str, what: Callable[[str], Awaitable[bool]]) -> None:
        """Tell one pod. One that cannot be told now is told in the next round: it does not say that it did."""
        address = seen.addresses.get(name)
        if address is not None and not await what(address):
            log.warning("a pod did not take an order", pod=name, order=what.__name__)

    async def _tell_change(self, resource: LiveScore, seen: Observation, found: Assessment) -> bool:
        """Remember and tell that the number of pods was changed."""
        live = _replicas(seen, resource)
        wanted = found.scale.replicas
        if found.decision is None or live is None or wanted is None or wanted == live:
            return False
        memory = self._memory(resource)
        memory.history = algorithm.record(memory.history, self._now().timestamp(), wanted - live)
        direction = "up" if wanted > live else "down"
        metrics.SCALINGS.labels(resource.namespace, resource.name, direction).inc()
        text = f"{live} → {wanted} API pods: {found.decision.message}"
        await self._event(resource, "Scaled", text)
        return True

    async def _rebalance(self, resource: LiveScore, seen: Observation, found: Assessment) -> bool:
        """Let overfull pods shed a part of their surplus; whether there is any."""
        surplus = _surplus(resource, seen, found)
        memory, now = self._memory(resource), self._now().timestamp()
        if not surplus or now - memory.shed_at < REBALANCE_SECONDS:
            return bool(surplus)
        memory.shed_at = now
        for name, count in surplus.items():
            rate = math.ceil(count / REBALANCE_SECONDS)
            if await self.crowd.shed(seen.addresses[name], count, rate):
                metrics.SHED.labels(resource.namespace, resource.name).inc(count)
        return True

    async def _event(self, resource: LiveScore, reason: str, message: str, severity: str = "Normal") -> None:
        await self._recorder.record(resource, severity, reason, message)


def initial(resource: LiveScore) -> int:
    """API pods of a LiveScore that has none yet."""
    spec = resource.spec
    return spec.api.replicas if spec.autoscaling.mode == "none" else spec.autoscaling.min_replicas


# What was read


def _key(resource: LiveScore) -> Key:
    return resource.namespace, resource.name


def _deployment(seen: Observation, resource: LiveScore) -> Manifest | None:
    return seen.children.get(("Deployment", f"{resource.name}-api"))


def _replicas(seen: Observation, resource: LiveScore) -> int | None:
    live = _deployment(seen, resource)
    return None if live is None else live["spec"].get("replicas", 1)


def _rolling(seen: Observation, resource: LiveScore) -> bool:
    live = _deployment(seen, resource)
    return live is not None and conditions.rolling(live)


def _pods(seen: Observation, readings: Mapping[str, Reading]) -> tuple[Pod, ...]:
    """The pods that run or will, each as it tells of itself."""
    active = {name: pod for name, pod in seen.pods.items() if _phase(pod) not in ("Failed", "Succeeded")}
    return tuple(_pod(pod, readings.get(seen.addresses.get(name, ""))) for name, pod in active.items())


def _pod(pod: Manifest, reading: Reading | None) -> Pod:
    return Pod(
        name=pod["metadata"]["name"],
        ready=_is_ready(pod),
        connections=reading.connections if reading else None,
        draining=reading is not None and reading.draining,
        terminating="deletionTimestamp" in pod["metadata"],
    )


def _phase(pod: Manifest) -> str | None:
    phase: str | None = (pod.get("status") or {}).get("phase")
    return phase


def _marked(resource: LiveScore, pods: Iterable[Pod]) -> list[Pod]:
    """The pods, those that are silent and were told to drain counted as draining."""
    listed = {one.pod for one in resource.status.draining}
    return [replace(pod, draining=pod.draining or pod.name in listed) for pod in pods]


def _is_ready(pod: Manifest) -> bool:
    found = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found)


def _cost_of(pod: Manifest) -> str | None:
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(DELETION_COST)


def _parsed(payload: object) -> list[forecast.Fixture] | None:
    try:
        return None if payload is None else forecast.parse(payload)
    except ValueError as error:
        log.warning("what a pod tells of its fixtures cannot be read", error=str(error))
        return None


# What was decided


def _drain_seconds(resource: LiveScore) -> float:
    """Seconds until a pod that was told to drain should be empty, and known to be."""
    return config.DRAIN_GRACE_SECONDS + resource.spec.api.drain.deadline_seconds + NOTICE_SECONDS


def _least(resource: LiveScore, floor: Floor | None) -> int:
    wanted = resource.spec.autoscaling
    return min(max(wanted.min_replicas, floor.replicas if floor else 0), wanted.max_replicas)


def _resumed(resource: LiveScore, now: datetime) -> History:
    """What an operator that has just started goes on with: a scale-down that another one began, else nothing."""
    before = resource.status.scaling
    if before is None or all(one.released for one in resource.status.draining):
        return History()
    return History(recommendations=((now.timestamp(), before.replicas),))


def _begun(resource: LiveScore, current: int, now: float) -> History:
    """The history of a new leader: the present number was asked for, less what another one has begun to drain."""
    leaving = sum(not one.released for one in resource.status.draining)
    return History(recommendations=((now, current - leaving),))


def _current(resource: LiveScore, seen: Observation, least: int) -> int:
    """Of the Deployment; as many as were wanted last where somebody deleted it."""
    live, before = _replicas(seen, resource), resource.status.scaling
    return max(least, before.replicas if before else 0) if live is None else live


def _withdrawn(resource: LiveScore, seen: Observation, base: Assessment, now: datetime) -> Assessment:
    """Nobody here scales any more: pods that were told to drain are told to stay, until they say that they do."""
    told = {pod.name: pod for pod in base.pods if pod.draining or pod.connections is None}
    begun = [one for one in resource.status.draining if one.released or one.pod in told]
    current = _current(resource, seen, base.scale.least)
    # Whom somebody else told to drain does as he said.
    mine = [replace(pod, draining=pod.draining and pod.name in {one.pod for one in begun}) for pod in base.pods]
    steps = drain.plan(mine, begun, current=current, desired=current, rolling=base.rolling, deadline_seconds=0, now=now)
    left = [one for one in begun if one.pod in steps.cancel and not one.released]
    steps = replace(steps, draining=(*steps.draining, *left))
    return replace(base, steps=steps, again=steps.again)


def _observed(
    resource: LiveScore, seen: Observation, base: Assessment, floor: Floor | None, learnt: list[Learnt]
) -> Assessment:
    """What is to be said where a HorizontalPodAutoscaler decides."""
    live = _replicas(seen, resource)
    autoscaler = seen.children.get((HPA, f"{resource.name}-api")) or {}
    wanted = (autoscaler.get("status") or {}).get("desiredReplicas") or live or base.scale.least
    text = f"HorizontalPodAutoscaler {resource.name}-api decides"
    scaling = _status(resource, base.pods, wanted, HPA, text, floor, learnt)
    # It begins with what is known, and is nobody's but the HorizontalPodAutoscaler's from then on.
    scale = replace(base.scale, replicas=max(base.scale.least, wanted) if live is None else None)
    return replace(base, scale=scale, scaling=scaling, again=_soonest(base.again, _periodic(resource, base.pods)))


def _status(
    resource: LiveScore,
    pods: Iterable[Pod],
    replicas: int,
    reason: str,
    message: str,
    floor: Floor | None,
    learnt: list[Learnt],
) -> Scaling:
    before = resource.status.scaling
    return Scaling(
        replicas=replicas,
        reason=reason,
        message=message,
        readings=_readings(pods),
        floor=floor,
        learnt=learnt,
        last_scale_time=before.last_scale_time if before else None,
    )


def _readings(pods: Iterable[Pod]) -> Readings:
    serving = [pod for pod in pods if pod.serving]
    told = [pod.connections for pod in serving if pod.connections is not None]
    return Readings(
        pods=len(serving),
        unread=len(serving) - len(told),
        mean=round(sum(told) / len(told)) if told else 0,
        highest=max(told, default=0),
    )


def _periodic(resource: LiveScore, pods: Iterable[Pod]) -> float | None:
    """Seconds until the next look at what tells nothing by itself: silent pods, and fixtures."""
    silent = any(pod.serving and pod.connections is None for pod in pods)
    fixtures = resource.spec.autoscaling.match_day.enabled
    return _soonest(UNREAD_SECONDS if silent else None, FIXTURES_SECONDS if fixtures else None)


def _soonest(*seconds: float | None) -> float | None:
    return min((one for one in seconds if one is not None), default=None)


def _cost(resource: LiveScore, pod: Pod, victims: Iterable[str]) -> str | None:
    """The deletion cost that a pod should have, as its annotation; None for none."""
    if resource.spec.autoscaling.mode == "connections":
        return str(drain.VICTIM_COST) if pod.name in victims else None
    return str(drain.deletion_cost(pod))


def _surplus(resource: LiveScore, seen: Observation, found: Assessment) -> dict[str, int]:
    """Sockets that each overfull pod sheds in a round; nothing while pods come or go."""
    wanted = resource.spec.autoscaling
    serving = [pod for pod in found.pods if pod.serving]
    steady = not found.rolling and not found.draining and len(serving) == _replicas(seen, resource)
    if wanted.mode == "none" or not wanted.rebalance.enabled or not steady:
        return {}
    return rebalance.surplus(found.pods, wanted.rebalance, REBALANCE_SECONDS)


def _tell_metrics(resource: LiveScore, found: Assessment) -> None:
    """Say how it is scaled, as the status does."""
    scaling = found.scaling
    floor = None if scaling is None else scaling.floor.replicas if scaling.floor else 0
    values = {
        metrics.SCALING_REPLICAS: None if scaling is None else scaling.replicas,
        metrics.SCALING_FLOOR: floor,
        metrics.SPREAD: rebalance.spread(found.pods),
        metrics.SILENT: sum(pod.serving and pod.connections is None for pod in found.pods),
        metrics.DRAINING: len(found.draining),
    }
    for gauge, value in values.items():
        metrics.show(gauge, resource.namespace, resource.name, value)

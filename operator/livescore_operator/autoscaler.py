"""How many API pods there are, in every mode: read the pods, decide, and tell them what becomes of their sockets.

What is decided, and why, is pure and stands in ``scaling``. Here is only the order in which it happens.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from livescore_operator import assessment
from livescore_operator.assessment import Assessment, Outlook
from livescore_operator.cluster import Cluster
from livescore_operator.components.common import Scale
from livescore_operator.events import Recorder
from livescore_operator.observation import ObservedState
from livescore_operator.pod_client import PodClient
from livescore_operator.resource import LiveScore, Manifest, Scaling, timestamp
from livescore_operator.scaling import algorithm, drain, forecast, rebalance
from livescore_operator.scaling.algorithm import History, Pod
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

Key = tuple[str, str]

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

# Between two rounds in which overfull pods shed: long enough for those that left to be seen elsewhere.
REBALANCE_SECONDS = 5.0


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
        self.pod_client = PodClient()

    def forget(self, key: Key) -> None:
        """It is gone."""
        self._memories.pop(key, None)
        self.pod_client.forget(key)

    # Reading and deciding: nothing is changed

    async def assess(self, resource: LiveScore, seen: ObservedState) -> Assessment:
        """Read the pods, and decide how many there should be."""
        addresses = seen.addresses
        readings = await self.pod_client.read(_key(resource), tuple(sorted(addresses.values())))
        pods = assessment.pods(seen, readings)
        connections = None if addresses and not readings else sum(one.connections for one in readings.values())
        outlook = await self._match_day(resource, seen, pods, connections)
        scale = Scale(resource.spec.api.replicas, assessment.least(resource, outlook.floor))
        base = Assessment(pods, connections, scale, rolling=assessment.rolling(seen, resource))
        mode = resource.spec.autoscaling.mode
        if mode == "connections":
            return self._decided(resource, seen, base, outlook)
        # What was asked for before the number was somebody else's says nothing any more.
        self._memory(resource).history = History()
        base = assessment.withdrawn(resource, seen, base, self._now())
        return base if mode == "none" else assessment.observed(resource, seen, base, outlook)

    async def _match_day(
        self, resource: LiveScore, seen: ObservedState, pods: Iterable[Pod], connections: int | None
    ) -> Outlook:
        """The floor by the fixtures, and what was learnt; as they were where no pod tells of fixtures."""
        wanted, before = resource.spec.autoscaling, resource.status.scaling or Scaling(replicas=0, reason="")
        if wanted.mode == "none" or not wanted.match_day.enabled:
            return Outlook()
        able = [seen.addresses[pod.name] for pod in pods if pod.serving and not pod.silent]
        # Also those that begin to count before the next look.
        ahead = wanted.match_day.lead_minutes * 60 + 2 * assessment.FIXTURES_SECONDS
        fixtures = assessment.parsed(await self.pod_client.fixtures(able, round(ahead)))
        if fixtures is None:
            floor = assessment.lasting(before.floor, self._now())
            return Outlook(floor, before.learnt, assessment.until(floor.until, self._now()) if floor else None)
        whole = connections is not None and not any(pod.silent for pod in pods)
        learnt = forecast.learn(before.learnt, fixtures, connections or 0, self._now()) if whole else before.learnt
        change = forecast.next_change(wanted.match_day, fixtures, self._now())
        again = None if change is None else change + assessment.MOMENT_SECONDS
        return Outlook(forecast.floor(wanted, fixtures, learnt, self._now()), learnt, again)

    def _decided(self, resource: LiveScore, seen: ObservedState, base: Assessment, outlook: Outlook) -> Assessment:
        current, now = assessment.current(resource, seen, base.scale.least), self._now()
        decision = self._decision(resource, current, base, outlook, now.timestamp())
        steps = drain.plan(
            base.pods,
            resource.status.draining,
            current=current,
            desired=decision.replicas,
            rolling=base.rolling,
            deadline_seconds=assessment.drain_seconds(resource),
            now=now,
        )
        return replace(
            base,
            scale=replace(base.scale, replicas=steps.replicas),
            scaling=assessment.status(
                resource, base.pods, decision.replicas, decision.reason, decision.message, outlook
            ),
            steps=steps,
            draining=steps.draining,
            decision=decision,
            again=assessment.soonest(
                decision.again, steps.again, outlook.again, assessment.periodic(resource, base.pods)
            ),
        )

    def _decision(
        self, resource: LiveScore, current: int, base: Assessment, outlook: Outlook, now: float
    ) -> algorithm.Decision:
        """What the rule says, and remember what it goes by the next time."""
        memory = self._memory(resource)
        if not memory.history.recommendations:
            memory.history = assessment.begun(resource, current, now)
        decision = algorithm.decide(
            resource.spec.autoscaling,
            current,
            assessment.marked(resource, base.pods),
            floor=outlook.floor.replicas if outlook.floor else 0,
            rolling=base.rolling,
            history=memory.history,
            now=now,
        )
        memory.history = decision.history
        return decision

    def _memory(self, resource: LiveScore) -> _Memory:
        return self._memories.setdefault(_key(resource), _Memory())

    # What follows from it

    async def act(self, resource: LiveScore, seen: ObservedState, found: Assessment) -> Assessment:
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
            scaling = scaling.model_copy(update={"last_scale_time": timestamp(self._now())})
        _tell_metrics(resource, found)
        return replace(
            found, scaling=scaling, again=assessment.soonest(found.again, REBALANCE_SECONDS if shed else None)
        )

    def wait(self, resource: LiveScore, found: Assessment) -> Assessment:
        """Tell the pods nothing, as nothing came of the assessment: what was begun stands as it stood."""
        found = replace(found, scaling=resource.status.scaling, draining=tuple(resource.status.draining))
        _tell_metrics(resource, found)
        return found

    async def _set_costs(self, resource: LiveScore, seen: ObservedState, found: Assessment) -> None:
        """Let Kubernetes remove those first that were emptied, or in other modes those with the fewest sockets."""
        victims = {one.pod for one in found.draining}
        for pod in found.pods:
            cost = _cost(resource, pod, victims)
            if not pod.terminating and _cost_of(seen.pods[pod.name]) != cost:
                await self._cluster.annotate("Pod", resource.namespace, pod.name, {DELETION_COST: cost})

    async def _drain(self, resource: LiveScore, seen: ObservedState, found: Assessment) -> None:
        steps, before = found.steps, {one.pod for one in resource.status.draining}
        if steps is None:
            return
        orders = [(name, self.pod_client.drain) for name in steps.begin] + [
            (name, self.pod_client.cancel_drain) for name in steps.cancel
        ]
        await asyncio.gather(*(self._tell(seen, name, order) for name, order in orders))
        begun = sorted(set(steps.begin) - before)
        if begun:
            await self._event(resource, "Draining", f"{', '.join(begun)}: emptied, then removed")
        if steps.cancel:
            await self._event(resource, "DrainCancelled", f"{', '.join(steps.cancel)}: needed again")
        if steps.survivors:
            text = f"{', '.join(steps.survivors)}: emptied, but others were removed instead; back at work"
            await self._event(resource, "OtherPodRemoved", text, "Warning")

    async def _tell(self, seen: ObservedState, name: str, what: Callable[[str], Awaitable[bool]]) -> None:
        """Tell one pod. One that cannot be told now is told in the next round: it does not say that it did."""
        address = seen.addresses.get(name)
        if address is not None and not await what(address):
            log.warning("a pod did not take an order", pod=name, order=what.__name__)

    async def _tell_change(self, resource: LiveScore, seen: ObservedState, found: Assessment) -> bool:
        """Remember and tell that the number of pods was changed."""
        live = assessment.replicas(seen, resource)
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

    async def _rebalance(self, resource: LiveScore, seen: ObservedState, found: Assessment) -> bool:
        """Let overfull pods shed a part of their surplus; whether there is any."""
        surplus = _surplus(resource, seen, found)
        memory, now = self._memory(resource), self._now().timestamp()
        if not surplus or now - memory.shed_at < REBALANCE_SECONDS:
            return bool(surplus)
        memory.shed_at = now
        told = await asyncio.gather(*(self._shed(seen.addresses[name], count) for name, count in surplus.items()))
        metrics.SHED.labels(resource.namespace, resource.name).inc(sum(told))
        return True

    async def _shed(self, address: str, count: int) -> int:
        """Let one pod shed within a round; how many sockets it was told to."""
        rate = math.ceil(count / REBALANCE_SECONDS)
        return count if await self.pod_client.shed(address, count, rate) else 0

    async def _event(self, resource: LiveScore, reason: str, message: str, severity: str = "Normal") -> None:
        await self._recorder.record(resource, severity, reason, message)


def _key(resource: LiveScore) -> Key:
    return resource.namespace, resource.name


def _cost(resource: LiveScore, pod: Pod, victims: Iterable[str]) -> str | None:
    """The deletion cost that a pod should have, as its annotation; None for none."""
    if resource.spec.autoscaling.mode == "connections":
        return str(drain.VICTIM_COST) if pod.name in victims else None
    return str(drain.deletion_cost(pod))


def _surplus(resource: LiveScore, seen: ObservedState, found: Assessment) -> dict[str, int]:
    """Sockets that each overfull pod sheds in a round; nothing while pods come or go."""
    wanted = resource.spec.autoscaling
    serving = [pod for pod in found.pods if pod.serving]
    steady = not found.rolling and not found.draining and len(serving) == assessment.replicas(seen, resource)
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
        metrics.SILENT: sum(pod.silent for pod in found.pods),
        metrics.DRAINING: len(found.draining),
    }
    for gauge, value in values.items():
        metrics.show(gauge, resource.namespace, resource.name, value)


def _cost_of(pod: Manifest) -> str | None:
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(DELETION_COST)

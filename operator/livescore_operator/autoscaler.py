"""Scaling of the API pods, in every mode: read the pods, plan, and send them commands.

The plans are pure functions in :mod:`livescore_operator.scaling`; this module is the sequence of reads and writes.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from livescore_operator import conditions
from livescore_operator.cluster import Cluster
from livescore_operator.components import hpa
from livescore_operator.events import Recorder
from livescore_operator.observation import ObservedState
from livescore_operator.pod_client import PodClient
from livescore_operator.resource import LiveScore, Manifest, timestamp
from livescore_operator.scaling import algorithm, forecast, modes, plan, rebalance
from livescore_operator.scaling.algorithm import History
from livescore_operator.scaling.forecast import Fixture, MatchDayForecast
from livescore_operator.scaling.plan import ApiState, ScalingPlan
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

Key = tuple[str, str]

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

# Interval of rebalancing rounds: long enough to count shed sockets on the pods to which they reconnected.
REBALANCE_SECONDS = 5.0


@dataclass
class _Memory:
    """State of one LiveScore that is not in the cluster. After a loss the decisions are more cautious for a while.

    Attributes:
        history: Recent recommendations and changes.
        shed_at: Time of the last shed command, in seconds since 1970.
    """

    history: History = field(default_factory=History)
    shed_at: float = -math.inf


class Autoscaler:
    """Scales LiveScores.

    Args:
        cluster: Writes the deletion costs of pods.
        recorder: Records Events.
        now: Returns the current time, with a time zone.
    """

    def __init__(self, cluster: Cluster, recorder: Recorder, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._now = now
        self._memories: dict[Key, _Memory] = {}
        self.pod_client = PodClient()

    def forget(self, key: Key) -> None:
        """Drop the state of a LiveScore that was deleted, or that another operator reconciles."""
        self._memories.pop(key, None)
        self.pod_client.forget(key)

    # Plan: changes nothing in the cluster

    async def plan(self, resource: LiveScore, observed: ObservedState) -> ScalingPlan:
        """Read the pods and plan their number."""
        state = await self._read_state(resource, observed)
        match_day = await self._forecast(resource, observed, state)
        memory = self._memory(resource)
        mode = modes.of(resource)
        result = mode.plan(resource, state, match_day, memory.history, self._now())
        memory.history = result.history
        return result

    async def _read_state(self, resource: LiveScore, observed: ObservedState) -> ApiState:
        addresses = observed.addresses
        readings = await self.pod_client.read(_key(resource), tuple(sorted(addresses.values())))
        unreadable = bool(addresses) and not readings
        deployment = observed.owned.get(("Deployment", resource.api_name))
        return ApiState(
            pods=plan.pods(observed.pods, addresses, readings),
            connections=None if unreadable else sum(reading.connections for reading in readings.values()),
            current=None if deployment is None else deployment["spec"].get("replicas", 1),
            rolling=deployment is not None and conditions.rolling(deployment),
            autoscaler=observed.owned.get(hpa.key(resource)),
        )

    async def _forecast(self, resource: LiveScore, observed: ObservedState, state: ApiState) -> MatchDayForecast:
        autoscaling = resource.spec.autoscaling
        if not modes.of(resource).automatic or not autoscaling.match_day.enabled:
            return MatchDayForecast()
        readable = [observed.addresses[pod.name] for pod in state.pods if pod.serving and not pod.unread]
        # Include matches that start to count before the next round.
        within_seconds = autoscaling.match_day.lead_minutes * 60 + 2 * plan.FIXTURES_SECONDS
        fixtures = _fixtures(await self.pod_client.fixtures(readable, round(within_seconds)))
        connections = None if state.unread else state.connections
        return forecast.forecast(autoscaling, fixtures, resource.status.scaling, connections, self._now())

    def _memory(self, resource: LiveScore) -> _Memory:
        return self._memories.setdefault(_key(resource), _Memory())

    # Execute

    async def execute(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> ScalingPlan:
        """Send the commands of a plan to the pods, after its replicas were applied.

        Returns:
            The plan, completed for the status.

        Raises:
            Transient: The API server did not accept a deletion cost.
        """
        await self._set_deletion_costs(resource, observed, scaling)
        await self._send_drains(resource, observed, scaling)
        changed = await self._record_change(resource, scaling)
        shedding = await self._rebalance(resource, observed, scaling)
        if changed and scaling.status is not None:
            status = scaling.status.model_copy(update={"last_scale_time": timestamp(self._now())})
            scaling = replace(scaling, status=status)
        _set_metrics(resource, scaling)
        requeue_after = plan.soonest(scaling.requeue_after, REBALANCE_SECONDS if shedding else None)
        return replace(scaling, requeue_after=requeue_after)

    def skip(self, resource: LiveScore, scaling: ScalingPlan) -> ScalingPlan:
        """Reconcile incomplete: send no commands; keep the scaling status unchanged."""
        scaling = replace(scaling, status=resource.status.scaling, draining=tuple(resource.status.draining))
        _set_metrics(resource, scaling)
        return scaling

    async def _set_deletion_costs(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> None:
        """Make Kubernetes remove drained pods first; without drains, those with the fewest connections."""
        mode = modes.of(resource)
        draining = {member.pod for member in scaling.draining}
        for pod in scaling.state.pods:
            if pod.terminating:
                continue
            cost = mode.deletion_cost(pod, draining)
            annotation = None if cost is None else str(cost)
            if _deletion_cost(observed.pods[pod.name]) != annotation:
                await self._cluster.annotate("Pod", resource.namespace, pod.name, {DELETION_COST: annotation})

    async def _send_drains(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> None:
        steps = scaling.steps
        commands = [self._send(observed, name, self.pod_client.drain) for name in steps.begin]
        commands += [self._send(observed, name, self.pod_client.cancel_drain) for name in steps.cancel]
        await asyncio.gather(*commands)
        listed = {member.pod for member in resource.status.draining}
        begun = sorted(set(steps.begin) - listed)
        if begun:
            await self._record(resource, "Draining", f"draining {', '.join(begun)} before removal")
        if steps.cancel:
            await self._record(
                resource, "DrainCancelled", f"cancelled the drain of {', '.join(steps.cancel)}: needed again"
            )
        if steps.survivors:
            text = f"{', '.join(steps.survivors)}: drained, but Kubernetes removed another pod instead; serving again"
            await self._record(resource, "OtherPodRemoved", text, "Warning")

    async def _send(self, observed: ObservedState, name: str, command: Callable[[str], Awaitable[bool]]) -> None:
        """Send a command to one pod. If it fails, the pod reports no change, and the next round repeats it."""
        address = observed.addresses.get(name)
        if address is not None and not await command(address):
            log.warning("pod did not accept a command", pod=name, command=command.__name__)

    async def _record_change(self, resource: LiveScore, scaling: ScalingPlan) -> bool:
        """Record a change of the replicas by this operator. Returns True if there was one."""
        current, replicas = scaling.state.current, scaling.scale.replicas
        if scaling.decision is None or current is None or replicas is None or replicas == current:
            return False
        memory = self._memory(resource)
        memory.history = algorithm.record(memory.history, self._now().timestamp(), replicas - current)
        direction = "up" if replicas > current else "down"
        metrics.SCALINGS.labels(resource.namespace, resource.name, direction).inc()
        await self._record(resource, "Scaled", f"{current} → {replicas} API pods: {scaling.decision.message}")
        return True

    async def _rebalance(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> bool:
        """Ask overfull pods to shed a part of their surplus. Returns True if a pod is overfull."""
        surplus = _surplus(resource, scaling)
        memory, now = self._memory(resource), self._now().timestamp()
        if not surplus or now - memory.shed_at < REBALANCE_SECONDS:
            return bool(surplus)
        memory.shed_at = now
        shed = await asyncio.gather(*(self._shed(observed.addresses[name], count) for name, count in surplus.items()))
        metrics.SHED.labels(resource.namespace, resource.name).inc(sum(shed))
        return True

    async def _shed(self, address: str, count: int) -> int:
        """Ask one pod to shed sockets within a round. Returns the number that it accepted."""
        per_second = math.ceil(count / REBALANCE_SECONDS)
        return count if await self.pod_client.shed(address, count, per_second) else 0

    async def _record(self, resource: LiveScore, reason: str, message: str, severity: str = "Normal") -> None:
        await self._recorder.record(resource, severity, reason, message)


def _key(resource: LiveScore) -> Key:
    return resource.namespace, resource.name


def _fixtures(payload: object) -> list[Fixture] | None:
    if payload is None:
        return None
    try:
        return forecast.parse(payload)
    except ValueError as error:
        log.warning("fixtures reported by a pod are invalid", error=str(error))
        return None


def _surplus(resource: LiveScore, scaling: ScalingPlan) -> dict[str, int]:
    """Return the sockets that each overfull pod should shed; nothing while pods start, drain or are replaced."""
    state = scaling.state
    serving = sum(pod.serving for pod in state.pods)
    steady = not state.rolling and not scaling.draining and serving == state.current
    if not modes.of(resource).automatic or not steady:
        return {}
    return rebalance.surplus(state.pods, resource.spec.autoscaling.rebalance, REBALANCE_SECONDS)


def _set_metrics(resource: LiveScore, scaling: ScalingPlan) -> None:
    """Export the scaling status."""
    replicas = floor = None
    if scaling.status is not None:
        replicas = scaling.status.replicas
        floor = scaling.status.floor.replicas if scaling.status.floor else 0
    values = {
        metrics.SCALING_REPLICAS: replicas,
        metrics.SCALING_FLOOR: floor,
        metrics.SPREAD: rebalance.spread(scaling.state.pods),
        metrics.SILENT: scaling.state.unread,
        metrics.DRAINING: len(scaling.draining),
    }
    for gauge, value in values.items():
        metrics.set_gauge(gauge, resource.namespace, resource.name, value)


def _deletion_cost(pod: Manifest) -> str | None:
    """Return the deletion cost of a pod, as its annotation has it."""
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(DELETION_COST)

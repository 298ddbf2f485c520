"""The input and the result of a scaling mode, and what the modes have in common. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from livescore_operator.components import config
from livescore_operator.components.common import Scale
from livescore_operator.resource import Autoscaling, Draining, LiveScore, Manifest, Readings, Scaling
from livescore_operator.scaling import drain
from livescore_operator.scaling.algorithm import Decision, History
from livescore_operator.scaling.forecast import MatchDayForecast
from livescore_operator.scaling.pod import Pod, Reading

# Interval in which unread pods are read again.
UNREAD_SECONDS = 15.0

# Interval in which the fixtures are read again: new fixtures cause no event.
FIXTURES_SECONDS = 60.0

# From the moment a pod closes its last socket until the operator has read that.
NOTICE_SECONDS = 5.0


@dataclass(frozen=True)
class ApiState:
    """The API pods of a LiveScore as observed in one round.

    Attributes:
        pods: All active API pods.
        connections: Open connections of all pods; None if there are pods, but none could be read.
        current: ``spec.replicas`` of the Deployment; None without a Deployment.
        rolling: True during a rollout of the Deployment.
        autoscaler: The HorizontalPodAutoscaler; None if there is none.
    """

    pods: tuple[Pod, ...]
    connections: int | None
    current: int | None
    rolling: bool = False
    autoscaler: Manifest | None = None

    @property
    def unread(self) -> int:
        """Number of serving pods without a reading."""
        return sum(pod.unread for pod in self.pods)


@dataclass(frozen=True)
class ScalingPlan:
    """The result of a scaling mode in one round.

    Attributes:
        state: The input.
        scale: Replicas of the Deployment and minimum of a HorizontalPodAutoscaler.
        history: History to remember for the next round.
        status: The new ``status.scaling``; None in mode none.
        decision: The decision of the operator; None in modes in which it does not decide.
        steps: Drains to start and to cancel.
        draining: The new ``status.draining``.
        requeue_after: Seconds until the next round if no event occurs; None to wait for events.
    """

    state: ApiState
    scale: Scale
    history: History
    steps: drain.Steps
    draining: tuple[Draining, ...]
    status: Scaling | None = None
    decision: Decision | None = None
    requeue_after: float | None = None


def pods(
    manifests: Mapping[str, Manifest], addresses: Mapping[str, str], readings: Mapping[str, Reading]
) -> tuple[Pod, ...]:
    """Return the active pods (phase neither Failed nor Succeeded).

    Args:
        manifests: Pods by name.
        addresses: IP addresses of the running pods, by name.
        readings: Readings by address.
    """
    active = {name: pod for name, pod in manifests.items() if _phase(pod) not in ("Failed", "Succeeded")}
    return tuple(_pod(pod, readings.get(addresses.get(name, ""))) for name, pod in active.items())


def _pod(manifest: Manifest, reading: Reading | None) -> Pod:
    return Pod(
        name=manifest["metadata"]["name"],
        ready=_is_ready(manifest),
        connections=reading.connections if reading else None,
        draining=reading is not None and reading.draining,
        terminating="deletionTimestamp" in manifest["metadata"],
    )


def _phase(manifest: Manifest) -> str | None:
    phase: str | None = (manifest.get("status") or {}).get("phase")
    return phase


def _is_ready(manifest: Manifest) -> bool:
    conditions = (manifest.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


# Shared by the modes


def minimum(autoscaling: Autoscaling, forecast: MatchDayForecast) -> int:
    """Return the fewest pods: ``minReplicas`` or the floor, at most ``maxReplicas``."""
    return min(max(autoscaling.min_replicas, forecast.floor_replicas), autoscaling.max_replicas)


def current(resource: LiveScore, state: ApiState, minimum: int) -> int:
    """Return the current replicas; if the Deployment was deleted, the last desired number."""
    if state.current is not None:
        return state.current
    last = resource.status.scaling
    return max(minimum, last.replicas if last else 0)


def drain_seconds(resource: LiveScore) -> float:
    """Return the seconds after the drain command by which a pod should be empty, and known to be."""
    return config.DRAIN_GRACE_SECONDS + resource.spec.api.drain.deadline_seconds + NOTICE_SECONDS


def status(
    resource: LiveScore, state: ApiState, forecast: MatchDayForecast, *, replicas: int, reason: str, message: str
) -> Scaling:
    """Return ``status.scaling``."""
    last = resource.status.scaling
    return Scaling(
        replicas=replicas,
        reason=reason,
        message=message,
        readings=_readings(state.pods),
        floor=forecast.floor,
        learnt=list(forecast.learnt),
        last_scale_time=last.last_scale_time if last else None,
    )


def _readings(pods: Sequence[Pod]) -> Readings:
    serving = [pod for pod in pods if pod.serving]
    loads = [pod.connections for pod in serving if pod.connections is not None]
    return Readings(
        pods=len(serving),
        unread=len(serving) - len(loads),
        mean=round(sum(loads) / len(loads)) if loads else 0,
        highest=max(loads, default=0),
    )


def poll_after(resource: LiveScore, state: ApiState) -> float | None:
    """Return the seconds until the next round for what causes no event: unread pods and new fixtures."""
    return soonest(
        UNREAD_SECONDS if state.unread else None,
        FIXTURES_SECONDS if resource.spec.autoscaling.match_day.enabled else None,
    )


def soonest(*seconds: float | None) -> float | None:
    """Return the shortest of the delays; None if all are None."""
    return min((delay for delay in seconds if delay is not None), default=None)

"""What is known and said of the number of API pods, read out of an observation and the pods' own words. Pure.

The decisions themselves, which know nothing of Kubernetes' objects, stand in ``scaling``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import structlog

from livescore_operator import conditions
from livescore_operator.components import config, hpa
from livescore_operator.components.common import Scale
from livescore_operator.observation import ObservedState
from livescore_operator.pod_client import Reading
from livescore_operator.resource import Draining, Floor, Learnt, LiveScore, Manifest, Readings, Scaling
from livescore_operator.scaling import drain, forecast
from livescore_operator.scaling.algorithm import Decision, History, Pod

log = structlog.get_logger(__name__)

# How often pods are asked again that did not tell, and fixtures that come nearer.
UNREAD_SECONDS = 15.0
FIXTURES_SECONDS = 60.0

# After the moment at which a match begins or ceases to count: the service has changed its status by then.
MOMENT_SECONDS = 0.5

# From when a pod closed its last socket until that was read.
NOTICE_SECONDS = 5.0


class Outlook(NamedTuple):
    """What the matches ask for, and what was learnt of them.

    Attributes:
        floor: the least number of pods.
        learnt: what matches brought.
        again: seconds until the floor may change by the clock alone.
    """

    floor: Floor | None = None
    learnt: Sequence[Learnt] = ()
    again: float | None = None


@dataclass(frozen=True)
class Assessment:
    """What was read and decided in one round.

    Attributes:
        pods: the API pods as they are.
        connections: of all of them; None where there are pods and none tells.
        scale: how many there should be.
        scaling: for the status; None in mode none.
        steps: of a scale-down; in other modes than connections those that take one back.
        draining: pods that are emptied, for the status.
        decision: in mode connections.
        rolling: whether a roll-out is under way.
        again: seconds until the next look although nothing happens.
    """

    pods: tuple[Pod, ...]
    connections: int | None
    scale: Scale
    scaling: Scaling | None = None
    steps: drain.Steps | None = None
    draining: tuple[Draining, ...] = ()
    decision: Decision | None = None
    rolling: bool = False
    again: float | None = None


def initial(resource: LiveScore) -> int:
    """API pods of a LiveScore that has none yet."""
    spec = resource.spec
    return spec.api.replicas if spec.autoscaling.mode == "none" else spec.autoscaling.min_replicas


# What was read


def _deployment(seen: ObservedState, resource: LiveScore) -> Manifest | None:
    return seen.owned.get(("Deployment", resource.api_name))


def replicas(seen: ObservedState, resource: LiveScore) -> int | None:
    """What the Deployment says; None where there is none."""
    live = _deployment(seen, resource)
    return None if live is None else live["spec"].get("replicas", 1)


def rolling(seen: ObservedState, resource: LiveScore) -> bool:
    """Whether a roll-out of the API is under way."""
    live = _deployment(seen, resource)
    return live is not None and conditions.rolling(live)


def pods(seen: ObservedState, readings: Mapping[str, Reading]) -> tuple[Pod, ...]:
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


def marked(resource: LiveScore, pods: Iterable[Pod]) -> list[Pod]:
    """The pods, those that are silent and were told to drain counted as draining."""
    listed = {one.pod for one in resource.status.draining}
    return [replace(pod, draining=pod.draining or pod.name in listed) for pod in pods]


def _is_ready(pod: Manifest) -> bool:
    found = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found)


def parsed(payload: object) -> list[forecast.Fixture] | None:
    """What a pod tells of its fixtures; None where it tells nothing that could be read."""
    try:
        return None if payload is None else forecast.parse(payload)
    except ValueError as error:
        log.warning("what a pod tells of its fixtures cannot be read", error=str(error))
        return None


# What was decided


def drain_seconds(resource: LiveScore) -> float:
    """Seconds until a pod that was told to drain should be empty, and known to be."""
    return config.DRAIN_GRACE_SECONDS + resource.spec.api.drain.deadline_seconds + NOTICE_SECONDS


def least(resource: LiveScore, floor: Floor | None) -> int:
    """The fewest pods that are wanted, matches counted."""
    wanted = resource.spec.autoscaling
    return min(max(wanted.min_replicas, floor.replicas if floor else 0), wanted.max_replicas)


def lasting(floor: Floor | None, now: datetime) -> Floor | None:
    """A floor that was not confirmed lately, as long as its matches should last."""
    over = floor is None or (floor.until is not None and datetime.fromisoformat(floor.until) <= now)
    return None if over else floor


def until(moment: str | None, now: datetime) -> float | None:
    """Return the seconds until just after a moment of the status; None if there is none or it has passed."""
    seconds = None if moment is None else (datetime.fromisoformat(moment) - now).total_seconds()
    return None if seconds is None or seconds < 0 else seconds + MOMENT_SECONDS


def begun(resource: LiveScore, current: int, now: float) -> History:
    """The history of a new leader: the present number was asked for, less what another one has begun to drain."""
    leaving = sum(not one.released for one in resource.status.draining)
    return History(recommendations=((now, current - leaving),))


def current(resource: LiveScore, seen: ObservedState, least: int) -> int:
    """Of the Deployment; as many as were wanted last where somebody deleted it."""
    live, before = replicas(seen, resource), resource.status.scaling
    return max(least, before.replicas if before else 0) if live is None else live


def withdrawn(resource: LiveScore, seen: ObservedState, base: Assessment, now: datetime) -> Assessment:
    """Nobody here scales any more: pods that were told to drain are told to stay, until they say that they do."""
    told = {pod.name: pod for pod in base.pods if pod.draining or pod.connections is None}
    begun = [one for one in resource.status.draining if one.released or one.pod in told]
    number = current(resource, seen, base.scale.least)
    # Whom somebody else told to drain does as he said.
    mine = [replace(pod, draining=pod.draining and pod.name in {one.pod for one in begun}) for pod in base.pods]
    steps = drain.plan(mine, begun, current=number, desired=number, rolling=base.rolling, deadline_seconds=0, now=now)
    left = [one for one in begun if one.pod in steps.cancel and not one.released]
    return replace(base, steps=steps, draining=(*steps.draining, *left), again=steps.again)


def observed(resource: LiveScore, seen: ObservedState, base: Assessment, outlook: Outlook) -> Assessment:
    """What is to be said where a HorizontalPodAutoscaler decides."""
    live = replicas(seen, resource)
    autoscaler = seen.owned.get(hpa.key(resource)) or {}
    wanted = (autoscaler.get("status") or {}).get("desiredReplicas") or live or base.scale.least
    text = f"{hpa.KIND} {resource.api_name} decides"
    scaling = status(resource, base.pods, wanted, hpa.KIND, text, outlook)
    # It begins with what is known, and is nobody's but the HorizontalPodAutoscaler's from then on.
    # Of none it makes none: Kubernetes takes that for a pause.
    scale = replace(base.scale, replicas=None if live else max(base.scale.least, wanted))
    return replace(
        base, scale=scale, scaling=scaling, again=soonest(base.again, outlook.again, periodic(resource, base.pods))
    )


def status(
    resource: LiveScore, pods: Iterable[Pod], replicas: int, reason: str, message: str, outlook: Outlook
) -> Scaling:
    """What the status says of the number of pods."""
    before = resource.status.scaling
    return Scaling(
        replicas=replicas,
        reason=reason,
        message=message,
        readings=_readings(pods),
        floor=outlook.floor,
        learnt=list(outlook.learnt),
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


def periodic(resource: LiveScore, pods: Iterable[Pod]) -> float | None:
    """Seconds until the next look at what tells nothing by itself: silent pods, and fixtures."""
    silent = any(pod.silent for pod in pods)
    fixtures = resource.spec.autoscaling.match_day.enabled
    return soonest(UNREAD_SECONDS if silent else None, FIXTURES_SECONDS if fixtures else None)


def soonest(*seconds: float | None) -> float | None:
    """The shortest of these times; None where there is none."""
    return min((one for one in seconds if one is not None), default=None)

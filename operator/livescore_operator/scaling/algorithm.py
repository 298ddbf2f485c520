"""The scaling rule: one pure function of readings, spec, history and clock that returns the desired number of pods.

The steps are those of a HorizontalPodAutoscaler, in the same order: required pods, stabilization, policies, bounds.
``docs/scaling.md`` lists where the rule differs because sockets are not CPU, and explains every reason.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from livescore_operator.resource import Autoscaling, ScalingPolicy, ScalingRules
from livescore_operator.scaling.pod import Pod

AT_TARGET = "AtTarget"
WITHIN_TOLERANCE = "WithinTolerance"
SCALE_UP = "ScaleUp"
SCALE_DOWN = "ScaleDown"
STABILIZING = "Stabilizing"
STEP_LIMITED = "StepLimited"
DISABLED = "Disabled"
AT_MINIMUM = "AtMinimum"
AT_MAXIMUM = "AtMaximum"
MATCH_DAY_FLOOR = "MatchDayFloor"
ROLLING_OUT = "RollingOut"
READINGS_MISSING = "ReadingsMissing"
NO_READINGS = "NoReadings"

REASONS: dict[str, str] = {
    AT_TARGET: "The connections require exactly the current number of pods.",
    WITHIN_TOLERANCE: "The mean deviates from the target by no more than the tolerance.",
    SCALE_UP: "The connections require more pods.",
    SCALE_DOWN: "The connections require fewer pods.",
    STABILIZING: "A more cautious number was recommended within the stabilization window, and still applies.",
    STEP_LIMITED: "The policies allow no larger step within their period.",
    DISABLED: "selectPolicy is Disabled for this direction.",
    AT_MINIMUM: "The connections require fewer pods than minReplicas.",
    AT_MAXIMUM: "The connections or the matches require more pods than maxReplicas.",
    MATCH_DAY_FLOOR: "Matches that are live or about to start require more pods than the connections do so far.",
    ROLLING_OUT: "The connections require fewer pods, but no pods are removed during a rollout.",
    READINGS_MISSING: "Some serving pods cannot be read, and the connections of the others require fewer pods.",
    NO_READINGS: "No serving pod can be read, so no pods are removed.",
}
"""Every reason that a decision can have, with its meaning."""

LONGEST_PERIOD_SECONDS = 1800.0
"""The longest ``periodSeconds`` of a policy, see :class:`~livescore_operator.resource.ScalingPolicy`."""

ROUNDING = 1e-9
"""Added to the tolerance, so that 110 connections are within 0.1 of 100 despite floating-point errors."""


@dataclass(frozen=True, slots=True)
class History:
    """Recent recommendations and changes, oldest first. Times are seconds of the caller's clock.

    Attributes:
        recommendations: Time of the latest recommendation of each number; empty before the first decision.
        changes: Time and size of each change of ``spec.replicas``.
    """

    recommendations: tuple[tuple[float, int], ...] = ()
    changes: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The desired number of pods.

    Attributes:
        replicas: The desired number; equal to the current one if nothing has to change.
        reason: One of :data:`REASONS`: the rule that last changed or held the number.
        message: The reason with figures, for people.
        history: Input of the next decision.
        requeue_after: Seconds after which the same readings may lead to another number; None if they cannot.
    """

    replicas: int
    reason: str
    message: str
    history: History = field(repr=False)
    requeue_after: float | None = None


class _Proposal(NamedTuple):
    """A number on its way to the decision, with the rule that last changed or held it."""

    replicas: int
    reason: str
    message: str
    requeue_after: float | None = None


class _Bounds(NamedTuple):
    """Fewest and most pods, with the reason to give when the minimum applies."""

    minimum: int
    maximum: int
    minimum_reason: str = AT_MINIMUM

    def clamp(self, replicas: int) -> int:
        return min(max(replicas, self.minimum), self.maximum)

    def apply(self, proposal: _Proposal) -> _Proposal:
        if proposal.replicas > self.maximum:
            return _Proposal(self.maximum, AT_MAXIMUM, f"{proposal.message}; maxReplicas is {self.maximum}")
        if proposal.replicas < self.minimum:
            message = f"{proposal.message}; {_MINIMUM_MESSAGES[self.minimum_reason]} {self.minimum}"
            return _Proposal(self.minimum, self.minimum_reason, message)
        return proposal


_MINIMUM_MESSAGES = {
    AT_MINIMUM: "minReplicas is",
    MATCH_DAY_FLOOR: "the matches need",
    AT_MAXIMUM: "the matches need more, and maxReplicas is",
}


def _bounds(autoscaling: Autoscaling, floor: int) -> _Bounds:
    """Return the bounds of the spec, with the minimum raised to the floor of a match day."""
    minimum = autoscaling.min_replicas
    maximum = max(minimum, autoscaling.max_replicas)
    if floor <= minimum:
        return _Bounds(minimum, maximum)
    if floor > maximum:
        return _Bounds(maximum, maximum, AT_MAXIMUM)
    return _Bounds(floor, maximum, MATCH_DAY_FLOOR)


def decide(
    autoscaling: Autoscaling,
    current: int,
    pods: Sequence[Pod],
    *,
    floor: int,
    rolling: bool,
    history: History,
    now: float,
) -> Decision:
    """Return the desired number of API pods.

    The history of the decision contains the recommendation only; call :func:`record` when the number has been changed.

    Args:
        autoscaling: Bounds, target and pace; the mode is ignored.
        current: ``spec.replicas`` of the Deployment.
        pods: All pods of the Deployment's ReplicaSets, including those that start, drain or terminate.
        floor: Pods that the matches need; 0 without a floor. May exceed ``maxReplicas``.
        rolling: True during a rollout.
        history: History of the last decision; ``History()`` after a start.
        now: Seconds of the history's clock.
    """
    bounds = _bounds(autoscaling, floor)
    history = _seeded(history, current, now)
    required = bounds.apply(_required(autoscaling, current, pods, rolling))
    recommended = bounds.clamp(_recommended(autoscaling, current, pods, required))
    # A floor is not noise, so it skips the stabilization window, but keeps to the policies. minReplicas and maxReplicas
    # override both.
    stabilized = bounds.apply(_stabilized(autoscaling, current, required, history, now))
    desired = _bounds(autoscaling, floor=0).apply(_limited(autoscaling, current, stabilized, history, now))
    remembered = _remembered(autoscaling, history, recommended, now)
    return Decision(desired.replicas, desired.reason, desired.message, remembered, desired.requeue_after)


def record(history: History, now: float, delta: int) -> History:
    """Return the history with a change of ``spec.replicas`` by ``delta``. The policies count from recorded changes."""
    recent = tuple(_since(history.changes, now - LONGEST_PERIOD_SECONDS))
    return replace(history, changes=(*recent, (now, delta)) if delta else recent)


# Required pods


def _required(autoscaling: Autoscaling, current: int, pods: Sequence[Pod], rolling: bool) -> _Proposal:
    """Return the pods that the load requires, or the current number if fewer would be unsafe.

    An unread pod may hold any number of connections, so what is known can require more pods, but never fewer. Pods that
    are neither serving nor read count as empty: their clients have reconnected to other pods by now.
    """
    proposal = _for_load(autoscaling, current, sum(pod.connections or 0 for pod in pods))
    serving = sum(pod.serving for pod in pods)
    unread = sum(pod.unread for pod in pods)
    if unread:
        proposal = proposal._replace(message=f"{proposal.message}; {unread} of {serving} serving pods cannot be read")
    if proposal.replicas >= current:
        return proposal
    if unread == serving:
        return _Proposal(current, NO_READINGS, "no serving pod can be read")
    if unread:
        return _Proposal(current, READINGS_MISSING, f"{proposal.message}; no pods are removed")
    if rolling:
        return _Proposal(current, ROLLING_OUT, f"{proposal.message}; no pods are removed during a rollout")
    return proposal


def _for_load(autoscaling: Autoscaling, current: int, load: int) -> _Proposal:
    """Return the pods that hold the load.

    The number is absolute, so neither starting pods nor the surge of a rollout affect it. The load includes the clients
    of draining and terminating pods, because they are about to reconnect to the others.
    """
    target = autoscaling.target_connections_per_pod
    required = math.ceil(load / target)
    message = f"{load} connections need {required} pods of {target} each"
    if required == current:
        return _Proposal(current, AT_TARGET, message)
    capacity = target * current
    if abs(load - capacity) <= (autoscaling.tolerance + ROUNDING) * capacity:
        return _Proposal(current, WITHIN_TOLERANCE, f"{message}; {current} are within the tolerance")
    return _Proposal(required, SCALE_UP if required > current else SCALE_DOWN, message)


def _recommended(autoscaling: Autoscaling, current: int, pods: Sequence[Pod], required: _Proposal) -> int:
    """Return the number to remember for the stabilization windows.

    With readings missing, unread pods count as on target. To remember the current number instead would keep all pods
    for as long as one reading was lost in each window.
    """
    if required.reason != READINGS_MISSING:
        return required.replicas
    load = sum(pod.connections or 0 for pod in pods)
    unread = sum(pod.unread for pod in pods)
    return min(current, math.ceil(load / autoscaling.target_connections_per_pod) + unread)


# Stabilization


def _stabilized(autoscaling: Autoscaling, current: int, proposal: _Proposal, history: History, now: float) -> _Proposal:
    """Scale up to the lowest, or down to the highest, recommendation within the window of the direction."""
    if proposal.replicas == current:
        return proposal
    up = proposal.replicas > current
    seconds = (autoscaling.scale_up if up else autoscaling.scale_down).stabilization_window_seconds
    window = list(_since(history.recommendations, now - seconds))
    numbers = [proposal.replicas, *(replicas for _, replicas in window)]
    # A recommendation beyond the current number belongs to the other direction, which has its own rules.
    if up:
        recommended = min(numbers)
        stabilized = max(recommended, current)
        limiting = [at for at, replicas in window if replicas <= stabilized]
    else:
        recommended = max(numbers)
        stabilized = min(recommended, current)
        limiting = [at for at, replicas in window if replicas >= stabilized]
    if stabilized == proposal.replicas:
        return proposal
    message = f"{proposal.message}; {recommended} were recommended within the last {seconds} seconds"
    expires = max((at + seconds - now for at in limiting), default=None)
    return _Proposal(stabilized, STABILIZING, message, expires)


def _seeded(history: History, current: int, now: float) -> History:
    """Start an empty history with the current number, so that a restarted operator removes no pod at once."""
    return history if history.recommendations else replace(history, recommendations=((now, current),))


def _remembered(autoscaling: Autoscaling, history: History, recommended: int, now: float) -> History:
    """Add a recommendation and drop the entries that no window or period reaches.

    Only the latest recommendation of each number is kept: it expires last, so earlier ones decide nothing. The history
    stays as short as the numbers are few, however frequent the decisions.
    """
    directions = (autoscaling.scale_up, autoscaling.scale_down)
    window = max(rules.stabilization_window_seconds for rules in directions)
    recent = _since(history.recommendations, now - window)
    others = [(at, replicas) for at, replicas in recent if replicas != recommended]
    changes = tuple(_since(history.changes, now - LONGEST_PERIOD_SECONDS))
    return History((*others, (now, recommended)), changes)


# Policies


def _limited(autoscaling: Autoscaling, current: int, proposal: _Proposal, history: History, now: float) -> _Proposal:
    """Limit a step to what the policies of its direction allow."""
    if proposal.replicas == current:
        return proposal
    up = proposal.replicas > current
    rules = autoscaling.scale_up if up else autoscaling.scale_down
    if rules.select_policy == "Disabled":
        name = "scaleUp" if up else "scaleDown"
        return _Proposal(current, DISABLED, f"{proposal.message}; {name} is disabled")
    limit = _limit(rules, current, history, up=up, now=now)
    allowed = proposal.replicas <= limit if up else proposal.replicas >= limit
    if allowed:
        return proposal
    message = f"{proposal.message}; the policies allow {limit} for now"
    return _Proposal(limit, STEP_LIMITED, message, _next_step(rules, history, now))


def _limit(rules: ScalingRules, current: int, history: History, *, up: bool, now: float) -> int:
    """Return the furthest number that the selected policy allows, counted from the pods at the start of its period."""
    limits = []
    for policy in rules.policies:
        changed = sum(delta for _, delta in _since(history.changes, now - policy.period_seconds))
        limits.append(_policy_limit(policy, current - changed, up=up))
    # Once the steps of a period are used up, the limit may lie behind the current number. The direction never reverses.
    if up:
        return max(max(limits) if rules.select_policy == "Max" else min(limits), current)
    return min(min(limits) if rules.select_policy == "Max" else max(limits), current)


def _policy_limit(policy: ScalingPolicy, start: int, *, up: bool) -> int:
    """Return how far a policy allows to move from ``start``. Percentages round away from it, so that it can move."""
    if policy.type == "Pods":
        return start + policy.value if up else start - policy.value
    if up:
        return -(-start * (100 + policy.value) // 100)
    return start * (100 - policy.value) // 100


def _next_step(rules: ScalingRules, history: History, now: float) -> float | None:
    """Return the seconds until the first recorded change leaves the period of a policy; None without such a change."""
    expirations = [
        at + policy.period_seconds - now
        for policy in rules.policies
        for at, _ in _since(history.changes, now - policy.period_seconds)
    ]
    return min(expirations, default=None)


def _since(entries: Iterable[tuple[float, int]], cutoff: float) -> Iterable[tuple[float, int]]:
    return (entry for entry in entries if entry[0] > cutoff)

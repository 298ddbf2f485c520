"""How many API pods there should be: one pure function of readings, spec, history and clock.

The order is that of a HorizontalPodAutoscaler: what the load asks for, stabilization, steps, bounds. It differs where
that one is wrong for sockets; ``docs/scaling.md`` says where and why, and lists every reason.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from livescore_operator.resource import Autoscaling, ScalingPolicy, ScalingRules

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
    AT_TARGET: "The connections need exactly the pods that there are.",
    WITHIN_TOLERANCE: "The mean misses the target by no more than the tolerance.",
    SCALE_UP: "The connections need more pods.",
    SCALE_DOWN: "The connections need fewer pods.",
    STABILIZING: "Another number was asked for within the stabilization window, and the more careful one counts.",
    STEP_LIMITED: "The policies allow no larger step within their period.",
    DISABLED: "selectPolicy of this direction is Disabled.",
    AT_MINIMUM: "The connections need fewer pods than minReplicas.",
    AT_MAXIMUM: "The connections or the matches need more pods than maxReplicas.",
    MATCH_DAY_FLOOR: "Matches are on or about to start, and need more pods than the connections do so far.",
    ROLLING_OUT: "The connections need fewer pods, and none is removed during a roll-out.",
    READINGS_MISSING: "Some serving pods do not tell their connections: those of the others need fewer pods.",
    NO_READINGS: "No serving pod tells its connections: none is removed.",
}
"""Every reason that a decision can have, and what it means."""

LONGEST_PERIOD_SECONDS = 1800.0
"""No policy looks further back, see :class:`~livescore_operator.resource.ScalingPolicy`."""

ROUNDING = 1e-9
"""Of the target: 110 connections are within 0.1 of 100, whatever floats say."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One API pod as last seen.

    Attributes:
        name: of the pod.
        ready: its Ready condition.
        connections: open WebSockets; None where it does not tell, or its last reading is too old to count.
        draining: it empties itself so that it can be removed.
        terminating: it has a deletion timestamp.
    """

    name: str
    ready: bool
    connections: int | None
    draining: bool = False
    terminating: bool = False

    @property
    def serving(self) -> bool:
        """Whether it takes new connections and will go on doing so."""
        return self.ready and not self.draining and not self.terminating

    @property
    def silent(self) -> bool:
        """Whether it serves and does not tell how many."""
        return self.serving and self.connections is None


@dataclass(frozen=True, slots=True)
class History:
    """What was asked for and done lately, oldest first; times are seconds of the caller's clock.

    Attributes:
        recommendations: when each number was last asked for, no number twice; empty before the first decision.
        changes: by how many pods the number was really changed, and when.
    """

    recommendations: tuple[tuple[float, int], ...] = ()
    changes: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods there should be.

    Attributes:
        replicas: the number; the same as now where nothing is to be done.
        reason: one of :data:`REASONS`: what the number was last moved or held by.
        message: the same with figures, for people.
        history: for the next decision.
        again: seconds after which the very same readings may lead to another number; None where only time passes.
    """

    replicas: int
    reason: str
    message: str
    history: History = field(repr=False)
    again: float | None = None


class _Step(NamedTuple):
    """A number on its way to the decision, and what last moved or held it."""

    replicas: int
    reason: str
    message: str
    again: float | None = None


class _Bounds(NamedTuple):
    """Least and most pods, and what the least is for."""

    low: int
    high: int
    why: str = AT_MINIMUM

    def apply(self, step: _Step) -> _Step:
        if step.replicas > self.high:
            return _Step(self.high, AT_MAXIMUM, f"{step.message}; maxReplicas is {self.high}")
        if step.replicas < self.low:
            return _Step(self.low, self.why, f"{step.message}; {_SOURCES[self.why]} {self.low}")
        return step


_SOURCES = {
    AT_MINIMUM: "minReplicas is",
    MATCH_DAY_FLOOR: "the matches need",
    AT_MAXIMUM: "the matches need more, and maxReplicas is",
}


def _bounds(spec: Autoscaling, floor: int) -> _Bounds:
    """From ``minReplicas``, or what the matches need, to ``maxReplicas``."""
    low, high = spec.min_replicas, max(spec.min_replicas, spec.max_replicas)
    if floor <= low:
        return _Bounds(low, high)
    return _Bounds(min(floor, high), high, MATCH_DAY_FLOOR if floor <= high else AT_MAXIMUM)


def decide(
    spec: Autoscaling,
    current: int,
    pods: Sequence[Pod],
    *,
    floor: int,
    rolling: bool,
    history: History,
    now: float,
) -> Decision:
    """How many API pods there should be.

    Only what was asked for is noted in the history of the decision: what is then really changed, and when, tells
    :func:`record`.

    Args:
        spec: bounds, target and pace; its mode is not looked at.
        current: ``replicas`` of the Deployment.
        pods: all pods of all its ReplicaSets, also those that start, drain or terminate.
        floor: pods that the matches need, 0 for none; ``maxReplicas`` is above it.
        rolling: whether a roll-out is under way.
        history: of the last decision, :class:`History` itself after a start.
        now: seconds, of the same clock as the history.
    """
    bounds = _bounds(spec, floor)
    history = _seeded(history, current, now)
    asked = bounds.apply(_asked(spec, current, pods, rolling))
    noted = min(max(_estimate(spec, current, pods, asked), bounds.low), bounds.high)
    stable = bounds.apply(_stabilized(spec, current, asked, history, now))
    final = _bounds(spec, 0).apply(_stepped(spec, current, stable, history, now))
    return Decision(final.replicas, final.reason, final.message, _noted(spec, history, noted, now), final.again)


def record(history: History, now: float, delta: int) -> History:
    """Note that the number of pods was changed by ``delta``, from which the next steps are counted."""
    recent = tuple(_since(history.changes, now - LONGEST_PERIOD_SECONDS))
    return replace(history, changes=(*recent, (now, delta)) if delta else recent)


# What the load asks for


def _asked(spec: Autoscaling, current: int, pods: Sequence[Pod], rolling: bool) -> _Step:
    """The number that this moment's load asks for, without regard to bounds and pace.

    A serving pod without a reading holds anything from no client to a full house: what is known may ask for more
    pods, never for fewer. Silent pods that do not serve count for nothing: their clients are with the others by now.
    """
    step = _needed(spec, current, sum(pod.connections or 0 for pod in pods))
    serving, unread = sum(pod.serving for pod in pods), sum(pod.silent for pod in pods)
    if unread:
        step = step._replace(message=f"{step.message}; {unread} of {serving} serving pods do not tell theirs")
    if step.replicas >= current:
        return step
    if unread == serving:
        return _Step(current, NO_READINGS, "no serving pod tells its connections")
    if unread:
        return _Step(current, READINGS_MISSING, f"{step.message}; none is removed")
    return _Step(current, ROLLING_OUT, f"{step.message}; none is removed during a roll-out") if rolling else step


def _estimate(spec: Autoscaling, current: int, pods: Sequence[Pod], asked: _Step) -> int:
    """The number that is remembered: what was asked for, or most of what readings that are missing may hide.

    Pods that do not tell count as on target. Were the present number remembered instead, one lost reading in five
    minutes would keep every pod for ever.
    """
    if asked.reason != READINGS_MISSING:
        return asked.replicas
    known = sum(pod.connections or 0 for pod in pods)
    unread = sum(pod.silent for pod in pods)
    return min(current, math.ceil(known / spec.target_connections_per_pod) + unread)


def _needed(spec: Autoscaling, current: int, load: int) -> _Step:
    """The pods that hold the load.

    It is an absolute number: neither starting pods nor those of a roll-out's surge change it. Clients of draining
    and terminating pods are in the load, as they come back to the others.
    """
    target = spec.target_connections_per_pod
    needed = math.ceil(load / target)
    message = f"{load} connections need {needed} pods of {target} each"
    if needed == current:
        return _Step(current, AT_TARGET, message)
    if abs(load - target * current) <= (spec.tolerance + ROUNDING) * target * current:
        return _Step(current, WITHIN_TOLERANCE, f"{message}; {current} are within the tolerance")
    return _Step(needed, SCALE_UP if needed > current else SCALE_DOWN, message)


# Stabilization


def _stabilized(spec: Autoscaling, current: int, asked: _Step, history: History, now: float) -> _Step:
    """Up to the lowest, down to the highest number that was asked for within the window of the direction."""
    if asked.replicas == current:
        return asked
    up = asked.replicas > current
    rules, careful = (spec.scale_up, min) if up else (spec.scale_down, max)
    window = list(_since(history.recommendations, now - rules.stabilization_window_seconds))
    found = careful([asked.replicas, *(replicas for _, replicas in window)])
    # A number beyond the current one asks for the other direction, which has rules of its own.
    kept = max(found, current) if up else min(found, current)
    if kept == asked.replicas:
        return asked
    holding = [at for at, replicas in window if (replicas <= kept if up else replicas >= kept)]
    message = f"{asked.message}; {found} were asked for within {rules.stabilization_window_seconds} seconds"
    return _Step(kept, STABILIZING, message, _wait(holding, rules.stabilization_window_seconds, now))


def _seeded(history: History, current: int, now: float) -> History:
    """A history that begins with the pods there are: an operator that has just started removes none at once."""
    return history if history.recommendations else replace(history, recommendations=((now, current),))


def _noted(spec: Autoscaling, history: History, replicas: int, now: float) -> History:
    """With the newest recommendation, and without what no window reaches.

    An older mention of the same number decides nothing that the newer one does not: so the history stays as short
    as the numbers are few, however often a decision is made.
    """
    window = max(spec.scale_up.stabilization_window_seconds, spec.scale_down.stabilization_window_seconds)
    others = (one for one in _since(history.recommendations, now - window) if one[1] != replicas)
    recent = tuple(_since(history.changes, now - LONGEST_PERIOD_SECONDS))
    return History((*others, (now, replicas)), recent)


# Steps


def _stepped(spec: Autoscaling, current: int, wanted: _Step, history: History, now: float) -> _Step:
    """No further than the policies of the direction allow."""
    if wanted.replicas == current:
        return wanted
    up = wanted.replicas > current
    rules = spec.scale_up if up else spec.scale_down
    if rules.select_policy == "Disabled":
        return _Step(current, DISABLED, f"{wanted.message}; {'scaleUp' if up else 'scaleDown'} is disabled")
    limit = _limit(rules, current, history, up=up, now=now)
    if wanted.replicas <= limit if up else wanted.replicas >= limit:
        return wanted
    again = _wait_for_step(rules, history, now)
    return _Step(limit, STEP_LIMITED, f"{wanted.message}; {limit} are allowed for now", again)


def _limit(rules: ScalingRules, current: int, history: History, *, up: bool, now: float) -> int:
    """The furthest number that the selected policy allows, counted from the pods at the start of its period."""
    reaches = [
        _reach(policy, current - sum(delta for _, delta in _since(history.changes, now - policy.period_seconds)), up=up)
        for policy in rules.policies
    ]
    furthest: Callable[[Iterable[int]], int] = max if up == (rules.select_policy == "Max") else min
    # Where a period's steps are used up, the limit may lie behind: it never turns the direction.
    return max(furthest(reaches), current) if up else min(furthest(reaches), current)


def _reach(policy: ScalingPolicy, start: int, *, up: bool) -> int:
    """How far a policy lets the number move from ``start``; percentages are rounded away from it, so that it moves."""
    if policy.type == "Pods":
        return start + policy.value if up else start - policy.value
    return -(-start * (100 + policy.value) // 100) if up else start * (100 - policy.value) // 100


# Time


def _since(entries: Iterable[tuple[float, int]], cutoff: float) -> Iterable[tuple[float, int]]:
    return (entry for entry in entries if entry[0] > cutoff)


def _wait(times: Iterable[float], seconds: float, now: float) -> float | None:
    """Seconds until the last of these moments is longer ago than ``seconds``; None where there is none."""
    return max((at + seconds - now for at in times), default=None)


def _wait_for_step(rules: ScalingRules, history: History, now: float) -> float | None:
    """Seconds until the period of a policy no longer reaches a change."""
    ends = (
        at + policy.period_seconds - now
        for policy in rules.policies
        for at, _ in _since(history.changes, now - policy.period_seconds)
    )
    return min(ends, default=None)

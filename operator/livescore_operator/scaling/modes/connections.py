"""``mode: connections``: the operator scales by the open connections, and drains pods before it removes them."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from livescore_operator.components.common import Scale
from livescore_operator.resource import LiveScore, Manifest, Scaling
from livescore_operator.scaling import algorithm, drain, plan
from livescore_operator.scaling.algorithm import History
from livescore_operator.scaling.forecast import MatchDayForecast
from livescore_operator.scaling.modes.mode import Activity
from livescore_operator.scaling.plan import ApiState, ScalingPlan
from livescore_operator.scaling.pod import Pod


class ConnectionsMode:
    """Decisions and drains by this operator."""

    automatic = True

    def initial_replicas(self, resource: LiveScore) -> int:
        return resource.spec.autoscaling.min_replicas

    def plan(
        self, resource: LiveScore, state: ApiState, forecast: MatchDayForecast, history: History, now: datetime
    ) -> ScalingPlan:
        minimum = plan.minimum(resource.spec.autoscaling, forecast)
        current = plan.current(resource, state, minimum)
        if not history.recommendations:
            history = _inherited(resource, current, now.timestamp())
        decision = algorithm.decide(
            resource.spec.autoscaling,
            current,
            _with_unread_drains(resource, state.pods),
            floor=forecast.floor_replicas,
            rolling=state.rolling,
            history=history,
            now=now.timestamp(),
        )
        steps = drain.plan(
            state.pods,
            resource.status.draining,
            current=current,
            desired=decision.replicas,
            rolling=state.rolling,
            deadline_seconds=plan.drain_seconds(resource),
            now=now,
        )
        status = plan.status(
            resource,
            state,
            forecast,
            replicas=decision.replicas,
            reason=decision.reason,
            message=decision.message,
        )
        return ScalingPlan(
            state,
            Scale(steps.replicas, minimum),
            history=decision.history,
            steps=steps,
            draining=steps.draining,
            status=status,
            decision=decision,
            requeue_after=plan.soonest(
                decision.requeue_after, steps.requeue_after, forecast.changes_in, plan.poll_after(resource, state)
            ),
        )

    def deletion_cost(self, pod: Pod, draining: Collection[str]) -> int | None:
        return drain.VICTIM_COST if pod.name in draining else None

    def activity(self, scaling: Scaling | None, autoscaler: Manifest | None) -> Activity:
        if scaling is None or scaling.reason == algorithm.NO_READINGS:
            return Activity("False", "NoReadings", "no serving API pod can be read; see docs/scaling.md")
        return Activity("True", "Connections", "the operator scales; status.scaling has the number and the reason")


def _inherited(resource: LiveScore, current: int, now: float) -> History:
    """Return the history of a new leader: the current number, less the pods that its predecessor started to drain."""
    draining = sum(not member.released for member in resource.status.draining)
    return History(recommendations=((now, current - draining),))


def _with_unread_drains(resource: LiveScore, pods: Iterable[Pod]) -> list[Pod]:
    """Return the pods with those in ``status.draining`` marked as draining, even if they could not be read."""
    listed = {member.pod for member in resource.status.draining}
    return [replace(pod, draining=pod.draining or pod.name in listed) for pod in pods]

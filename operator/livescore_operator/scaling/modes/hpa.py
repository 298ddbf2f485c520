"""``mode: hpa``: a HorizontalPodAutoscaler scales by the metric of the pods; the operator sets its bounds."""

import math
from collections.abc import Collection
from datetime import datetime

from livescore_operator.components import hpa
from livescore_operator.components.common import Scale
from livescore_operator.resource import LiveScore, Manifest, Scaling
from livescore_operator.scaling import drain, plan
from livescore_operator.scaling.algorithm import History
from livescore_operator.scaling.forecast import MatchDayForecast
from livescore_operator.scaling.modes.mode import Activity
from livescore_operator.scaling.plan import ApiState, ScalingPlan
from livescore_operator.scaling.pod import Pod


class HpaMode:
    """Decisions by Kubernetes."""

    automatic = True

    def initial_replicas(self, resource: LiveScore) -> int:
        return resource.spec.autoscaling.min_replicas

    def plan(
        self, resource: LiveScore, state: ApiState, forecast: MatchDayForecast, history: History, now: datetime
    ) -> ScalingPlan:
        minimum = plan.minimum(resource.spec.autoscaling, forecast)
        current = plan.current(resource, state, minimum)
        steps = drain.cancel_all(state.pods, resource.status.draining, current=current, rolling=state.rolling, now=now)
        reported = ((state.autoscaler or {}).get("status") or {}).get("desiredReplicas")
        desired = reported or state.current or minimum
        # Set initial replicas, then leave the field to the HPA. Never start at 0: an HPA treats 0 as paused.
        replicas = None if state.current else max(minimum, desired)
        message = f"{hpa.KIND} {resource.api_name} decides"
        return ScalingPlan(
            state,
            Scale(replicas, minimum),
            # Recommendations from before another party set the number are obsolete.
            history=History(),
            steps=steps,
            draining=steps.draining,
            status=plan.status(resource, state, forecast, replicas=desired, reason=hpa.KIND, message=message),
            requeue_after=plan.soonest(steps.requeue_after, forecast.changes_in, plan.poll_after(resource, state)),
        )

    def deletion_cost(self, pod: Pod, draining: Collection[str]) -> int | None:
        return drain.deletion_cost(pod)

    def activity(self, scaling: Scaling | None, autoscaler: Manifest | None) -> Activity:
        conditions = _conditions(autoscaler)
        for condition in (conditions.get("AbleToScale"), conditions.get("ScalingActive")):
            if condition and condition["status"] != "True":
                message = f"{condition.get('reason', '')}: {condition.get('message', '')}; see docs/adapter.md"
                return Activity("False", "AutoscalerFailing", message)
        if "ScalingActive" not in conditions:
            return Activity("False", "AutoscalerStarting", f"the {hpa.KIND} has not read a metric yet")
        return Activity("True", "Autoscaler", f"a {hpa.KIND} scales")


def _conditions(autoscaler: Manifest | None) -> dict[str, Manifest]:
    """Return the conditions of a HorizontalPodAutoscaler by type; none if they are of an earlier generation."""
    if autoscaler is None:
        return {}
    status = autoscaler.get("status") or {}
    if status.get("observedGeneration", math.inf) < autoscaler["metadata"].get("generation", 0):
        return {}
    return {condition["type"]: condition for condition in status.get("conditions") or []}

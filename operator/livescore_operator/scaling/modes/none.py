"""``mode: none``: ``api.replicas`` is the number of pods; people and other autoscalers move it."""

from collections.abc import Collection
from datetime import datetime

from livescore_operator.components.common import Scale
from livescore_operator.resource import LiveScore, Manifest, Scaling
from livescore_operator.scaling import drain, plan
from livescore_operator.scaling.algorithm import History
from livescore_operator.scaling.forecast import MatchDayForecast
from livescore_operator.scaling.modes.mode import Activity
from livescore_operator.scaling.plan import ApiState, ScalingPlan
from livescore_operator.scaling.pod import Pod


class NoneMode:
    """A fixed number of pods."""

    automatic = False

    def initial_replicas(self, resource: LiveScore) -> int:
        return resource.spec.api.replicas

    def plan(
        self, resource: LiveScore, state: ApiState, forecast: MatchDayForecast, history: History, now: datetime
    ) -> ScalingPlan:
        minimum = plan.minimum(resource.spec.autoscaling, forecast)
        current = plan.current(resource, state, minimum)
        steps = drain.cancel_all(state.pods, resource.status.draining, current=current, rolling=state.rolling, now=now)
        return ScalingPlan(
            state,
            Scale(resource.spec.api.replicas, minimum),
            # Recommendations from before another party set the number are obsolete.
            history=History(),
            steps=steps,
            draining=steps.draining,
            requeue_after=steps.requeue_after,
        )

    def deletion_cost(self, pod: Pod, draining: Collection[str]) -> int | None:
        return drain.deletion_cost(pod)

    def activity(self, scaling: Scaling | None, autoscaler: Manifest | None) -> Activity:
        return Activity("False", "ModeNone", "autoscaling.mode is none: api.replicas sets the number of API pods")

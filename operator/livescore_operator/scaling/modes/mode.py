"""The protocol of the scaling modes."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple, Protocol

from livescore_operator.resource import ConditionStatus, LiveScore, Manifest, Scaling
from livescore_operator.scaling.algorithm import History
from livescore_operator.scaling.forecast import MatchDayForecast
from livescore_operator.scaling.plan import ApiState, ScalingPlan
from livescore_operator.scaling.pod import Pod


class Activity(NamedTuple):
    """Status, reason and message of the condition ScalingActive."""

    status: ConditionStatus
    reason: str
    message: str


class ScalingMode(Protocol):
    """A strategy for the number of API pods."""

    @property
    def automatic(self) -> bool:
        """True if the load determines the number; match days and rebalancing then apply, ``api.replicas`` does not."""

    def initial_replicas(self, resource: LiveScore) -> int:
        """Return the replicas of a new Deployment."""

    def plan(
        self, resource: LiveScore, state: ApiState, forecast: MatchDayForecast, history: History, now: datetime
    ) -> ScalingPlan:
        """Return the replicas to apply now, the drains to start and to cancel, and the status.

        Args:
            resource: The LiveScore, with the status of the last round.
            state: Its API pods.
            forecast: Effect of the matches.
            history: History of the last plan; ``History()`` after a start.
            now: The current time, with a time zone.
        """

    def deletion_cost(self, pod: Pod, draining: Collection[str]) -> int | None:
        """Return the deletion cost that a pod should have; None for no annotation.

        Args:
            pod: The pod.
            draining: Names of the pods in ``status.draining``.
        """

    def activity(self, scaling: Scaling | None, autoscaler: Manifest | None) -> Activity:
        """Return the condition ScalingActive.

        Args:
            scaling: ``status.scaling``.
            autoscaler: The HorizontalPodAutoscaler; None if there is none.
        """

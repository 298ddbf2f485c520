"""Scale-down that drops nobody: pods are emptied first, and only then is the number of replicas lowered. Pure.

An operator may be killed between any two of its steps, so nothing is remembered but in the cluster:
``status.draining``, the annotation ``controller.kubernetes.io/pod-deletion-cost``, and what the pods say of themselves.
:func:`plan` looks at these and gives the next :class:`Steps`; what was lost on the way is done again, or undone, at the
next look.

**Who goes.** As many pods as there are more than desired: first those that cannot serve (not ready and without a
socket), then those with the fewest sockets, then by name. A pod that does not tell its sockets comes last. Terminating
pods are gone already. Pods that were never made are given up before any pod is drained.

**How.** All of them are one batch: marked with a very low deletion cost and told to drain, each with a deadline. Nobody
joins a batch on the way. A member is empty when it says that it drains and holds no socket, *and* Kubernetes no longer
sees it as ready: until then load balancers send newcomers, and Kubernetes would remove any unready pod before it. When
every member is empty or past its deadline, the batch is *released*: the number of replicas is lowered by its members
that still exist. One that was evicted meanwhile was replaced by its ReplicaSet and no longer counts.

**Whether they went.** Kubernetes removes pods that were not scheduled, then unready ones, then the cheapest: the
members. A member that is still there and not terminating ``RELEASE_SECONDS`` after its release is a survivor:
Kubernetes took another pod, one whose node was lost in that second, for example. The survivor is told to serve again,
and people are told of it. Nothing new begins before all released pods are gone.

**When the load comes back,** so many members are cancelled that the rest fits: those with the most sockets first.

**While a roll-out goes on,** nothing begins, and what drains is cancelled: its ReplicaSet is being replaced. Released
pods are waited for as ever.

**What is found.** More pods than replicas mean that Kubernetes has still to remove some (an operator was killed after
it lowered the number and before it wrote the status): nothing is begun, cancelled or released until it has. A pod that
drains though no status names it (an operator was killed after the command and before the status, or somebody gave the
command by hand) becomes a member where there are too many pods, with a deadline from now, and is cancelled otherwise.
A listed pod that does not say that it drains is told again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from livescore_operator.resource import Draining, timestamp
from livescore_operator.scaling.algorithm import Pod

# Below what anybody else would give a pod, and within the 32 bits that Kubernetes reads.
VICTIM_COST = -1_000_000_000

# Of a pod that does not tell: as one with more sockets than any, so that it does not look empty.
UNKNOWN_COST = 31

# Kubernetes marks pods for deletion within a second or two of a lower number; a busy controller manager takes longer.
RELEASE_SECONDS = 15.0

# Between two looks while pods drain. Pods are not watched, and their readiness changes after 4 s at the earliest.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Steps:
    """What to do now: deletion costs, commands to the pods and replicas in any order, and the status when all is done.

    To write the status first is as safe where the replicas come last; an operator killed before it lowered them then
    takes the released pods for survivors, and begins anew.

    Attributes:
        replicas: for the Deployment; more than now where more are desired, and fewer when a batch is released.
        begin: pods to send ``POST /drain``; it does no harm to one that drains already.
        cancel: pods to send ``POST /drain?cancel=true``.
        draining: as to be written to the status. Exactly the pods that it names are to have ``VICTIM_COST`` as their
            deletion cost: the annotation is compared with it at every look, set where it is missing and cleared on
            every other pod.
        survivors: released pods that Kubernetes kept, to be told in a Warning Event; ``cancel`` has them too.
        again: seconds until the next look; None where nothing goes on.
    """

    replicas: int
    begin: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    draining: tuple[Draining, ...] = ()
    survivors: tuple[str, ...] = ()
    again: float | None = None


def plan(
    pods: Sequence[Pod],
    draining: Sequence[Draining],
    *,
    current: int,
    desired: int,
    rolling: bool,
    deadline_seconds: float,
    now: datetime,
) -> Steps:
    """The next steps towards fewer pods, or back.

    Args:
        pods: all active API pods (phase neither Failed nor Succeeded), also those that have not started. ``draining``
            is what the pod itself says.
        draining: ``status.draining``.
        current: ``spec.replicas`` of the Deployment.
        desired: pods that there should be. Where nobody scales any more, give ``current``: everything is cancelled.
        rolling: whether a roll-out of the Deployment goes on.
        deadline_seconds: seconds that a pod may take: its grace before it refuses newcomers included.
        now: with a time zone.
    """
    live = {pod.name: pod for pod in pods if not pod.terminating}
    listed = tuple(_seen(one, live[one.pod]) for one in draining if one.pod in live)
    look = _Look(live, listed, current, desired, rolling, deadline_seconds, now)
    if any(one.released for one in listed):
        return look.await_removal()
    if rolling:
        return look.withdraw()
    return look.hold() if look.removing else look.drain()


def deletion_cost(pod: Pod) -> int:
    """Value for ``controller.kubernetes.io/pod-deletion-cost``: the lowest ones go first.

    A pod that drains has ``VICTIM_COST``. Every other one, where a HorizontalPodAutoscaler scales, has the number of
    binary digits of its sockets (0 for none, 3 for 4 to 7, 13 for 4096 to 8191): a pod with half as many goes before
    it, and the annotation is written anew only when the number about doubles or halves. One that does not tell has
    ``UNKNOWN_COST``.
    """
    if pod.draining:
        return VICTIM_COST
    return UNKNOWN_COST if pod.connections is None else min(pod.connections.bit_length(), UNKNOWN_COST)


@dataclass(frozen=True)
class _Look:
    """What there is: ``live`` pods by name, and those of the status that are among them."""

    live: Mapping[str, Pod]
    listed: tuple[Draining, ...]
    current: int
    desired: int
    rolling: bool
    deadline_seconds: float
    now: datetime

    @property
    def removing(self) -> bool:
        """Whether Kubernetes has still to remove pods; in a roll-out there are more for another reason."""
        return not self.rolling and len(self.live) > self.current

    @property
    def unlisted(self) -> list[str]:
        """Pods that drain though the status does not name them."""
        names = {one.pod for one in self.listed}
        return [pod.name for pod in self.live.values() if pod.draining and pod.name not in names]

    @property
    def raised(self) -> int:
        """Replicas where none are taken away."""
        return max(self.current, self.desired)

    def await_removal(self) -> Steps:
        """Released pods go by themselves; those that stay are survivors."""
        survivors = tuple(one.pod for one in self.listed if self._is_survivor(one))
        remaining = tuple(one for one in self.listed if one.pod not in survivors)
        return Steps(self.raised, cancel=survivors, draining=remaining, survivors=survivors, again=LOOK_SECONDS)

    def _is_survivor(self, one: Draining) -> bool:
        return one.released and not self.removing and self._is_over(one)

    def withdraw(self) -> Steps:
        """Nothing drains in a roll-out."""
        cancel = (*(one.pod for one in self.listed), *self.unlisted)
        return Steps(self.raised, cancel=cancel, again=LOOK_SECONDS if cancel else None)

    def hold(self) -> Steps:
        """Nothing is done before Kubernetes has removed what it was told to."""
        waiting = self.listed or len(self.live) > self.desired
        return Steps(self.raised, draining=self.listed, again=LOOK_SECONDS if waiting else None)

    def drain(self) -> Steps:
        """Go on with the batch, as far as it still fits, or begin one."""
        excess = max(0, len(self.live) - self.desired)
        members = (*self.listed, *map(self._begun, self.unlisted))
        ordered = sorted(members, key=lambda one: _worth(self.live[one.pod]))
        cancel = tuple(one.pod for one in ordered[excess:])
        batch = ordered[:excess] or [self._begun(pod.name) for pod in sorted(self.live.values(), key=_worth)[:excess]]
        batch.sort(key=lambda one: one.pod)
        if self._may_release(batch) and not cancel:
            return self._release(batch)
        begin = tuple(one.pod for one in batch if one not in self.listed or not self.live[one.pod].draining)
        again = LOOK_SECONDS if batch or cancel else None
        return Steps(self._fewest(), begin, cancel, tuple(batch), again=again)

    def _may_release(self, batch: Sequence[Draining]) -> bool:
        """Whether all are done. One that is not in the status yet may not have its deletion cost yet."""
        return bool(batch) and all(one in self.listed and self._is_done(one) for one in batch)

    def _fewest(self) -> int:
        """Replicas without a pod less: those that were never made are given up where fewer are desired."""
        return max(self.desired, len(self.live))

    def _begun(self, name: str) -> Draining:
        deadline = _deadline(self.now + timedelta(seconds=self.deadline_seconds))
        return Draining(pod=name, connections=self.live[name].connections or 0, deadline=deadline)

    def _release(self, batch: Sequence[Draining]) -> Steps:
        patience = _deadline(self.now + timedelta(seconds=RELEASE_SECONDS))
        released = tuple(one.model_copy(update={"released": True, "deadline": patience}) for one in batch)
        return Steps(len(self.live) - len(released), draining=released, again=LOOK_SECONDS)

    def _is_done(self, one: Draining) -> bool:
        pod = self.live[one.pod]
        return self._is_over(one) or (pod.draining and not pod.ready and pod.connections == 0)

    def _is_over(self, one: Draining) -> bool:
        return datetime.fromisoformat(one.deadline) <= self.now


def _seen(one: Draining, pod: Pod) -> Draining:
    """With the sockets that it holds now, or held when it last told."""
    return one if pod.connections is None else one.model_copy(update={"connections": pod.connections})


def _worth(pod: Pod) -> tuple[bool, float, str]:
    """What is lost with a pod: the least comes first. One that drains is unready and could still serve again."""
    able = pod.ready or bool(pod.connections) or (pod.draining and pod.connections is not None)
    return able, math.inf if pod.connections is None else pod.connections, pod.name


def _deadline(moment: datetime) -> str:
    """RFC 3339 in whole seconds, never earlier than the moment."""
    return timestamp(moment + timedelta(microseconds=999_999))

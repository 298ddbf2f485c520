"""Scale-down without dropped sockets: pods are drained first, then ``spec.replicas`` is lowered. Pure.

The operator may be killed between any two steps, so all state lives in the cluster: ``status.draining``, the annotation
``controller.kubernetes.io/pod-deletion-cost``, and what the pods report about themselves. :func:`plan` compares these
and returns the next :class:`Steps`; steps that were lost are repeated or undone in the next round.

**Which pods.** The excess over the desired number: first pods that cannot serve (not ready and without a socket), then
those with the fewest sockets, then by name. Pods without a reading come last. Terminating pods are gone already. Pods
that were never created are given up before any pod is drained.

**How.** The pods form one batch. Each gets a very low deletion cost, a drain command and a deadline. No pod joins a
batch later. A member is done when it reports that it is draining without a socket *and* Kubernetes has noticed that it
is not ready: until then load balancers send new clients to it, and Kubernetes would remove any unready pod before it.
When every member is done or past its deadline, the batch is *released*: ``spec.replicas`` is lowered by the members
that still exist. An evicted member was replaced by its ReplicaSet and no longer counts.

**Survivors.** Kubernetes removes unscheduled pods first, then unready ones, then those with the lowest deletion cost:
the members. A member that still exists and is not terminating ``RELEASE_SECONDS`` after its release is a survivor:
Kubernetes removed another pod instead, for example one whose node was lost at that moment. The survivor serves again,
and a Warning Event reports it. No new batch starts before all released pods are gone.

**If the load returns,** as many members are cancelled as are needed again, those with the most sockets first.

**During a rollout** nothing starts, and all drains are cancelled, because the ReplicaSet is being replaced. Released
pods are awaited as usual.

**Unexpected states.** More pods than replicas mean that Kubernetes has pods left to remove (an operator was killed
after it lowered the number and before it wrote the status): until then nothing starts, is cancelled or released. A
draining pod that the status does not list (an operator was killed before it wrote the status, or a person started the
drain) becomes a member with a new deadline if there are too many pods, and is cancelled otherwise. A listed pod that
does not report that it is draining gets the command again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from livescore_operator.resource import Draining, timestamp
from livescore_operator.scaling.pod import Pod

# Far below any cost that a person would set, and within the 32 bits that Kubernetes accepts.
VICTIM_COST = -1_000_000_000

# The cost of a pod without a reading: as if it held more sockets than any other pod, so that it does not look empty.
UNKNOWN_COST = 31

# Kubernetes marks pods for deletion a second or two after the number was lowered; a busy controller manager is slower.
RELEASE_SECONDS = 15.0

# Interval of the rounds while pods drain. Pods are not watched, and their readiness changes after 4 s at the earliest.
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Steps:
    """The next steps of a drain: deletion costs, commands and replicas in any order, then the status.

    It is also safe to write the status first if the replicas come last: an operator that was killed in between takes
    the released pods for survivors and starts again.

    Attributes:
        replicas: The new ``spec.replicas``: raised at once, lowered only when a batch is released.
        begin: Pods to send ``POST /drain``. Idempotent.
        cancel: Pods to send ``POST /drain?cancel=true``.
        draining: The new ``status.draining``. Exactly these pods must have ``VICTIM_COST`` as their deletion cost: the
            caller compares the annotation in every round, and adds or removes it.
        survivors: Released pods that Kubernetes did not remove, for a Warning Event. They are in ``cancel`` as well.
        requeue_after: Seconds until the next round; None if nothing is in progress.
    """

    replicas: int
    begin: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    draining: tuple[Draining, ...] = ()
    survivors: tuple[str, ...] = ()
    requeue_after: float | None = None


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
    """Return the next steps from the current to the desired number of pods.

    Args:
        pods: All active API pods (phase neither Failed nor Succeeded), including those that have not started.
        draining: ``status.draining``.
        current: ``spec.replicas`` of the Deployment.
        desired: The desired number of pods.
        rolling: True during a rollout of the Deployment.
        deadline_seconds: Time that a pod may take to drain, including its grace period for load balancers.
        now: The current time, with a time zone.
    """
    live = {pod.name: pod for pod in pods if not pod.terminating}
    members = tuple(_updated(member, live[member.pod]) for member in draining if member.pod in live)
    situation = _Situation(live, members, current, desired, rolling, deadline_seconds, now)
    if any(member.released for member in members):
        return situation.await_removal()
    if rolling:
        return situation.cancel_all()
    if situation.removing:
        return situation.hold()
    return situation.drain()


def cancel_all(
    pods: Sequence[Pod], draining: Sequence[Draining], *, current: int, rolling: bool, now: datetime
) -> Steps:
    """Return the steps that undo our drains where the operator does not scale.

    Members stay in ``status.draining`` until they report that they are serving again. Released pods are awaited.
    """
    unconfirmed = {pod.name for pod in pods if pod.draining or pod.connections is None}
    ours = [member for member in draining if member.released or member.pod in unconfirmed]
    names = {member.pod for member in ours}
    # Leave drains alone that we did not start.
    pods = [replace(pod, draining=pod.draining and pod.name in names) for pod in pods]
    steps = plan(pods, ours, current=current, desired=current, rolling=rolling, deadline_seconds=0, now=now)
    cancelled = [member for member in ours if member.pod in steps.cancel and not member.released]
    return replace(steps, draining=(*steps.draining, *cancelled))


def deletion_cost(pod: Pod) -> int:
    """Return the value of ``controller.kubernetes.io/pod-deletion-cost``; Kubernetes removes the lowest cost first.

    A draining pod has ``VICTIM_COST``. Otherwise, for scale-downs by a HorizontalPodAutoscaler, the cost is the number
    of binary digits of the connections (0 for none, 3 for 4 to 7, 13 for 4096 to 8191): a pod with half as many
    connections goes first, and the annotation changes only when the connections about double or halve. A pod without a
    reading has ``UNKNOWN_COST``.
    """
    if pod.draining:
        return VICTIM_COST
    if pod.connections is None:
        return UNKNOWN_COST
    return min(pod.connections.bit_length(), UNKNOWN_COST)


@dataclass(frozen=True)
class _Situation:
    """The input of one round.

    Attributes:
        live: Pods that are not terminating, by name.
        members: Entries of ``status.draining`` whose pod is live, with its latest connections.
    """

    live: Mapping[str, Pod]
    members: tuple[Draining, ...]
    current: int
    desired: int
    rolling: bool
    deadline_seconds: float
    now: datetime

    @property
    def removing(self) -> bool:
        """True if Kubernetes has pods left to remove. A rollout has more pods for another reason."""
        return not self.rolling and len(self.live) > self.current

    @property
    def unlisted(self) -> list[str]:
        """Draining pods that the status does not list."""
        listed = {member.pod for member in self.members}
        return [pod.name for pod in self.live.values() if pod.draining and pod.name not in listed]

    @property
    def raised(self) -> int:
        """Replicas if pods may be added, but none removed."""
        return max(self.current, self.desired)

    def await_removal(self) -> Steps:
        """Wait until the released pods are gone, and cancel the survivors."""
        survivors = tuple(member.pod for member in self.members if self._is_survivor(member))
        remaining = tuple(member for member in self.members if member.pod not in survivors)
        return Steps(self.raised, cancel=survivors, draining=remaining, survivors=survivors, requeue_after=POLL_SECONDS)

    def _is_survivor(self, member: Draining) -> bool:
        return member.released and not self.removing and self._is_overdue(member)

    def cancel_all(self) -> Steps:
        """Cancel every drain."""
        cancel = (*(member.pod for member in self.members), *self.unlisted)
        return Steps(self.raised, cancel=cancel, requeue_after=POLL_SECONDS if cancel else None)

    def hold(self) -> Steps:
        """Wait until Kubernetes has removed the pods that are too many already."""
        waiting = bool(self.members) or len(self.live) > self.desired
        return Steps(self.raised, draining=self.members, requeue_after=POLL_SECONDS if waiting else None)

    def drain(self) -> Steps:
        """Continue the batch as far as it is still in excess, or start one."""
        excess = max(0, len(self.live) - self.desired)
        members = [*self.members, *map(self._new_member, self.unlisted)]
        members.sort(key=lambda member: _value(self.live[member.pod]))
        batch = members[:excess]
        cancel = tuple(member.pod for member in members[excess:])
        if not batch:
            victims = sorted(self.live.values(), key=_value)[:excess]
            batch = [self._new_member(pod.name) for pod in victims]
        batch.sort(key=lambda member: member.pod)
        if not cancel and self._may_release(batch):
            return self._release(batch)
        begin = tuple(member.pod for member in batch if not self._has_begun(member))
        # No pod is removed here, but replicas whose pods were never created are given up.
        replicas = max(self.desired, len(self.live))
        requeue_after = POLL_SECONDS if batch or cancel else None
        return Steps(replicas, begin, cancel, tuple(batch), requeue_after=requeue_after)

    def _new_member(self, name: str) -> Draining:
        deadline = _deadline(self.now + timedelta(seconds=self.deadline_seconds))
        return Draining(pod=name, connections=self.live[name].connections or 0, deadline=deadline)

    def _has_begun(self, member: Draining) -> bool:
        return member in self.members and self.live[member.pod].draining

    def _may_release(self, batch: Sequence[Draining]) -> bool:
        """Return True if all members are done. A member that is not in the status yet may lack its deletion cost."""
        return bool(batch) and all(member in self.members and self._is_done(member) for member in batch)

    def _release(self, batch: Sequence[Draining]) -> Steps:
        removed_by = _deadline(self.now + timedelta(seconds=RELEASE_SECONDS))
        released = tuple(member.model_copy(update={"released": True, "deadline": removed_by}) for member in batch)
        return Steps(len(self.live) - len(released), draining=released, requeue_after=POLL_SECONDS)

    def _is_done(self, member: Draining) -> bool:
        pod = self.live[member.pod]
        empty = pod.draining and not pod.ready and pod.connections == 0
        return empty or self._is_overdue(member)

    def _is_overdue(self, member: Draining) -> bool:
        return datetime.fromisoformat(member.deadline) <= self.now


def _updated(member: Draining, pod: Pod) -> Draining:
    """Return the member with the latest known connections."""
    return member if pod.connections is None else member.model_copy(update={"connections": pod.connections})


def _value(pod: Pod) -> tuple[bool, float, str]:
    """Return a sort key: the pods that are least worth keeping come first. A draining pod could serve again."""
    useful = pod.ready or bool(pod.connections) or (pod.draining and pod.connections is not None)
    connections = math.inf if pod.connections is None else pod.connections
    return useful, connections, pod.name


def _deadline(moment: datetime) -> str:
    """Format a time as RFC 3339, rounded up to whole seconds."""
    return timestamp(moment + timedelta(microseconds=999_999))

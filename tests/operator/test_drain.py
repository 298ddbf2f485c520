"""Pods are drained before removal: no client is dropped, and exactly the drained pods are removed."""

import itertools
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from livescore_operator.resource import Draining
from livescore_operator.scaling.drain import (
    POLL_SECONDS,
    RELEASE_SECONDS,
    UNKNOWN_COST,
    VICTIM_COST,
    Steps,
    deletion_cost,
    plan,
)
from livescore_operator.scaling.pod import Pod

NOW = datetime(2026, 6, 11, 17, tzinfo=UTC)
DEADLINE = 30.0

LIVES = int(os.environ.get("DRAIN_LIVES", "40"))
"""Number of simulated runs, with fixed seeds."""

LOOKS = 300
"""Reconciles per run, one per second."""
LATER, EARLIER = "2026-06-11T17:00:20Z", "2026-06-11T16:59:59Z"


def pod(name: str, connections: int | None = 10, *, ready: bool = True, terminating: bool = False) -> Pod:
    return Pod(name, ready, connections, terminating=terminating)


def drained(name: str, connections: int | None = 0, *, ready: bool = False) -> Pod:
    """Return a pod that reports that it drains."""
    return Pod(name, ready, connections, draining=True)


def member(name: str, connections: int = 10, deadline: str = LATER, *, released: bool = False) -> Draining:
    return Draining(pod=name, connections=connections, deadline=deadline, released=released)


def steps(
    pods: Sequence[Pod],
    draining: Sequence[Draining] = (),
    *,
    desired: int,
    current: int | None = None,
    rolling: bool = False,
    now: datetime = NOW,
) -> Steps:
    return plan(
        pods,
        draining,
        current=len(pods) if current is None else current,
        desired=desired,
        rolling=rolling,
        deadline_seconds=DEADLINE,
        now=now,
    )


def names(found: Steps) -> list[str]:
    return [one.pod for one in found.draining]


# Selection


@pytest.mark.parametrize(
    ("pods", "desired", "victims"),
    [
        ([pod("a", 3), pod("b", 1), pod("c", 2)], 2, ["b"]),
        ([pod("a", 3), pod("b", 1), pod("c", 2)], 1, ["b", "c"]),
        ([pod("b"), pod("a"), pod("c")], 2, ["a"]),
        ([pod("a", 0), pod("b", None, ready=False)], 1, ["b"]),
        ([pod("a", 0), pod("b", 0, ready=False)], 1, ["b"]),
        ([pod("a", 5), pod("b", 9, ready=False)], 1, ["a"]),
        ([pod("a", None), pod("b", 1000)], 1, ["b"]),
        ([pod("a", 3), pod("b", 1), pod("c", 2)], 3, []),
    ],
    ids=[
        "fewest sockets",
        "two at a time",
        "by name",
        "silent and unready",
        "unready and empty",
        "unready, yet with sockets",
        "silent ones last",
        "none",
    ],
)
def test_pods_with_the_fewest_sockets_are_drained(pods: list[Pod], desired: int, victims: list[str]) -> None:
    found = steps(pods, desired=desired)
    assert list(found.begin) == names(found) == victims
    assert found.replicas == len(pods), "no pod is removed before it is empty"
    assert found.requeue_after == (POLL_SECONDS if victims else None)


def test_deadline_of_a_drain_is_rounded_up_to_whole_seconds() -> None:
    found = steps([pod("a"), pod("b", 4)], desired=1, now=NOW + timedelta(milliseconds=1))
    assert found.draining == (member("b", 4, "2026-06-11T17:00:31Z"),)


def test_terminating_pods_count_as_gone() -> None:
    pods = [pod("a", 0, terminating=True), pod("b"), pod("c")]
    assert steps(pods, current=2, desired=2) == Steps(2)
    assert steps(pods, current=2, desired=1).begin == ("b",)


def test_pods_not_created_yet_are_given_up_first() -> None:
    assert steps([pod("a"), pod("b")], current=5, desired=2) == Steps(2)
    assert steps([pod("a"), pod("b")], current=5, desired=1) == Steps(
        2, ("a",), draining=(member("a", 10, "2026-06-11T17:00:30Z"),), requeue_after=POLL_SECONDS
    )


def test_scale_up_is_immediate() -> None:
    assert steps([pod("a"), pod("b")], desired=7) == Steps(7)


# During the drain


def test_no_pod_joins_a_running_batch() -> None:
    found = steps([drained("a", 3), pod("b"), pod("c")], [member("a", 9)], desired=1)
    assert found == Steps(3, draining=(member("a", 3),), requeue_after=POLL_SECONDS)


def test_pod_that_is_not_draining_yet_gets_the_command_again() -> None:
    found = steps([pod("a", None), pod("b")], [member("a", 9)], desired=1)
    assert (found.begin, found.draining) == (("a",), (member("a", 9),))


@pytest.mark.parametrize(
    ("pods", "members", "done"),
    [
        ([drained("a"), drained("b")], [member("a"), member("b")], True),
        ([drained("a"), drained("b", 1)], [member("a"), member("b")], False),
        ([drained("a"), drained("b", None)], [member("a"), member("b")], False),
        ([drained("a"), drained("b", ready=True)], [member("a"), member("b")], False),
        ([drained("a"), pod("b", 0, ready=False)], [member("a"), member("b")], False),
        ([drained("a"), drained("b", 5)], [member("a"), member("b", 5, EARLIER)], True),
        ([pod("a", None), drained("b")], [member("a", 5, EARLIER), member("b")], True),
        ([drained("a", 5), drained("b", 5)], [member("a", 5, EARLIER), member("b")], False),
    ],
    ids=["empty", "one socket", "silent", "still accepts", "no command", "late", "silent and late", "one is late"],
)
def test_a_batch_is_released_when_every_member_is_empty_or_late(
    pods: list[Pod], members: list[Draining], done: bool
) -> None:
    found = steps([*pods, pod("c")], members, desired=1)
    assert found.replicas == (1 if done else 3)
    assert {one.released for one in found.draining} == {done}
    assert names(found) == ["a", "b"]


def test_vanished_member_was_replaced_and_does_not_count() -> None:
    pods = [drained("a"), pod("c"), pod("new", 0)]
    found = steps(pods, [member("a"), member("gone")], desired=1)
    assert (found.replicas, names(found)) == (2, ["a"])
    going = pod("gone", 0, terminating=True)
    assert steps([*pods, going], [member("a"), member("gone")], current=3, desired=1) == found


def test_missing_replacements_are_given_up_with_the_batch() -> None:
    found = steps([drained("a"), drained("b"), pod("c")], [member("a"), member("b")], current=4, desired=1)
    assert found.replicas == 1


def test_member_need_not_go_while_a_replacement_is_missing() -> None:
    found = steps([drained("a", 3), pod("b")], [member("a")], current=3, desired=2)
    assert found == Steps(2, cancel=("a",), requeue_after=POLL_SECONDS)


# The load returns


def test_drains_of_pods_with_most_sockets_are_cancelled_first() -> None:
    pods = [drained("a", 1), drained("b", 7), drained("c", 3), drained("d", None), pod("e")]
    members = [member(name) for name in "abcd"]
    assert steps(pods, members, desired=2).cancel == ("b",)
    assert steps(pods, members, desired=3).cancel == ("c", "b")
    assert steps(pods, members, desired=3).replicas == 5


@pytest.mark.parametrize("desired", [3, 8])
def test_all_drains_are_cancelled_without_surplus_pods(desired: int) -> None:
    found = steps([drained("a", 0), drained("b", 7), pod("c")], [member("a"), member("b")], desired=desired)
    assert found == Steps(desired, cancel=("a", "b"), requeue_after=POLL_SECONDS)


def test_no_pod_is_released_together_with_a_cancel() -> None:
    found = steps([drained("a"), drained("b"), pod("c")], [member("a"), member("b")], desired=2)
    assert found == Steps(3, cancel=("b",), draining=(member("a", 0),), requeue_after=POLL_SECONDS)


# After the release


RELEASED = member("a", 0, LATER, released=True)


def test_released_pods_are_awaited_without_surplus_pods() -> None:
    found = steps([drained("a"), pod("b"), pod("c")], [RELEASED], current=2, desired=2)
    assert found == Steps(2, draining=(RELEASED,), requeue_after=POLL_SECONDS)


@pytest.mark.parametrize("gone", [[], [Pod("a", False, 0, draining=True, terminating=True)]])
def test_released_pods_are_forgotten_once_gone(gone: list[Pod]) -> None:
    assert steps([*gone, pod("b"), pod("c")], [RELEASED], current=2, desired=2) == Steps(2)


def test_no_drain_starts_before_released_pods_are_gone() -> None:
    found = steps([drained("a"), pod("b"), pod("c")], [RELEASED], current=2, desired=1)
    assert found == Steps(2, draining=(RELEASED,), requeue_after=POLL_SECONDS)


def test_released_pod_that_survived_is_reported_and_serves_again() -> None:
    late = NOW + timedelta(seconds=RELEASE_SECONDS)
    released = steps([drained("a"), pod("b"), pod("c")], [member("a")], desired=2).draining
    assert (
        steps([drained("a"), pod("b")], released, current=2, desired=2, now=NOW + timedelta(seconds=14)).survivors == ()
    )
    found = steps([drained("a"), pod("b")], released, current=2, desired=2, now=late)
    assert found == Steps(2, cancel=("a",), survivors=("a",), requeue_after=POLL_SECONDS)


def test_released_pod_is_not_a_survivor_while_kubernetes_removes_none() -> None:
    late = member("a", 0, EARLIER, released=True)
    assert steps([drained("a"), pod("b"), pod("c")], [late], current=2, desired=2).survivors == ()
    surge = steps([drained("a"), pod("b"), pod("c")], [late], current=2, desired=2, rolling=True)
    assert surge.survivors == ("a",), "in a roll-out there are more pods for another reason"


def test_surplus_pods_are_about_to_be_removed() -> None:
    found = steps([drained("a"), pod("b"), pod("c")], [member("a", 0)], current=2, desired=2)
    assert found == Steps(2, draining=(member("a", 0),), requeue_after=POLL_SECONDS), (
        "killed before the status was written"
    )
    assert steps([pod("a"), pod("b"), pod("c")], current=2, desired=1) == Steps(2, requeue_after=POLL_SECONDS)
    assert steps([pod("a"), pod("b"), pod("c")], current=2, desired=3) == Steps(3)


# Rollouts, and drains by others


def test_rollout_cancels_drains_and_starts_none() -> None:
    pods = [drained("a", 4), drained("hand", 4), pod("b"), pod("c")]
    found = steps(pods, [member("a")], desired=1, rolling=True)
    assert found == Steps(4, cancel=("a", "hand"), requeue_after=POLL_SECONDS)
    assert steps([pod("a"), pod("b")], desired=1, rolling=True) == Steps(2)
    assert steps([pod("a"), pod("b")], desired=5, rolling=True) == Steps(5)


def test_foreign_drain_of_a_surplus_pod_is_adopted() -> None:
    found = steps([drained("a", 4), pod("b", 1)], desired=1)
    adopted = member("a", 4, "2026-06-11T17:00:30Z")
    assert found == Steps(2, ("a",), draining=(adopted,), requeue_after=POLL_SECONDS)


def test_adopted_pod_is_not_released_before_it_is_in_the_status() -> None:
    assert steps([drained("a"), pod("b")], desired=1).replicas == 2


def test_foreign_drain_is_cancelled_if_all_pods_are_needed() -> None:
    assert steps([drained("a", 4), pod("b")], desired=2) == Steps(2, cancel=("a",), requeue_after=POLL_SECONDS)


@pytest.mark.parametrize(
    ("connections", "cost"), [(0, 0), (1, 1), (4, 3), (7, 3), (4096, 13), (8191, 13), (2**40, 31), (None, UNKNOWN_COST)]
)
def test_the_deletion_cost_is_the_number_of_digits(connections: int | None, cost: int) -> None:
    assert deletion_cost(pod("a", connections)) == cost
    assert deletion_cost(drained("a", connections)) == VICTIM_COST


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_pod_with_half_as_many_sockets_is_removed_first(few: int, many: int) -> None:
    if many >= 2 * few and many:
        assert deletion_cost(pod("a", few)) < deletion_cost(pod("b", many))


# Kubernetes, crashes of the operator, and everything else that may happen


@dataclass
class ActualPod:
    """The actual state of a pod, as opposed to the observed one."""

    name: str
    born: int
    scheduled: bool = False
    ready: bool = False
    # True if the pod passes its probes.
    healthy: bool = True
    draining: bool = False
    terminating: bool = False
    sockets: int = 0
    cost: int = 0

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """The removal order of the ReplicaSet controller: the lowest are removed first."""
        return self.scheduled, self.ready, self.cost, -self.born


Effect = Callable[[], None]


class Cluster(RuleBasedStateMachine):
    """One Deployment without a rollout, its pods, clients, and an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.pods: dict[str, ActualPod] = {}
        self.replicas = self.desired = 0
        self.status: tuple[Draining, ...] = ()
        self.now = NOW
        self.rolling = False
        # Time when each pod was first listed as draining.
        self.listed: dict[str, datetime] = {}
        # Pods for which the replicas were lowered, and those of them that missed the deadline.
        self.released: set[str] = set()
        self.late: set[str] = set()
        self.requeue_after: float | None = None

    @initialize(replicas=st.integers(1, 6), sockets=st.integers(0, 9))
    def begin(self, replicas: int, sockets: int) -> None:
        self.replicas = self.desired = replicas
        self.replica_set()
        self.kubelet()
        self.arrive(sockets, random.Random(0))

    @property
    def live(self) -> list[ActualPod]:
        return [one for one in self.pods.values() if not one.terminating]

    # The operator

    @rule(
        kill=st.integers(0, 12),
        lost=st.sets(st.integers(0, 5), max_size=3),
        silent=st.sets(st.integers(0, 5), max_size=1),
        order=st.permutations(("costs", "posts", "replicas")),
        status_first=st.booleans(),
    )
    def operate(
        self, kill: int, lost: set[int], silent: set[int], order: Sequence[str], status_first: bool = False
    ) -> None:
        """Reconcile once, killed before the effect of that number; some commands and readings are lost."""
        pods = [self._seen(one, number in silent) for number, one in enumerate(self.pods.values())]
        found = plan(
            pods,
            self.status,
            current=self.replicas,
            desired=self.desired,
            rolling=self.rolling,
            deadline_seconds=DEADLINE,
            now=self.now,
        )
        self.requeue_after = found.requeue_after
        effects = {"costs": self._costs(found), "posts": self._posts(found, lost), "replicas": self._lower(found)}
        status: list[Effect] = [lambda: self._write(found)]
        if status_first:
            ordered = [*status, *effects["costs"], *effects["posts"], *effects["replicas"]]
        else:
            ordered = [*(effect for kind in order for effect in effects[kind]), *status]
        for effect in ordered[:kill]:
            effect()

    def _seen(self, one: ActualPod, silent: bool) -> Pod:
        silent = silent or not one.scheduled
        return Pod(one.name, one.ready, None if silent else one.sockets, not silent and one.draining, one.terminating)

    def _costs(self, found: Steps) -> list[Effect]:
        victims = set(names(found))
        return [self._mark(one, VICTIM_COST if one.name in victims else 0) for one in self.live]

    def _mark(self, body: ActualPod, cost: int) -> Effect:
        return lambda: setattr(body, "cost", cost)

    def _posts(self, found: Steps, lost: set[int]) -> list[Effect]:
        posts = [*((name, True) for name in found.begin), *((name, False) for name in found.cancel)]
        return [self._post(*post) for number, post in enumerate(posts) if number not in lost]

    def _post(self, name: str, draining: bool) -> Effect:
        body = self.pods[name]
        return lambda: setattr(body, "draining", draining and body.scheduled)

    def _write(self, found: Steps) -> None:
        self.status = found.draining
        self.listed = {one.pod: self.listed.get(one.pod, self.now) for one in found.draining}

    def _lower(self, found: Steps) -> list[Effect]:
        return [lambda: self._scale(found)]

    def _scale(self, found: Steps) -> None:
        released = {one.pod for one in found.draining if one.released}
        if found.replicas < self.replicas:
            assert found.replicas >= self.desired, "never fewer than desired"
            assert not self.rolling, "never in a rollout"
            gone = min(len(self.live), self.replicas) - found.replicas
            assert gone <= len(released), "no pod is removed without a drain"
            self._release(released - self.released)
        self.replicas = found.replicas

    def _release(self, names: set[str]) -> None:
        over = {name for name in names if self.now - self.listed[name] >= timedelta(seconds=DEADLINE)}
        assert all(self.pods[name].sockets == 0 for name in names - over), "no socket is dropped before the deadline"
        self.late |= over
        self.released |= names

    # Kubernetes

    @rule()
    def replica_set(self) -> None:
        for _ in range(self.replicas - len(self.live)):
            number = next(self.numbers)
            self.pods[f"pod-{number}"] = ActualPod(f"pod-{number}", number)
        surplus = len(self.live) - self.replicas
        ranked = sorted(self.live, key=lambda one: one.rank)
        for body in ranked[: max(0, surplus)] if not self.rolling else []:
            self._remove(body)

    def _remove(self, body: ActualPod) -> None:
        if body.name in self.released:
            assert body.sockets == 0 or body.name in self.late, "no socket is dropped before the deadline"
        else:
            ready = [one.name for one in self.live if one.name in self.released and one.ready]
            assert not body.scheduled or (not body.ready and ready), "only drained pods are removed"
        body.terminating = True

    @rule()
    def kubelet(self) -> None:
        """Start pods, and update their readiness."""
        for body in self.live:
            body.ready = body.scheduled and body.healthy and not body.draining
            body.scheduled = True
        for name in [one.name for one in self.pods.values() if one.terminating]:
            del self.pods[name]
            self.released.discard(name)

    @rule(chance=st.randoms(use_true_random=False))
    def evict(self, chance: random.Random) -> None:
        if self.live:
            chance.choice(self.live).terminating = True

    @rule(chance=st.randoms(use_true_random=False))
    def change_health(self, chance: random.Random) -> None:
        if self.live:
            body = chance.choice(self.live)
            body.healthy = not body.healthy

    @precondition(lambda self: self.rolling or len(self.live) == self.replicas)
    @rule()
    def roll(self) -> None:
        """Start a rollout, or end it with every pod replaced."""
        if self.rolling:
            for body in self.live:
                body.terminating = True
        self.rolling = not self.rolling

    # Clients and time

    @rule(count=st.integers(1, 5), chance=st.randoms(use_true_random=False))
    def arrive(self, count: int, chance: random.Random) -> None:
        open_to_all = [one for one in self.live if one.ready]
        for _ in range(count if open_to_all else 0):
            chance.choice(open_to_all).sockets += 1

    @rule(count=st.integers(1, 5))
    def leave(self, count: int) -> None:
        """Disconnect clients: those of draining pods reconnect to other pods, others leave."""
        for body in self.live:
            body.sockets = max(0, body.sockets - count * (3 if body.draining else 1))

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(desired=st.integers(1, 6))
    def want(self, desired: int) -> None:
        self.desired = desired

    @rule(chance=st.randoms(use_true_random=False))
    def drain_by_hand(self, chance: random.Random) -> None:
        if self.live:
            self._post(chance.choice(self.live).name, True)()

    @invariant()
    def a_list_names_each_once(self) -> None:
        assert len({one.pod for one in self.status}) == len(self.status)

    # Long runs

    def live_on(self, seed: int) -> None:
        """Reconcile repeatedly, with occasional delays and crashes of the operator, while clients come and go."""
        chance = random.Random(seed)
        incidents: list[Effect] = [
            lambda: self.evict(chance),
            lambda: self.change_health(chance),
            lambda: self.drain_by_hand(chance),
            lambda: self.roll() if len(self.live) == self.replicas else None,
            lambda: self.wait(DEADLINE),
        ]
        for _ in range(LOOKS):
            if chance.random() < 0.05:
                chance.choice(incidents)()
            if chance.random() < 0.08:
                self.want(chance.randint(1, 6))
            self.live_a_second(chance)

    def live_a_second(self, chance: random.Random) -> None:
        kill = chance.choice((100, 100, chance.randrange(12)))
        lost = {number for number in range(6) if chance.random() < 0.1}
        order = chance.sample(("costs", "posts", "replicas"), 3)
        self.operate(kill, lost, {chance.randrange(40)}, order, chance.random() < 0.2)
        parts: list[tuple[float, Effect]] = [
            (0.7, self.replica_set),
            (0.7, self.kubelet),
            (0.5, lambda: self.leave(1)),
            (0.5, lambda: self.arrive(3, chance)),
            (0.3 if self.rolling else 0, self.roll),
        ]
        for likelihood, part in chance.sample(parts, len(parts)):
            if chance.random() < likelihood:
                part()
        self.wait(1.0)

    def teardown(self) -> None:
        """Assert that the desired state is reached from any state, and that no drain is left."""
        if not self.replicas:
            return
        if self.rolling:
            self.roll()
        for body in self.pods.values():
            body.healthy = True
        for _ in range(int(2 * (DEADLINE + RELEASE_SECONDS + 10))):
            self.operate(kill=100, lost=set(), silent=set(), order=("replicas", "costs", "posts"))
            self.replica_set()
            self.kubelet()
            self.wait(1.0)
            if self.at_peace:
                return
        raise AssertionError(f"{self.status=} {self.replicas=} {self.desired=} {self.pods=}")

    @property
    def at_peace(self) -> bool:
        whole = self.replicas == len(self.live) == self.desired
        serving = all(one.ready and not one.draining and one.cost == 0 for one in self.live)
        return whole and serving and not self.status and self.requeue_after is None


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("seed", range(LIVES))
def test_no_socket_is_dropped_in_a_long_run(seed: int) -> None:
    """The state machine above finds short paths to failures; long runs combine many events."""
    cluster = Cluster()
    cluster.begin(replicas=1 + seed % 6, sockets=seed)
    cluster.live_on(seed)
    cluster.teardown()

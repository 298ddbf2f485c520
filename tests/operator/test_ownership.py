"""Of several operators that see one LiveScore, one works on it, the others stand back, and the status says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livescore_operator.cluster import FIELD_MANAGER, Cluster, connect
from livescore_operator.ownership import ACKNOWLEDGE_SECONDS, ASK_SECONDS, GONE_SECONDS
from livescore_operator.reconciler import Reconciler
from livescore_operator.resource import KIND
from tests.operator.stack import Stack
from tests.support.forkserver import ForkServer
from tests.support.kubernetes.faults import Faults
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube, eventually
from tests.support.kubernetes.server import Server
from tests.support.operators import Operator


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 6, 11, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Installation(Stack):
    """An operator of one of several installations that see the same LiveScore."""

    def __init__(self, kube: Kube, cluster: Cluster, clock: Clock, namespace: str) -> None:
        reconciler = Reconciler(cluster, namespace, f"{namespace}-pod", lease_name="livescore-operator")
        reconciler.now, reconciler.ownership.monotonic, reconciler.rewrites.monotonic = clock.now, clock, clock
        super().__init__(kube, reconciler)

    async def owner(self) -> str:
        return str((await self.livescore())["status"]["operator"]["namespace"])

    async def contender(self) -> Json | None:
        found: Json | None = (await self.livescore())["status"].get("contender")
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def install(
    kube: Kube, kubeconfig: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[str], Installation]]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with connect(30) as cluster:
        yield lambda namespace: Installation(kube, cluster, clock, namespace)


Install = Callable[[str], Installation]

Make = Callable[[str, str], tuple[Operator, Faults]]


async def contend(first: Installation, second: Installation) -> None:
    """Let the first operator own the LiveScore, and the second contend and get an answer."""
    await first.create()
    await first.settle()
    await second.reconcile()
    await first.reconcile()


async def test_second_operator_stands_back_and_the_status_explains_it(install: Install) -> None:
    first, second = install("one"), install("two")
    await contend(first, second)
    before = await first.versions()

    after = await second.reconcile()

    assert after is not None
    assert after <= ASK_SECONDS
    assert await first.versions() == before
    assert await first.owner() == "one"
    for condition, status in {"Ready": "False", "Reconciling": "False", "Stalled": "True"}.items():
        assert await first.condition(condition) == (status, "AnotherOperator")
    message = (await first.conditions())["Stalled"]["message"]
    assert "one/livescore-operator" in message
    assert "two/livescore-operator" in message
    assert "remove one of the two" in message
    assert ("Warning", "AnotherOperator") in {event[:2] for event in await first.events()}


async def test_owner_keeps_working_while_the_other_stands_back(install: Install) -> None:
    first, second = install("one"), install("two")
    await contend(first, second)

    await first.edit(worker={"replicas": 3})
    await second.reconcile()
    assert (await first.kube.get("Deployment", "demo-worker"))["spec"]["replicas"] == 1
    await first.reconcile()

    assert (await first.kube.get("Deployment", "demo-worker"))["spec"]["replicas"] == 3
    assert await first.condition("Stalled") == ("True", "AnotherOperator")


@pytest.mark.parametrize("spec", [{"suspend": True}, {"reconcilePolicy": "Plan"}])
async def test_idle_owner_still_answers(install: Install, spec: Json) -> None:
    first, second = install("one"), install("two")
    await first.create(**spec)
    await first.reconcile()
    await second.reconcile()

    await first.reconcile()

    contender = await first.contender()
    assert contender is not None
    assert contender["acknowledged"]
    assert await first.condition("Stalled") == ("True", "AnotherOperator")


async def test_an_owner_that_does_not_answer_is_replaced(install: Install, clock: Clock) -> None:
    first, second = install("one"), install("two")
    await first.create()
    await first.settle()

    await second.reconcile()
    clock.seconds += ACKNOWLEDGE_SECONDS - 1
    await second.reconcile()
    assert await first.owner() == "one"
    clock.seconds += 1
    await second.settle()

    assert await second.owner() == "two"
    assert await second.contender() is None
    assert await second.condition("Ready") == ("True", "Ready")
    assert await second.condition("Stalled") == ("False", "Ready")
    # The first operator returns after an absence, and finds that it no longer owns the LiveScore.
    await first.edit(worker={"replicas": 3})
    await first.reconcile()
    assert (await first.kube.get("Deployment", "demo-worker"))["spec"]["replicas"] == 1


async def test_owner_removed_after_answering_is_replaced_after_the_next_challenge(
    install: Install, clock: Clock
) -> None:
    first, second = install("one"), install("two")
    await contend(first, second)
    await second.reconcile()

    for seconds in (ASK_SECONDS, ACKNOWLEDGE_SECONDS):
        clock.seconds += seconds
        await second.reconcile()
    await second.settle()

    assert await second.owner() == "two"
    assert await second.condition("Ready") == ("True", "Ready")


async def test_removed_contender_is_forgotten(install: Install, clock: Clock) -> None:
    first, second = install("one"), install("two")
    await contend(first, second)

    clock.seconds += GONE_SECONDS
    after = await first.reconcile()

    assert after is None
    assert await first.contender() is None
    assert await first.condition("Ready") == ("True", "Ready")
    assert await first.condition("Stalled") == ("False", "Ready")


async def test_contender_that_keeps_asking_is_not_forgotten(install: Install, clock: Clock) -> None:
    first, second = install("one"), install("two")
    await contend(first, second)

    for _ in range(4):
        clock.seconds += ASK_SECONDS
        await second.reconcile()
        await first.reconcile()
        await second.reconcile()

    assert await first.owner() == "one"
    assert await first.condition("Stalled") == ("True", "AnotherOperator")


async def test_two_of_three_operators_stand_back_without_alternating(install: Install, clock: Clock) -> None:
    first, second, third = install("one"), install("two"), install("three")
    await contend(first, second)
    version = (await first.livescore())["metadata"]["resourceVersion"]

    for _ in range(3):
        await second.reconcile()
        await third.reconcile()
        await first.reconcile()
        clock.seconds += 5

    assert (await first.livescore())["metadata"]["resourceVersion"] == version
    assert await first.owner() == "one"


async def test_process_of_the_same_installation_inherits_ownership(install: Install) -> None:
    first, next_leader = install("one"), install("one")
    await first.create()
    await first.settle()
    before = await first.versions()

    await next_leader.reconcile()

    assert await first.versions() == before
    assert await first.condition("Ready") == ("True", "Ready")


async def test_two_operators_starting_at_once_do_not_both_own(install: Install) -> None:
    first, second = install("one"), install("two")
    await first.create()
    body = await first.livescore()

    decisions = [await one.reconciler.ownership.decide(body) for one in (first, second)]

    assert [decision.owned for decision in decisions] == [True, False]


async def test_status_applied_by_an_older_operator_keeps_the_owner(install: Install) -> None:
    first = install("one")
    await first.create()
    await first.settle()

    status = {"apiVersion": "livescore.dev/v1", "kind": KIND, "metadata": {"name": "demo"}, "status": {"api": "0/0"}}
    metadata = {"name": "demo", "namespace": first.kube.namespace}
    async with connect(30) as older:
        await older.apply_status({**status, "metadata": metadata})

    assert await first.owner() == "one"


# Processes


OLDER_SECONDS = 7
"""Desired grace period of the operator of another version."""


@pytest.fixture
def make(api: Server, kube: Kube, operator_forks: ForkServer, tmp_path: Path) -> Iterator[Make]:
    """Create operators of separate installations, each with a proxy that counts requests."""
    made: list[tuple[Operator, Faults]] = []

    def operator(lease: str, namespace: str) -> tuple[Operator, Faults]:
        proxy = Faults(api.access)
        kubeconfig = proxy.access.write(tmp_path / f"{lease}.yaml")
        environment = {"LEASE_NAME": f"{lease}-{kube.namespace}", "POD_NAMESPACE": namespace}
        one = Operator(tmp_path, lease, kube.namespace, kubeconfig, operator_forks, **environment)
        made.append((one, proxy))
        return one, proxy

    yield operator
    for one, proxy in made:
        one.close()
        one.release()
        proxy.close()
        print(f"--- {one.name} ---\n{one.log[-20_000:]}")


def writes(proxy: Faults) -> int:
    """Return the number of writes of an operator, except those of its Lease."""
    made = proxy.count("create", "update", "patch", "delete")
    return made - sum(proxy.count(verb, resource="leases") for verb in ("create", "update"))


async def test_two_installations_do_not_fight(make: Make, kube: Kube) -> None:
    (first, first_proxy), (second, second_proxy) = make("one", kube.namespace), make("two", "default")
    stack = Stack(kube, None)
    await first.start()
    async with stack.kubelet():
        await stack.create()
        await stack.until_ready()
        await second.start()
        await eventually(lambda: _is_contended(stack), 30)
        first_proxy.reset()
        second_proxy.reset()

        await asyncio.sleep(3)

        assert writes(first_proxy) + writes(second_proxy) <= 4
        assert (await stack.livescore())["status"]["operator"]["namespace"] == kube.namespace
    assert "Traceback" not in first.log + second.log


async def _is_contended(stack: Stack) -> bool:
    return await stack.condition("Stalled") == ("True", "AnotherOperator")


async def test_conflict_with_an_older_operator_slows_down(make: Make, kube: Kube) -> None:
    operator, proxy = make("one", kube.namespace)
    stack = Stack(kube, None)
    await operator.start()
    async with stack.kubelet():
        await stack.create()
        await stack.until_ready()
        older = asyncio.create_task(_change_back(stack))
        try:
            await asyncio.wait(
                [older, asyncio.create_task(eventually(lambda: _is_contended(stack), 60))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert await _is_contended(stack), older
            proxy.reset()
            await asyncio.sleep(5)
            assert proxy.count("patch", resource="deployments") <= 4
            message = (await stack.conditions())["Stalled"]["message"]
            assert "Deployment demo-worker" in message
        finally:
            older.cancel()
            await asyncio.gather(older, return_exceptions=True)


async def _change_back(stack: Stack) -> None:
    """Apply another grace period to a Deployment whenever it has changed, as an operator of another version may."""
    while True:
        live = await stack.kube.get("Deployment", "demo-worker")
        pods = live["spec"]["template"]["spec"]
        if pods["terminationGracePeriodSeconds"] != OLDER_SECONDS:
            pods["terminationGracePeriodSeconds"] = OLDER_SECONDS
            kept = ("name", "namespace", "labels", "annotations", "ownerReferences")
            metadata = {name: value for name, value in live["metadata"].items() if name in kept}
            applied = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": live["spec"]}
            await stack.kube.apply(applied, FIELD_MANAGER, force=True)
        await asyncio.sleep(0.02)

"""Real operator processes against an API server: Kopf's watches, the queue, the Lease, and probes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from livescore_operator.resource import KIND
from tests.operator.stack import IMAGE, Stack
from tests.support.forkserver import ForkServer
from tests.support.kubernetes.faults import Fault, Faults, Plan
from tests.support.kubernetes.kinds import LIVESCORE, Json
from tests.support.kubernetes.kube import Kube, eventually
from tests.support.kubernetes.server import Server
from tests.support.operators import LEASE_SECONDS, Operator
from tests.support.stopwatch import Stopwatch

REPAIR_SECONDS = 5.0
"""Timeout of a repair."""

Make = Callable[..., Operator]


@pytest.fixture
def make(namespace: str, faults: Faults, operator_forks: ForkServer, tmp_path: Path) -> Iterator[Make]:
    """Create operators that reach the API server through ``faults`` or another proxy."""
    made: list[Operator] = []

    def operator(proxy: Faults = faults, forked: bool = True, **environment: str) -> Operator:
        name = f"operator-{len(made)}"
        kubeconfig = proxy.access.write(tmp_path / f"{name}.yaml")
        one = Operator(tmp_path, name, namespace, kubeconfig, operator_forks if forked else None, **environment)
        made.append(one)
        return one

    yield operator
    for one in made:
        one.close()
        one.release()
        print(f"--- {one.name} ---\n{one.log[-20_000:]}")


@pytest.fixture
async def stack(kube: Kube) -> AsyncIterator[Stack]:
    """A LiveScore with workloads that become ready in the background."""
    stack = Stack(kube, None)
    async with stack.kubelet():
        yield stack


async def test_apply_edit_drift_and_delete(make: Make, stack: Stack) -> None:
    operator = make()
    await operator.start()
    await stack.create()
    await stack.until_ready()

    watch = Stopwatch()
    await stack.kube.delete("Deployment", "demo-worker")
    await eventually(lambda: stack.kube.find("Deployment", "demo-worker"))
    assert watch.seconds() < REPAIR_SECONDS

    await stack.edit(image="livescore:2")
    await stack.until_ready()
    assert set((await stack.images()).values()) == {"livescore:2"}

    await stack.kube.delete(KIND, "demo")
    await stack.kube.gone(KIND, "demo")
    await operator.until("/readyz", lambda answer: answer.json()["livescores"] == 0)
    assert await operator.stop() == 0
    assert "Traceback" not in operator.log


async def test_labelled_user_secret_is_noticed_at_once(make: Make, stack: Stack) -> None:
    await make().start()
    await stack.create(postgres={"mode": "external", "external": {"secretRef": {"name": "database", "key": "url"}}})
    await eventually(lambda: _reason(stack, "SecretNotFound"))

    metadata = {"name": "database", "labels": {"livescore.dev/watch": "true"}}
    url = {"url": "cG9zdGdyZXNxbDovL3g="}
    await stack.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": url})

    await stack.until_ready()


async def _reason(stack: Stack, reason: str) -> bool:
    conditions = await stack.conditions()
    return "Ready" in conditions and conditions["Ready"]["reason"] == reason


async def test_idle_operator_sends_no_requests(make: Make, stack: Stack, faults: Faults) -> None:
    operator = make(forked=False, LEASE_SECONDS="30")
    await operator.start()
    await stack.create()
    await stack.until_ready()
    await _quiet(faults)

    await asyncio.sleep(2.0)

    # The leader renews the Lease without reading it.
    assert {(call.verb, call.resource) for call in faults.calls()} <= {("update", "leases")}
    assert operator.resident < 110 * 1024 * 1024


async def test_an_idle_operator_sends_at_most_25_requests_a_minute(make: Make, stack: Stack, faults: Faults) -> None:
    seconds = 12.0
    await make(LEASE_SECONDS="15", REQUEST_TIMEOUT_SECONDS="5").start()
    await stack.create()
    await stack.until_ready()
    await _quiet(faults)

    await asyncio.sleep(seconds)

    # One more, as the interval may begin just before a renewal.
    assert 1 <= faults.calls().total() <= seconds * 25 / 60 + 1


async def test_idle_reconcile_needs_three_requests(make: Make, stack: Stack, faults: Faults) -> None:
    await make(LEASE_SECONDS="30").start()
    await stack.create()
    await stack.until_ready()
    await eventually(lambda: _is_read_from_the_cache(stack, faults), 30)


async def _is_read_from_the_cache(stack: Stack, faults: Faults) -> bool:
    """Trigger a reconcile by an annotation, and return True if it read only what is not watched."""
    await _quiet(faults)
    await stack.kube.patch(KIND, "demo", {"metadata": {"annotations": {"example.com/at": str(time.monotonic())}}})
    await asyncio.sleep(0.7)
    calls = {call.resource: count for call, count in faults.calls().items() if call.resource != "leases"}
    return calls.keys() <= {"livescores", "pods", "persistentvolumeclaims"} and 1 <= sum(calls.values()) <= 3


async def _quiet(faults: Faults) -> None:
    """Wait for a second in which only the Lease was requested, and reset the counters."""
    for _ in range(20):
        faults.reset()
        await asyncio.sleep(1.0)
        if all(call.resource == "leases" for call in faults.calls()):
            break
    faults.reset()


async def test_a_deletion_that_a_watch_missed_is_found_when_it_lists_again(
    make: Make, stack: Stack, faults: Faults
) -> None:
    await make().start()
    await stack.create(api={"ingress": {"host": "scores.example.com"}})
    await stack.until_ready()
    await _quiet(faults)

    # No object of this kind remains, so the list that follows is empty.
    faults.partition()
    await stack.kube.delete("Ingress", "demo")
    await stack.kube.gone("Ingress", "demo")
    faults.inject(Plan(rate=1, faults=(Fault.GONE,), watch_seconds=0.1, exempt=lambda asked: asked.verb != "watch"))
    await asyncio.sleep(2.0)
    faults.heal()

    await eventually(lambda: stack.kube.find("Ingress", "demo"), 30)


async def test_a_killed_leader_is_replaced_within_its_lease(make: Make, stack: Stack) -> None:
    first, second = make(), make()
    await first.start()
    await first.leads()
    await second.start()
    await stack.create()
    await stack.until_ready()
    assert (await second.metrics())["livescore_operator_leader"] == 0

    await first.kill()
    watch = Stopwatch()
    await stack.kube.delete("Deployment", "demo-worker")

    await eventually(lambda: stack.kube.find("Deployment", "demo-worker"))
    assert watch.seconds() < LEASE_SECONDS + 5
    assert (await second.metrics())["livescore_operator_leader"] == 1


async def test_stopping_leader_releases_the_lease(make: Make) -> None:
    first, second = make(LEASE_SECONDS="30"), make()
    await first.start()
    await first.leads()
    await second.start()

    watch = Stopwatch()
    assert await first.stop() == 0
    assert watch.seconds() < 4  # Kopf alone would wait 5 s for other tasks of the process

    await second.leads()


async def test_a_leader_that_lost_the_lease_stops_writing(make: Make, stack: Stack, api: Server) -> None:
    lonely = Faults(api.access)
    first, second = make(lonely), make()
    try:
        await first.start()
        await first.leads()
        await second.start()
        await stack.create()
        await stack.until_ready()

        lonely.partition()
        await second.leads()
        lonely.heal()
        lonely.reset()
        await stack.edit(image="livescore:2")
        await stack.until_ready()

        assert lonely.count("create", "patch", "delete") == 0
        assert (await first.metrics())["livescore_operator_leader"] == 0
        assert set((await stack.images()).values()) == {"livescore:2"}
    finally:
        lonely.close()


async def test_killed_operator_continues_from_the_observed_state(make: Make, stack: Stack) -> None:
    operator = make(LEASE_SECONDS="2", REQUEST_TIMEOUT_SECONDS="0.6")
    await operator.start()
    await stack.create()
    for kind, name in (("StatefulSet", "demo-postgres"), ("Job", ""), ("Deployment", "demo-api")):
        await eventually(partial(_there, stack, kind, name))
        await operator.kill()
        await operator.start()

    await stack.until_ready()

    assert set((await stack.images()).values()) == {IMAGE}
    assert len(await stack.kube.list("Job")) == 1


async def _there(stack: Stack, kind: str, name: str) -> bool:
    return any(name in one["metadata"]["name"] for one in await stack.kube.list(kind))


async def test_probes_and_metrics_report_the_state(make: Make, stack: Stack) -> None:
    operator = make()
    await operator.start()
    await operator.leads()
    await stack.create()
    await stack.until_ready()

    live = await operator.until("/healthz", lambda answer: answer.status_code == 200)
    assert live.json() == {"live": True, "stuck": []}
    ready = await operator.until("/readyz", lambda answer: answer.status_code == 200)
    assert ready.json() == {"ready": True, "leader": True, "livescores": 1}
    await operator.until(
        "/metrics", lambda answer: f'name="demo",namespace="{stack.kube.namespace}",type="Ready"}} 1.0' in answer.text
    )
    metrics = await operator.metrics()
    assert metrics["livescore_operator_leader"] == 1
    assert metrics['livescore_operator_reconciles_total{result="ok"}'] > 0
    assert metrics['livescore_operator_changes_total{kind="Deployment",verb="create"}'] == 3


async def test_operator_waits_for_its_crd_and_then_watches(make: Make, stack: Stack) -> None:
    definition = await stack.kube.get("CustomResourceDefinition", "livescores.livescore.dev")
    await stack.kube.undefine(LIVESCORE)
    try:
        operator = make()
        operator.launch()
        answer = await operator.until("/readyz", lambda answer: "CustomResourceDefinition" in answer.text, 60)
        assert answer.status_code == 503
        assert answer.json()["problems"] == [
            "the CustomResourceDefinition livescores.livescore.dev is not installed: apply k8s/crd"
        ]
        assert (await operator.until("/healthz", lambda answer: True)).status_code == 200
    finally:
        await stack.kube.define(_bare(definition))

    await operator.until("/readyz", lambda answer: answer.status_code == 200, 60)
    await stack.create()
    await stack.until_ready()
    assert "Traceback" not in operator.log


def _bare(definition: Json) -> Json:
    head = {name: definition[name] for name in ("apiVersion", "kind", "spec")}
    return {**head, "metadata": {"name": definition["metadata"]["name"]}}


async def test_operator_is_not_ready_without_the_api_server_and_stops_on_a_signal(make: Make, faults: Faults) -> None:
    faults.inject(Plan(rate=1, faults=(Fault.UNAVAILABLE,)))
    operator = make()
    operator.launch()
    answer = await operator.until("/readyz", lambda answer: "503" in answer.json()["problems"][0], 60)
    assert [problem.partition(":")[0] for problem in answer.json()["problems"]] == [
        "the API server does not respond",
        f"Lease {operator.namespace}/livescore-operator could not be read",
    ]
    assert await operator.stop() == 0

    faults.heal()
    await operator.start()


async def test_object_with_a_forged_managed_label_is_ignored(make: Make, stack: Stack) -> None:
    operator = make()
    await operator.start()
    labels = {"app.kubernetes.io/managed-by": "livescore-operator"}
    metadata = {"name": "foreign", "labels": labels}
    await stack.kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}})
    await stack.create()
    await stack.until_ready()
    assert (await stack.kube.get("ConfigMap", "foreign"))["data"] == {"a": "b"}
    assert "Traceback" not in operator.log
    assert "KeyError" not in operator.log
    assert (await operator.until("/readyz", lambda answer: True)).json()["livescores"] == 1


async def test_missing_cluster_is_reported_in_one_line(make: Make, tmp_path: Path) -> None:
    operator = make(KUBECONFIG=str(tmp_path / "nowhere.yaml"))
    operator.launch()

    assert await operator.ended() == 1

    assert operator.log.count("\n") <= 2
    assert "no cluster is configured" in operator.log


async def test_port_in_use_is_reported_in_one_line(make: Make) -> None:
    first, second = make(), make()
    await first.start()
    second.environment["PORT"] = first.environment["PORT"]
    second.launch()

    assert await second.ended() == 1

    assert "PORT" in second.log
    assert "Traceback" not in second.log


async def test_logs_are_json_with_the_object_and_without_secrets(make: Make, stack: Stack) -> None:
    operator = make(LOG_FORMAT="json", LOG_LEVEL="DEBUG")
    await operator.start()
    await stack.create()
    await stack.until_ready()

    lines = [json.loads(line) for line in operator.log.splitlines() if line.startswith("{")]
    changed = [line for line in lines if line["event"] == "object changed"]
    assert {(line["namespace"], line["name"]) for line in changed} == {(stack.kube.namespace, "demo")}
    secrets = await stack.secret("demo-credentials")
    assert not [secret for secret in secrets.values() if secret in operator.log]

"""Every error is visible in the status: what the API server refuses, and what fails repeatedly."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from livescore_operator.cluster import Cluster, connect
from livescore_operator.errors import ReconcileError
from livescore_operator.planning import Key, key
from livescore_operator.reconciler import LASTING_SECONDS, PODS_SECONDS, Reconciler
from livescore_operator.resource import Manifest
from livescore_operator.responses import Response, checked
from tests.operator.stack import IMAGE, Stack
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.kubernetes.kubelet import make_pod, make_unready
from tests.support.kubernetes.server import Server

UNDECLARED = (
    "failed to create typed patch object (x/demo-api): .spec.template.spec.affinity.nodeAfinity: field not declared in "
    "schema"
)
SLOW = 'Internal error occurred: failed calling webhook "policy.example.com": context deadline exceeded'


class FailingCluster(Cluster):
    """An API server that responds to writes and lists of some objects with errors.

    Attributes:
        answers: error by kind and name; a list has an empty name.
    """

    answers: dict[Key, Response]

    def refuse(self, kind: str, name: str, code: int, message: str, reason: str = "", **details: Any) -> None:
        body = {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
        self.answers[kind, name] = Response(code, json.dumps(body))

    async def apply(self, manifest: Manifest, **options: Any) -> Manifest:
        if response := self.answers.get(key(manifest)):
            checked(response)
        return await super().apply(manifest, **options)

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        if response := self.answers.get(("status", manifest["metadata"]["name"])):
            checked(response)
        return await super().apply_status(manifest)

    async def select(self, kind: str, namespace: str, selector: str) -> list[Manifest] | None:
        if response := self.answers.get((kind, "")):
            checked(response)
        return await super().select(kind, namespace, selector)

    async def annotate(self, kind: str, namespace: str, name: str, annotations: Any) -> None:
        if response := self.answers.get((kind, name)):
            checked(response)
        await super().annotate(kind, namespace, name, annotations)


@pytest.fixture
async def cluster(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FailingCluster]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with connect(30) as connected:
        refusing = FailingCluster(connected._client, 30)
        refusing.answers = {}
        yield refusing


@pytest.fixture
def stack(kube: Kube, cluster: FailingCluster) -> Stack:
    return Stack(kube, Reconciler(cluster, "livescore-system", "test"))


async def up(stack: Stack) -> None:
    await stack.create()
    await stack.settle()


async def fail(stack: Stack) -> ReconcileError:
    with pytest.raises(ReconcileError) as caught:
        await stack.reconcile()
    return caught.value


async def ready(stack: Stack) -> Json:
    return (await stack.conditions())["Ready"]


@pytest.mark.parametrize(("code", "reason"), [(500, "Http500"), (409, "Http409"), (422, "Invalid")])
async def test_a_status_that_could_not_be_written_is_written_by_the_retry(
    stack: Stack, cluster: FailingCluster, code: int, reason: str
) -> None:
    await up(stack)
    cluster.refuse("status", "demo", code, "the status was not written")
    await stack.edit(worker={"replicas": 2})

    # The queue retries a reconcile that raises.
    assert (await fail(stack)).reason == reason
    assert (await stack.livescore())["status"]["observedGeneration"] == 1

    cluster.answers.clear()
    await stack.settle()
    assert (await stack.livescore())["status"]["observedGeneration"] == 2
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_failure_with_an_unwritten_report_is_reported_by_the_retry(stack: Stack, cluster: FailingCluster) -> None:
    await up(stack)
    cluster.refuse("Pod", "", 422, "pods are invalid")
    cluster.refuse("status", "demo", 500, "the status was not written")

    assert (await fail(stack)).message == "pods are invalid"
    assert await stack.condition("Ready") == ("True", "Ready")

    del cluster.answers["status", "demo"]
    assert (await fail(stack)).message == "pods are invalid"
    assert (await ready(stack))["message"] == "pods are invalid"


async def test_undeclared_field_stalls_with_the_api_server_s_message(stack: Stack, cluster: FailingCluster) -> None:
    await up(stack)
    cluster.refuse("Deployment", "demo-api", 500, UNDECLARED)
    await stack.kube.delete("Deployment", "demo-worker")
    await stack.edit(api={"template": {"affinity": {"nodeAfinity": {"weight": 1}}}}, scheduler={"replicas": 0})

    after = await stack.reconcile()

    assert await stack.condition("Stalled") == ("True", "Invalid")
    assert UNDECLARED in (await ready(stack))["message"]
    assert (await stack.livescore())["status"]["observedGeneration"] == 2
    assert after is not None, "changes of policies and quotas cause no event"
    assert "demo-worker" in await stack.images(), "repaired"
    assert (await stack.kube.get("Deployment", "demo-scheduler"))["spec"]["replicas"] == 0

    cluster.answers.clear()
    await stack.edit(api={"template": {"affinity": None}})
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")
    assert await stack.condition("Stalled") == ("False", "Ready")


async def test_only_repeated_errors_are_reported(stack: Stack, cluster: FailingCluster) -> None:
    await up(stack)
    cluster.refuse("ConfigMap", "demo-config", 500, SLOW, "InternalError")
    await stack.edit(api={"securityMode": "DRY_RUN"})

    error = await fail(stack)
    assert await stack.condition("Ready") == ("True", "Ready"), "a single failure is not reported"
    assert (error.reason, SLOW in error.message) == ("Http500", True)

    await fail(stack)
    assert await stack.condition("Ready") == ("False", "Http500")
    assert await stack.condition("Reconciling") == ("True", "Http500")
    assert f"update ConfigMap demo-config: {SLOW}" in (await ready(stack))["message"]
    assert (await stack.livescore())["status"]["observedGeneration"] == 2

    later = datetime.now(UTC) + timedelta(seconds=LASTING_SECONDS + 1)
    stack.reconciler.now = lambda: later
    await fail(stack)
    assert await stack.condition("Stalled") == ("True", "Http500"), "it no longer counts as temporary"

    cluster.answers.clear()
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_repeated_read_failure_is_reported(stack: Stack, cluster: FailingCluster) -> None:
    await up(stack)
    cluster.refuse("NetworkPolicy", "", 500, "etcdserver: no leader")

    for _ in range(2):
        await fail(stack)

    assert await stack.condition("Ready") == ("Unknown", "Http500")
    assert await stack.condition("Reconciling") == ("True", "Http500")
    assert await stack.condition("ApiAvailable") == ("True", "Available"), "as it was last seen"

    cluster.refuse("NetworkPolicy", "", 403, 'networkpolicies is forbidden: User "x" cannot list resource', "Forbidden")
    await fail(stack)
    assert await stack.condition("Ready") == ("Unknown", "Forbidden")

    cluster.answers.clear()
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_repeated_unexpected_error_is_reported(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await up(stack)
    with monkeypatch.context() as patch:
        patch.setattr(stack.reconciler.autoscaler, "plan", lambda *_: 1 / 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await stack.reconcile()

    assert await stack.condition("Ready") == ("Unknown", "OperatorError")
    assert "ZeroDivisionError" in (await ready(stack))["message"]


async def test_terminating_namespace_is_reported_and_left_alone(stack: Stack, cluster: FailingCluster) -> None:
    causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]
    cluster.refuse("ConfigMap", "demo-config", 403, "is being terminated", "Forbidden", causes=causes)
    await stack.create()

    assert await stack.reconcile() is not None

    assert await stack.condition("Ready") == ("False", "NamespaceTerminating")
    assert await stack.condition("Stalled") == ("False", "NamespaceTerminating")


async def test_refused_plan_is_reported_and_the_rest_is_shown(stack: Stack, cluster: FailingCluster) -> None:
    await up(stack)
    cluster.refuse("Deployment", "demo-api", 500, UNDECLARED)
    await stack.edit(
        reconcilePolicy="Plan", api={"template": {"nodeSelector": {"disk": "ssd"}}}, worker={"replicas": 3}
    )

    await stack.reconcile()

    assert await stack.condition("Stalled") == ("True", "Invalid")
    assert "+  replicas: 3" in (await stack.livescore())["status"]["plan"]["diff"]


async def test_foreign_object_blocks_nothing_else(stack: Stack) -> None:
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo"}, "spec": {"ports": [{"port": 1}]}}
    await stack.kube.create(theirs)
    await stack.create()

    await stack.settle()
    assert await stack.reconcile() is not None, "no event announces that the name is free"
    assert await stack.condition("Stalled") == ("True", "OwnershipConflict")
    assert (await stack.images())["demo-api"] == IMAGE
    assert "labels" not in (await stack.kube.get("Service", "demo"))["metadata"]

    await stack.kube.delete("Service", "demo")
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


# Pods that do not start


async def test_failed_image_pull_is_reported_and_stalls_after_a_minute(stack: Stack) -> None:
    await stack.create()
    await stack.reconcile()
    stateful = await stack.kube.get("StatefulSet", "demo-postgres")
    await make_pod(stack.kube, "demo-postgres-0", stateful["spec"]["template"]["metadata"]["labels"], stateful)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "postgres:99"'}
    container = {"name": "postgres", "image": "postgres:99", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Pending", "containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    await stack.kube.set_status("Pod", "demo-postgres-0", status)

    after = await stack.reconcile()
    assert await stack.condition("DatabaseReady") == ("False", "ImagePullFailed")
    assert "postgres:99" in (await ready(stack))["message"]
    assert await stack.condition("Stalled") == ("False", "ImagePullFailed")
    assert after is not None, "pods are not watched"
    assert after <= PODS_SECONDS

    later = datetime.now(UTC) + timedelta(seconds=61)
    stack.reconciler.now = lambda: later
    await stack.reconcile()
    assert await stack.condition("Stalled") == ("True", "ImagePullFailed")

    await stack.kube.delete("Pod", "demo-postgres-0", gracePeriodSeconds=0)
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_crash_loop_is_reported_with_the_redacted_last_log_line(stack: Stack, api: Server) -> None:
    await up(stack)
    password = (await stack.secret("demo-credentials"))["postgres-password"]
    deployment = await stack.kube.get("Deployment", "demo-api")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    await make_pod(stack.kube, "demo-api-1", labels, deployment, containers=("proxy", "api"))
    api.logs.write(stack.kube.namespace, "demo-api-1", f"starting\ncannot connect with {password} to demo-postgres\n")
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    crashed = {"name": "api", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 4, "lastState": last}
    crashed["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    await stack.kube.set_status("Pod", "demo-api-1", {"phase": "Running", "containerStatuses": [crashed]})
    await make_unready(stack.kube, "Deployment", "demo-api")

    await stack.reconcile()

    assert await stack.condition("ApiAvailable") == ("False", "CrashLoop")
    message = (await ready(stack))["message"]
    assert "last log line: cannot connect with ******** to demo-postgres" in message
    assert password not in str(await stack.livescore())


async def test_changed_server_is_not_ready_before_its_new_revision_is(stack: Stack) -> None:
    await up(stack)
    await stack.edit(postgres={"resources": {"limits": {"memory": "2Gi"}}})

    await stack.reconcile()
    assert await stack.condition("Ready") == ("False", "RollingOut")

    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_ordered_scale_up_stays_ready_without_warnings(stack: Stack) -> None:
    await up(stack)
    before = await stack.events()
    await stack.edit(api={"replicas": 5})

    await stack.reconcile()
    assert await stack.condition("Ready") == ("True", "Ready")
    assert await stack.condition("Reconciling") == ("True", "ScalingUp")

    await stack.settle()
    assert await stack.condition("Reconciling") == ("False", "Ready")
    new_events = [event for event in await stack.events() if event not in before]
    assert {reason for _, reason, _ in new_events} == {"Applied"}


# Sidecars


@pytest.mark.parametrize("field", ["containers", "initContainers"])
async def test_upgrade_ignores_sidecar_images(stack: Stack, field: str) -> None:
    """The sidecar may be at any position: a webhook may insert it first."""
    await up(stack)
    for name in ("api", "worker", "scheduler"):
        template = (await stack.kube.get("Deployment", f"demo-{name}"))["spec"]["template"]["spec"]
        found = [{"name": "a-proxy", "image": "proxy:9"}, *template.get(field, [])]
        await stack.kube.patch("Deployment", f"demo-{name}", {"spec": {"template": {"spec": {field: found}}}})

    await stack.edit(image="livescore:2")
    await stack.reconcile()
    assert await own_images(stack) == {IMAGE}, "the old image serves until the migration has finished"
    assert (await stack.livescore())["status"]["image"] == IMAGE

    await stack.settle()
    assert await own_images(stack) == {"livescore:2"}
    assert (await stack.livescore())["status"]["image"] == "livescore:2"


async def own_images(stack: Stack) -> set[str]:
    found = [
        container["image"]
        for deployment in await stack.kube.list("Deployment")
        for container in deployment["spec"]["template"]["spec"]["containers"]
        if container["name"] != "a-proxy"
    ]
    assert len(found) == 3
    return set(found)

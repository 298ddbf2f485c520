"""The stack always converges to the final spec, after random edits, drift, faults and kills.

``make converge STEPS=2000`` runs a long search; regular runs take a few steps, always the same ones.
"""

import asyncio
import os
import secrets
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from livescore_operator import components, planning
from livescore_operator.cluster import FIELD_MANAGER
from livescore_operator.components import credentials
from livescore_operator.components.common import BuildContext, Scale
from livescore_operator.observation import digest
from livescore_operator.resource import LiveScore
from tests.operator.stack import Stack, secret
from tests.support.forkserver import ForkServer
from tests.support.kubernetes.faults import Fault, Faults, Plan
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import ApiError, Kube, eventually
from tests.support.kubernetes.kubelet import fail_job, make_unready
from tests.support.kubernetes.server import Server
from tests.support.operators import Operator

STEPS = int(os.environ.get("CONVERGENCE_STEPS", "40"))
STEPS_OF_ONE = min(STEPS, 20) if STEPS < 200 else 50
"""Steps between two phases of convergence, with one LiveScore."""

CONVERGED_SECONDS = 120.0
"""Timeout until everything has converged, including back-off after faults."""

EDITS: list[Json] = [
    {"image": "livescore:1"},
    {"image": "livescore:2"},
    {"image": "livescore:3"},
    {"api": {"replicas": 0}},
    {"api": {"replicas": 3, "securityMode": "DRY_RUN"}},
    {"api": {"ingress": {"host": "scores.example.com"}}},
    {"api": {"ingress": None, "podDisruptionBudget": {"enabled": False}}},
    {"api": {"podDisruptionBudget": {"enabled": True, "maxUnavailable": 2}}},
    {"api": {"env": [{"name": "LOG_LEVEL", "value": "DEBUG"}], "template": {"nodeSelector": {"disk": "ssd"}}}},
    {"api": {"env": None, "template": None}},
    {"worker": {"replicas": 2, "resources": {"requests": {"cpu": "0.5", "memory": "256Mi"}}}},
    {"worker": None},
    {"scheduler": {"replicas": 0}},
    {"networkPolicy": {"enabled": False}},
    {"networkPolicy": None},
    {"redis": {"mode": "external", "external": {"secretRef": {"name": "redis", "key": "url"}}}},
    {"redis": None},
    {"autoscaling": {"mode": "connections"}},
    {"autoscaling": {"mode": "hpa", "minReplicas": 3}},
    {"autoscaling": None},
    {"suspend": True},
    {"suspend": False},
    {"reconcilePolicy": "Plan"},
    {"reconcilePolicy": "Apply"},
]

DELETABLE = (
    "ConfigMap",
    "Service",
    "ServiceAccount",
    "Deployment",
    "StatefulSet",
    "Job",
    "NetworkPolicy",
    "Ingress",
    "HorizontalPodAutoscaler",
)
"""Objects that a user may delete by mistake; lost credentials and volumes are reported, not recreated."""

DRIFTS: list[tuple[str, str, Json]] = [
    ("Deployment", "demo-api", {"spec": {"replicas": 7}}),
    ("Deployment", "demo-worker", {"spec": {"template": {"spec": {"serviceAccountName": "other"}}}}),
    ("ConfigMap", "demo-config", {"data": {"PORT": "1", "MORE": "theirs"}}),
    ("ConfigMap", "demo-config", {"metadata": {"labels": None}}),
    ("Service", "demo", {"spec": {"ports": None}, "metadata": {"annotations": {"example.com/theirs": "yes"}}}),
    ("Deployment", "demo-api", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
]

LOTS = st.integers(0, 2**16)
"""Index into the objects that happen to exist.

It is drawn whether or not any exist: draws must not depend on the contents of the cluster.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Convergence(RuleBasedStateMachine):
    """One LiveScore, one operator, and everything that may happen to them."""

    api: ClassVar[Server]
    forks: ClassVar[ForkServer]
    directory: ClassVar[Path]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.faults = Faults(self.api.access)
        self.kube = Kube(self.api.access, f"test-{secrets.token_hex(4)}")
        self.stack = Stack(self.kube, None)
        kubeconfig = self.faults.access.write(self.directory / f"{self.kube.namespace}.yaml")
        self.operator = Operator(
            self.directory,
            self.kube.namespace,
            self.kube.namespace,
            kubeconfig,
            self.forks,
            LEASE_SECONDS="2",
            REQUEST_TIMEOUT_SECONDS="0.6",
        )

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine."""
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.kube.make_namespace()
        await self.kube.create(secret("redis", url="redis://elsewhere"))
        await self.stack.create()
        self.operator.launch()

    @invariant()
    def counts(self) -> None:
        type(self).steps += 1

    # Events

    @rule(edit=st.sampled_from(EDITS))
    def edit(self, edit: Json) -> None:
        self.run(self.stack.edit(**edit))

    @rule(lot=LOTS)
    def delete_a_child(self, lot: int) -> None:
        self.run(self._delete(lot))

    async def _delete(self, lot: int) -> None:
        children = [one for one in (await self.stack.children()).values() if one["kind"] in DELETABLE]
        if children:
            victim = _chosen(children, lot)
            with suppress(ApiError):
                await self.kube.delete(victim["kind"], victim["metadata"]["name"], propagationPolicy="Background")

    @rule(drift=st.sampled_from(DRIFTS))
    def change_a_field_of_ours(self, drift: tuple[str, str, Json]) -> None:
        self.run(self._drift(*drift))

    async def _drift(self, kind: str, name: str, body: Json) -> None:
        with suppress(ApiError):
            await self.kube.patch(kind, name, body, fieldManager="other")

    @rule(kind=st.sampled_from(["Deployment", "StatefulSet"]), lot=LOTS)
    def lose_readiness(self, kind: str, lot: int) -> None:
        self.run(self._unready(kind, lot))

    async def _unready(self, kind: str, lot: int) -> None:
        workloads = await self.kube.list(kind)
        if workloads:
            with suppress(ApiError):
                await make_unready(self.kube, kind, _chosen(workloads, lot)["metadata"]["name"])

    @rule()
    def play_kubelet(self) -> None:
        self.run(self._kubelet())

    async def _kubelet(self) -> None:
        with suppress(ApiError):
            await self.stack.make_ready()

    @rule()
    def fail_the_migration(self) -> None:
        self.run(self._fail())

    async def _fail(self) -> None:
        for job in await self.kube.list("Job"):
            if not job.get("status", {}).get("conditions"):
                with suppress(ApiError):
                    await fail_job(self.kube, self.api, job["metadata"]["name"], "no")

    @rule(seed=st.integers(0, 2**16), rate=st.sampled_from([0.1, 0.3, 0.6]))
    def harm_the_network(self, seed: int, rate: float) -> None:
        self.faults.inject(Plan(seed=seed, rate=rate, faults=tuple(Fault)))

    @rule()
    def break_all_watches(self) -> None:
        self.faults.break_watches()

    @rule()
    def heal_the_network(self) -> None:
        self.faults.heal()

    @rule()
    def kill_the_operator(self) -> None:
        self.run(self.operator.kill())
        self.operator.launch()

    @rule(seconds=st.sampled_from([0.05, 0.2, 0.5]))
    def let_it_work(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # Convergence

    def teardown(self) -> None:
        try:
            self.run(self._peace())
        except BaseException:
            print(f"--- the operator's log ---\n{self.operator.log[-8000:]}")
            raise
        finally:
            self.run(self._end())
            self.runner.close()

    async def _peace(self) -> None:
        self.faults.heal()
        if not self.operator.is_running:
            self.operator.launch()  # its readiness failed on a broken network; a pod's container would be restarted
        await self.stack.edit(suspend=False, reconcilePolicy="Apply")
        for job in await self.kube.list("Job"):  # a failed migration is retried after five minutes, or for a new image
            if "Failed" in str(job.get("status", {}).get("conditions")):
                await self.kube.delete("Job", job["metadata"]["name"], propagationPolicy="Background")
        await eventually(self._converged, CONVERGED_SECONDS)
        versions = await self.stack.versions()
        await self.operator.kill()
        await self.operator.start()
        await self.operator.leads()
        await self.operator.until("/metrics", _has_reconciled)
        assert await self.stack.versions() == versions, "a restarted operator must not change anything"

    async def _converged(self) -> bool:
        with suppress(httpx.HTTPError, ApiError):
            await self.stack.make_ready()
        if not self.operator.is_running:
            self.operator.launch()
        resource, children = await self.stack.livescore(), await self.stack.children()
        return await self.stack.is_ready() and await self._is_as_wanted(LiveScore.parse(resource), children)

    async def _is_as_wanted(self, resource: LiveScore, children: dict[str, Json]) -> bool:
        """Return True if everything that the builders produce is applied exactly, and nothing else of ours exists."""
        wanted = {"/".join(planning.key(one)): one for one in components.build(resource, await self._context(children))}
        mine = {name for name, one in children.items() if planning.owner(one) == resource.metadata.uid}
        if not mine <= wanted.keys() or not wanted.keys() <= children.keys():
            return False
        return all(planning.is_applied(one, children[name], FIELD_MANAGER) for name, one in wanted.items())

    async def _context(self, children: dict[str, Json]) -> BuildContext:
        resource = LiveScore.parse(await self.stack.livescore())
        found = children.get("Secret/demo-credentials")
        external = await self.kube.get("Secret", "redis")
        return BuildContext(
            operator_namespace=self.kube.namespace,
            credentials=credentials.kept(resource, found, set()),
            checksums={"Secret/redis": digest(external)},
            serving_image=resource.spec.image,
            database_ready=True,
            claimed={},
            claims={},
            kinds=frozenset(),
            scale=_scale(resource),
        )

    async def _end(self) -> None:
        await self.operator.kill()
        self.operator.release()
        await self.kube.remove_namespace()
        await self.kube.__aexit__()
        self.faults.close()


def _chosen(items: Sequence[Item], lot: int) -> Item:
    return items[lot % len(items)]


def _scale(resource: LiveScore) -> Scale:
    """Return as many pods as were decided, because no pod exists that could report connections."""
    mode, least = resource.spec.autoscaling.mode, resource.spec.autoscaling.min_replicas
    decided = resource.status.scaling.replicas if resource.status.scaling else None
    return Scale({"none": resource.spec.api.replicas, "connections": decided, "hpa": None}[mode], least)


def _has_reconciled(answer: httpx.Response) -> bool:
    return 'livescore_operator_reconciles_total{result="ok"}' in answer.text


@pytest.mark.timeout(180 + 5 * STEPS)
def test_stack_converges_to_the_spec_after_any_events(api: Server, operator_forks: ForkServer, tmp_path: Path) -> None:
    machine = settings(
        # 50 % more examples than needed, because an example may end early.
        max_examples=max(2, 3 * STEPS // (2 * STEPS_OF_ONE)),
        stateful_step_count=STEPS_OF_ONE,
        derandomize="CONVERGENCE_STEPS" not in os.environ,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )

    class Here(Convergence):
        pass

    Here.api, Here.forks, Here.directory = api, operator_forks, tmp_path
    run_state_machine_as_test(Here, settings=machine)
    print(f"{Here.steps} steps")
    assert "CONVERGENCE_STEPS" not in os.environ or Here.steps >= STEPS

"""Installation by Helm: both charts, upgrades, rollbacks, removal in every order, and two independent releases."""

from pathlib import Path

import pytest

from tests.charts.rendering import K8S
from tests.e2e.environment import NEXT_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.stack import Stack
from tests.e2e.system import NAMESPACE
from tests.e2e.test_scaling_hpa import API_SERVICES, CERTIFICATE
from tests.install.conftest import Make, MakeStack, MakeSystem
from tests.install.continuity import no_interruption, pod_uids
from tests.install.helm import Helm
from tests.install.leftovers import CRD, LEASE, cluster_objects, namespace_objects, retained_objects
from tests.install.test_kubectl import delete_retained, wait_for_objects
from tests.smoke import measure_delivery

pytestmark = pytest.mark.timeout(1800)

WIDE = {CRD, f"Namespace/{NAMESPACE}"}
"""Cluster-scoped objects that a cluster-wide release leaves."""


@pytest.fixture
def system_helm(tmp_path: Path) -> Helm:
    return Helm(NAMESPACE, tmp_path)


@pytest.fixture
def helm(kubectl: Kubectl, tmp_path: Path) -> Helm:
    return Helm(kubectl.namespace, tmp_path)


async def assert_works(helm: Helm, stack: Stack) -> None:
    """Assert that the LiveScore is ready and that ``helm test`` creates a match and receives its event."""
    await stack.wait_ready()
    assert "Phase:          Succeeded" in await helm("test", stack.name)
    async with stack.endpoint() as endpoint:
        assert await measure_delivery(endpoint)


@pytest.mark.parametrize("livescore_first", [True, False], ids=["livescore first", "operator first"])
async def test_cluster_wide_install_and_removal(
    program: Kubectl, kubectl: Kubectl, system_helm: Helm, helm: Helm, make_stack: MakeStack, livescore_first: bool
) -> None:
    await system_helm.operator("install")
    await helm.livescore("install")
    await assert_works(helm, make_stack(kubectl))

    removals = [(helm, "demo"), (system_helm, "livescore-operator")]
    for one, name in removals if livescore_first else reversed(removals):
        await one("uninstall", name)
    await wait_for_objects(kubectl, retained_objects())
    await wait_for_objects(program.within(NAMESPACE), {LEASE})
    assert cluster_objects(program) == WIDE
    await delete_retained(kubectl)


async def test_livescore_upgrade_and_rollback_interrupt_nothing(
    kubectl: Kubectl, system_helm: Helm, helm: Helm, make_stack: MakeStack
) -> None:
    stack = make_stack(kubectl)
    await system_helm.operator("install")
    await helm.livescore("install")
    await stack.wait_ready()
    async with no_interruption(stack):
        before = await pod_uids(stack)
        await helm.livescore("upgrade", image=NEXT_IMAGE)
        await stack.wait_ready()
        await stack.assert_replicas_current()
        assert (await stack.get())["status"]["schema"] == NEXT_IMAGE
        assert before - await pod_uids(stack), "the upgrade should have replaced pods"
        await helm("rollback", "demo")
        await stack.wait_ready()
        await stack.assert_replicas_current()
    await assert_works(helm, stack)


async def test_operator_upgrade_and_rollback_restart_no_pod(
    kubectl: Kubectl, system_helm: Helm, helm: Helm, make_stack: MakeStack, make_system: MakeSystem
) -> None:
    stack, system = make_stack(kubectl), make_system()
    await system_helm.operator("install")
    await helm.livescore("install")
    await stack.wait_ready()
    before = await pod_uids(stack)
    async with no_interruption(stack):
        leader = await system.wait_for_leader()
        await system_helm.operator("upgrade", settings={"LOG_LEVEL": "DEBUG"})
        assert await system.wait_for_leader(other_than=leader)
        await system.wait_idle()
        await system_helm("rollback", "livescore-operator", "--wait")
        await system.wait_for_leader()
        await system.wait_idle()
    assert await pod_uids(stack) == before


async def test_two_namespaced_releases_are_independent(
    program: Kubectl, make_namespace: Make, make_stack: MakeStack, tmp_path: Path
) -> None:
    """Each release serves its own namespace without permissions beyond it, and survives the removal of the other."""
    await program("apply", "--server-side", "-k", str(K8S / "crd"))
    spaces = [make_namespace(""), make_namespace("")]
    helms = [Helm(space.namespace, tmp_path) for space in spaces]
    stacks = [make_stack(space) for space in spaces]
    for helm in helms:
        await helm.operator("install", watch={"namespaces": [helm.namespace]}, crds={"install": False})
        await helm.livescore("install")
    for helm, stack in zip(helms, stacks, strict=True):
        await assert_works(helm, stack)
    assert cluster_objects(program) == {CRD}

    async with no_interruption(stacks[1]):
        await helms[0]("uninstall", "livescore-operator")
        await helms[0]("uninstall", "demo")
        await wait_for_objects(spaces[0], {*retained_objects(), LEASE})
    await assert_works(helms[1], stacks[1])
    await helms[1]("uninstall", "demo")
    await helms[1]("uninstall", "livescore-operator")
    await wait_for_objects(spaces[1], {*retained_objects(), LEASE})


async def test_metrics_adapter_is_removed_with_its_release(program: Kubectl, system_helm: Helm) -> None:
    """No LiveScore is needed: an APIService left behind would prevent namespaces from being deleted."""
    services = [f"apiservice/{name}" for name in API_SERVICES]
    await system_helm.operator("install", metricsAdapter={"enabled": True})
    for verb in ("create", "condition=Available"):
        await program("wait", *services, f"--for={verb}", "--timeout=120s", timeout=130)

    await system_helm("uninstall", "livescore-operator")
    await program("wait", *services, "--for=delete", "--timeout=60s", timeout=70)
    assert cluster_objects(program) == WIDE
    await wait_for_objects(program.within(NAMESPACE), {LEASE, f"Secret/{CERTIFICATE}"})


async def test_helm_refuses_to_adopt_kustomize_objects(program: Kubectl, system_helm: Helm) -> None:
    await program("apply", "-k", str(K8S / "default"))
    before = namespace_objects(program.within(NAMESPACE))
    with pytest.raises(Exception, match="invalid ownership metadata"):
        await system_helm.operator("install")
    assert {name for name in before if not name.startswith("Pod/")} <= namespace_objects(program.within(NAMESPACE))

"""By Helm: both charts, upgraded, rolled back, and removed in every order; two releases side by side."""

from pathlib import Path

import pytest

from tests.charts.rendering import K8S
from tests.e2e.environment import NEXT_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.stack import Stack
from tests.e2e.system import NAMESPACE
from tests.e2e.test_scaling_hpa import API_SERVICES, CERTIFICATE
from tests.install.conftest import Make, StackIn, SystemIn
from tests.install.helm import Helm
from tests.install.leftovers import CRD, LEASE, data, in_cluster, within
from tests.install.outage import identities, unnoticed
from tests.install.test_kubectl import left_is, removed_for_ever
from tests.smoke import heard

pytestmark = pytest.mark.timeout(1800)

WIDE = {CRD, f"Namespace/{NAMESPACE}"}
"""What a release for the whole cluster leaves that belongs to no namespace."""


@pytest.fixture
def system_helm(tmp_path: Path) -> Helm:
    return Helm(NAMESPACE, tmp_path)


@pytest.fixture
def helm(kubectl: Kubectl, tmp_path: Path) -> Helm:
    return Helm(kubectl.namespace, tmp_path)


async def works(helm: Helm, stack: Stack) -> None:
    """Ready, and ``helm test`` makes a match and hears of it."""
    await stack.ready()
    assert "Phase:          Succeeded" in await helm("test", stack.name)
    async with stack.entered() as entrance:
        assert await heard(entrance)


@pytest.mark.parametrize("livescore_first", [True, False], ids=["livescore first", "operator first"])
async def test_for_the_whole_cluster(
    program: Kubectl, kubectl: Kubectl, system_helm: Helm, helm: Helm, stack_in: StackIn, livescore_first: bool
) -> None:
    await system_helm.operator("install")
    await helm.livescore("install")
    await works(helm, stack_in(kubectl))

    removals = [(helm, "demo"), (system_helm, "livescore-operator")]
    for one, name in removals if livescore_first else reversed(removals):
        await one("uninstall", name)
    await left_is(kubectl, data())
    await left_is(program.within(NAMESPACE), {LEASE})
    assert in_cluster(program) == WIDE
    await removed_for_ever(kubectl)


async def test_upgrades_and_rollbacks_of_a_livescore_are_not_noticed(
    kubectl: Kubectl, system_helm: Helm, helm: Helm, stack_in: StackIn
) -> None:
    stack = stack_in(kubectl)
    await system_helm.operator("install")
    await helm.livescore("install")
    await stack.ready()
    async with unnoticed(stack):
        before = await identities(stack)
        await helm.livescore("upgrade", image=NEXT_IMAGE)
        await stack.ready()
        await stack.replicated()
        assert (await stack.get())["status"]["schema"] == NEXT_IMAGE
        assert before - await identities(stack), "new pods were to come"
        await helm("rollback", "demo")
        await stack.ready()
        await stack.replicated()
    await works(helm, stack)


async def test_upgrades_and_rollbacks_of_the_operator_restart_no_pod(
    kubectl: Kubectl, system_helm: Helm, helm: Helm, stack_in: StackIn, system_in: SystemIn
) -> None:
    stack, system = stack_in(kubectl), system_in()
    await system_helm.operator("install")
    await helm.livescore("install")
    await stack.ready()
    before = await identities(stack)
    async with unnoticed(stack):
        leader = await system.led()
        await system_helm.operator("upgrade", settings={"LOG_LEVEL": "DEBUG"})
        assert await system.led(otherwise_than=leader)
        await system.quiet()
        await system_helm("rollback", "livescore-operator", "--wait")
        await system.led()
        await system.quiet()
    assert await identities(stack) == before


async def test_two_releases_side_by_side(
    program: Kubectl, make_namespace: Make, stack_in: StackIn, tmp_path: Path
) -> None:
    """Each serves its own namespace without any right beyond it, and outlives the other."""
    await program("apply", "--server-side", "-k", str(K8S / "crd"))
    spaces = [make_namespace(""), make_namespace("")]
    helms = [Helm(space.namespace, tmp_path) for space in spaces]
    stacks = [stack_in(space) for space in spaces]
    for helm in helms:
        await helm.operator("install", watch={"namespaces": [helm.namespace]}, crds={"install": False})
        await helm.livescore("install")
    for helm, stack in zip(helms, stacks, strict=True):
        await works(helm, stack)
    assert in_cluster(program) == {CRD}

    async with unnoticed(stacks[1]):
        await helms[0]("uninstall", "livescore-operator")
        await helms[0]("uninstall", "demo")
        await left_is(spaces[0], {*data(), LEASE})
    await works(helms[1], stacks[1])
    await helms[1]("uninstall", "demo")
    await helms[1]("uninstall", "livescore-operator")
    await left_is(spaces[1], {*data(), LEASE})


async def test_the_metrics_adapter_goes_with_its_release(program: Kubectl, system_helm: Helm) -> None:
    """Without a LiveScore; an APIService that stayed would keep namespaces from being deleted."""
    services = [f"apiservice/{name}" for name in API_SERVICES]
    await system_helm.operator("install", metricsAdapter={"enabled": True})
    for verb in ("create", "condition=Available"):
        await program("wait", *services, f"--for={verb}", "--timeout=120s", timeout=130)

    await system_helm("uninstall", "livescore-operator")
    await program("wait", *services, "--for=delete", "--timeout=60s", timeout=70)
    assert in_cluster(program) == WIDE
    await left_is(program.within(NAMESPACE), {LEASE, f"Secret/{CERTIFICATE}"})


async def test_what_kustomize_made_is_not_taken_over_unasked(program: Kubectl, system_helm: Helm) -> None:
    await program("apply", "-k", str(K8S / "default"))
    before = within(program.within(NAMESPACE))
    with pytest.raises(Exception, match="invalid ownership metadata"):
        await system_helm.operator("install")
    assert {name for name in before if not name.startswith("Pod/")} <= within(program.within(NAMESPACE))

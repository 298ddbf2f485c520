"""Installation by ``kubectl`` and kustomize: the operator for the whole cluster, and for one namespace."""

from contextlib import suppress

import pytest

from tests.charts.rendering import K8S
from tests.e2e.conftest import install
from tests.e2e.environment import OPERATOR_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.e2e.system import DEPLOYMENT, NAMESPACE
from tests.install.conftest import Make, MakeStack, MakeSystem
from tests.install.continuity import no_interruption, pod_uids
from tests.install.leftovers import CRD, LEASE, cluster_objects, namespace_objects, retained_objects
from tests.smoke import measure_delivery
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(1200)

NAMESPACED = "livescore"
"""Namespace of ``k8s/namespaced``."""


async def delete(program: Kubectl, overlay: str) -> None:
    limit = f"--timeout={GONE_SECONDS:g}s"
    await program("delete", "-k", str(K8S / overlay), "--ignore-not-found", limit, timeout=GONE_SECONDS + 10)


async def wait_for_objects(kubectl: Kubectl, wanted: set[str]) -> None:
    """Wait until the namespace contains exactly these objects: pods and garbage disappear with a delay."""

    async def probe() -> bool:
        return namespace_objects(kubectl) == wanted

    with suppress(AssertionError):
        await eventually(probe, GONE_SECONDS)
    assert namespace_objects(kubectl) == wanted


async def delete_retained(kubectl: Kubectl, name: str = "demo") -> None:
    """Run the documented command that removes the retained data."""
    labels = f"app.kubernetes.io/name=livescore,app.kubernetes.io/instance={name}"
    await kubectl("delete", "pvc,secret", "-l", labels)
    await wait_for_objects(kubectl, set())


async def wait_for_garbage_collector(stack: Stack) -> None:
    """Wait until the garbage collector knows the kind LiveScore: it discovers new kinds every 30 s.

    If the CRD is deleted earlier, owned resources stay until the CRD exists again: docs/operator.md, Deletion.
    """
    await stack.apply(reconcilePolicy="Plan")
    limit = f"--timeout={GONE_SECONDS:g}s"
    await stack.kubectl("delete", f"lsc/{stack.name}", "--cascade=foreground", limit, timeout=GONE_SECONDS + 10)


@pytest.mark.parametrize("livescore_first", [True, False], ids=["livescore first", "operator first"])
async def test_cluster_wide_install_and_removal(
    program: Kubectl, kubectl: Kubectl, make_stack: MakeStack, livescore_first: bool
) -> None:
    install(program.within(NAMESPACE))
    stack = make_stack(kubectl)
    await stack.up()
    async with stack.endpoint() as endpoint:
        assert await measure_delivery(endpoint)
    await wait_for_garbage_collector(make_stack(kubectl, "known"))

    if livescore_first:
        await stack.delete()
        await wait_for_objects(kubectl, retained_objects())
    await delete(program, "default")
    await wait_for_objects(kubectl, retained_objects())
    assert cluster_objects(program) == set()
    await delete_retained(kubectl)


async def test_operator_restart_and_second_replica_interrupt_nothing(
    program: Kubectl, kubectl: Kubectl, make_stack: MakeStack, make_system: MakeSystem
) -> None:
    install(program.within(NAMESPACE))
    stack, system = make_stack(kubectl), make_system()
    await stack.up()
    before = await pod_uids(stack)
    async with no_interruption(stack):
        await system.restart(replicas=2)
        await system.wait_idle()
    assert await pod_uids(stack) == before


async def test_namespaced_install_and_removal(
    program: Kubectl, make_namespace: Make, make_stack: MakeStack, make_system: MakeSystem
) -> None:
    here, elsewhere = make_namespace(NAMESPACED), make_namespace("")
    await program("apply", "-k", str(K8S / "crd"))
    await program("apply", "-k", str(K8S / "namespaced"))
    await here("set", "image", DEPLOYMENT, f"operator={OPERATOR_IMAGE}")
    await make_system(NAMESPACED).rolled_out()

    unwatched, stack = make_stack(elsewhere), make_stack(here)
    await unwatched.apply()
    await stack.up()
    async with stack.endpoint() as endpoint:
        assert await measure_delivery(endpoint)
    assert "status" not in await unwatched.get()
    assert cluster_objects(program) == {CRD, f"Namespace/{NAMESPACED}"}

    await unwatched.delete()
    await delete(program, "namespaced")
    await stack.delete()
    await wait_for_objects(here, {*retained_objects(), LEASE})
    await delete(program, "crd")
    assert cluster_objects(program) == {f"Namespace/{NAMESPACED}"}

"""By ``kubectl`` and kustomize: the operator for the whole cluster, and for one namespace."""

from contextlib import suppress

import pytest

from tests.charts.rendering import K8S
from tests.e2e.conftest import install
from tests.e2e.environment import OPERATOR_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.e2e.system import DEPLOYMENT, NAMESPACE
from tests.install.conftest import Make, StackIn, SystemIn
from tests.install.leftovers import CRD, LEASE, data, in_cluster, within
from tests.install.outage import identities, unnoticed
from tests.smoke import heard
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(1200)

NAMESPACED = "livescore"
"""The namespace of ``k8s/namespaced``."""


async def delete(program: Kubectl, overlay: str) -> None:
    limit = f"--timeout={GONE_SECONDS:g}s"
    await program("delete", "-k", str(K8S / overlay), "--ignore-not-found", limit, timeout=GONE_SECONDS + 10)


async def left_is(kubectl: Kubectl, wanted: set[str]) -> None:
    """Wait until exactly this is left in the namespace: pods and garbage go some time later."""

    async def probe() -> bool:
        return within(kubectl) == wanted

    with suppress(AssertionError):
        await eventually(probe, GONE_SECONDS)
    assert within(kubectl) == wanted


async def removed_for_ever(kubectl: Kubectl, name: str = "demo") -> None:
    """The one command of the documents that removes what stays."""
    labels = f"app.kubernetes.io/name=livescore,app.kubernetes.io/instance={name}"
    await kubectl("delete", "pvc,secret", "-l", labels)
    await left_is(kubectl, set())


async def collected(stack: Stack) -> None:
    """Wait until the garbage collector knows LiveScores: it looks for new kinds every half minute.

    Whoever deletes the CRD earlier finds what was owned left, until it is there again: docs/operator.md, Deletion.
    """
    await stack.apply(reconcilePolicy="Plan")
    limit = f"--timeout={GONE_SECONDS:g}s"
    await stack.kubectl("delete", f"lsc/{stack.name}", "--cascade=foreground", limit, timeout=GONE_SECONDS + 10)


@pytest.mark.parametrize("livescore_first", [True, False], ids=["livescore first", "operator first"])
async def test_for_the_whole_cluster(
    program: Kubectl, kubectl: Kubectl, stack_in: StackIn, livescore_first: bool
) -> None:
    install(program.within(NAMESPACE))
    stack = stack_in(kubectl)
    await stack.up()
    async with stack.entered() as entrance:
        assert await heard(entrance)
    await collected(stack_in(kubectl, "known"))

    if livescore_first:
        await stack.delete()
        await left_is(kubectl, data())
    await delete(program, "default")
    await left_is(kubectl, data())
    assert in_cluster(program) == set()
    await removed_for_ever(kubectl)


async def test_a_new_operator_and_a_second_one_are_not_noticed(
    program: Kubectl, kubectl: Kubectl, stack_in: StackIn, system_in: SystemIn
) -> None:
    install(program.within(NAMESPACE))
    stack, system = stack_in(kubectl), system_in()
    await stack.up()
    before = await identities(stack)
    async with unnoticed(stack):
        await system.restart(replicas=2)
        await system.quiet()
    assert await identities(stack) == before


async def test_for_one_namespace(
    program: Kubectl, make_namespace: Make, stack_in: StackIn, system_in: SystemIn
) -> None:
    here, elsewhere = make_namespace(NAMESPACED), make_namespace("")
    await program("apply", "-k", str(K8S / "crd"))
    await program("apply", "-k", str(K8S / "namespaced"))
    await here("set", "image", DEPLOYMENT, f"operator={OPERATOR_IMAGE}")
    await system_in(NAMESPACED).rolled_out()

    stranger, stack = stack_in(elsewhere), stack_in(here)
    await stranger.apply()
    await stack.up()
    async with stack.entered() as entrance:
        assert await heard(entrance)
    assert "status" not in await stranger.get()
    assert in_cluster(program) == {CRD, f"Namespace/{NAMESPACED}"}

    await stranger.delete()
    await delete(program, "namespaced")
    await stack.delete()
    await left_is(here, {*data(), LEASE})
    await delete(program, "crd")
    assert in_cluster(program) == {f"Namespace/{NAMESPACED}"}

"""Fixtures of the installation tests: a cluster without LiveScore objects, before and after each test."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.charts.rendering import K8S
from tests.e2e import diagnostics
from tests.e2e.conftest import (
    DELETE_SECONDS,
    FAILED,
    access,
    program,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from tests.e2e.kubectl import Kubectl
from tests.e2e.stack import Stack
from tests.e2e.system import NAMESPACE, System
from tests.install.helm import Helm
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kube import Kube

__all__ = ["access", "program", "pytest_runtest_makereport", "pytest_terminal_summary"]

Make = Callable[[str], Kubectl]


class MakeStack(Protocol):
    """Type of :func:`make_stack`."""

    def __call__(self, kubectl: Kubectl, name: str = "demo") -> Stack: ...


class MakeSystem(Protocol):
    """Type of :func:`make_system`."""

    def __call__(self, namespace: str = NAMESPACE) -> System: ...


_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(autouse=True)
def empty_cluster(program: Kubectl, tmp_path: Path) -> Iterator[None]:
    """Remove all our objects from the cluster, before and after the test."""
    remove_all(program, tmp_path)
    yield
    remove_all(program, tmp_path)


def remove_all(program: Kubectl, folder: Path) -> None:
    """Remove every release, LiveScore and operator. Fixtures remove the namespaces they create."""
    helm = Helm(NAMESPACE, folder)
    for name in helm.releases():
        helm.run("uninstall", name)
    everything, limit = str(K8S / "overlays/metrics-adapter"), f"--timeout={DELETE_SECONDS:g}s"
    program.run("delete", "-k", everything, "--ignore-not-found", limit, timeout=DELETE_SECONDS + 10)


@pytest.fixture
def make_namespace(request: pytest.FixtureRequest, program: Kubectl) -> Iterator[Make]:
    """Create namespaces that enforce the ``restricted`` Pod Security Standard, with a given or a random name."""
    made: list[Kubectl] = []

    def make(name: str = "") -> Kubectl:
        kubectl = program.within(name or f"install-{secrets.token_hex(4)}")
        program.run("create", "namespace", kubectl.namespace)
        made.append(kubectl)
        program.run("label", "namespace", kubectl.namespace, _RESTRICTED)
        return kubectl

    yield make
    for kubectl in made:
        if request.node.stash.get(FAILED, False):
            diagnostics.print_namespace(kubectl, program.within(NAMESPACE))
    for kubectl in made:
        limit = f"--timeout={DELETE_SECONDS:g}s"
        kubectl.run("delete", "namespace", kubectl.namespace, limit, timeout=DELETE_SECONDS + 10)


@pytest.fixture
async def make_stack(access: Access) -> AsyncIterator[MakeStack]:
    """Return a function that makes a :class:`Stack`, not applied yet, in the namespace of a ``kubectl``."""
    async with AsyncExitStack() as opened:
        kubes: list[Kube] = []

        def make(kubectl: Kubectl, name: str = "demo") -> Stack:
            kubes.append(Kube(access, kubectl.namespace))
            return Stack(kubectl, kubes[-1], name)

        yield make
        for kube in kubes:
            await opened.enter_async_context(kube)


@pytest.fixture
async def make_system(access: Access, program: Kubectl) -> AsyncIterator[MakeSystem]:
    """Return a function that makes a :class:`System` for an operator that the test installs."""
    async with AsyncExitStack() as opened:
        kubes: list[Kube] = []

        def make(namespace: str = NAMESPACE) -> System:
            kubes.append(Kube(access, namespace))
            return System(program.within(namespace), kubes[-1])

        yield make
        for kube in kubes:
            await opened.enter_async_context(kube)


@pytest.fixture
def kubectl(make_namespace: Make) -> Kubectl:
    """``kubectl`` in a namespace created for this test."""
    return make_namespace("")

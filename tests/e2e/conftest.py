"""Fixtures of the end-to-end suite: the installed operator, a namespace per test, and diagnostics for failures."""

import json
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator

import pytest

from tests.e2e import diagnostics, environment
from tests.e2e.kubectl import CommandError, Kubectl, find_kubectl, kubectl_proxy
from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.e2e.system import DEPLOYMENT, INSTALL_SECONDS, MANIFESTS, NAMESPACE, System
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kube import Kube

Make = Callable[[], Kubectl]

DELETE_SECONDS = GONE_SECONDS + 60
"""Timeout for deleting a namespace, including its pods and volumes."""

FAILED = pytest.StashKey[bool]()

_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements of the run."""
    if lines := MEASUREMENTS.table():
        terminalreporter.section("measured on the cluster")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def program() -> Kubectl:
    """Return the real ``kubectl``. Every test depends on this fixture, so none touches a cluster without permission."""
    if why := environment.skip_reason():
        pytest.skip(why)
    return find_kubectl()


@pytest.fixture(scope="session")
def access(program: Kubectl) -> Iterator[Access]:
    """Give access to the API server with the permissions of the kubeconfig."""
    with kubectl_proxy(program) as access:
        yield access


@pytest.fixture(scope="session")
def installed(program: Kubectl) -> Kubectl:
    """Install the operator from ``k8s/default``, with one replica of the image now on the cluster."""
    system = program.within(NAMESPACE)
    try:
        install(system)
    except CommandError:
        diagnostics.print_operator(system)
        raise
    MEASUREMENTS.record("Kubernetes", json.loads(program.run("get", "--raw", "/version"))["gitVersion"])
    return system


def install(system: Kubectl) -> None:
    """Run ``kubectl apply -k k8s/default`` and replace all operator pods."""
    system.run("apply", "-k", str(MANIFESTS))
    if environment.OPERATOR_IMAGE != "livescore-operator:dev":
        system.run("set", "image", DEPLOYMENT, f"operator={environment.OPERATOR_IMAGE}")
    system.run("rollout", "restart", DEPLOYMENT)
    limit = f"--timeout={INSTALL_SECONDS:g}s"
    system.run("rollout", "status", DEPLOYMENT, limit, timeout=INSTALL_SECONDS + 10)


@pytest.fixture
async def system(access: Access, installed: Kubectl) -> AsyncIterator[System]:
    """The operator, once a pod holds the Lease."""
    async with Kube(access, NAMESPACE) as kube:
        system = System(installed, kube)
        await system.wait_for_leader()
        yield system


@pytest.fixture
def make_namespace(request: pytest.FixtureRequest, program: Kubectl, system: System) -> Iterator[Make]:
    """Create namespaces for this test that enforce the ``restricted`` Pod Security Standard."""
    made: list[Kubectl] = []

    def make() -> Kubectl:
        kubectl = program.within(f"e2e-{secrets.token_hex(4)}")
        program.run("create", "namespace", kubectl.namespace)
        made.append(kubectl)
        program.run("label", "namespace", kubectl.namespace, *(f"{key}={value}" for key, value in _RESTRICTED.items()))
        return kubectl

    yield make
    for kubectl in made:
        if request.node.stash.get(FAILED, False):
            diagnostics.print_namespace(kubectl, system.kubectl)
    for kubectl in made:
        remove(kubectl)


def remove(kubectl: Kubectl) -> None:
    """Delete a namespace, pods first: the namespace controller checks only rarely whether the pods are gone."""
    limit = f"--timeout={DELETE_SECONDS:g}s"
    for what in (["lsc", "--all"], ["pods", "--all"], ["namespace", kubectl.namespace]):
        kubectl.run("delete", *what, limit, timeout=DELETE_SECONDS + 10)


@pytest.fixture
def kubectl(make_namespace: Make) -> Kubectl:
    """``kubectl`` in a namespace created for this test."""
    return make_namespace()


@pytest.fixture
async def kube(access: Access, kubectl: Kubectl) -> AsyncIterator[Kube]:
    """An API client in the same namespace."""
    async with Kube(access, kubectl.namespace) as kube:
        yield kube


@pytest.fixture
def stack(kubectl: Kubectl, kube: Kube) -> Stack:
    """The LiveScore ``demo``, not applied yet."""
    return Stack(kubectl, kube)

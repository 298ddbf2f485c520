"""Fixtures of the end-to-end suite: the operator installed, a namespace per test, and what is told when one fails."""

import json
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator

import pytest

from tests.e2e import environment, report
from tests.e2e.kubectl import CommandError, Kubectl, found, proxied
from tests.e2e.measures import MEASURES
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.e2e.system import DEPLOYMENT, INSTALL_SECONDS, MANIFESTS, NAMESPACE, System
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kube import Kube

Make = Callable[[], Kubectl]

DELETE_SECONDS = GONE_SECONDS + 60
"""Longest until a namespace is gone, with all its pods and volumes."""

FAILED = pytest.StashKey[bool]()

_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    if lines := MEASURES.table():
        terminalreporter.section("measured on the cluster")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def program() -> Kubectl:
    """The real ``kubectl``. Every test begins here, and none touches a cluster unless it is told to."""
    if why := environment.forbidden():
        pytest.skip(why)
    return found()


@pytest.fixture(scope="session")
def access(program: Kubectl) -> Iterator[Access]:
    """The API server, with the rights of the kubeconfig."""
    with proxied(program) as access:
        yield access


@pytest.fixture(scope="session")
def installed(program: Kubectl) -> Kubectl:
    """The operator as ``k8s/default`` installs it, with one replica and the image that the cluster has now."""
    system = program.within(NAMESPACE)
    try:
        install(system)
    except CommandError:
        report.show_system(system)
        raise
    MEASURES.note("Kubernetes", json.loads(program.run("get", "--raw", "/version"))["gitVersion"])
    return system


def install(system: Kubectl) -> None:
    """``kubectl apply -k k8s/default``, and pods that were not there before."""
    system.run("apply", "-k", str(MANIFESTS))
    if environment.OPERATOR_IMAGE != "livescore-operator:dev":
        system.run("set", "image", DEPLOYMENT, f"operator={environment.OPERATOR_IMAGE}")
    system.run("rollout", "restart", DEPLOYMENT)
    limit = f"--timeout={INSTALL_SECONDS:g}s"
    system.run("rollout", "status", DEPLOYMENT, limit, timeout=INSTALL_SECONDS + 10)


@pytest.fixture
async def system(access: Access, installed: Kubectl) -> AsyncIterator[System]:
    """The operator, leading."""
    async with Kube(access, NAMESPACE) as kube:
        system = System(installed, kube)
        await system.led()
        yield system


@pytest.fixture
def make_namespace(request: pytest.FixtureRequest, program: Kubectl, system: System) -> Iterator[Make]:
    """Makes namespaces of this test's own, where only pods of the ``restricted`` standard are admitted."""
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
            report.show(kubectl, system.kubectl)
    for kubectl in made:
        remove(kubectl)


def remove(kubectl: Kubectl) -> None:
    """Delete a namespace. Its pods go first: a namespace looks seldom whether they have gone."""
    limit = f"--timeout={DELETE_SECONDS:g}s"
    for what in (["lsc", "--all"], ["pods", "--all"], ["namespace", kubectl.namespace]):
        kubectl.run("delete", *what, limit, timeout=DELETE_SECONDS + 10)


@pytest.fixture
def kubectl(make_namespace: Make) -> Kubectl:
    """``kubectl`` in a namespace of this test's own."""
    return make_namespace()


@pytest.fixture
async def kube(access: Access, kubectl: Kubectl) -> AsyncIterator[Kube]:
    """The API server, in the same namespace."""
    async with Kube(access, kubectl.namespace) as kube:
        yield kube


@pytest.fixture
def stack(kubectl: Kubectl, kube: Kube) -> Stack:
    """The LiveScore ``demo``; not yet made."""
    return Stack(kubectl, kube)

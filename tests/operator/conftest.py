"""Fixtures of the operator's tests: an API server per worker, a namespace per test. See tests/support/kubernetes."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.support import forkserver
from tests.support.forkserver import ForkServer
from tests.support.kubernetes import apiserver, choice
from tests.support.kubernetes.faults import Faults
from tests.support.kubernetes.kube import Kube
from tests.support.kubernetes.server import Server

DEFINITION = Path(__file__).parents[2] / "k8s/crd/livescores.livescore.dev.yaml"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The emulator, even if a real API server is available."""
    yield from _started(choice.EMULATED, tmp_path_factory)


@pytest.fixture(scope="session")
def real_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real API server; tests that need it are skipped without it."""
    if why := apiserver.missing():
        pytest.skip(why)
    yield from _started(choice.REAL, tmp_path_factory)


@pytest.fixture(scope="session", params=[choice.chosen()])
def api(request: pytest.FixtureRequest) -> Server:
    """The API server of this worker with the CRD: the real one if available. Test ids name the server."""
    server: Server = request.getfixturevalue("real_api" if request.param == choice.REAL else "emulator")
    return server


@pytest.fixture(scope="session")
def operator_forks() -> Iterator[ForkServer]:
    """Fork server of this worker for processes of the operator."""
    with forkserver.running("livescore-operator", "livescore_operator.cli", "livescore_operator.process") as server:
        yield server


@pytest.fixture
async def kube(api: Server) -> AsyncIterator[Kube]:
    """A client with all permissions in a namespace created for this test."""
    async with Kube(api.access, f"test-{secrets.token_hex(4)}") as client:
        await client.make_namespace()
        yield client
        await client.remove_namespace()


@pytest.fixture
def namespace(kube: Kube) -> str:
    """The namespace of this test."""
    return kube.namespace


@pytest.fixture
def faults(api: Server) -> Iterator[Faults]:
    """A proxy to ``api`` that counts requests, and injects faults on demand."""
    proxy = Faults(api.access)
    yield proxy
    proxy.close()


@pytest.fixture
def kubeconfig(api: Server, namespace: str, tmp_path: Path) -> Path:
    """A kubeconfig with all permissions, for the namespace of this test."""
    return replace(api.access, namespace=namespace).write(tmp_path / "kubeconfig.yaml")


def _started(which: str, directories: pytest.TempPathFactory) -> Iterator[Server]:
    server = choice.start(which, directories.mktemp(which))
    try:
        asyncio.run(_define(server))
        yield server
    finally:
        server.close()


async def _define(server: Server) -> None:
    async with Kube(server.access) as kube:
        await kube.define(yaml.safe_load(DEFINITION.read_text()))

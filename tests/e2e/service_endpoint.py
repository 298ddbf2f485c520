"""Access from this machine to a Service: by its cluster IP where reachable, else by ``kubectl port-forward``."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.kubectl import Kubectl
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.ports import Port
from tests.support.service import match_body
from tests.support.validation import check_answer

TRY_SECONDS = 2.0
"""Timeout of one attempt to reach the Service directly."""

TRIES = 3
"""Attempts to reach a new Service directly: nodes learn of it a moment after the API server does."""

OPEN_SECONDS = 30.0
"""Timeout until a forwarded port answers."""

PAUSE_SECONDS = 0.2
"""Pause before ``kubectl port-forward`` is restarted, because its pod is gone."""


@dataclass(frozen=True)
class ServiceEndpoint:
    """Base URLs and credentials of a running service.

    Attributes:
        address: host and port.
        api_key: key with write access; empty if none is needed.
    """

    address: str
    api_key: str = ""

    @property
    def base_url(self) -> str:
        """Base URL of the REST API."""
        return f"http://{self.address}"

    @property
    def ws_url(self) -> str:
        """URL of the WebSocket endpoint."""
        return f"ws://{self.address}/ws"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client that validates every response against OpenAPI and opens a connection per request."""
        given: dict[str, Any] = {"timeout": 10, "event_hooks": {"response": [check_answer]}}
        return httpx.AsyncClient(
            base_url=self.base_url,
            headers={"X-API-Key": self.api_key} if self.api_key else {},
            trust_env=False,
            verify=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            **{**given, **options},
        )

    async def create_match(self, **fields: Any) -> int:
        """Create a live match and return its id."""
        async with self.client() as http:
            answer = await http.post("/matches", json=match_body(**fields))
        identity: int = answer.raise_for_status().json()["data"]["id"]
        return identity

    async def matches(self) -> list[Json]:
        """Return the newest matches."""
        async with self.client() as http:
            answer = await http.get("/matches", params={"limit": 100})
        found: list[Json] = answer.raise_for_status().json()["data"]
        return found

    async def is_up(self) -> bool:
        """Return True if the liveness endpoint answers."""
        with suppress(httpx.HTTPError):
            async with self.client(timeout=TRY_SECONDS, event_hooks={}) as http:
                return (await http.get("/health/live")).status_code == 200
        return False


async def admin_key(kubectl: Kubectl, name: str) -> str:
    """Return the admin API key that the operator generated for a LiveScore."""
    encoded = await kubectl("get", "secret", f"{name}-credentials", "-o", "jsonpath={.data.admin-key}")
    return b64decode(encoded).decode()


@asynccontextmanager
async def service_endpoint(kubectl: Kubectl, kube: Kube, service: str) -> AsyncIterator[ServiceEndpoint]:
    """Open a route to a Service whose pods are ready."""
    spec = (await kube.get("Service", service))["spec"]
    direct = ServiceEndpoint(f"{spec['clusterIP']}:{spec['ports'][0]['port']}", await admin_key(kubectl, service))
    for _ in range(TRIES):
        if await direct.is_up():
            yield direct
            return
        await asyncio.sleep(PAUSE_SECONDS)
    async with port_forward(kubectl, service, spec["ports"][0]["port"]) as endpoint:
        yield endpoint


@asynccontextmanager
async def port_forward(kubectl: Kubectl, service: str, port: int) -> AsyncIterator[ServiceEndpoint]:
    """Forward a local port by ``kubectl port-forward``, restarted whenever its pod disappears."""
    local = Port()
    endpoint = ServiceEndpoint(f"127.0.0.1:{local.number}", await admin_key(kubectl, service))
    task = asyncio.create_task(_forward(kubectl, service, f"{local.number}:{port}"))
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            while not await endpoint.is_up():
                await asyncio.sleep(PAUSE_SECONDS)
        yield endpoint
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        local.release()


async def _forward(kubectl: Kubectl, service: str, ports: str) -> None:
    command = kubectl.command("port-forward", f"service/{service}", ports)
    while True:
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=nowhere, stderr=nowhere)
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await asyncio.sleep(PAUSE_SECONDS)

"""The way from this machine to a Service: its address where that is reachable, else ``kubectl port-forward``."""

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
"""Whoever has not answered by then is out of reach."""

TRIES = 3
"""Nodes hear of a new Service some moments later than the API server tells of it."""

OPEN_SECONDS = 30.0
"""Longest until a forwarded port answers."""

PAUSE_SECONDS = 0.2
"""Between the end of one forwarding and the next: its pod has gone, another one is there or will be."""


@dataclass(frozen=True)
class Entrance:
    """Where clients come in.

    Attributes:
        address: host and port.
        api_key: a key that may write, where one is needed.
    """

    address: str
    api_key: str = ""

    @property
    def base_url(self) -> str:
        """For REST."""
        return f"http://{self.address}"

    @property
    def ws_url(self) -> str:
        """For WebSockets."""
        return f"ws://{self.address}/ws"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client that checks every answer against OpenAPI and connects anew for each request, as many clients do."""
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
        """Make a match that is live, and return its id."""
        async with self.client() as http:
            answer = await http.post("/matches", json=match_body(**fields))
        identity: int = answer.raise_for_status().json()["data"]["id"]
        return identity

    async def matches(self) -> list[Json]:
        """The newest matches."""
        async with self.client() as http:
            answer = await http.get("/matches", params={"limit": 100})
        found: list[Json] = answer.raise_for_status().json()["data"]
        return found

    async def answers(self) -> bool:
        """Whether somebody is there."""
        with suppress(httpx.HTTPError):
            async with self.client(timeout=TRY_SECONDS, event_hooks={}) as http:
                return (await http.get("/health/live")).status_code == 200
        return False


async def admin_key(kubectl: Kubectl, name: str) -> str:
    """Return the API key that the operator made for the administrator of a LiveScore."""
    encoded = await kubectl("get", "secret", f"{name}-credentials", "-o", "jsonpath={.data.admin-key}")
    return b64decode(encoded).decode()


@asynccontextmanager
async def opened(kubectl: Kubectl, kube: Kube, service: str) -> AsyncIterator[Entrance]:
    """The way into a Service whose pods are ready."""
    spec = (await kube.get("Service", service))["spec"]
    direct = Entrance(f"{spec['clusterIP']}:{spec['ports'][0]['port']}", await admin_key(kubectl, service))
    for _ in range(TRIES):
        if await direct.answers():
            yield direct
            return
        await asyncio.sleep(PAUSE_SECONDS)
    async with forwarded(kubectl, service, spec["ports"][0]["port"]) as entrance:
        yield entrance


@asynccontextmanager
async def forwarded(kubectl: Kubectl, service: str, port: int) -> AsyncIterator[Entrance]:
    """The way by ``kubectl port-forward``, opened again whenever its pod has gone."""
    local = Port()
    entrance = Entrance(f"127.0.0.1:{local.number}", await admin_key(kubectl, service))
    task = asyncio.create_task(_forward(kubectl, service, f"{local.number}:{port}"))
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            while not await entrance.answers():
                await asyncio.sleep(PAUSE_SECONDS)
        yield entrance
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

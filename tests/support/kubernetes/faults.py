"""A proxy in front of an API server that behaves like a bad network and a busy server, until it is healed.

It listens on plain HTTP on loopback and speaks to the real server with the credentials that it is given, so operators
in this process and in others reach it with :attr:`Faults.access`. It also counts what is asked.
"""

import asyncio
import enum
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp
import aiohttp.web
import yarl

from tests.support.kubernetes import requests
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.loops import Loop
from tests.support.kubernetes.refusals import Refusal
from tests.support.kubernetes.requests import Asked
from tests.support.kubernetes.stopping import stop

WRITES = ("create", "update", "patch", "delete", "deletecollection")
"""The verbs that change something."""

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

STOP_SECONDS = 0.2
"""For requests in flight when the proxy stops."""

DROPPED_SECONDS = 1.0
"""Longest until a handler hears that its connection was dropped."""

MAX_CONNECTIONS = 0
"""Without a bound: each watch keeps one."""


class Fault(enum.Enum):
    """What can happen to a request."""

    DROP = "the connection breaks before the server hears of the request"
    LOSE = "the server does it, and the connection breaks before the answer"
    DELAY = "the request waits"
    CONFLICT = "409: somebody else has written meanwhile"
    THROTTLE = "429, with Retry-After"
    ERROR = "500"
    UNAVAILABLE = "503"
    GONE = "410: a watch is behind, or is told so after a while"
    CUT = "a watch breaks after a while"


READS = (Fault.DROP, Fault.LOSE, Fault.DELAY, Fault.THROTTLE, Fault.ERROR, Fault.UNAVAILABLE)
WATCHES = (Fault.DROP, Fault.DELAY, Fault.THROTTLE, Fault.ERROR, Fault.UNAVAILABLE, Fault.GONE, Fault.CUT)


class Call(NamedTuple):
    """What was asked by whom: ``patch``, ``deployments/status``, ``livescore-operator/1.0``.

    Requests that are not about objects have their path as ``resource``.
    """

    verb: str
    resource: str
    agent: str


@dataclass(frozen=True)
class Plan:
    """What goes wrong, and how often.

    Attributes:
        seed: the same seed draws the same faults in the order of the requests.
        rate: part of the requests that something happens to, 0 to 1.
        faults: what may happen; each request draws of those that fit it.
        delay_seconds: longest delay.
        watch_seconds: longest until a watch that was drawn breaks.
        retry_after_seconds: what a 429 says.
        spares: requests that nothing happens to, for instance those for the Lease.
    """

    seed: int = 0
    rate: float = 0.3
    faults: tuple[Fault, ...] = tuple(Fault)
    delay_seconds: float = 0.3
    watch_seconds: float = 1.0
    retry_after_seconds: int = 1
    spares: Callable[[Asked], bool] = lambda asked: False


HEALTHY = Plan(rate=0)


class Faults:
    """The proxy, on a loop of its own."""

    def __init__(self, upstream: Access, plan: Plan = HEALTHY) -> None:
        self._upstream = upstream
        self._plan, self._random = plan, random.Random(plan.seed)
        self._calls: Counter[Call] = Counter()
        self._lock = threading.Lock()
        self._streams: set[asyncio.Transport] = set()
        self._loop = Loop("faults")
        self._session, self._runner = self._loop.run(self._start())

    async def _start(self) -> tuple[aiohttp.ClientSession, aiohttp.web.ServerRunner]:
        connector = aiohttp.TCPConnector(ssl=self._upstream.context() or False, limit=MAX_CONNECTIONS)
        # Bodies pass as they are, compressed or not.
        session = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        server = aiohttp.web.Server(self._handle, handler_cancellation=True)
        runner = aiohttp.web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        return session, runner

    # What a test does with it

    @property
    def access(self) -> Access:
        """The way through the proxy."""
        host, port = self._runner.addresses[0][:2]
        return Access(f"http://{host}:{port}", namespace=self._upstream.namespace)

    def harm(self, plan: Plan) -> None:
        """Let things go wrong from now on."""
        with self._lock:
            self._plan, self._random = plan, random.Random(plan.seed)

    def heal(self) -> None:
        """Let everything pass from now on; requests that already wait go on too."""
        self.harm(HEALTHY)

    def partition(self) -> None:
        """Let nothing pass: break all watches, and every request, until :meth:`heal`."""
        self.harm(Plan(rate=1, faults=(Fault.DROP,)))
        self.sever()

    def sever(self) -> None:
        """Break all watches once."""
        self._loop.run(self._sever())

    def calls(self) -> Counter[Call]:
        """What was asked since the start or the last :meth:`reset`; a watch counts when it begins."""
        with self._lock:
            return Counter(self._calls)

    def count(self, *verbs: str, resource: str = "", agent: str = "") -> int:
        """How often one of ``verbs``, or anything, was asked of ``resource`` by agents that begin with ``agent``."""
        return sum(
            number
            for call, number in self.calls().items()
            if (not verbs or call.verb in verbs) and resource in ("", call.resource) and call.agent.startswith(agent)
        )

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self._calls.clear()

    def close(self) -> None:
        """Stop the proxy."""
        self._loop.run(self._stop())
        self._loop.close()

    # What it does with a request

    async def _handle(self, request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        asked = requests.read(request.method, request.rel_url.raw_path, dict(request.query))
        plan, fault, chance = self._draw(request, asked)
        body = await request.read()
        try:
            await self._before(request, fault, plan, chance)
            return await self._forward(request, body, asked, fault, plan.watch_seconds * chance)
        except Refusal as refusal:
            headers = {"Retry-After": str(plan.retry_after_seconds)} if refusal.code == 429 else {}
            return aiohttp.web.json_response(refusal.status, status=refusal.code, headers=headers)
        except aiohttp.ClientError:
            return await _dropped(request)

    def _draw(self, request: aiohttp.web.BaseRequest, asked: Asked | None) -> tuple[Plan, Fault | None, float]:
        """Count the request and draw what happens to it, and how late, from 0 to 1."""
        agent = request.headers.get("User-Agent", "")
        call = Call(asked.verb, asked.resource, agent) if asked else Call("get", request.path, agent)
        with self._lock:
            self._calls[call] += 1
            plan = self._plan
            happens, which, chance = (self._random.random() for _ in range(3))
        fits = [fault for fault in plan.faults if fault in _fitting(call.verb)]
        if happens >= plan.rate or not fits or (asked and plan.spares(asked)):
            return plan, None, chance
        return plan, fits[int(which * len(fits))], chance

    async def _before(self, request: aiohttp.web.BaseRequest, fault: Fault | None, plan: Plan, chance: float) -> None:
        if fault is Fault.DROP:
            await _dropped(request)
        if fault is Fault.DELAY:
            await asyncio.sleep(plan.delay_seconds * chance)
        if refusal := _refusal(fault):
            raise refusal

    async def _forward(
        self, request: aiohttp.web.BaseRequest, body: bytes, asked: Asked | None, fault: Fault | None, life: float
    ) -> aiohttp.web.StreamResponse:
        headers = {**self._upstream.headers, **_passed(request.headers)}
        # As it came: the server must see what the client wrote, percent signs and all.
        url = yarl.URL(self._upstream.url + request.rel_url.raw_path_qs, encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            if asked and asked.verb == "watch" and answer.status == 200:
                return await self._stream(request, answer, fault, life)
            content = await answer.read()
        if fault is Fault.LOSE:
            await _dropped(request)
        return aiohttp.web.Response(body=content, status=answer.status, headers=_passed(answer.headers))

    async def _stream(
        self, request: aiohttp.web.BaseRequest, answer: aiohttp.ClientResponse, fault: Fault | None, life: float
    ) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
        response.enable_chunked_encoding()
        await response.prepare(request)
        transport = request.transport
        assert transport is not None
        self._streams.add(transport)
        try:
            async with asyncio.timeout(life if fault in (Fault.CUT, Fault.GONE) else None):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        except TimeoutError:
            await _ended(request, response, fault)
        finally:
            self._streams.discard(transport)
        return response

    async def _sever(self) -> None:
        for transport in list(self._streams):
            transport.abort()

    async def _stop(self) -> None:
        await self._sever()
        await stop(self._runner)
        await self._session.close()


def _fitting(verb: str) -> tuple[Fault, ...]:
    if verb == "watch":
        return WATCHES
    return (*READS, Fault.CONFLICT) if verb in WRITES else READS


def _refusal(fault: Fault | None) -> Refusal | None:
    refusals = {
        Fault.CONFLICT: (409, "Conflict", "Operation cannot be fulfilled: the object has been modified"),
        Fault.THROTTLE: (429, "TooManyRequests", "the server has received too many requests; try again later"),
        Fault.ERROR: (500, "InternalError", "an error on the server"),
        Fault.UNAVAILABLE: (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    }
    return Refusal(*refusals[fault]) if fault in refusals else None


async def _dropped(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
    """Break the connection; the server cancels the handler when it notices."""
    if request.transport:
        request.transport.abort()
    await asyncio.sleep(DROPPED_SECONDS)
    return aiohttp.web.Response(status=503)


async def _ended(request: aiohttp.web.BaseRequest, response: aiohttp.web.StreamResponse, fault: Fault | None) -> None:
    if fault is Fault.CUT:
        await _dropped(request)
    status = Refusal(410, "Expired", "too old resource version").status
    await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}

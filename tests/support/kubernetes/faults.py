"""A proxy in front of an API server that simulates a faulty network and an overloaded server until it is healed.

It listens on plain HTTP on loopback and calls the real server with the given credentials, so operators in this
process and in others reach it with :attr:`Faults.access`. It also counts requests.
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
from tests.support.kubernetes.errors import StatusError
from tests.support.kubernetes.loops import Loop
from tests.support.kubernetes.requests import ApiRequest
from tests.support.kubernetes.stopping import stop

WRITES = ("create", "update", "patch", "delete", "deletecollection")
"""The verbs that change objects."""

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

STOP_SECONDS = 0.2
"""Grace period for requests in flight when the proxy stops."""

DROPPED_SECONDS = 1.0
"""Timeout until a handler notices that its connection was dropped."""

MAX_CONNECTIONS = 0
"""Unlimited, because each watch keeps a connection."""


class Fault(enum.Enum):
    """A fault that can affect a request."""

    DROP = "the connection breaks before the request reaches the server"
    LOSE = "the server handles the request, and the connection breaks before the response"
    DELAY = "the request is delayed"
    CONFLICT = "409: the object was modified concurrently"
    THROTTLE = "429, with Retry-After"
    ERROR = "500"
    UNAVAILABLE = "503"
    GONE = "410: the watch is too old, at once or after a while"
    CUT = "the watch breaks after a while"


READS = (Fault.DROP, Fault.LOSE, Fault.DELAY, Fault.THROTTLE, Fault.ERROR, Fault.UNAVAILABLE)
WATCHES = (Fault.DROP, Fault.DELAY, Fault.THROTTLE, Fault.ERROR, Fault.UNAVAILABLE, Fault.GONE, Fault.CUT)


class Call(NamedTuple):
    """Verb, resource and user agent of a request: ``patch``, ``deployments/status``, ``livescore-operator/1.0``.

    For requests that do not concern objects, ``resource`` is the path.
    """

    verb: str
    resource: str
    agent: str


@dataclass(frozen=True)
class Plan:
    """Kinds and frequency of the injected faults.

    Attributes:
        seed: the same seed draws the same faults for the same order of requests.
        rate: fraction of the requests that are affected, 0 to 1.
        faults: possible faults; each request draws from those that apply to it.
        delay_seconds: maximum delay.
        watch_seconds: maximum time until an affected watch breaks.
        retry_after_seconds: ``Retry-After`` of a 429.
        exempt: selects requests that are never affected, for example those for the Lease.
    """

    seed: int = 0
    rate: float = 0.3
    faults: tuple[Fault, ...] = tuple(Fault)
    delay_seconds: float = 0.3
    watch_seconds: float = 1.0
    retry_after_seconds: int = 1
    exempt: Callable[[ApiRequest], bool] = lambda target: False


HEALTHY = Plan(rate=0)


class Faults:
    """The proxy, with its own event loop."""

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
        # Bodies are passed through unchanged, compressed or not.
        session = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        server = aiohttp.web.Server(self._handle, handler_cancellation=True)
        runner = aiohttp.web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        return session, runner

    # Control

    @property
    def access(self) -> Access:
        """Access to the API server through the proxy."""
        host, port = self._runner.addresses[0][:2]
        return Access(f"http://{host}:{port}", namespace=self._upstream.namespace)

    def inject(self, plan: Plan) -> None:
        """Inject faults from now on."""
        with self._lock:
            self._plan, self._random = plan, random.Random(plan.seed)

    def heal(self) -> None:
        """Pass everything from now on, including requests that are being delayed."""
        self.inject(HEALTHY)

    def partition(self) -> None:
        """Break all watches and every request until :meth:`heal`."""
        self.inject(Plan(rate=1, faults=(Fault.DROP,)))
        self.break_watches()

    def break_watches(self) -> None:
        """Break all open watches once."""
        self._loop.run(self._break_watches())

    def calls(self) -> Counter[Call]:
        """Return the requests since the start or the last :meth:`reset`; a watch counts when it starts."""
        with self._lock:
            return Counter(self._calls)

    def count(self, *verbs: str, resource: str = "", agent: str = "") -> int:
        """Count requests with one of ``verbs`` (default: any) for ``resource`` from agents with this prefix."""
        return sum(
            number
            for call, number in self.calls().items()
            if (not verbs or call.verb in verbs) and resource in ("", call.resource) and call.agent.startswith(agent)
        )

    def reset(self) -> None:
        """Reset the counters."""
        with self._lock:
            self._calls.clear()

    def close(self) -> None:
        """Stop the proxy."""
        self._loop.run(self._stop())
        self._loop.close()

    # Request handling

    async def _handle(self, request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        target = requests.read(request.method, request.rel_url.raw_path, dict(request.query))
        plan, fault, chance = self._draw(request, target)
        body = await request.read()
        try:
            await self._before(request, fault, plan, chance)
            return await self._forward(request, body, target, fault, plan.watch_seconds * chance)
        except StatusError as refusal:
            headers = {"Retry-After": str(plan.retry_after_seconds)} if refusal.code == 429 else {}
            return aiohttp.web.json_response(refusal.status, status=refusal.code, headers=headers)
        except aiohttp.ClientError:
            return await _dropped(request)

    def _draw(self, request: aiohttp.web.BaseRequest, target: ApiRequest | None) -> tuple[Plan, Fault | None, float]:
        """Count the request, and draw its fault and the time of the fault (0 to 1)."""
        agent = request.headers.get("User-Agent", "")
        call = Call(target.verb, target.resource, agent) if target else Call("get", request.path, agent)
        with self._lock:
            self._calls[call] += 1
            plan = self._plan
            happens, which, chance = (self._random.random() for _ in range(3))
        fits = [fault for fault in plan.faults if fault in _fitting(call.verb)]
        if happens >= plan.rate or not fits or (target and plan.exempt(target)):
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
        self, request: aiohttp.web.BaseRequest, body: bytes, target: ApiRequest | None, fault: Fault | None, life: float
    ) -> aiohttp.web.StreamResponse:
        headers = {**self._upstream.headers, **_passed(request.headers)}
        # Unmodified: the server must see exactly what the client sent, including percent-encoding.
        url = yarl.URL(self._upstream.url + request.rel_url.raw_path_qs, encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            if target and target.verb == "watch" and answer.status == 200:
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

    async def _break_watches(self) -> None:
        for transport in list(self._streams):
            transport.abort()

    async def _stop(self) -> None:
        await self._break_watches()
        await stop(self._runner)
        await self._session.close()


def _fitting(verb: str) -> tuple[Fault, ...]:
    if verb == "watch":
        return WATCHES
    return (*READS, Fault.CONFLICT) if verb in WRITES else READS


def _refusal(fault: Fault | None) -> StatusError | None:
    errors = {
        Fault.CONFLICT: (409, "Conflict", "Operation cannot be fulfilled: the object has been modified"),
        Fault.THROTTLE: (429, "TooManyRequests", "the server has received too many requests; try again later"),
        Fault.ERROR: (500, "InternalError", "an error on the server"),
        Fault.UNAVAILABLE: (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    }
    return StatusError(*errors[fault]) if fault in errors else None


async def _dropped(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
    """Break the connection; the server cancels the handler when it notices."""
    if request.transport:
        request.transport.abort()
    await asyncio.sleep(DROPPED_SECONDS)
    return aiohttp.web.Response(status=503)


async def _ended(request: aiohttp.web.BaseRequest, response: aiohttp.web.StreamResponse, fault: Fault | None) -> None:
    if fault is Fault.CUT:
        await _dropped(request)
    status = StatusError(410, "Expired", "too old resource version").status
    await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}

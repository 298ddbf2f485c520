"""One signed request to an endpoint: the only code that connects to addresses of administrators.

httpcore is the layer below httpx. Its pool takes the function that opens connections, so the address that was checked
is the address that is used, while TLS verifies the name. It follows no redirect and decodes no content.
"""

import asyncio
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic

import httpcore

from livescore import __version__
from livescore.jobs.webhooks.outcomes import Attempt
from livescore.security import signatures
from livescore.security.destinations import Destinations, Refused

# Bytes of a response that are read. The rest is not needed, and the connection is closed instead.
MAX_RESPONSE_BYTES = 1_048_576

# Seconds for which connections are kept open for the next event.
KEPT_SECONDS = 30.0

# Characters of an error in the log of attempts.
MAX_ERROR = 300

_USER_AGENT = f"LiveScore/{__version__}".encode()


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to an allowed address of a host, and to no other."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the allowed addresses of the host in the order of the resolver."""
        try:
            addresses = await self._destinations.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} does not resolve: {error.strerror or error}") from error
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class Sender:
    """Sends signed requests. Belongs to one event loop.

    Args:
        destinations: The addresses that are allowed.
        timeout: Seconds for one request, from the resolution of the name to the end of the response.
        tls: Verifies certificates; the public authorities and those of the system by default.
    """

    def __init__(self, destinations: Destinations, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._destinations = destinations
        self._timeout = timeout
        self._tls = tls
        # URL → its connections, and the time of their last use. A common pool would search all connections for each
        # request: with 160 of them, a request costs three times as much.
        self._pools: dict[str, tuple[httpcore.AsyncConnectionPool, float]] = {}

    async def close(self) -> None:
        """Close all connections."""
        pools, self._pools = self._pools, {}
        for pool, _ in pools.values():
            await pool.aclose()

    async def release_idle(self) -> None:
        """Close the connections to endpoints that have not been used for a while."""
        oldest = monotonic() - self._timeout - KEPT_SECONDS
        for url in [url for url, (_, used) in self._pools.items() if used < oldest]:
            pool, _ = self._pools.pop(url)
            await pool.aclose()

    async def send(self, url: str, message_id: str, body: bytes, secrets: list[str]) -> Attempt:
        """Send one attempt at an event. Never raises for anything that the endpoint does."""
        started = monotonic()
        try:
            # The outer limit, since a time-out of httpcore is for one read: a slow answer could take for ever.
            async with asyncio.timeout(self._timeout):
                status, retry_after = await self._request(url, message_id, body, secrets)
        except TimeoutError:
            return Attempt(None, f"no complete answer within {self._timeout:g} s", seconds=monotonic() - started)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, Refused, OSError) as error:
            text = str(error) or type(error).__name__
            return Attempt(None, text[:MAX_ERROR], seconds=monotonic() - started)
        error_text = "" if 200 <= status < 300 else _explain(status)
        return Attempt(status, error_text, retry_after, monotonic() - started)

    async def _request(self, url: str, message_id: str, body: bytes, secrets: list[str]) -> tuple[int, float | None]:
        signed = signatures.headers(message_id, datetime.now(UTC), body, secrets)
        headers = [
            (b"Content-Type", b"application/json"),
            (b"User-Agent", _USER_AGENT),
            *((name.encode(), value.encode()) for name, value in signed.items()),
        ]
        async with self._connections(url).stream("POST", url, headers=headers, content=body) as response:
            read = 0
            async for piece in response.aiter_stream():
                read += len(piece)
                if read > MAX_RESPONSE_BYTES:
                    break
            return response.status, _retry_after(response.headers)

    def _connections(self, url: str) -> httpcore.AsyncConnectionPool:
        pool = self._pools[url][0] if url in self._pools else self._open_pool()
        self._pools[url] = (pool, monotonic())
        return pool

    def _open_pool(self) -> httpcore.AsyncConnectionPool:
        if self._tls is None:
            self._tls = httpcore.default_ssl_context()
            self._tls.load_default_certs()
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=None,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=_CheckedBackend(self._destinations),
        )


def _explain(status: int) -> str:
    if 300 <= status < 400:
        return f"the endpoint answered {status}: redirects are not followed, change the URL of the webhook"
    return f"the endpoint answered {status}"


def _retry_after(headers: list[tuple[bytes, bytes]]) -> float | None:
    """Return the seconds of a Retry-After header, which may also be a date; None without a valid one."""
    for name, value in headers:
        if name.lower() == b"retry-after":
            return _parse_retry_after(value.decode("latin-1").strip())
    return None


def _parse_retry_after(text: str) -> float | None:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())

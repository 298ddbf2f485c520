"""A client of the public REST API that survives restarts: every write can be retried without duplicates."""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from livescore import __version__

# Timeout of outages: a restart of an API, of Redis or of PostgreSQL takes seconds.
OUTAGE_SECONDS = 60.0
# Timeout of rate limits, which end by themselves.
THROTTLE_SECONDS = 900.0
# Longest delay between attempts in an outage, so that the end of the outage is noticed soon.
MAX_BACKOFF_SECONDS = 3.0
# Longer than the 10 s that the server may take for a request.
REQUEST_TIMEOUT_SECONDS = 15.0
CONNECT_TIMEOUT_SECONDS = 5.0
# Concurrent requests: enough to keep two cores busy, few enough to leave capacity for other clients.
CONCURRENCY = 8
# Maximum page size of the API.
PAGE = 100


class RequestError(Exception):
    """The server rejected a request or was unavailable for too long. The text says what to do."""


class _Unavailable(Exception):
    """The request can be retried after ``retry_after`` seconds; None means exponential backoff."""

    def __init__(self, reason: str, retry_after: float | None) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class _Throttled(_Unavailable):
    """The rate limit is exceeded; the server is available."""


class Record(BaseModel):
    """A match on the server."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    id: int
    status: str
    home_team: str
    away_team: str
    start_time: datetime
    end_time: datetime
    home_score: int
    away_score: int
    scores: list[dict[str, Any]]
    shootout: dict[str, Any] | None
    winner: str | None
    decided_by: str | None


def instant(moment: datetime) -> str:
    """Format a time as the API does: UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_backoff = wait_random_exponential(multiplier=0.2, max=MAX_BACKOFF_SECONDS)


def _pause(state: RetryCallState) -> float:
    """Return the delay of the next attempt in seconds: Retry-After, else exponential backoff, with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, _Unavailable) else None
    return _backoff(state) if asked is None else asked + random.random()


def _report_retry(state: RetryCallState) -> None:
    client: Client = state.args[0]
    error = state.outcome.exception() if state.outcome else None
    client.on_wait(str(error) or type(error).__name__)


class Client:
    """The part of the REST API that a replay needs.

    Every method retries its request, and raises a RequestError if the server rejects the request or is unavailable for
    :data:`OUTAGE_SECONDS`.

    Args:
        base_url: URL of the server, for example ``http://127.0.0.1:8000``.
        api_key: API key of scope write or admin, if the server requires one.
        on_wait: Called with the reason before each retry.
    """

    def __init__(self, base_url: str, api_key: str | None, on_wait: Callable[[str], None]) -> None:
        self.base_url = _checked_url(base_url)
        self.has_key = api_key is not None
        self.on_wait = on_wait
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"User-Agent": f"livescore-replay/{__version__}", **_key_header(api_key)},
            timeout=httpx.Timeout(REQUEST_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def find(self, home: str, away: str, start: datetime) -> Record | None:
        """Return the match of these teams that starts at exactly ``start``, or None."""
        window = {"team": home, "from": instant(start), "to": instant(start + timedelta(milliseconds=1))}
        found = [_record(item) for item in await self._call("GET", "/matches", params={**window, "limit": PAGE})]
        return next((record for record in found if _identity(record) == (home, away, start)), None)

    async def match(self, match_id: int) -> Record:
        return _record(await self._call("GET", f"/matches/{match_id}"))

    async def create(self, body: dict[str, Any], key: str) -> Record:
        return _record(await self._call("POST", "/matches", body, key))

    async def revise(self, match_id: int, **change: Any) -> Record:
        return _record(await self._call("PATCH", f"/matches/{match_id}", change))

    async def comment(self, match_id: int, body: dict[str, Any], key: str) -> None:
        await self._call("POST", f"/matches/{match_id}/commentary", body, key)

    async def has_commentary(self, match_id: int) -> bool:
        """Return True if a match has commentary of any client."""
        return bool(await self._call("GET", f"/matches/{match_id}/commentary", params={"limit": 1}))

    async def commented(self, match_id: int) -> set[str]:
        """Return the ids of the replay steps that the commentary of a match contains."""
        entries = await self._call("GET", f"/matches/{match_id}/commentary", params={"limit": PAGE})
        found = ((entry.get("metadata") or {}).get("replay") for entry in entries)
        return {step for step in found if isinstance(step, str)}

    async def _call(
        self, method: str, path: str, body: Any = None, key: str | None = None, params: dict[str, Any] | None = None
    ) -> Any:
        request = self._http.build_request(method, path, params=params, json=body)
        if key:
            request.headers["Idempotency-Key"] = key
        try:
            return await self._retry_throttled(request)
        except (httpx.TransportError, _Unavailable) as error:
            reason = str(error) or type(error).__name__
            raise RequestError(
                f"{self.base_url} did not recover ({reason}): is `livescore api` running there? "
                "Run the same replay again when it is; it continues where it stopped"
            ) from error

    @retry(
        retry=retry_if_exception_type(_Throttled),
        wait=_pause,
        stop=stop_after_delay(THROTTLE_SECONDS),
        before_sleep=_report_retry,
        reraise=True,
    )
    async def _retry_throttled(self, request: httpx.Request) -> Any:
        return await self._retry_outages(request)

    @retry(
        retry=retry_if_exception_type(httpx.TransportError)
        | retry_if_exception(lambda error: isinstance(error, _Unavailable) and not isinstance(error, _Throttled)),
        wait=_pause,
        stop=stop_after_delay(OUTAGE_SECONDS),
        before_sleep=_report_retry,
        reraise=True,
    )
    async def _retry_outages(self, request: httpx.Request) -> Any:
        async with self._slots:
            response = await self._http.send(request)
        return self._data(response)

    def _data(self, response: httpx.Response) -> Any:
        """Return the ``data`` of a response, or raise the error that decides about a retry."""
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise _Throttled("too many requests", _retry_after(response) or 1.0)
        if response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT or _still_running(response):
            raise _Unavailable(f"{status} {_reason(response)}", _retry_after(response))
        if not response.is_success:
            raise RequestError(self._rejection(response))
        try:
            return response.json()["data"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise RequestError(f"{response.url} is not the REST API of LiveScore: check --base-url") from error

    def _rejection(self, response: httpx.Response) -> str:
        if response.status_code == httpx.codes.UNAUTHORIZED:
            problem = "does not know this API key" if self.has_key else "requires an API key"
            return f"{self.base_url} {problem}: set --api-key to a key that may write (see `livescore keys create`)"
        if response.status_code == httpx.codes.FORBIDDEN:
            return f"{self.base_url}: this API key may not write: set --api-key to a key of scope write or admin"
        request = response.request
        return f"{request.method} {request.url.path} was rejected with {response.status_code}: {_reason(response)}"


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise RequestError(f"--base-url {base_url}: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise RequestError(f"--base-url {base_url} must look like http://127.0.0.1:8000")
    return base_url.rstrip("/")


def _key_header(api_key: str | None) -> dict[str, str]:
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise RequestError("--api-key contains characters that no key has: copy the key again")
    return {"X-API-Key": api_key} if api_key else {}


def _identity(record: Record) -> tuple[str, str, datetime]:
    return record.home_team, record.away_team, record.start_time


def _record(data: Any) -> Record:
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        raise RequestError(f"the server returned an invalid match: {error.errors()[0]['msg']}") from error


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), OUTAGE_SECONDS) if value.isdecimal() else None


def _still_running(response: httpx.Response) -> bool:
    """Return True if an earlier attempt with the same Idempotency-Key is still running."""
    return response.status_code == httpx.codes.CONFLICT and "Idempotency-Key" in response.request.headers


def _reason(response: httpx.Response) -> str:
    """Return the error and details of the envelope, or the HTTP reason if a proxy responded."""
    try:
        envelope = response.json()
        issues = (f"{issue['path']}: {issue['message']}" for issue in envelope.get("details") or ())
        return "; ".join([str(envelope["error"]), *issues])
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.reason_phrase

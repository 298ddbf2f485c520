"""API keys: ``lsk_<id>_<secret>``, stored only as a digest, and the set of keys that this process accepts.

A key holds 256 random bits, so a plain SHA-256 is enough: there is nothing to guess that a slow hash would protect.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from livescore.http_errors import RETRY_AFTER, HttpError
from livescore.outages import ServerAway
from livescore.settings import Settings

log = structlog.get_logger(__name__)

SCOPES = ("read", "write", "admin")
"""From the least to the most; each includes those before it."""

_ID_BYTES = 6  # 48 bits tell keys apart; they are no secret
_SECRET_BYTES = 32
# Compared when no such key exists, so that an unknown id costs what a wrong secret costs.
_NOBODY = "0" * 64

# Connections of a revoked key that are closed before the event loop gets its turn.
_CLOSED_PER_TURN = 250

# Characters. A shorter administrator's key could be guessed: `openssl rand -base64 24` prints 32.
_SHORTEST_ADMIN_KEY = 16


def _challenge(parameters: str = "") -> dict[str, str]:
    """Return the ``WWW-Authenticate`` header of RFC 6750."""
    return {"WWW-Authenticate": f'Bearer realm="livescore"{parameters}'}


class AccessDenied(HttpError):
    """The request may not proceed with the key that it carries, or without one."""

    status = 401
    headers: Mapping[str, str] = _challenge()


class MissingKey(AccessDenied):
    """The request carries no key and needs one."""

    message = "API key required"


class NoKeyExists(AccessDenied):
    """The request needs a key and this deployment has no valid one; the message names the command that creates it."""

    def __init__(self, scope: str) -> None:
        way_out = "unset READ_KEYS_REQUIRED" if scope == "read" else "set ALLOW_ANONYMOUS_WRITES=true"
        command = f"livescore keys create NAME --scope {scope}"
        super().__init__(f"API key required, and no valid key exists: create one with `{command}`, or {way_out}")


class InvalidKey(AccessDenied):
    """The key is malformed, unknown or revoked; the response does not say which."""

    message = "Invalid API key"
    headers = _challenge(', error="invalid_token"')


class InsufficientScope(AccessDenied):
    """The key is valid, but its scopes do not include the one that the request needs."""

    status = 403

    def __init__(self, scope: str) -> None:
        super().__init__(f"API key lacks the scope '{scope}'")
        self.headers = _challenge(f', error="insufficient_scope", scope="{scope}"')


class KeysUnknown(AccessDenied):
    """A source of keys has never been read, so no request can be authorized yet."""

    status = 503
    message = "API keys cannot be read yet: try again in a moment"
    headers = RETRY_AFTER


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The stored part of a key. A revoked key grants nothing, but shows that keys are in use here."""

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    revoked: bool = False

    def grants(self, scope: str) -> bool:
        """Return whether this key includes ``scope``, one of :data:`SCOPES`."""
        needed = SCOPES.index(scope)
        return any(SCOPES.index(own) >= needed for own in self.scopes if own in SCOPES)


def generate(name: str, scopes: Sequence[str]) -> tuple[str, ApiKey]:
    """A new key: its text, shown once and never stored, and the record to store.

    Raises:
        ValueError: for a scope that does not exist, or none.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise ValueError(f"scopes are {', '.join(SCOPES)}; not {', '.join(unknown) or 'none'}")
    identifier, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return f"lsk_{identifier}_{secret}", ApiKey(identifier, name, digest(secret), tuple(scopes))


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret in a key's text; None when it is no such text."""
    prefix, _, rest = text.partition("_")
    identifier, _, secret = rest.partition("_")
    return (identifier, secret) if prefix == "lsk" and identifier and secret else None


def digest(secret: str) -> str:
    """What is stored of a secret: its SHA-256 in hexadecimal."""
    # A client may send anything, lone surrogates included: it shall be wrong, not an error.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def verify(key: ApiKey | None, secret: str) -> bool:
    """Whether ``secret`` belongs to ``key``, in the same time for a wrong secret, an unknown and a revoked key."""
    equal = hmac.compare_digest(key.digest if key else _NOBODY, digest(secret))
    return equal and key is not None and not key.revoked


Loader = Callable[[], Awaitable[Iterable[ApiKey]]]
"""Reads all keys of a source, the revoked ones included; raises when the source is away."""


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """A connection that a key opened; ``on_revoked`` closes it."""

    key: ApiKey
    scope: str
    on_revoked: Callable[[], None]


class Keyring:
    """The keys that this process accepts: of its loaders (the table), two files and ``DEV_API_KEY``.

    A key stops working at the next :meth:`refresh` after it was revoked; call it every few seconds. A source that
    cannot be read keeps its last good keys; until it was read once, whatever needs a key is refused.
    """

    def __init__(self, settings: Settings, *loaders: Loader) -> None:
        self._loaders = loaders
        self._loaded: list[tuple[ApiKey, ...] | None] = [None] * len(loaders)
        self._failing: set[int] = set()
        self._file = _KeyFile(settings.api_keys_file) if settings.api_keys_file else None
        self._admin = _AdminKeyFile(settings.admin_key_file) if settings.admin_key_file else None
        self._development = _development_key(settings)
        self._keys: dict[str, ApiKey] = {}
        self._configured = bool(self._file or self._admin or self._development)
        self._read_keys_required = settings.read_keys_required
        self._anonymous_writes = settings.allow_anonymous_writes
        self._production = settings.is_production
        self._watches: dict[ApiKey, set[Watch]] = {}
        self._warned = False

    @property
    def configured(self) -> bool:
        """Whether keys are in use. Stays true once a key was seen: revoking the last key must not open the service."""
        return self._configured or not self.complete

    @property
    def complete(self) -> bool:
        """Whether every source has been read at least once."""
        return None not in self._loaded

    @property
    def usable(self) -> bool:
        """Whether any key is valid now."""
        fixed = self._development is not None or (self._admin is not None and self._admin.key is not None)
        return fixed or any(not key.revoked for key in self._keys.values())

    @property
    def problem(self) -> str | None:
        """Why no request can be served yet, in one sentence; None when some can."""
        if not self.complete:
            return "API keys not read yet"
        if self._read_keys_required and not self.usable:
            return (
                "READ_KEYS_REQUIRED is set and no valid API key exists: "
                "create one with `livescore keys create NAME --scope read`"
            )
        return None

    async def refresh(self) -> None:
        """Read every source again, and close the connections of keys that have been revoked since.

        A source that fails is logged once and keeps its last good keys.
        """
        for file in (self._file, self._admin):
            if file:
                file.refresh()
        await self._apply()  # a table that hangs must not delay what a file revokes
        for number, load in enumerate(self._loaders):
            await self._load(number, load)
        await self._apply()

    async def _apply(self) -> None:
        self._keys = self._merged()
        self._configured = self._configured or bool(self._keys)
        self._warn_of_missing_keys()
        await self._close_revoked()

    def watch(self, key: ApiKey, scope: str, on_revoked: Callable[[], None]) -> Watch:
        """Call ``on_revoked`` once as soon as ``key`` no longer grants ``scope``: now, if it does not already.

        Call :meth:`unwatch` when the connection has ended.
        """
        watch = Watch(key, scope, on_revoked)
        if self._grants(watch):
            self._watches.setdefault(key, set()).add(watch)
        else:
            on_revoked()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a connection; does nothing for one that is already forgotten."""
        watches = self._watches.get(watch.key, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.key, None)

    def authenticate(self, headers: Mapping[str, str]) -> ApiKey | None:
        """The key that a request's headers (lower-case, or case-insensitive) carry; None when they carry none.

        Raises:
            InvalidKey: when they carry one that is malformed, unknown or revoked.
        """
        text = _presented(headers)
        if text is None:
            return None
        key = self._find(text)
        if key is None:
            raise InvalidKey
        return key

    def authorize(self, headers: Mapping[str, str], scope: str) -> ApiKey | None:
        """Return the key that lets these headers use ``scope``; None where no key is needed.

        Raises:
            MissingKey: if the headers carry no key.
            NoKeyExists: if a key is needed and there is no valid one at all.
            InvalidKey: if the key is malformed, unknown or revoked.
            InsufficientScope: if the key does not include the scope.
            KeysUnknown: while a source of keys has never been read, and no other source has the key.
        """
        text = _presented(headers)
        if text is None and scope == "write" and self._anonymous_writes:
            return None
        if self._is_open(scope):
            return None
        key = None if text is None else self._find(text)
        if key is None:
            raise self._refusal(text, scope)
        if not key.grants(scope):
            raise InsufficientScope(scope)
        return key

    def _is_open(self, scope: str) -> bool:
        """Whether everybody has this scope because keys have never been used; never in production."""
        needed = self._read_keys_required if scope == "read" else self._production
        return not (needed or self.configured)

    def _refusal(self, text: str | None, scope: str) -> AccessDenied:
        if not self.complete:
            return KeysUnknown()
        if text is not None:
            return InvalidKey()
        return MissingKey() if self.usable else NoKeyExists(scope)

    def _find(self, text: str) -> ApiKey | None:
        identifier, secret = parse(text) or ("", text)
        key = self._keys.get(identifier)
        found = key if verify(key, secret) else None
        for fixed in (self._development, self._admin.key if self._admin else None):
            # Compared in any case, so that the time says nothing about the key.
            if verify(fixed, text) and found is None:
                found = fixed
        return found

    def _grants(self, watch: Watch) -> bool:
        """Whether the key of a connection is still the one that opened it, and still includes its scope."""
        fixed = (self._development, self._admin.key if self._admin else None)
        current = watch.key if watch.key in fixed else self._keys.get(watch.key.id)
        return (
            current is not None
            and not current.revoked
            and current.digest == watch.key.digest
            and current.grants(watch.scope)
        )

    async def _close_revoked(self) -> None:
        closed = 0
        for watch in [watch for watches in self._watches.values() for watch in watches if not self._grants(watch)]:
            self.unwatch(watch)
            watch.on_revoked()
            closed += 1
            if closed % _CLOSED_PER_TURN == 0:
                await asyncio.sleep(0)
        if closed:
            log.info("closed connections of revoked API keys", connections=closed)

    def _warn_of_missing_keys(self) -> None:
        """Log once that requests are refused for want of a key, and again after a key has come and gone."""
        refused = [
            name
            for name, needed in (
                ("reads", self._read_keys_required),
                ("writes", self._production and not self._anonymous_writes),
            )
            if needed
        ]
        missing = self.complete and not self.usable and bool(refused)
        if missing and not self._warned:
            log.warning(
                "requests are refused because no API key exists: create one with `livescore keys create NAME`",
                refused=refused,
            )
        self._warned = missing

    async def _load(self, number: int, load: Loader) -> None:
        try:
            self._loaded[number] = tuple(await load())
            self._failing.discard(number)
        except ServerAway:
            return  # logged as an outage of the server; the last good keys stay
        except Exception as error:  # whatever a driver raises, the last good keys stay
            if number not in self._failing:
                self._failing.add(number)
                log.warning("API keys could not be loaded, keeping the last ones", error=repr(error))

    def _merged(self) -> dict[str, ApiKey]:
        merged: dict[str, ApiKey] = {}
        for keys in (*self._loaded, self._file.keys if self._file else ()):
            for key in keys or ():
                if key.id not in merged or not merged[key.id].revoked:  # revoked in one source is revoked
                    merged[key.id] = key
        return merged


class _Entry(BaseModel):
    """One key in the file; unknown members are left to newer versions."""

    model_config = ConfigDict(extra="ignore")

    id: str
    name: str
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Literal["read", "write", "admin"], ...]
    revoked: bool = False


_entries = TypeAdapter(list[_Entry])


class _KeyFile:
    """The keys of a JSON file."""

    def __init__(self, path: Path) -> None:
        self.keys: tuple[ApiKey, ...] = ()
        self._file = _WatchedFile("API_KEYS_FILE", path, self._parse)

    def refresh(self) -> None:
        self._file.refresh()

    def _parse(self, content: bytes) -> None:
        entries = _entries.validate_python(json.loads(content))
        self.keys = tuple(ApiKey(**entry.model_dump()) for entry in entries)


class _AdminKeyFile:
    """The text of one key with scope ``admin``: any text of 16 characters or more, spaces around it ignored."""

    def __init__(self, path: Path) -> None:
        self.key: ApiKey | None = None
        self._file = _WatchedFile("ADMIN_KEY_FILE", path, self._parse)

    def refresh(self) -> None:
        self._file.refresh()

    def _parse(self, content: bytes) -> None:
        text = content.decode().strip()
        if len(text) < _SHORTEST_ADMIN_KEY:
            raise ValueError("too short")
        self.key = ApiKey("admin", "ADMIN_KEY_FILE", digest(text), ("admin",))


class _WatchedFile:
    """A file that is parsed again whenever it changes, as a mounted Secret does by replacing a link."""

    def __init__(self, variable: str, path: Path, parse_content: Callable[[bytes], None]) -> None:
        self._variable = variable
        self._path = path
        self._parse_content = parse_content
        self._version: tuple[int, ...] | None = None
        self._logged = ""

    def refresh(self) -> None:
        """Parse the file if it has changed. A file that cannot be read or parsed is logged once per cause."""
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._version:
                self._parse_content(self._path.read_bytes())
                self._version = version
            self._logged = ""
        except (OSError, ValueError) as error:
            self._log_once(type(error).__name__)

    def _log_once(self, reason: str) -> None:
        # This runs every few seconds. The error's own text could quote the file.
        if reason != self._logged:
            self._logged = reason
            message = f"{self._variable} cannot be read, keeping the last keys"
            log.error(message, path=str(self._path), reason=reason)


def _development_key(settings: Settings) -> ApiKey | None:
    if settings.dev_api_key is None:
        return None
    return ApiKey("development", "DEV_API_KEY", digest(settings.dev_api_key.get_secret_value()), ("write",))


def _presented(headers: Mapping[str, str]) -> str | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")

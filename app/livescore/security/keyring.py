"""The API keys that this process accepts, and the connections that depend on them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from livescore.outages import ServerAway
from livescore.security.key_files import AdminKeyFile, KeyFile
from livescore.security.keys import (
    AccessDenied,
    ApiKey,
    InsufficientScope,
    InvalidKey,
    KeysUnknown,
    MissingKey,
    NoKeyExists,
    digest,
    parse,
    verify,
)
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Connections of revoked keys that are closed before other tasks of the event loop run.
_CLOSED_PER_TURN = 250


Loader = Callable[[], Awaitable[Iterable[ApiKey]]]
"""Returns all keys of a source, including revoked ones; raises if the source is away."""


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """A connection that a key opened.

    Attributes:
        scope: The scope that the connection needs.
        on_revoked: Closes the connection.
    """

    key: ApiKey
    scope: str
    on_revoked: Callable[[], None]


class Keyring:
    """The keys that this process accepts, from its loaders (the table), two files and ``DEV_API_KEY``.

    Call :meth:`refresh` every few seconds: a revoked key works until then. If a source cannot be read, its last keys
    stay valid. Until each source has been read once, requests that need a key are refused.
    """

    def __init__(self, settings: Settings, *loaders: Loader) -> None:
        self._loaders = loaders
        self._loaded: list[tuple[ApiKey, ...] | None] = [None] * len(loaders)
        # Indexes of loaders whose last call failed.
        self._failing: set[int] = set()
        self._file = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
        self._admin = AdminKeyFile(settings.admin_key_file) if settings.admin_key_file else None
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
        """Return True if keys are in use.

        It stays True once a key was seen, so that revoking the last key does not open the service.
        """
        return self._configured or not self.complete

    @property
    def complete(self) -> bool:
        """Return True if every source has been read at least once."""
        return None not in self._loaded

    @property
    def usable(self) -> bool:
        """Return True if any key is valid."""
        return bool(self._fixed_keys()) or any(not key.revoked for key in self._keys.values())

    @property
    def problem(self) -> str | None:
        """Return why no request can be served yet, in one sentence; None if some can."""
        if not self.complete:
            return "API keys not read yet"
        if self._read_keys_required and not self.usable:
            return (
                "READ_KEYS_REQUIRED is set and no valid API key exists: "
                "create one with `livescore keys create NAME --scope read`"
            )
        return None

    async def refresh(self) -> None:
        """Read every source again, and close the connections of keys that have been revoked.

        If a source fails, this is logged once and its last keys stay valid.
        """
        for file in (self._file, self._admin):
            if file:
                file.refresh()
        await self._apply()  # before the table is read: if it hangs, revocations in the files must not wait
        for number, load in enumerate(self._loaders):
            await self._load(number, load)
        await self._apply()

    async def _apply(self) -> None:
        self._keys = self._merged()
        self._configured = self._configured or bool(self._keys)
        self._warn_of_missing_keys()
        await self._close_revoked()

    def watch(self, key: ApiKey, scope: str, on_revoked: Callable[[], None]) -> Watch:
        """Call ``on_revoked`` once as soon as ``key`` no longer grants ``scope``; at once if it does not now.

        Call :meth:`unwatch` when the connection has ended.
        """
        watch = Watch(key, scope, on_revoked)
        if self._grants(watch):
            self._watches.setdefault(key, set()).add(watch)
        else:
            on_revoked()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a connection. Idempotent."""
        watches = self._watches.get(watch.key, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.key, None)

    def authorize(self, headers: Mapping[str, str], scope: str) -> ApiKey | None:
        """Return the key that authorizes a request with these headers for ``scope``; None if no key is needed.

        Names of headers are in lower case, or the mapping ignores case.

        Raises:
            MissingKey: The headers contain no key.
            NoKeyExists: A key is needed and no valid key exists.
            InvalidKey: The key is malformed, unknown or revoked.
            InsufficientScope: The key does not include the scope.
            KeysUnknown: A source has never been read, and no other source contains the key.
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
        """Return True if this scope needs no key, because keys have never been used. Writes in production need one."""
        needs_key = self._read_keys_required if scope == "read" else self._production
        return not (needs_key or self.configured)

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
        for fixed in self._fixed_keys():
            # Compared even if a key was found, so that the time does not depend on the key.
            if verify(fixed, text) and found is None:
                found = fixed
        return found

    def _fixed_keys(self) -> list[ApiKey]:
        """Return the keys that consist of a secret alone: DEV_API_KEY and that of ADMIN_KEY_FILE."""
        keys = (self._development, self._admin.key if self._admin else None)
        return [key for key in keys if key is not None]

    def _grants(self, watch: Watch) -> bool:
        """Return True if the key that opened a connection is still valid for its scope, with the same secret."""
        current = watch.key if watch.key in self._fixed_keys() else self._keys.get(watch.key.id)
        return (
            current is not None
            and not current.revoked
            and current.digest == watch.key.digest
            and current.grants(watch.scope)
        )

    async def _close_revoked(self) -> None:
        watches = [watch for watches in self._watches.values() for watch in watches]
        revoked = [watch for watch in watches if not self._grants(watch)]
        for number, watch in enumerate(revoked, start=1):
            self.unwatch(watch)
            watch.on_revoked()
            if number % _CLOSED_PER_TURN == 0:
                await asyncio.sleep(0)
        if revoked:
            log.info("closed connections of revoked API keys", connections=len(revoked))

    def _warn_of_missing_keys(self) -> None:
        """Log once that requests are refused because no key exists, and again after a key was valid meanwhile."""
        refused = []
        if self._read_keys_required:
            refused.append("reads")
        if self._production and not self._anonymous_writes:
            refused.append("writes")
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
            return  # logged as an outage of the server; the last keys stay valid
        except Exception as error:  # drivers may raise anything; the last keys stay valid
            if number not in self._failing:
                self._failing.add(number)
                log.warning("API keys could not be loaded, keeping the last ones", error=repr(error))

    def _merged(self) -> dict[str, ApiKey]:
        """Return the keys of all sources by id. A key that is revoked in one source is revoked."""
        merged: dict[str, ApiKey] = {}
        for keys in (*self._loaded, self._file.keys if self._file else ()):
            for key in keys or ():
                if key.id not in merged or not merged[key.id].revoked:
                    merged[key.id] = key
        return merged


def _development_key(settings: Settings) -> ApiKey | None:
    if settings.dev_api_key is None:
        return None
    return ApiKey("development", "DEV_API_KEY", digest(settings.dev_api_key.get_secret_value()), ("write",))


def _presented(headers: Mapping[str, str]) -> str | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")

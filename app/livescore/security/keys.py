"""API keys: ``lsk_<id>_<secret>``, kept only as a digest, and the set of them that this process believes.

A key holds 256 random bits, so a plain SHA-256 is enough: there is nothing to guess that a slow hash would protect.
"""

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

from livescore.settings import Settings

log = structlog.get_logger(__name__)

SCOPES = ("read", "write", "admin")
"""From the least to the most; each includes those before it."""

_ID_BYTES = 6  # 48 bits tell keys apart; they are no secret
_SECRET_BYTES = 32
# Compared when no such key exists, so that an unknown id costs what a wrong secret costs.
_NOBODY = "0" * 64


class AccessDenied(Exception):
    """A request that may not proceed: ``status``, ``message`` and ``headers`` are its answer."""

    status = 401
    message = "Access denied"
    challenge = 'Bearer realm="livescore"'

    def __init__(self) -> None:
        super().__init__(self.message)

    @property
    def headers(self) -> dict[str, str]:
        """The ``WWW-Authenticate`` challenge of RFC 6750."""
        return {"WWW-Authenticate": self.challenge}


class MissingKey(AccessDenied):
    """No key was sent where one is needed."""

    message = "API key required"


class InvalidKey(AccessDenied):
    """The key is malformed, unknown or revoked; which of them is nobody's business."""

    message = "Invalid API key"
    challenge = f'{AccessDenied.challenge}, error="invalid_token"'


class InsufficientScope(AccessDenied):
    """The key is good, but not for this."""

    status = 403

    def __init__(self, scope: str) -> None:
        self.message = f"API key lacks the scope '{scope}'"
        self.challenge = f'{AccessDenied.challenge}, error="insufficient_scope", scope="{scope}"'
        super().__init__()


class KeysUnknown(AccessDenied):
    """No source of keys has been read yet: who may do what cannot be said."""

    status = 503
    message = "API keys cannot be read yet: try again in a moment"

    @property
    def headers(self) -> dict[str, str]:
        """When to ask again."""
        return {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key. A revoked one opens nothing, but tells that keys are in use here."""

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    revoked: bool = False

    def grants(self, scope: str) -> bool:
        """Whether this key may do what ``scope`` (one of :data:`SCOPES`) stands for."""
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


class Keyring:
    """The keys this process believes: of its loaders (the table), of ``API_KEYS_FILE`` and ``DEV_API_KEY``.

    A key stops working at the next :meth:`refresh` after it was revoked; call it every few seconds. A source that
    cannot be read keeps its last good keys, and closes what it guards if it never had any.
    """

    def __init__(self, settings: Settings, *loaders: Loader) -> None:
        self._loaders = loaders
        self._loaded: list[tuple[ApiKey, ...] | None] = [None] * len(loaders)
        self._failing: set[int] = set()
        self._file = _KeyFile(settings.api_keys_file) if settings.api_keys_file else None
        self._development = _development_key(settings)
        self._keys: dict[str, ApiKey] = {}
        self._configured = bool(self._file or self._development)

    @property
    def configured(self) -> bool:
        """Whether keys are in use: once one was seen it stays so, or revoking the last one would open every door."""
        return self._configured or not self.complete

    @property
    def complete(self) -> bool:
        """Whether every source has been read at least once."""
        return None not in self._loaded

    async def refresh(self) -> None:
        """Read every source again; a source that fails is logged once and keeps its last good keys."""
        for number, load in enumerate(self._loaders):
            await self._load(number, load)
        if self._file:
            self._file.refresh()
        self._keys = self._merged()
        self._configured = self._configured or bool(self._keys)

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
        """The key that lets these headers do what ``scope`` stands for; None where no key is in use at all.

        Raises:
            MissingKey: when there is none.
            InvalidKey: when it is malformed, unknown or revoked.
            InsufficientScope: when it is good for less.
            KeysUnknown: while a source of keys has never been read, and no other one knows the key.
        """
        if not self.configured:
            return None
        try:
            key = self.authenticate(headers)
        except InvalidKey:
            key = None
            if self.complete:
                raise
        if key is None and not self.complete:
            raise KeysUnknown
        if key is None:
            raise MissingKey
        if not key.grants(scope):
            raise InsufficientScope(scope)
        return key

    def _find(self, text: str) -> ApiKey | None:
        identifier, secret = parse(text) or ("", text)
        key = self._keys.get(identifier)
        stored, development = verify(key, secret), verify(self._development, text)
        if stored:
            return key
        return self._development if development else None

    async def _load(self, number: int, load: Loader) -> None:
        try:
            self._loaded[number] = tuple(await load())
            self._failing.discard(number)
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
    """The keys of a JSON file, read again whenever it changes, as a mounted Secret does by moving a link."""

    def __init__(self, path: Path) -> None:
        self.keys: tuple[ApiKey, ...] = ()
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._complaint = ""

    def refresh(self) -> None:
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._seen:
                self.keys = self._read()
                self._seen = version
            self._complaint = ""
        except (OSError, ValueError) as error:
            self._complain(type(error).__name__)

    def _read(self) -> tuple[ApiKey, ...]:
        entries = _entries.validate_python(json.loads(self._path.read_bytes()))
        return tuple(ApiKey(**entry.model_dump()) for entry in entries)

    def _complain(self, reason: str) -> None:
        # Once per cause: this runs every few seconds. The error's own text could quote the file.
        if reason != self._complaint:
            self._complaint = reason
            log.error("API_KEYS_FILE cannot be read, keeping the last keys", path=str(self._path), reason=reason)


def _development_key(settings: Settings) -> ApiKey | None:
    if settings.dev_api_key is None:
        return None
    return ApiKey("development", "DEV_API_KEY", digest(settings.dev_api_key.get_secret_value()), ("write",))


def _presented(headers: Mapping[str, str]) -> str | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")

"""API keys, ``lsk_<id>_<secret>``, and the errors of requests without a valid one.

Only a digest of the secret is stored. The secret has 256 random bits, so a plain SHA-256 is enough: a slow hash
protects secrets that can be guessed.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from livescore.http_errors import RETRY_AFTER, HttpError

SCOPES = ("read", "write", "admin")
"""In ascending order. Each scope includes those before it."""

_ID_BYTES = 6  # 48 bits distinguish keys; the id is not secret
_SECRET_BYTES = 32
# Compared if no such key exists, so that an unknown id takes as long as a wrong secret.
_NO_DIGEST = "0" * 64


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
        ways_out = {"read": ", or unset READ_KEYS_REQUIRED", "write": ", or set ALLOW_ANONYMOUS_WRITES=true"}
        command = f"livescore keys create NAME --scope {scope}"
        way_out = ways_out.get(scope, "")
        super().__init__(f"API key required, and no valid key exists: create one with `{command}`{way_out}")


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
    """The stored part of a key. A revoked key grants nothing, but shows that keys are in use."""

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    revoked: bool = False

    def grants(self, scope: str) -> bool:
        """Return True if this key includes ``scope``, one of :data:`SCOPES`."""
        needed = SCOPES.index(scope)
        return any(SCOPES.index(own) >= needed for own in self.scopes if own in SCOPES)


def generate(name: str, scopes: Sequence[str]) -> tuple[str, ApiKey]:
    """Generate a key. Return its text, which is shown once and never stored, and the record to store.

    Raises:
        ValueError: A scope does not exist, or none is given.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ValueError(f"unknown scope: {', '.join(unknown)}; the scopes are {', '.join(SCOPES)}")
    if not scopes:
        raise ValueError(f"a key needs a scope; the scopes are {', '.join(SCOPES)}")
    identifier = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return f"lsk_{identifier}_{secret}", ApiKey(identifier, name, digest(secret), tuple(scopes))


def parse(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of a key's text; None if it is not the text of a key."""
    prefix, _, rest = text.partition("_")
    identifier, _, secret = rest.partition("_")
    if prefix == "lsk" and identifier and secret:
        return identifier, secret
    return None


def digest(secret: str) -> str:
    """Return the stored form of a secret: its SHA-256 in hexadecimal."""
    # Clients may send anything, including lone surrogates, which must be wrong rather than an error.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def verify(key: ApiKey | None, secret: str) -> bool:
    """Return True if ``secret`` belongs to a valid ``key``.

    A wrong secret, an unknown key (None) and a revoked key take the same time.
    """
    equal = hmac.compare_digest(key.digest if key else _NO_DIGEST, digest(secret))
    return equal and key is not None and not key.revoked

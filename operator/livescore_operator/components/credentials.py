"""Passwords of the servers that the operator runs: made once, kept as long as the data that they open."""

import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Set

from livescore_operator.components import server
from livescore_operator.components.common import WATCH, Credentials, manifest
from livescore_operator.errors import Waiting
from livescore_operator.resource import LiveScore, Manifest

PASSWORDS = ("postgres-password", "redis-password")

# Bytes of randomness: nobody guesses 192 bits.
_BYTES = 24


def name(resource: LiveScore) -> str:
    """Name of the Secret."""
    return f"{resource.name}-credentials"


def new() -> str:
    """A password that is safe within URLs."""
    return secrets.token_urlsafe(_BYTES)


def kept(resource: LiveScore, found: Manifest | None, claims: Set[str], make: Callable[[], str] = new) -> Credentials:
    """The passwords that the Secret has, and new ones for those that it lacks.

    Args:
        resource: Whose passwords these are.
        found: The Secret as it is; None where there is none.
        claims: Names of the volume claims that exist.
        make: Makes a new password.

    Raises:
        Waiting: where the volume of PostgreSQL knows a password that nobody else knows any more.
    """
    data = (found or {}).get("data") or {}
    _require_password(resource, data, claims)
    passwords = (b64decode(data[key]).decode() if key in data else make() for key in PASSWORDS)
    return Credentials(*passwords)


def secret(resource: LiveScore, credentials: Credentials) -> Manifest:
    """The Secret. It has no owner: it outlives the LiveScore as its volumes do, which could not be read without it."""
    passwords = dict(zip(PASSWORDS, (credentials.postgres_password, credentials.redis_password), strict=True))
    texts = {**passwords, **urls(resource, credentials)}
    return manifest(
        resource,
        "v1",
        "Secret",
        name(resource),
        "config",
        labels={WATCH: "true"},
        owned=False,
        type="Opaque",
        data={key: b64encode(text.encode()).decode() for key, text in texts.items()},
    )


def urls(resource: LiveScore, credentials: Credentials) -> dict[str, str]:
    """URLs of the servers that the operator runs, by their keys in the Secret."""
    found, spec = {}, resource.spec
    if spec.postgres.mode == "standalone":
        address = f"{server.host(resource, 'postgres')}:{server.POSTGRES_PORT}"
        found["database-url"] = f"postgresql://livescore:{credentials.postgres_password}@{address}/livescore"
    if spec.redis.mode == "standalone":
        address = f"{server.host(resource, 'redis')}:{server.REDIS_PORT}"
        found["redis-url"] = f"redis://:{credentials.redis_password}@{address}/0"
    return found


def _require_password(resource: LiveScore, data: dict[str, str], claims: Set[str]) -> None:
    claim = server.claim(resource, "postgres")
    if resource.spec.postgres.mode == "standalone" and claim in claims and "postgres-password" not in data:
        raise Waiting(
            "CredentialsLost",
            f"volume {claim} holds a database, but Secret {name(resource)} with its postgres-password is gone: bring "
            f"the Secret back, or delete the PersistentVolumeClaim {claim} and with it all data",
            condition="DatabaseReady",
        )

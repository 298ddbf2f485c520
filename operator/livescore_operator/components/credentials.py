"""Passwords of the servers that the operator runs: generated once, kept as long as the data that they protect.

People edit these Secrets, so surrounding whitespace of values is ignored. Any other character is valid in a password.
"""

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Set
from urllib.parse import quote

from livescore_operator.components import server
from livescore_operator.components.common import Credentials, manifest
from livescore_operator.errors import Terminal, Waiting
from livescore_operator.kinds import WATCHED_SECRETS
from livescore_operator.resource import KeyReference, LiveScore, Manifest

PASSWORDS = ("postgres-password", "redis-password")

# Key of the Secret with the API key of the administrator, which the API reads from a mounted file.
ADMIN_KEY = "admin-key"

# Key of the Secret with the SHA-256 of the password of Redis, as ACL rules have it.
REDIS_HASH = "redis-password-sha256"

# Key of the Secret with the key of the checksums on pods.
CHECKSUM_KEY = "checksum-key"

# Minimum length of an API key in characters; the API rejects shorter ones.
SHORTEST_ADMIN_KEY = 16

# Bytes of randomness: 192 bits cannot be guessed.
_BYTES = 24

# What drivers take for user, password, hosts and ports after `://`. Unlike RFC 3986, libpq takes everything up to the
# first @ that no / precedes for the user.
_LIBPQ_AUTHORITY = re.compile(r"([^@/]*@)?[^/?]*")
_AUTHORITY = re.compile(r"[^/?#]*")

# A host name or address, with its port.
_HOST = re.compile(r"([\w.~%-]+|\[[\w:.%]+\])?(:[0-9]*)?", re.ASCII)


def name(resource: LiveScore) -> str:
    """Return the name of the Secret."""
    return f"{resource.name}-credentials"


def new() -> str:
    """Return a random password."""
    return secrets.token_urlsafe(_BYTES)


def text(secret: Manifest, reference: KeyReference) -> str:
    """Return a value of a Secret without what editors and `echo` add: surrounding whitespace, a byte-order mark.

    Raises:
        Terminal: Raised if the value is not UTF-8, or contains a NUL character. As in all errors of this module, the
            message names the Secret and the key, and contains no part of the value.
    """
    try:
        value = b64decode(secret["data"][reference.key]).decode("utf-8-sig").strip()
    except ValueError:
        raise _invalid(reference, "is not UTF-8 text: encode the value as UTF-8") from None
    if "\0" in value:
        raise _invalid(reference, "contains a NUL character, which no environment variable can hold: remove it")
    return value


def require_url(secret: Manifest, reference: KeyReference) -> None:
    """Check that a value of a Secret is an unambiguous URL.

    With a raw `@` or `/` in the password, drivers take a part of it for the host, and show it in error messages.

    Raises:
        Terminal: Raised if the value is empty, or its user or password is not percent-encoded.
    """
    value = text(secret, reference)
    if not value:
        raise _invalid(reference, "is empty: set it to a URL")
    if _is_ambiguous(value):
        raise _invalid(
            reference,
            "is a URL whose user or password contains reserved characters: percent-encode them, @ as %40, / as %2F, "
            ": as %3A, # as %23, ? as %3F and % as %25",
        )


def _is_ambiguous(url: str) -> bool:
    """Return True if a part of the user or password may be taken for a host, a path or an option."""
    scheme, _, rest = url.partition("://")
    is_postgres = scheme.startswith("postgres")
    authority = (_LIBPQ_AUTHORITY if is_postgres else _AUTHORITY).match(rest)[0]  # type: ignore[index]  # matches always
    # libpq ends the user at the first @, Python's parser at the last one.
    hosts = (
        (authority.partition("@") if is_postgres else authority.rpartition("@"))[2] if "@" in authority else authority
    )
    tail = rest[len(authority) :]
    path, _, query = tail.partition("?")
    options = [option for option in query.split("&") if "@" in option]
    if "@" in hosts or "@" in path or any("=" not in option.partition("@")[0] for option in options):
        return True
    return bool(options) and not all(_HOST.fullmatch(host) for host in hosts.split(","))


def _invalid(reference: KeyReference, problem: str) -> Terminal:
    return Terminal("Invalid", f"key {reference.key} of Secret {reference.name} {problem}")


def kept(resource: LiveScore, found: Manifest | None, claims: Set[str], make: Callable[[], str] = new) -> Credentials:
    """Return the passwords in the Secret, and new ones for missing ones.

    Args:
        resource: The LiveScore that the passwords belong to.
        found: The Secret; None if it does not exist.
        claims: Names of the existing volume claims.
        make: Generates a new password.

    Raises:
        Waiting: Raised if the volume of PostgreSQL exists, but its password does not.
        Terminal: Raised if a password cannot be used.
    """
    secret = found or {}
    data = secret.get("data") or {}
    _require_password(resource, data, claims)
    references = [KeyReference(name=name(resource), key=key) for key in PASSWORDS]
    postgres, redis = (_password(secret, one) if one.key in data else make() for one in references)
    admin_key = _admin_key(resource, secret) if ADMIN_KEY in data else f"lsk_admin_{make()}"
    checksum_key = text(secret, KeyReference(name=name(resource), key=CHECKSUM_KEY)) if CHECKSUM_KEY in data else ""
    passwords = Credentials(postgres, redis, admin_key, checksum_key or make())
    _require_one_line(resource, passwords, claims)
    return passwords


def secret(resource: LiveScore, credentials: Credentials) -> Manifest:
    """Return the Secret. It has no owner: like the volumes that need its passwords, it outlives the LiveScore."""
    passwords = dict(zip(PASSWORDS, (credentials.postgres_password, credentials.redis_password), strict=True))
    keys = {ADMIN_KEY: credentials.admin_key, CHECKSUM_KEY: credentials.checksum_key}
    values = {**passwords, **keys, **_hashes(resource, credentials), **urls(resource, credentials)}
    return manifest(
        resource,
        "v1",
        "Secret",
        name(resource),
        "config",
        labels=WATCHED_SECRETS,
        owned=False,
        type="Opaque",
        data={key: b64encode(value.encode()).decode() for key, value in values.items()},
    )


def urls(resource: LiveScore, credentials: Credentials) -> dict[str, str]:
    """Return the URLs of the servers that the operator runs, by their keys in the Secret."""
    found, spec = {}, resource.spec
    if spec.postgres.mode == "standalone":
        address = f"{server.host(resource, 'postgres')}:{server.POSTGRES_PORT}"
        found["database-url"] = f"postgresql://livescore:{_quoted(credentials.postgres_password)}@{address}/livescore"
    if spec.redis.mode == "standalone":
        address = f"{server.host(resource, 'redis')}:{server.REDIS_PORT}"
        found["redis-url"] = f"redis://:{_quoted(credentials.redis_password)}@{address}/0"
    return found


def _hashes(resource: LiveScore, credentials: Credentials) -> dict[str, str]:
    if resource.spec.redis.mode != "standalone":
        return {}
    return {REDIS_HASH: hashlib.sha256(credentials.redis_password.encode()).hexdigest()}


def _password(secret: Manifest, reference: KeyReference) -> str:
    value = text(secret, reference)
    if not value:
        raise _invalid(reference, "is empty: set a password")
    return value


def _admin_key(resource: LiveScore, secret: Manifest) -> str:
    reference = KeyReference(name=name(resource), key=ADMIN_KEY)
    value = text(secret, reference)
    if len(value) < SHORTEST_ADMIN_KEY:
        problem = f"has fewer than {SHORTEST_ADMIN_KEY} characters: set a longer API key, or remove it to get a new one"
        raise _invalid(reference, problem)
    return value


def _quoted(password: str) -> str:
    """Percent-encode a password for a URL."""
    return quote(password, safe="")


def _require_one_line(resource: LiveScore, passwords: Credentials, claims: Set[str]) -> None:
    """Reject a line break in the password of a new database: the PostgreSQL image would use only the first line."""
    new_database = resource.spec.postgres.mode == "standalone" and server.claim(resource, "postgres") not in claims
    if new_database and "\n" in passwords.postgres_password:
        reference = KeyReference(name=name(resource), key="postgres-password")
        raise _invalid(reference, "has several lines: use a password of one line for a new database")


def _require_password(resource: LiveScore, data: dict[str, str], claims: Set[str]) -> None:
    claim = server.claim(resource, "postgres")
    if resource.spec.postgres.mode == "standalone" and claim in claims and "postgres-password" not in data:
        raise Waiting(
            "CredentialsLost",
            f"volume {claim} holds a database, but Secret {name(resource)} with its postgres-password is missing: "
            f"restore the Secret, or delete the PersistentVolumeClaim {claim} and with it all data",
            condition="DatabaseReady",
        )

"""Who may ask the adapter: TLS with client certificates, users in request headers, reviews by the API server.

So every aggregated API server does it. The API server says in headers for whom it asks, and proves by a certificate of
the request-header authority that it is the one who says so. Whether that user may is a SubjectAccessReview.
"""

import json
import secrets
import ssl
import tempfile
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from cryptography.hazmat.primitives import serialization
from multidict import CIMultiDictProxy

from livescore_operator.metrics_api.certificates import Identity
from livescore_operator.resource import Manifest

Review = Callable[[Manifest], Awaitable[bool]]
"""Whether the spec of a SubjectAccessReview is allowed. Raises ReconcileError where nobody can say."""

AUTHENTICATED, ANONYMOUS = "system:authenticated", "system:anonymous"

# Seconds that an answer on somebody's rights is kept: as API servers do, only shorter. A right given is felt sooner.
ALLOWED_SECONDS, DENIED_SECONDS = 10.0, 5.0

# Answers that are kept; those who ask are few.
MAX_ANSWERS = 1000


class Unauthorized(Exception):
    """Nobody vouches for whoever asks; the text says what is missing."""


@dataclass(frozen=True)
class RequestHeaderConfig:
    """Whose word on users is taken, and in which headers it stands.

    Attributes:
        authorities: PEM of those who sign the certificates of API servers; empty where there are none.
        names: Common names that such a certificate may have; empty for any.
        user_headers: The first of these that is given names the user.
        group_headers: All of these name groups.
        extra_prefixes: Headers that begin so say more of the user; their rest is the key.
    """

    authorities: str
    names: frozenset[str] = frozenset()
    user_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, str]) -> "RequestHeaderConfig":
        """That in the data of the ConfigMap ``kube-system/extension-apiserver-authentication``.

        Raises:
            ValueError: a list in it is none.
        """
        return cls(
            authorities=data.get("requestheader-client-ca-file", ""),
            names=frozenset(_names(data, "requestheader-allowed-names")),
            user_headers=_names(data, "requestheader-username-headers"),
            group_headers=_names(data, "requestheader-group-headers"),
            extra_prefixes=_names(data, "requestheader-extra-headers-prefix"),
        )


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    found = json.loads(data.get(key) or "[]")
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} is no list of names")
    return tuple(found)


@dataclass(frozen=True)
class Caller:
    """For whom is asked."""

    user: str
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


# TLS


class ServerTls:
    """The TLS context of a listener, behind which its certificate and whom it trusts are exchanged while it serves.

    Attributes:
        context: for the listener. Before there is a certificate every handshake fails.
        config: whom it trusts; None before that is known.
    """

    def __init__(self) -> None:
        self.context = _context()
        self.context.sni_callback = self._select_context
        self.config: RequestHeaderConfig | None = None
        self._identity: Identity | None = None
        self._inner: ssl.SSLContext | None = None
        # Those that trust whom it trusts now, for as long as connections have them.
        self._current: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()

    @property
    def is_ready(self) -> bool:
        """Whether somebody could come in."""
        return self._inner is not None

    def set_identity(self, identity: Identity) -> None:
        """Show this certificate to new connections; those that are open stay as they are.

        Raises:
            ValueError: it is none that can be shown.
        """
        if identity != self._identity:
            self._replace_context(identity, self.config)
            self._identity = identity

    def is_current(self, connection: ssl.SSLObject) -> bool:
        """Whether a client was checked against whom is trusted now, and not against others before them."""
        return connection.context in self._current

    def set_client_config(self, config: RequestHeaderConfig) -> None:
        """Take the word of these, and of no others.

        Raises:
            ValueError: their certificates cannot be read.
        """
        if config != self.config:
            self._replace_context(self._identity, config)
            self.config = config

    def _replace_context(self, identity: Identity | None, config: RequestHeaderConfig | None) -> None:
        if identity is None or config is None:
            return
        context = _context()
        try:
            if config.authorities:
                context.load_verify_locations(cadata=config.authorities)
            _load(context, identity)
        except ssl.SSLError as error:
            raise ValueError(f"not a usable certificate: {error}") from None
        if config != self.config:
            self._current.clear()
        self._current.add(context)
        self._inner = context

    def _select_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        """Called at the beginning of every handshake, also where the client names no host."""
        if self._inner is None:
            return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)
        connection.context = self._inner
        return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Optional, so that probes need none and others get an answer that says why.
    context.verify_mode = ssl.CERT_OPTIONAL
    # A session that is taken up again would not be checked against whom is trusted by then.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    """Only files can be loaded, so the key is in one, encrypted, for a moment."""
    password = secrets.token_bytes(32)
    key = serialization.load_pem_private_key(identity.key.encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(identity.certificate.encode() + encrypted)
        file.flush()
        context.load_cert_chain(file.name, password=password)


# Authentication


def caller(
    config: RequestHeaderConfig | None,
    certificate: Mapping[str, Any] | None,
    headers: CIMultiDictProxy[str],
    now: float,
) -> Caller:
    """For whom a request is.

    Args:
        config: Whose word is taken.
        certificate: That of the client, as TLS has checked it and :meth:`ssl.SSLObject.getpeercert` tells it.
        headers: Those of the request.
        now: Seconds since 1970: connections may outlive a certificate.

    Raises:
        Unauthorized: nobody who may says so.
    """
    if config is None or not certificate:
        raise Unauthorized("a client certificate of the request-header authority is needed")
    if ssl.cert_time_to_seconds(certificate["notAfter"]) < now:
        raise Unauthorized("the client certificate has expired")
    if config.names and config.names.isdisjoint(_common_names(certificate)):
        raise Unauthorized("the client certificate has none of the names that may speak for users")
    user = next((headers[name] for name in config.user_headers if headers.get(name)), "")
    if not user:
        raise Unauthorized("no header names a user")
    return Caller(user, _groups(config, headers, user), tuple(sorted(_extra(config, headers).items())))


def _common_names(certificate: Mapping[str, Any]) -> set[str]:
    return {value for parts in certificate["subject"] for name, value in parts if name == "commonName"}


def _groups(config: RequestHeaderConfig, headers: CIMultiDictProxy[str], user: str) -> tuple[str, ...]:
    groups = [group for name in config.group_headers for group in headers.getall(name, [])]
    # The API server leaves it out where it asks for itself; rights of discovery are given to this group.
    return tuple(groups if user == ANONYMOUS or AUTHENTICATED in groups else [*groups, AUTHENTICATED])


def _extra(config: RequestHeaderConfig, headers: CIMultiDictProxy[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, value in _extras(config, headers):
        found[key] = (*found.get(key, ()), value)
    return found


def _extras(config: RequestHeaderConfig, headers: CIMultiDictProxy[str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        for prefix in config.extra_prefixes:
            if name.lower().startswith(prefix.lower()):
                yield unquote(name[len(prefix) :].lower()), value


# Authorization


class SubjectAccessAuthorizer:
    """What users may, as the API server says; its answers are kept for seconds.

    Args:
        review: asks it.
        clock: monotonic seconds.
    """

    def __init__(self, review: Review, clock: Callable[[], float] = time.monotonic) -> None:
        self._review = review
        self._clock = clock
        self._answers: dict[str, tuple[float, bool]] = {}

    async def allows(self, caller: Caller, attributes: Manifest) -> bool:
        """Whether somebody may do this: ``{"resourceAttributes": …}`` or ``{"nonResourceAttributes": …}``.

        Raises:
            ReconcileError: nobody can say.
        """
        extra = {key: list(values) for key, values in caller.extra}
        spec = {"user": caller.user, "groups": list(caller.groups), "extra": extra, **attributes}
        key = json.dumps(spec, sort_keys=True)
        until, allowed = self._answers.get(key, (0.0, False))
        if self._clock() >= until:
            allowed = await self._review(spec)
            self._keep(key, allowed)
        return allowed

    def _keep(self, key: str, allowed: bool) -> None:
        now = self._clock()
        if len(self._answers) >= MAX_ANSWERS:
            self._answers = {}
        self._answers[key] = (now + (ALLOWED_SECONDS if allowed else DENIED_SECONDS), allowed)

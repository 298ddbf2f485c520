"""Authentication of the requests that the API server forwards: request headers, trusted by a client certificate.

Every aggregated API server works this way: the API server names the user in headers, and proves with a certificate of
the request-header CA that it is allowed to. See "Kubernetes Aggregation Layer" in the Kubernetes documentation.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from multidict import CIMultiDictProxy

AUTHENTICATED, ANONYMOUS = "system:authenticated", "system:anonymous"


class Unauthorized(Exception):
    """The request is not authenticated; the message names what is missing."""


@dataclass(frozen=True)
class RequestHeaderConfig:
    """The client CA of the API server, and the headers in which it names the user.

    Attributes:
        authorities: CA certificates in PEM that sign the client certificates of API servers; empty if there are none.
        names: Accepted common names of the client certificate; empty to accept any.
        user_headers: Headers for the user name; the first non-empty one counts.
        group_headers: Headers for group names; all of them count.
        extra_prefixes: Prefixes of headers with extra attributes; the rest of the header name is the key.
    """

    authorities: str
    names: frozenset[str] = frozenset()
    user_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, str]) -> "RequestHeaderConfig":
        """Parse the data of the ConfigMap ``kube-system/extension-apiserver-authentication``.

        Raises:
            ValueError: A value is not a JSON list of strings.
        """
        return cls(
            authorities=data.get("requestheader-client-ca-file", ""),
            names=frozenset(_names(data, "requestheader-allowed-names")),
            user_headers=_names(data, "requestheader-username-headers"),
            group_headers=_names(data, "requestheader-group-headers"),
            extra_prefixes=_names(data, "requestheader-extra-headers-prefix"),
        )


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    names = json.loads(data.get(key) or "[]")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{key} is not a list of names")
    return tuple(names)


@dataclass(frozen=True)
class User:
    """The user of a request that the API server forwards."""

    name: str
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


def authenticate(
    config: RequestHeaderConfig | None,
    certificate: Mapping[str, Any] | None,
    headers: CIMultiDictProxy[str],
    now: float,
) -> User:
    """Return the user of a request.

    Args:
        config: The request-header configuration; None if it is not known yet.
        certificate: The verified client certificate, from :meth:`ssl.SSLObject.getpeercert`.
        headers: Headers of the request.
        now: Seconds since 1970. A connection may outlive its certificate.

    Raises:
        Unauthorized: The client may not name users, or names none.
    """
    if config is None or not certificate:
        raise Unauthorized("a client certificate of the request-header authority is required")
    if ssl.cert_time_to_seconds(certificate["notAfter"]) < now:
        raise Unauthorized("the client certificate has expired")
    if config.names and config.names.isdisjoint(_common_names(certificate)):
        raise Unauthorized("the common name of the client certificate is not in requestheader-allowed-names")
    name = next((headers[header] for header in config.user_headers if headers.get(header)), "")
    if not name:
        raise Unauthorized("no header names a user")
    return User(name, _groups(config, headers, name), _extra(config, headers))


def _common_names(certificate: Mapping[str, Any]) -> set[str]:
    return {value for parts in certificate["subject"] for name, value in parts if name == "commonName"}


def _groups(config: RequestHeaderConfig, headers: CIMultiDictProxy[str], user: str) -> tuple[str, ...]:
    groups = [group for header in config.group_headers for group in headers.getall(header, [])]
    # The API server omits this group in its own requests, but discovery is granted to it.
    if user != ANONYMOUS and AUTHENTICATED not in groups:
        groups.append(AUTHENTICATED)
    return tuple(groups)


def _extra(config: RequestHeaderConfig, headers: CIMultiDictProxy[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in _extra_headers(config, headers):
        extra[key] = (*extra.get(key, ()), value)
    return tuple(sorted(extra.items()))


def _extra_headers(config: RequestHeaderConfig, headers: CIMultiDictProxy[str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        for prefix in config.extra_prefixes:
            if name.lower().startswith(prefix.lower()):
                yield unquote(name[len(prefix) :].lower()), value

"""Protection of the management ports against web pages: cross-site requests and DNS rebinding.

The ports need no key: everyone with network access to them can drain a process. But a web page must not send requests
to them through a browser that has access, on a laptop or in a VPN. Requests of another site's page are detected by the
``Origin``, ``Sec-Fetch-Site`` or form-like ``Content-Type`` that browsers send. If a page's own host name resolves to
the port's address (DNS rebinding), this name is in ``Host``.
"""

import socket
from collections.abc import Iterable
from ipaddress import ip_address

from livescore.settings import Settings

# Suffixes of names that no page on the Internet can have.
_CLUSTER_SUFFIXES = (".svc", ".cluster.local", ".localhost")

# Types that forms can send to other sites without a preflight request.
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")

# Values of Sec-Fetch-Site for typed addresses and for pages of the port itself.
_OWN_SITES = ("none", "same-origin")

_SAFE_METHODS = ("GET", "HEAD")


class ManagementGuard:
    """Refuses requests of web pages to a management port; probes, Prometheus, the operator and curl are served."""

    def __init__(self, settings: Settings) -> None:
        names = {"localhost", settings.instance.casefold(), socket.gethostname().casefold()}
        suffixes = list(_CLUSTER_SUFFIXES)
        for host in settings.management_allowed_hosts:
            if host.startswith("*."):
                suffixes.append(host[1:].casefold())
            else:
                names.add(host.casefold())
        self._names = frozenset(names)
        self._suffixes = tuple(suffixes)

    def refusal(self, method: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """Return why a request is refused, as text for its sender; None if it is allowed.

        Args:
            method: The HTTP method.
            headers: All header lines, with names in any case.
        """
        for name, value in headers:
            match name.casefold():
                case "origin":
                    return "The management port serves no web pages: the request has an Origin"
                case "sec-fetch-site" if value.strip().casefold() not in _OWN_SITES:
                    return "The management port serves no web pages: the request comes from another site"
                case "referer" if method not in _SAFE_METHODS:  # some browsers send no Origin with forms
                    return "The management port serves no web pages: the request has a Referer"
                case "content-type" if method not in _SAFE_METHODS and _media_type(value) in _FORM_TYPES:
                    return "The management port takes no forms: send the request without a body"
                case "host" if not self._is_own(value):
                    return "The Host is not this service's: use its IP address, or set MANAGEMENT_ALLOWED_HOSTS"
        return None

    def _is_own(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (_is_address(name) or name in self._names or name.endswith(self._suffixes))


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().casefold()


def _name(host: str) -> str | None:
    """Return the name or address in a Host header, in lower case and without the port; None if it is malformed."""
    text = host.strip().casefold()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in name or (rest and not rest.startswith(":")):
            return None
        port = rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return None
    return name.removesuffix(".") or None


def _is_address(name: str) -> bool:
    try:
        ip_address(name.replace("%25", "%"))
    except ValueError:
        return False
    return True

"""Verb, resource and parameters of an API request, parsed from its method and URL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

NAMESPACE_SUBRESOURCES = ("status", "finalize")
"""Keeps ``namespaces/NAME/status`` from being taken for a collection in that namespace."""

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


@dataclass(frozen=True)
class ApiRequest:
    """One request that concerns objects.

    Attributes:
        namespace, name, subresource: empty if the URL has none.
    """

    method: str
    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def verb(self) -> str:
        """Verb in RBAC's terms: get, list, watch, create, update, patch, delete, deletecollection."""
        if self.method == "GET" and self.query.get("watch") in ("true", "1"):
            return "watch"
        if self.name:
            return VERBS.get(self.method, self.method.lower())
        return {"GET": "list", "DELETE": "deletecollection"}.get(self.method, "create")

    @property
    def resource(self) -> str:
        """Resource in RBAC's terms: ``pods``, ``pods/log``."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def read(method: str, path: str, query: Mapping[str, str]) -> ApiRequest | None:
    """Parse a request; None if it does not concern objects: discovery, ``/version``, probes."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        return _objects(method, "", parts[1], parts[2:], query)
    if parts[0] == "apis" and len(parts) > 3:
        return _objects(method, parts[1], parts[2], parts[3:], query)
    return None


def _objects(method: str, group: str, version: str, rest: list[str], query: Mapping[str, str]) -> ApiRequest:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    plural, name, *subresource = [*rest, ""]
    return ApiRequest(method, group, version, plural, namespace, name, "/".join(filter(None, subresource)), query)

"""Answers of the API server, and the kind of error that each of them is.

Errors are recognized by their structure: code, reason, causes, and the fixed beginnings of sentences that the API
server writes itself. Words that a webhook or a policy chooses decide nothing.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from livescore_operator.errors import FieldConflict, Terminal, Transient, Waiting
from livescore_operator.resource import Manifest

# Seconds until a refused object is tried again: quotas, policies and storage classes change without an event.
REFUSED_RETRY_SECONDS = 60.0

# Seconds between two looks at a namespace that is being deleted; the LiveScore goes with it.
TERMINATING_SECONDS = 30.0

# Codes that say: this manifest, never. 413 is a body, or an object in etcd, that is too large.
_INVALID = frozenset({400, 413, 415, 422})

# The API server's sentence for missing rights, see `forbiddenMessage` in k8s.io/apiserver. What admission plugins,
# policies and webhooks write follows other words.
_NO_RIGHTS = re.compile(r'(?:[^"]{0,300}(?:"[^"]{0,300}")? ?is forbidden: )?User "[^"]*" cannot ')
_NO_RIGHTS_TO_OWN = (
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
)

# How the API server introduces the denial of a webhook, whatever code and reason the webhook chose.
_DENIED = re.compile(r'admission webhook "[^"]*" denied the request')

# Errors of server-side apply about the manifest itself. The API server answers them with 500 and without a reason; its
# own failures have the reason InternalError, or speak of etcd.
_MANIFEST_ERRORS = (
    "failed to create typed patch object",
    "failed to create manager for existing fields",
    "failed to convert",
    "cannot convert",
    "unable to decode",
    "error decoding",
    "etcdserver: request is too large",
    "quantities must match",
    "json: cannot unmarshal",
    "unable to parse quantity",
)
_UNDECLARED = "field not declared in schema"

# A conversion that a webhook of another operator did not make says nothing of the manifest.
_CONVERSION_WEBHOOK = "conversion webhook for"


@dataclass(frozen=True)
class Response:
    """One answer of the API server."""

    status: int
    body: str

    @property
    def object(self) -> Manifest:
        """The object in the body, or an empty one if the body is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def message(self) -> str:
        """What went wrong, as the API server words it."""
        return str(self.object.get("message") or self.body[:200] or f"HTTP {self.status}")

    @property
    def reason(self) -> str:
        """Machine-readable reason of an error; empty if the answer has none."""
        reason = self.object.get("reason")
        return reason if isinstance(reason, str) and reason != "Unknown" else ""

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The single causes of an error."""
        details = self.object.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


def checked(response: Response) -> Response:
    """Return the answer if it is no error.

    Raises:
        FieldConflict: Raised if another manager owns a field of an applied manifest.
        Terminal: Raised if the API server will not take this object unless the spec or the cluster changes.
        Waiting: Raised if the namespace is being deleted.
        Transient: Raised for every other error.
    """
    if response.status < 400:
        return response
    raise _error(response)


def _error(response: Response) -> Exception:
    reasons = {str(cause.get("reason")) for cause in response.causes}
    if response.status == 409 and "FieldManagerConflict" in reasons:
        return FieldConflict(tuple(f"{cause.get('message')}: {cause.get('field')}" for cause in response.causes))
    if "NamespaceTerminating" in reasons:
        return Waiting("NamespaceTerminating", response.message, after=TERMINATING_SECONDS)
    if _DENIED.match(response.message):
        return Terminal("Refused", response.message, after=REFUSED_RETRY_SECONDS)
    if response.status == 401 or _lacks_rights(response):
        return Transient("Forbidden", response.message)
    if response.status == 403:
        return Terminal("Refused", response.message, after=REFUSED_RETRY_SECONDS)
    if response.status in _INVALID or _is_manifest_error(response):
        return Terminal("Invalid", response.message, after=REFUSED_RETRY_SECONDS)
    return Transient(f"Http{response.status}", response.message)


def _lacks_rights(response: Response) -> bool:
    if response.status != 403 or response.causes:
        return False
    return bool(_NO_RIGHTS.match(response.message)) or f"is forbidden: {_NO_RIGHTS_TO_OWN}" in response.message


def _is_manifest_error(response: Response) -> bool:
    """Whether a 500 is about the manifest: an undeclared field, a wrong type."""
    if response.status != 500 or response.reason or _CONVERSION_WEBHOOK in response.message:
        return False
    return _UNDECLARED in response.message or any(response.message.startswith(start) for start in _MANIFEST_ERRORS)

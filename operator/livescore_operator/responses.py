"""Responses of the API server, and the error that each of them stands for.

Errors are classified by their structure: status code, reason, causes, and the fixed beginnings of messages that the API
server itself writes. The wording of webhooks and policies has no influence.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from livescore_operator.errors import FieldConflict, Terminal, Transient, Waiting
from livescore_operator.resource import Manifest

# Requeue delay in seconds for a rejected object: quotas, policies and storage classes change without an event.
REFUSED_RETRY_SECONDS = 60.0

# Requeue delay in seconds while the namespace is being deleted; the LiveScore will be deleted with it.
TERMINATING_SECONDS = 30.0

# Status codes for manifests that are never accepted. 413: the body, or the object in etcd, is too large.
_INVALID = frozenset({400, 413, 415, 422})

# Message of the API server for missing rights, see `forbiddenMessage` in k8s.io/apiserver. Messages of admission
# plugins, policies and webhooks begin differently.
_NO_RIGHTS = re.compile(r'(?:[^"]{0,300}(?:"[^"]{0,300}")? ?is forbidden: )?User "[^"]*" cannot ')
_NO_RIGHTS_TO_OWN = (
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
)

# Beginning of the message about a denial by a webhook, which chooses status code and reason itself.
_DENIED = re.compile(r'admission webhook "[^"]*" denied the request')

# Messages of server-side apply about an invalid manifest. They come with status 500 and no reason; failures of the API
# server itself have the reason InternalError, or mention etcd.
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

# A failed conversion webhook of another operator does not mean that the manifest is invalid.
_CONVERSION_WEBHOOK = "conversion webhook for"


@dataclass(frozen=True)
class Response:
    """HTTP response of the API server."""

    status: int
    body: str

    @property
    def object(self) -> Manifest:
        """Object in the body; empty if the body is not a JSON object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def message(self) -> str:
        """Error message in the words of the API server."""
        return str(self.object.get("message") or self.body[:200] or f"HTTP {self.status}")

    @property
    def reason(self) -> str:
        """Machine-readable reason of an error; empty if there is none."""
        reason = self.object.get("reason")
        return reason if isinstance(reason, str) and reason != "Unknown" else ""

    @property
    def causes(self) -> list[dict[str, Any]]:
        """Causes of an error."""
        details = self.object.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


def checked(response: Response) -> Response:
    """Return the response unless it is an error.

    Raises:
        FieldConflict: Raised if another manager owns a field of an applied manifest.
        Terminal: Raised if the object is rejected until the spec or the cluster changes.
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
    """Return True if a 500 means that the manifest is invalid: an undeclared field, a wrong type."""
    if response.status != 500 or response.reason or _CONVERSION_WEBHOOK in response.message:
        return False
    return _UNDECLARED in response.message or any(response.message.startswith(start) for start in _MANIFEST_ERRORS)

"""Errors of the emulator in the words of the API server, as ``Status`` objects."""

from tests.support.kubernetes.kinds import Json, Kind


class StatusError(Exception):
    """An error response.

    Attributes:
        code: HTTP status.
        status: the ``Status`` object.
    """

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


def details(kind: Kind, name: str) -> Json:
    """Return the details that identify an object."""
    group = {"group": kind.group} if kind.group else {}
    return {"name": name, **group, "kind": kind.plural}


def not_found(kind: Kind, name: str) -> StatusError:
    """Return the error for an object that does not exist."""
    return StatusError(404, "NotFound", f'{kind.qualified} "{name}" not found', details(kind, name))


def no_such_resource() -> StatusError:
    """Return the error for a kind that does not exist."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def exists(kind: Kind, name: str) -> StatusError:
    """Return the error for a name that is taken."""
    return StatusError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', details(kind, name))


def conflict(kind: Kind, name: str, why: str) -> StatusError:
    """Return the error for a failed precondition."""
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, details(kind, name))


def outdated(kind: Kind, name: str) -> StatusError:
    """Return the error for an outdated resourceVersion."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(kind, name, why)


def invalid(kind: Kind, name: str, field: str, why: str) -> StatusError:
    """Return the error for an invalid field."""
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    cause = {"reason": "FieldValueInvalid", "message": why, "field": field}
    about = {**details(kind, name), "kind": kind.kind, "causes": [cause]}
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {field}: {why}', about)


def bad_request(message: str) -> StatusError:
    """Return the error for a malformed request."""
    return StatusError(400, "BadRequest", message)


def unmanaged() -> StatusError:
    """Return the error for an apply without a field manager."""
    why = "Required value: is required for apply patch"
    cause = {"reason": "FieldValueRequired", "message": why, "field": "fieldManager"}
    about = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]}
    return StatusError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {why}', about)

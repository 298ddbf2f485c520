"""What the emulator refuses, in the words of the API server: each is a ``Status`` object."""

from tests.support.kubernetes.kinds import Json, Kind


class Refusal(Exception):
    """An answer that is an error.

    Attributes:
        code: the HTTP status.
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
    """Which object it is about."""
    group = {"group": kind.group} if kind.group else {}
    return {"name": name, **group, "kind": kind.plural}


def not_found(kind: Kind, name: str) -> Refusal:
    """There is no such object."""
    return Refusal(404, "NotFound", f'{kind.qualified} "{name}" not found', details(kind, name))


def no_such_resource() -> Refusal:
    """There is no such kind."""
    return Refusal(404, "NotFound", "the server could not find the requested resource")


def exists(kind: Kind, name: str) -> Refusal:
    """An object of that name is there already."""
    return Refusal(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', details(kind, name))


def conflict(kind: Kind, name: str, why: str) -> Refusal:
    """It is not the object that the caller thinks it is."""
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return Refusal(409, "Conflict", message, details(kind, name))


def outdated(kind: Kind, name: str) -> Refusal:
    """Somebody else has written it meanwhile."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(kind, name, why)


def invalid(kind: Kind, name: str, field: str, why: str) -> Refusal:
    """The object may not be so."""
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    cause = {"reason": "FieldValueInvalid", "message": why, "field": field}
    about = {**details(kind, name), "kind": kind.kind, "causes": [cause]}
    return Refusal(422, "Invalid", f'{qualified} "{name}" is invalid: {field}: {why}', about)


def bad_request(message: str) -> Refusal:
    """The request makes no sense."""
    return Refusal(400, "BadRequest", message)


def unmanaged() -> Refusal:
    """An apply without a name for who applies."""
    why = "Required value: is required for apply patch"
    cause = {"reason": "FieldValueRequired", "message": why, "field": "fieldManager"}
    about = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]}
    return Refusal(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {why}', about)

"""Errors of a reconcile, in three kinds that are handled in three ways.

::

    ReconcileError
    ├── Terminal      the spec cannot be carried out: Stalled until a person acts
    ├── Waiting       something is missing and expected to appear: reported, and requeued after a short delay
    └── Transient     the API server or the network failed: retried with back-off
    NotLeading        this process does not hold the Lease: it stops writing
"""

from dataclasses import dataclass, field

# Not frozen: context managers set the traceback of exceptions that pass through them.


@dataclass(unsafe_hash=True)
class ReconcileError(Exception):
    """Reason why the cluster does not match the spec.

    Attributes:
        reason: Short CamelCase reason for programs.
        message: What happened and what to do, for people.
    """

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(unsafe_hash=True)
class Terminal(ReconcileError):
    """Error that persists until a person changes the spec, or something that conflicts with it.

    Attributes:
        after: Requeue delay in seconds if the change may not cause an event; None otherwise.
    """

    after: float | None = field(default=None, compare=False)


@dataclass(unsafe_hash=True)
class Waiting(ReconcileError):
    """Error because something is missing that is expected to appear.

    Attributes:
        condition: Type of the condition that reports the error.
        after: Requeue delay in seconds, unless an event comes first.
    """

    condition: str = "Ready"
    after: float = 15.0


@dataclass(unsafe_hash=True)
class Transient(ReconcileError):
    """A request failed, and may succeed later."""


@dataclass(unsafe_hash=True)
class FieldConflict(Exception):
    """A server-side apply failed because other managers own fields of the manifest.

    Attributes:
        causes: Manager and field of each conflict, in the words of the API server.
    """

    causes: tuple[str, ...] = field(default=())


class NotLeading(Exception):
    """This process does not hold the Lease, so it may not write."""

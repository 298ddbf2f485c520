"""What can go wrong while reconciling, in three kinds that are handled in three ways.

::

    ReconcileError
    ├── Terminal      the spec cannot be carried out: Stalled until a person acts
    ├── Waiting       something is missing that will come: a condition, and a look after a short delay
    └── Transient     the API server or the network: tried again with back-off
    NotLeading        this process lost the Lease: it stops writing
"""

from dataclasses import dataclass, field

# Not frozen: context managers set the traceback of what passes through them.


@dataclass(unsafe_hash=True)
class ReconcileError(Exception):
    """Why a LiveScore is not yet what its spec says: ``reason`` for programs, ``message`` for people."""

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(unsafe_hash=True)
class Terminal(ReconcileError):
    """The spec, or something in its way, must be changed by a person.

    Attributes:
        after: seconds after which to look again, if the change may come without an event; None otherwise.
    """

    after: float | None = field(default=None, compare=False)


@dataclass(unsafe_hash=True)
class Waiting(ReconcileError):
    """Something will come by itself, or by another's hand.

    Attributes:
        condition: the condition that this stands in.
        after: seconds after which to look again, if no event comes before.
    """

    condition: str = "Ready"
    after: float = 15.0


@dataclass(unsafe_hash=True)
class Transient(ReconcileError):
    """The API server did not do what it was asked to, and may do it the next time."""


@dataclass(unsafe_hash=True)
class FieldConflict(Exception):
    """A server-side apply met fields that other managers own.

    Attributes:
        causes: manager and field of each, as the API server words it.
    """

    causes: tuple[str, ...] = field(default=())


class NotLeading(Exception):
    """This process does not hold the Lease (any more); what it was about to write is for the leader to write."""

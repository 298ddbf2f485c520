"""Objects of the emulator, and the history that watches are served from."""

import asyncio
from collections import deque
from dataclasses import dataclass

import kmock

from tests.support.kubernetes.kinds import Json, Kind

HISTORY = 5_000
"""Changes kept for watches: older ones are answered with 410, as a real server does after minutes."""

FIRST_VERSION = 100


class Gone(Exception):
    """The requested change is older than the history."""


@dataclass(frozen=True)
class Change:
    """One change of one object.

    Attributes:
        version: resourceVersion of the change.
        body: the object after the change; for a deletion, its last state.
        before: the object before the change, or None.
    """

    version: int
    kind: Kind
    body: Json
    before: Json | None
    deleted: bool = False


Changes = list[Change]


class Store:
    """All objects, kept in KMock's array. Only for the emulator's own loop; bodies are never changed in place."""

    def __init__(self, objects: kmock.ObjectsArray, history: int = HISTORY) -> None:
        self._objects = objects
        self._changes: deque[Change] = deque(maxlen=history)
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        self.version = FIRST_VERSION

    def find(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        """Return an object, or None if it does not exist."""
        try:
            return self._objects[resource(kind), namespace, name].raw
        except KeyError:
            return None

    def list(self, kind: Kind, namespace: str | None) -> list[Json]:
        """Return all objects of a kind, in one namespace or in all, sorted by name."""
        # Comparing KMock's resources for equality would take ten times as long.
        wanted = (kind.group, kind.version, kind.plural)
        found = [
            (within or "", name, held.raw)
            for (of, within, name), held in self._objects.items()
            if (of.group, of.version, of.plural) == wanted and namespace in (None, within)
        ]
        return [body for _, _, body in sorted(found, key=lambda item: item[:2])]

    def put(self, kind: Kind, body: Json) -> Json:
        """Store an object under a new resourceVersion, and return it with that version."""
        metadata = body["metadata"]
        self.version += 1
        stored = {**body, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        before = self.find(kind, metadata.get("namespace"), metadata["name"])
        self._objects[resource(kind), metadata.get("namespace"), metadata["name"]] = stored
        self._send_events(Change(self.version, kind, stored, before))
        return stored

    def drop(self, kind: Kind, body: Json) -> None:
        """Remove an object."""
        metadata = body["metadata"]
        self.version += 1
        del self._objects[resource(kind), metadata.get("namespace"), metadata["name"]]
        last = {**body, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        self._send_events(Change(self.version, kind, last, body, deleted=True))

    def since(self, version: int, kind: Kind) -> Changes:
        """Return the changes of a kind after ``version``.

        Raises:
            Gone: the history no longer covers ``version``.
        """
        oldest = self._changes[0].version if len(self._changes) == self._changes.maxlen else FIRST_VERSION
        if version < oldest - 1:
            raise Gone
        return [change for change in self._changes if change.version > version and change.kind == kind]

    def subscribe(self) -> asyncio.Queue[Change | None]:
        """Return a queue of all changes from now on; None marks the end."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._watchers.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[Change | None]) -> None:
        """Cancel a subscription."""
        self._watchers.discard(queue)

    def close(self) -> None:
        """End all watches."""
        for queue in self._watchers:
            queue.put_nowait(None)

    def _send_events(self, change: Change) -> None:
        self._changes.append(change)
        for queue in self._watchers:
            queue.put_nowait(change)


def resource(kind: Kind) -> kmock.resource:
    """Return a kind in KMock's notation."""
    return kmock.resource(kind.group, kind.version, kind.plural)

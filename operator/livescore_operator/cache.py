"""Copies of the watched objects, so that a reconcile that changes nothing does not list them again.

Kopf's watches feed the cache, and so does every list and write of this process. An entry is never replaced by an older
version: resourceVersions of one kind are compared as numbers, as Kubernetes guarantees they can be (KEP-5504).

The cache may lag behind the API server. It only ever decides that there is nothing to do: before anything is written,
the reconciler reads the API server itself.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from livescore_operator.cluster import Listing
from livescore_operator.components.common import INSTANCE
from livescore_operator.kinds import KINDS, OWNED
from livescore_operator.planning import Key
from livescore_operator.resource import Manifest

# Deletions that are remembered: a list that was sent before a deletion may arrive after it.
MAX_DELETIONS = 10_000

Slice = tuple[str, str, str]
"""Kind, namespace, and value of the instance label: the objects of one kind of one LiveScore."""

Place = tuple[str, str, str]
"""Kind, namespace and name of an object."""

_NEEDED = tuple(kind.name for kind in OWNED if kind.watched is not None)


class Mark(NamedTuple):
    """State of the cache before a list request, see :meth:`Cache.mark`.

    Attributes:
        epoch: Number of times that the watch of the kind started over.
        highest: Highest resourceVersion that was seen of the kind.
    """

    epoch: int
    highest: int


class Cache:
    """Watched objects by kind, namespace and instance label."""

    def __init__(self) -> None:
        self._slices: defaultdict[Slice, dict[str, Manifest]] = defaultdict(dict)
        # Slice of each object, to find it when its instance label changes.
        self._places: dict[Place, Slice] = {}
        self._deleted: OrderedDict[Place, int] = OrderedDict()
        self._epochs: defaultdict[str, int] = defaultdict(int)
        self._highest: defaultdict[str, int] = defaultdict(int)
        # Epoch in which each slice was last listed completely.
        self._listed: dict[Slice, int] = {}
        # False if the API server uses resource versions that are not numbers: nothing is served from the cache then.
        self._comparable = True

    # Reading

    def owned(self, namespace: str, instance: str, labels: Mapping[str, str]) -> dict[Key, Manifest] | None:
        """Return the watched objects of a LiveScore, or None if some kind must be listed first.

        Args:
            namespace: Namespace of the LiveScore.
            instance: Name of the LiveScore, which is the value of the instance label.
            labels: Labels that the objects must carry.
        """
        slices = [(kind, namespace, instance) for kind in _NEEDED]
        if not self._comparable or any(self._listed.get(each) != self._epochs[each[0]] for each in slices):
            return None
        found: dict[Key, Manifest] = {}
        for each in slices:
            for name, manifest in self._slices.get(each, {}).items():
                if labels.items() <= _labels(manifest).items():
                    found[each[0], name] = manifest
        return found

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return a watched object; None if it does not exist, is not watched or was not seen yet."""
        place = self._places.get((kind, namespace, name))
        return None if place is None else self._slices[place][name]

    # Events

    def feed(self, kind: str, event: str | None, manifest: Manifest) -> set[str]:
        """Take an event of a watch.

        Args:
            kind: Kind of the object.
            event: ``ADDED``, ``MODIFIED`` or ``DELETED``; None for an object that Kopf listed.
            manifest: The object.

        Returns:
            Values of the instance label that the object has, or had before.
        """
        instances = {_instance(manifest), self._instance_before(kind, manifest)}
        if event == "DELETED":
            self._remove(kind, manifest["metadata"], self._version(manifest["metadata"]))
        else:
            self.put({**manifest, "kind": kind, "apiVersion": KINDS[kind].api_version})
        return instances - {""}

    def _instance_before(self, kind: str, manifest: Manifest) -> str:
        place = self._places.get(_place(kind, manifest["metadata"]))
        return "" if place is None else place[2]

    def put(self, manifest: Manifest) -> None:
        """Store an object that the API server returned, unless a newer version is known or its kind is not watched."""
        kind = KINDS[manifest["kind"]]
        if kind.watched is None:
            return
        metadata = manifest["metadata"]
        version = self._version(metadata)
        place = _place(kind.name, metadata)
        self._highest[kind.name] = max(self._highest[kind.name], version)
        if version <= self._deleted.get(place, -1):
            return
        before = self._places.get(place)
        if before is not None and version <= self._version(self._slices[before][metadata["name"]]["metadata"]):
            return
        self._discard(place)
        # The watch sends nothing about objects without its labels.
        if kind.watched.items() <= _labels(manifest).items():
            current = (kind.name, metadata["namespace"], _instance(manifest))
            self._slices[current][metadata["name"]] = manifest
            self._places[place] = current

    def _remove(self, kind: str, metadata: Manifest, version: int) -> None:
        place = _place(kind, metadata)
        self._highest[kind] = max(self._highest[kind], version)
        self._deleted[place] = max(version, self._deleted.pop(place, -1))
        while len(self._deleted) > MAX_DELETIONS:
            self._deleted.popitem(last=False)
        known = self.get(*place)
        if known is not None and self._version(known["metadata"]) <= version:
            self._discard(place)

    def _discard(self, place: Place) -> None:
        current = self._places.pop(place, None)
        if current is None:
            return
        objects = self._slices[current]
        del objects[place[2]]
        if not objects:
            del self._slices[current]

    # Lists

    def restart(self, kind: str) -> None:
        """Require lists of a kind, because its watch listed it again: deletions in between caused no event."""
        self._epochs[kind] += 1

    def mark(self, kind: str) -> Mark:
        """Return the state of the cache; take it before a list request, and pass it on with the response."""
        return Mark(self._epochs[kind], self._highest[kind])

    def replace(self, mark: Mark, listed: Slice, labels: Mapping[str, str], found: Listing) -> None:
        """Store the response to a list of one LiveScore's objects.

        Args:
            mark: From :meth:`mark`, before the request.
            listed: Kind, namespace and instance that were listed.
            labels: Labels that were selected.
            found: Response.
        """
        kind = listed[0]
        known = self._slices.get(listed, {})
        stale = [manifest for manifest in known.values() if labels.items() <= _labels(manifest).items()]
        self._store(mark, kind, stale, found)
        self._listed[listed] = mark.epoch

    def replace_all(self, mark: Mark, kind: str, namespace: str, found: Listing) -> None:
        """Store the response to a list of all watched objects in a namespace; in all namespaces if it is empty."""
        stale = [
            manifest
            for (each, place, _), objects in self._slices.items()
            if each == kind and namespace in ("", place)
            for manifest in objects.values()
        ]
        self._store(mark, kind, stale, found)
        for each in self._listed:
            if each[0] == kind and namespace in ("", each[1]):
                self._listed[each] = mark.epoch

    def _store(self, mark: Mark, kind: str, known: list[Manifest], found: Listing) -> None:
        version = self._version({"resourceVersion": found.version})
        if version < mark.highest:
            # The history of the API server went back: its etcd was restored. Versions before and after do not compare.
            self._reset(kind)
            known = []
        self._highest[kind] = max(self._highest[kind], version)
        for manifest in found.items:
            self.put(manifest)
        names = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in found.items}
        for manifest in known:
            metadata = manifest["metadata"]
            if (metadata["namespace"], metadata["name"]) not in names:
                self._remove(kind, metadata, version)

    def _reset(self, kind: str) -> None:
        for place in [place for place in self._places if place[0] == kind]:
            self._discard(place)
        for place in [place for place in self._deleted if place[0] == kind]:
            del self._deleted[place]
        self._highest[kind] = 0
        self._epochs[kind] += 1

    def _version(self, metadata: Manifest) -> int:
        text = str(metadata.get("resourceVersion", ""))
        if text.isdecimal():
            return int(text)
        self._comparable = False
        return 0

    # Trust

    def invalidate(self) -> None:
        """Require a list of every kind before :meth:`owned` returns anything again."""
        self._listed.clear()

    def forget(self, namespace: str, instance: str) -> None:
        """Forget that the objects of a LiveScore were listed; the LiveScore is gone."""
        for kind in _NEEDED:
            self._listed.pop((kind, namespace, instance), None)


def _place(kind: str, metadata: Manifest) -> Place:
    return kind, metadata["namespace"], metadata["name"]


def _labels(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("labels") or {}


def _instance(manifest: Manifest) -> str:
    return _labels(manifest).get(INSTANCE, "")

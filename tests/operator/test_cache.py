"""The cache of watched objects, and reconciles that use it: few requests, and no write on account of a stale object."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from livescore_operator.cache import Cache
from livescore_operator.cluster import Listing, connect
from livescore_operator.components.common import family
from livescore_operator.kinds import MANAGED_BY, WATCHED, WATCHED_SECRETS
from livescore_operator.reconciler import Reconciler
from livescore_operator.resource import LiveScore, Manifest
from tests.operator.stack import Stack, secret
from tests.support.kubernetes.faults import WRITES, Faults
from tests.support.kubernetes.kube import Kube

RESOURCE = LiveScore.parse({"metadata": {"name": "demo", "namespace": "sport"}, "spec": {"image": "livescore:1"}})
LABELS = {**family(RESOURCE), **MANAGED_BY}

MAX_IDLE_REQUESTS = 3


def thing(version: int, kind: str = "Service", name: str = "demo", instance: str = "demo", **labels: str) -> Manifest:
    own = {**LABELS, **WATCHED_SECRETS, "app.kubernetes.io/instance": instance, **labels}
    metadata = {"name": name, "namespace": "sport", "uid": "u", "resourceVersion": str(version), "labels": own}
    return {"kind": kind, "metadata": metadata}


def owned(cache: Cache) -> dict[str, str] | None:
    """Return the resourceVersions in the cache by name."""
    found = cache.owned("sport", "demo", LABELS)
    return None if found is None else {name: one["metadata"]["resourceVersion"] for (_, name), one in found.items()}


def listed(*services: Manifest, version: int = 10) -> Cache:
    """Return a cache for which every kind was listed."""
    cache = Cache()
    for kind in WATCHED:
        items = [*services] if kind.name == "Service" else []
        listing = Listing(items, str(version))
        cache.replace(cache.mark(kind.name), (kind.name, "sport", "demo"), LABELS, listing)
    return cache


# Events


def test_nothing_is_known_before_every_kind_was_listed() -> None:
    cache = Cache()
    cache.feed("Service", "ADDED", thing(5))
    assert owned(cache) is None
    assert owned(listed(thing(5))) == {"demo": "5"}


def test_events_update_the_listed_objects() -> None:
    cache = listed(thing(5))
    assert cache.feed("Service", "MODIFIED", thing(11)) == {"demo"}
    assert cache.feed("Service", "ADDED", thing(12, name="other")) == {"demo"}
    assert owned(cache) == {"demo": "11", "other": "12"}
    cache.feed("Service", "DELETED", thing(13))
    assert owned(cache) == {"other": "12"}


def test_an_older_version_replaces_no_newer_one() -> None:
    cache = listed(thing(9))
    cache.put(thing(20))
    cache.feed("Service", "MODIFIED", thing(15))
    cache.feed("Service", "DELETED", thing(16))
    assert owned(cache) == {"demo": "20"}


def test_a_deleted_object_does_not_come_back_by_a_late_event_or_list() -> None:
    cache = listed(thing(9))
    mark = cache.mark("Service")
    cache.feed("Service", "DELETED", thing(12))
    cache.feed("Service", "MODIFIED", thing(11))
    assert owned(cache) == {}
    late = Listing([thing(9)], "12")
    cache.replace(mark, ("Service", "sport", "demo"), LABELS, late)
    assert owned(cache) == {}
    cache.feed("Service", "ADDED", thing(13))
    assert owned(cache) == {"demo": "13"}


def test_an_object_that_loses_its_labels_leaves_the_cache() -> None:
    cache = listed(thing(9))
    stripped = thing(12)
    stripped["metadata"]["labels"] = {}
    assert cache.feed("Service", "MODIFIED", stripped) == {"demo"}
    assert owned(cache) == {}


def test_an_object_that_changes_its_instance_moves_and_both_are_affected() -> None:
    cache = listed(thing(9))
    assert cache.feed("Service", "MODIFIED", thing(12, instance="other")) == {"demo", "other"}
    assert owned(cache) == {}


def test_objects_of_others_with_the_instance_label_are_not_owned() -> None:
    cache = listed()
    cache.feed("Service", "ADDED", thing(12, **{"app.kubernetes.io/name": "another-product"}))
    assert owned(cache) == {}


def test_a_secret_that_a_user_marks_is_found_by_name_only() -> None:
    cache = listed()
    marked = thing(12, "Secret", "keys")
    marked["metadata"]["labels"] = dict(WATCHED_SECRETS)
    assert cache.feed("Secret", "ADDED", marked) == set()
    assert cache.get("Secret", "sport", "keys") is not None
    assert owned(cache) == {}


def test_a_written_object_of_a_kind_without_a_watch_is_not_kept() -> None:
    cache = listed()
    cache.put(thing(12, "PersistentVolumeClaim", "data"))
    assert cache.get("PersistentVolumeClaim", "sport", "data") is None


# Lists


def test_a_watch_that_starts_over_makes_a_list_necessary() -> None:
    cache = listed(thing(9))
    cache.restart("Service")
    assert owned(cache) is None
    cache.replace(cache.mark("Service"), ("Service", "sport", "demo"), LABELS, Listing([thing(9)], "12"))
    assert owned(cache) == {"demo": "9"}


def test_a_list_that_was_sent_before_a_watch_started_over_does_not_count() -> None:
    cache = listed(thing(9))
    mark = cache.mark("Service")
    cache.restart("Service")
    cache.replace(mark, ("Service", "sport", "demo"), LABELS, Listing([thing(9)], "12"))
    assert owned(cache) is None


def test_list_removes_missing_objects_unless_newer() -> None:
    cache = listed(thing(9), thing(8, name="gone"))
    cache.feed("Service", "ADDED", thing(30, name="new"))
    cache.replace(cache.mark("Service")._replace(highest=20), ("Service", "sport", "demo"), LABELS, _list(20))
    assert owned(cache) == {"demo": "9", "new": "30"}


def _list(version: int) -> Listing:
    return Listing([thing(9)], str(version))


@pytest.mark.parametrize("namespace", ["", "sport"])
def test_refresh_replaces_the_objects_of_every_livescore(namespace: str) -> None:
    cache = listed(thing(9), thing(8, name="gone"))
    cache.replace_all(cache.mark("Service"), "Service", namespace, Listing([thing(15)], "20"))
    assert owned(cache) == {"demo": "15"}


def test_a_refresh_of_another_namespace_changes_nothing() -> None:
    cache = listed(thing(9))
    cache.replace_all(cache.mark("Service"), "Service", "elsewhere", Listing([], "20"))
    assert owned(cache) == {"demo": "9"}


def test_after_a_restore_of_etcd_older_versions_are_taken() -> None:
    cache = listed(thing(900), version=1000)
    cache.replace_all(cache.mark("Service"), "Service", "", Listing([thing(50)], "60"))
    assert owned(cache) is None
    cache.replace_all(cache.mark("Service"), "Service", "", Listing([thing(50)], "60"))
    assert owned(cache) == {"demo": "50"}


def test_nothing_is_served_if_versions_are_no_numbers() -> None:
    cache = listed(thing(9))
    opaque = thing(12)
    opaque["metadata"]["resourceVersion"] = "a1b2"
    assert cache.feed("Service", "MODIFIED", opaque) == {"demo"}
    assert owned(cache) is None


def test_a_forgotten_livescore_is_listed_again() -> None:
    cache = listed(thing(9))
    cache.forget("sport", "demo")
    assert owned(cache) is None
    cache = listed(thing(9))
    cache.invalidate()
    assert owned(cache) is None


# Reconciles with a cache that no watch feeds: it stays as it was when it was filled


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
async def stack(
    kube: Kube, faults: Faults, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stack]:
    """A LiveScore that is Ready, and a reconciler with a full cache."""
    monkeypatch.setenv("KUBECONFIG", str(faults.access.write(tmp_path / "kubeconfig.yaml")))
    async with connect(30) as cluster:
        yield Stack(kube, Reconciler(cluster, "livescore-system", "test", cache=cache))


async def settled(stack: Stack, **spec: Any) -> None:
    """Create the LiveScore, and reconcile it without trust in the cache until it is Ready."""
    await stack.create(**spec)
    for _ in range(6):
        stack.reconciler.observer.invalidate()
        await stack.reconcile()
        await stack.make_ready()
    assert await stack.is_ready()
    stack.reconciler.observer.invalidate()
    await stack.reconcile()


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"autoscaling": {"mode": "connections"}},
        {"api": {"apiKeysSecret": {"name": "keys", "key": "keys"}}},
        {
            "postgres": {"mode": "external", "external": {"secretRef": {"name": "keys", "key": "database"}}},
            "redis": {"mode": "external", "external": {"secretRef": {"name": "keys", "key": "redis"}}},
        },
    ],
    ids=["default", "connections", "secret", "external"],
)
async def test_idle_reconcile_needs_three_requests(stack: Stack, faults: Faults, spec: dict[str, Any]) -> None:
    await stack.kube.create(secret("keys", keys="[]", database="postgresql://host/db", redis="redis://host"))
    await settled(stack, **spec)
    faults.reset()

    await stack.reconcile()

    calls = faults.calls()
    assert calls.total() <= MAX_IDLE_REQUESTS, calls


async def test_a_resync_lists_each_kind_once_and_then_needs_three_requests(stack: Stack, faults: Faults) -> None:
    await settled(stack)
    faults.reset()

    await stack.reconciler.observer.refresh([stack.kube.namespace])
    refreshed = faults.calls().total()
    await stack.reconcile()

    # Watched kinds, and one look for each optional kind.
    assert refreshed == len(WATCHED) + 2
    assert faults.calls().total() <= refreshed + MAX_IDLE_REQUESTS


async def test_resync_finds_changes_without_an_event(stack: Stack) -> None:
    await settled(stack)
    await stack.kube.delete("Deployment", "demo-worker")
    await stack.kube.gone("Deployment", "demo-worker")
    await stack.reconcile()
    assert await stack.kube.find("Deployment", "demo-worker") is None, "the cache was updated"

    await stack.reconciler.observer.refresh([stack.kube.namespace])
    await stack.reconcile()

    assert await stack.kube.find("Deployment", "demo-worker") is not None


async def test_a_claim_is_read_again_while_it_is_resized(stack: Stack, faults: Faults) -> None:
    await settled(stack)
    resizing = {"status": {"conditions": [{"type": "Resizing", "status": "True"}]}}
    await stack.kube.patch("PersistentVolumeClaim", "data-demo-redis-0", resizing, subresource="status")
    stack.reconciler.observer.invalidate()
    await stack.reconcile()
    faults.reset()

    await stack.reconcile()

    assert [call for call in faults.calls() if call.resource == "persistentvolumeclaims"] != []


async def test_an_unlabelled_secret_is_read_again_at_the_resync(stack: Stack) -> None:
    await stack.kube.create(secret("keys", keys="[]"))
    await settled(stack, api={"apiKeysSecret": {"name": "keys", "key": "keys"}})
    before = (await stack.versions())["Deployment/demo-api"]
    await stack.kube.patch("Secret", "keys", {"data": secret("", keys="[1]")["data"]})

    await stack.reconcile()
    assert (await stack.versions())["Deployment/demo-api"] == before

    await stack.reconciler.observer.refresh([stack.kube.namespace])
    await stack.reconcile()
    assert (await stack.versions())["Deployment/demo-api"] != before


async def test_a_new_generation_is_compared_with_the_api_server(stack: Stack) -> None:
    await settled(stack)
    await stack.kube.delete("Deployment", "demo-worker")
    await stack.kube.gone("Deployment", "demo-worker")

    await stack.edit(imagePullPolicy="Always")
    await stack.reconcile()

    assert await stack.kube.find("Deployment", "demo-worker") is not None


async def test_the_operators_own_writes_are_in_the_cache(stack: Stack, faults: Faults) -> None:
    await settled(stack)
    await stack.edit(api={"replicas": 3})
    await stack.reconcile()
    faults.reset()

    await stack.reconcile()

    assert faults.calls().total() <= MAX_IDLE_REQUESTS
    assert (await stack.kube.get("Deployment", "demo-api"))["spec"]["replicas"] == 3


async def _stale(stack: Stack, cache: Cache, kind: str, name: str, event: str, **changes: Any) -> None:
    """Feed an event that no API server sent, as if the cache were behind or ahead of it."""
    live = await stack.kube.get(kind, name)
    version = str(int(live["metadata"]["resourceVersion"]) + 1_000_000)
    metadata = {**live["metadata"], "resourceVersion": version, **changes.pop("metadata", {})}
    cache.feed(kind, event, {**live, **changes, "metadata": metadata})


@pytest.mark.parametrize("case", ["changed", "missing", "unwanted", "failed migration"])
async def test_no_stale_object_leads_to_a_write(stack: Stack, cache: Cache, faults: Faults, case: str) -> None:
    await settled(stack)
    before = await stack.versions()
    match case:
        case "changed":
            await _stale(stack, cache, "Deployment", "demo-api", "MODIFIED", spec={"replicas": 9, "template": {}})
        case "missing":
            await _stale(stack, cache, "StatefulSet", "demo-postgres", "DELETED")
        case "unwanted":
            await _stale(stack, cache, "NetworkPolicy", "demo-api", "ADDED", metadata={"name": "demo-old"})
        case _:
            (job,) = await stack.kube.list("Job")
            failed = {"type": "Failed", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
            status = {"conditions": [failed], "failed": 5}
            await _stale(stack, cache, "Job", job["metadata"]["name"], "MODIFIED", status=status)
    faults.reset()

    await stack.reconcile()

    assert [call for call in faults.calls() if call.verb in WRITES] == []
    assert await stack.versions() == before
    assert await stack.is_ready()

"""A wrong storage class or size is corrected while no volume is bound; a bound claim is never deleted."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from livescore_operator.claims import is_bound
from livescore_operator.cluster import CLAIM_ATTEMPTS, Cluster, connect
from livescore_operator.components.common import family
from livescore_operator.errors import Terminal, Transient, Waiting
from livescore_operator.reconciler import Reconciler
from livescore_operator.resource import KIND, LiveScore, Manifest
from livescore_operator.volumes import REPLACED_SECONDS, corrections, unseen
from tests.operator.stack import Stack
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube

CLAIM, STATEFUL_SET = "data-demo-postgres-0", "demo-postgres"
LABELS = {
    "app.kubernetes.io/name": "livescore",
    "app.kubernetes.io/instance": "demo",
    "app.kubernetes.io/component": "postgres",
}
SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "monday"}

WRONG, RIGHT = {"storage": {"storageClassName": "wrong"}}, {"storage": {"storageClassName": "right"}}


@pytest.fixture
async def cluster(kubeconfig: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with connect(30) as client:
        yield client


@pytest.fixture
def stack(kube: Kube, cluster: Cluster) -> Stack:
    return Stack(kube, Reconciler(cluster, "livescore-system", "test"))


async def make_claim(
    kube: Kube, storage_class: str | None = "wrong", size: str = "10Gi", source: Json | None = None
) -> Json:
    """Create PostgreSQL's claim as the StatefulSet controller does; it is Pending."""
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **(source or {})}
    if storage_class is not None:
        wanted["storageClassName"] = storage_class
    metadata = {"name": CLAIM, "labels": LABELS}
    return await kube.create(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted}
    )


async def bind(kube: Kube) -> None:
    """Bind the claim to a volume, as the volume controller does."""
    await kube.patch("PersistentVolumeClaim", CLAIM, {"spec": {"volumeName": "pv-1"}})
    await kube.set_status("PersistentVolumeClaim", CLAIM, {"phase": "Bound"})


async def claim_template(kube: Kube) -> tuple[str | None, str]:
    """Return storage class and size in the StatefulSet."""
    (template,) = (await kube.get("StatefulSet", STATEFUL_SET))["spec"]["volumeClaimTemplates"]
    return template["spec"].get("storageClassName"), template["spec"]["resources"]["requests"]["storage"]


async def settle_deletion(kube: Kube) -> None:
    """Remove the finalizer of a deleted claim, as the controller does once no pod uses it."""
    claim = await kube.find("PersistentVolumeClaim", CLAIM)
    if claim and "deletionTimestamp" in claim["metadata"]:
        await kube.patch("PersistentVolumeClaim", CLAIM, {"metadata": {"finalizers": None}})


# A bound claim is never deleted


async def test_bound_claim_is_never_deleted(stack: Stack) -> None:
    await stack.create(postgres=WRONG)
    await stack.reconcile()
    made = await make_claim(stack.kube)
    await bind(stack.kube)
    # The status does not list the volume yet, so the CRD's rules accept the edit.
    await stack.edit(postgres=RIGHT)

    for _ in range(3):
        await stack.reconcile()

    claim = await stack.kube.get("PersistentVolumeClaim", CLAIM)
    assert (claim["metadata"]["uid"], claim["metadata"].get("deletionTimestamp")) == (made["metadata"]["uid"], None)
    assert await claim_template(stack.kube) == ("wrong", "10Gi")
    stalled = (await stack.conditions())["Stalled"]
    assert (stalled["status"], stalled["reason"]) == ("True", "Invalid")
    assert CLAIM in stalled["message"]
    assert "storage class wrong" in stalled["message"]
    assert (await stack.livescore())["status"]["volumes"]["postgres"] == {
        "claim": CLAIM,
        "volume": "pv-1",
        "storageClassName": "wrong",
    }

    await stack.edit(postgres=WRONG)
    await stack.reconcile()
    assert await stack.condition("Stalled") == ("False", "Starting")


async def test_a_bound_claim_without_labels_is_kept_with_its_stateful_set(stack: Stack) -> None:
    await stack.create(postgres=WRONG)
    await stack.reconcile()
    await make_claim(stack.kube)
    await bind(stack.kube)
    await stack.kube.patch("PersistentVolumeClaim", CLAIM, {"metadata": {"labels": None}})
    before = await stack.kube.get("StatefulSet", STATEFUL_SET)
    await stack.edit(postgres=RIGHT)

    await stack.reconcile()

    assert (await stack.kube.get("StatefulSet", STATEFUL_SET))["metadata"]["uid"] == before["metadata"]["uid"]
    assert "deletionTimestamp" not in (await stack.kube.get("PersistentVolumeClaim", CLAIM))["metadata"]
    assert await stack.condition("Stalled") == ("True", "Invalid")


@pytest.mark.parametrize("storage_class", ["wrong", "other", None])
async def test_bound_claim_of_an_earlier_livescore_is_reused(stack: Stack, storage_class: str | None) -> None:
    await stack.kube.create(_credentials())
    await make_claim(stack.kube, storage_class, "20Gi")
    await bind(stack.kube)
    await stack.create(postgres=RIGHT)

    await stack.reconcile()
    await stack.reconcile()

    assert "deletionTimestamp" not in (await stack.kube.get("PersistentVolumeClaim", CLAIM))["metadata"]
    assert await claim_template(stack.kube) == ("right", "10Gi")


async def test_client_refuses_to_delete_a_bound_claim(cluster: Cluster, kube: Kube) -> None:
    await make_claim(kube)
    await bind(kube)
    claim = await cluster.claim(kube.namespace, CLAIM)
    assert claim is not None

    with pytest.raises(Waiting, match="ClaimBound"):
        await cluster.delete(claim)

    assert "deletionTimestamp" not in (await kube.get("PersistentVolumeClaim", CLAIM))["metadata"]


async def test_claim_bound_after_reading_is_kept(cluster: Cluster, kube: Kube) -> None:
    await make_claim(kube)
    claim = await cluster.claim(kube.namespace, CLAIM)
    assert claim is not None
    await bind(kube)

    with pytest.raises(Waiting, match="ClaimBound"):
        await cluster.delete(claim)

    assert "deletionTimestamp" not in (await kube.get("PersistentVolumeClaim", CLAIM))["metadata"]


async def test_unbound_claim_modified_after_reading_is_deleted(cluster: Cluster, kube: Kube) -> None:
    await make_claim(kube)
    claim = await cluster.claim(kube.namespace, CLAIM)
    assert claim is not None
    await kube.patch("PersistentVolumeClaim", CLAIM, {"metadata": {"annotations": {"some": "note"}}})

    await cluster.delete(claim)

    assert await _is_going(kube)


async def test_recreated_claim_is_a_different_object(cluster: Cluster, kube: Kube) -> None:
    await make_claim(kube)
    claim = await cluster.claim(kube.namespace, CLAIM)
    assert claim is not None
    await kube.delete("PersistentVolumeClaim", CLAIM)
    await settle_deletion(kube)
    await make_claim(kube)

    await cluster.delete(claim)

    assert not await _is_going(kube)
    await kube.delete("PersistentVolumeClaim", CLAIM)
    await settle_deletion(kube)
    await cluster.delete(claim)


async def test_constantly_modified_claim_is_retried_later(
    cluster: Cluster, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_claim(kube)
    stale = await cluster.claim(kube.namespace, CLAIM)
    assert stale is not None
    await kube.patch("PersistentVolumeClaim", CLAIM, {"metadata": {"annotations": {"some": "note"}}})
    reads = 0

    async def read(*_: str) -> Manifest:
        nonlocal reads
        reads += 1
        return stale

    monkeypatch.setattr(cluster, "claim", read)

    with pytest.raises(Transient, match="Conflict"):
        await cluster.delete(stale)

    assert reads == CLAIM_ATTEMPTS
    assert not await _is_going(kube)


# A claim without a volume is corrected


@pytest.mark.parametrize(
    ("before", "after", "made"),
    [
        ({"storageClassName": "wrong"}, {"storageClassName": "right"}, ("right", "10Gi")),
        ({"storageClassName": "wrong"}, {"storageClassName": None}, (None, "10Gi")),
        ({}, {"storageClassName": "right"}, ("right", "10Gi")),
        ({"size": "20Ti"}, {"size": "20Gi"}, (None, "20Gi")),
        ({"size": "10Gi"}, {"size": "20Gi"}, (None, "20Gi")),
    ],
)
async def test_class_and_size_are_corrected_while_no_volume_is_bound(
    stack: Stack, before: Json, after: Json, made: tuple[str | None, str]
) -> None:
    await stack.create(postgres={"storage": before})
    await stack.reconcile()
    # Admission fills in the default class.
    await make_claim(stack.kube, before.get("storageClassName", "default"), before.get("size", "10Gi"))
    await stack.reconcile()
    assert "volume" not in (await stack.livescore())["status"]["volumes"]["postgres"]
    await stack.edit(postgres={"storage": after})

    assert await stack.reconcile() == REPLACED_SECONDS

    assert await _is_going(stack.kube)
    assert await stack.kube.find("StatefulSet", STATEFUL_SET) is None
    waiting = (await stack.conditions())["Reconciling"]
    assert (waiting["status"], waiting["reason"]) == ("True", "ClaimReplaced")
    assert CLAIM in waiting["message"]
    await settle_deletion(stack.kube)
    await stack.reconcile()
    assert await claim_template(stack.kube) == made


async def test_the_stateful_set_waits_until_a_deleted_claim_is_gone(stack: Stack) -> None:
    await stack.create(postgres=WRONG)
    await stack.reconcile()
    await make_claim(stack.kube)
    await stack.kube.patch("PersistentVolumeClaim", CLAIM, {"metadata": {"finalizers": ["tests/in-use"]}})
    await stack.edit(postgres=RIGHT)
    await stack.reconcile()

    assert await stack.reconcile() == REPLACED_SECONDS
    assert await stack.kube.find("StatefulSet", STATEFUL_SET) is None

    await settle_deletion(stack.kube)
    await stack.reconcile()
    assert await claim_template(stack.kube) == ("right", "10Gi")


async def test_unbound_claim_of_another_class_is_deleted_before_the_stateful_set_exists(stack: Stack) -> None:
    await stack.kube.create(_credentials())
    await make_claim(stack.kube)
    await stack.create(postgres=RIGHT)

    assert await stack.reconcile() == REPLACED_SECONDS

    assert await _is_going(stack.kube)
    assert await stack.kube.find("StatefulSet", STATEFUL_SET) is None


async def test_template_is_corrected_without_a_claim(stack: Stack) -> None:
    """The claim may be missing because a quota of the storage class refused it."""
    await stack.create(postgres=WRONG)
    await stack.reconcile()
    await stack.edit(postgres=RIGHT)

    await stack.reconcile()
    await stack.reconcile()

    assert await claim_template(stack.kube) == ("right", "10Gi")


async def test_plan_shows_the_correction_without_making_it(stack: Stack) -> None:
    await stack.create(postgres=WRONG)
    await stack.reconcile()
    await make_claim(stack.kube)
    await stack.reconcile()
    await stack.edit(postgres=RIGHT, reconcilePolicy="Plan")

    await stack.reconcile()

    assert (await stack.livescore())["status"]["plan"]["summary"] == "0 to create, 0 to update, 2 to delete"
    assert not await _is_going(stack.kube)
    assert await claim_template(stack.kube) == ("wrong", "10Gi")


@pytest.mark.parametrize("field", ["dataSource", "dataSourceRef"])
async def test_a_claim_with_a_source_of_data_is_never_deleted(stack: Stack, field: str) -> None:
    await stack.kube.create(_credentials())
    await make_claim(stack.kube, source={field: SNAPSHOT})
    await stack.create(postgres=RIGHT)

    await stack.reconcile()
    await stack.reconcile()

    assert not await _is_going(stack.kube)
    assert await claim_template(stack.kube) == ("right", "10Gi")


# Decisions


def livescore(**spec: Any) -> LiveScore:
    metadata = {"name": "demo", "namespace": "sport", "uid": "u"}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": "livescore:1", **spec}})


def stateful_set(storage_class: str | None, size: str = "10Gi") -> Manifest:
    spec: Json = {"resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    owner = {"kind": KIND, "name": "demo", "uid": "u", "controller": True}
    templates = [{"metadata": {"name": "data"}, "spec": spec}]
    metadata = {"name": STATEFUL_SET, "ownerReferences": [owner]}
    return {"kind": "StatefulSet", "metadata": metadata, "spec": {"volumeClaimTemplates": templates}}


def claim_of(phase: str | None = "Pending", storage_class: str = "wrong", **spec: Any) -> Manifest:
    wanted = {"storageClassName": storage_class, "resources": {"requests": {"storage": "10Gi"}}, **spec}
    metadata = {"name": CLAIM, "labels": family(livescore())}
    status = {} if phase is None else {"phase": phase}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted, "status": status}


def objects(*found: Manifest) -> dict[tuple[str, str], Manifest]:
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


KEPT = [
    claim_of("Bound", volumeName="pv-1"),
    claim_of("Bound"),
    claim_of("Lost", volumeName="pv-1"),
    claim_of("Pending", volumeName="pv-1"),
    claim_of(None),
    claim_of("Unheard-of"),
    claim_of(dataSource=SNAPSHOT),
    claim_of(dataSourceRef=SNAPSHOT),
    claim_of(selector={"matchLabels": {"mine": "yes"}}),
]


@pytest.mark.parametrize("claim", KEPT)
@pytest.mark.parametrize("has_stateful_set", [True, False])
def test_claims_that_may_hold_data_are_never_deleted(claim: Manifest, has_stateful_set: bool) -> None:
    children = objects(claim, *([stateful_set("wrong")] if has_stateful_set else []))

    found = corrections(livescore(postgres=RIGHT), children, {})

    assert [one.deleted for one in found if one.deleted] == []
    assert [type(one.problem) for one in found] == ([Terminal] if has_stateful_set else [])


def test_template_is_compared_and_not_the_claim() -> None:
    """An admission webhook that sets another class on each claim would otherwise cause endless recreation."""
    children = objects(stateful_set("right"), claim_of(storage_class="mutated"))

    assert corrections(livescore(postgres=RIGHT), children, {}) == []


@pytest.mark.parametrize("size", ["10Gi", "10240Mi", "10737418240"])
def test_equivalent_sizes_are_equal(size: str) -> None:
    children = objects(stateful_set(None, size), claim_of(storage_class="default"))

    assert corrections(livescore(), children, {}) == []
    assert unseen(livescore(), children) == []


@pytest.mark.parametrize("mode", ["external", "cloudnative-pg"])
def test_claims_of_external_servers_are_left_alone(mode: str) -> None:
    external = {"external": {"secretRef": {"name": "elsewhere", "key": "url"}}} if mode == "external" else {}
    resource = livescore(postgres={"mode": mode, **RIGHT, **external})

    assert corrections(resource, objects(stateful_set("wrong"), claim_of()), {}) == []


def test_foreign_stateful_set_of_the_same_name_is_left_alone() -> None:
    foreign = claim_of()
    foreign["metadata"]["ownerReferences"] = [{"kind": "Other", "name": "x", "uid": "x", "controller": True}]

    found = corrections(livescore(postgres=RIGHT), objects(stateful_set("wrong"), foreign), {})

    assert [one.deleted for one in found] == [()]


def test_stateful_set_is_deleted_before_its_claim() -> None:
    (found,) = corrections(livescore(postgres=RIGHT), objects(claim_of(), stateful_set("wrong")), {})

    assert [one["kind"] for one in found.deleted] == ["StatefulSet", "PersistentVolumeClaim"]
    assert not any(is_bound(one) for one in found.deleted if one["kind"] == "PersistentVolumeClaim")


async def _is_going(kube: Kube) -> bool:
    claim = await kube.find("PersistentVolumeClaim", CLAIM)
    return claim is None or "deletionTimestamp" in claim["metadata"]


def _credentials() -> Json:
    """Return credentials left by an earlier LiveScore together with its volume."""
    data = {f"{name}-password": "cGFzc3dvcmQ=" for name in ("postgres", "redis")}
    metadata = {"name": "demo-credentials", "labels": {key: LABELS[key] for key in list(LABELS)[:2]}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}

"""The reconcile loop against an API server: created objects, their order, and stability."""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livescore_operator.cluster import connect
from livescore_operator.reconciler import Reconciler
from tests.operator.stack import IMAGE, Stack, secret
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import ApiError, Kube
from tests.support.kubernetes.kubelet import fail_job, make_unready
from tests.support.kubernetes.server import Server


@pytest.fixture
async def reconciler(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reconciler]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with connect(30) as cluster:
        yield Reconciler(cluster, "livescore-system", "test")


@pytest.fixture
def stack(kube: Kube, reconciler: Reconciler) -> Stack:
    return Stack(kube, reconciler)


async def test_stack_comes_up_in_order(stack: Stack) -> None:
    await stack.create()

    await stack.reconcile()
    assert "StatefulSet/demo-postgres" in await stack.children()
    assert await stack.kube.list("Job") == []
    assert await stack.condition("DatabaseReady") == ("False", "Starting")

    await stack.make_ready()
    await stack.reconcile()
    assert len(await stack.kube.list("Job")) == 1
    assert await stack.kube.list("Deployment") == []
    assert await stack.condition("SchemaCurrent") == ("False", "Migrating")

    await stack.make_ready()
    await stack.reconcile()
    assert await stack.images() == dict.fromkeys(("demo-api", "demo-worker", "demo-scheduler"), IMAGE)
    assert await stack.condition("Ready") == ("False", "Unavailable")

    await stack.make_ready()
    await stack.reconcile()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_idle_reconcile_writes_nothing(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    before = await stack.versions()

    for _ in range(3):
        await stack.reconcile()

    assert await stack.versions() == before


# Drift


@pytest.mark.parametrize(
    "child",
    [
        "ConfigMap/demo-config",
        "Service/demo",
        "Service/demo-postgres",
        "ServiceAccount/demo",
        "StatefulSet/demo-redis",
        "Deployment/demo-api",
        "Deployment/demo-worker",
        "PodDisruptionBudget/demo-api",
        "NetworkPolicy/demo-api",
    ],
)
async def test_deleted_owned_resource_is_recreated(stack: Stack, child: str) -> None:
    await stack.create()
    await stack.settle()
    kind, name = child.split("/")
    before = (await stack.children())[child]

    await stack.kube.delete(kind, name)
    await stack.kube.gone(kind, name)
    await stack.reconcile()

    assert _comparable(await stack.kube.get(kind, name)) == _comparable(before)


async def test_foreign_change_of_a_field_is_reverted_and_reported(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    container = {"name": "api", "image": "elsewhere:9"}
    drift = {"spec": {"template": {"spec": {"containers": [container]}}}}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "demo-api"}, **drift}
    await stack.kube.apply(manifest, "other", force=True)
    assert (await stack.images())["demo-api"] == "elsewhere:9"

    await stack.settle()

    assert (await stack.images())["demo-api"] == IMAGE
    assert ("Warning", "FieldConflict") in {event[:2] for event in await stack.events()}


async def test_foreign_additions_to_an_owned_resource_are_kept(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    theirs = {"metadata": {"annotations": {"example.com/note": "mine"}}, "spec": {"paused": True}}
    await stack.kube.patch("Deployment", "demo-worker", theirs, fieldManager="other")
    version = (await stack.versions())["Deployment/demo-worker"]

    await stack.reconcile()

    assert (await stack.versions())["Deployment/demo-worker"] == version


async def test_owned_resource_without_labels_is_found_by_name(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.kube.patch("ConfigMap", "demo-config", {"metadata": {"labels": None}}, fieldManager="other")

    await stack.reconcile()

    labels = (await stack.kube.get("ConfigMap", "demo-config"))["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "livescore-operator"


async def test_undesired_resource_is_removed(stack: Stack) -> None:
    await stack.create(api={"ingress": {"host": "scores.example.com"}})
    await stack.settle()
    assert "Ingress/demo" in await stack.children()

    await stack.edit(
        api={"ingress": None, "podDisruptionBudget": {"enabled": False}},
        networkPolicy={"enabled": False},
    )
    await stack.settle()

    kinds = {name.partition("/")[0] for name in await stack.children()}
    assert kinds.isdisjoint({"Ingress", "PodDisruptionBudget", "NetworkPolicy"})


async def test_undesired_field_is_removed(stack: Stack) -> None:
    await stack.create(worker={"template": {"nodeSelector": {"disk": "ssd"}}})
    await stack.settle()

    await stack.edit(worker={"template": {"nodeSelector": None}})
    await stack.settle()

    pod = (await stack.kube.get("Deployment", "demo-worker"))["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod


# Ownership


async def test_foreign_object_is_never_modified(stack: Stack) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-config"}, "data": {"mine": "yes"}}
    await stack.kube.create(theirs)
    await stack.create()

    await stack.settle()

    assert await stack.condition("Stalled") == ("True", "OwnershipConflict")
    assert "ConfigMap" in (await stack.conditions())["Ready"]["message"]
    found = await stack.kube.get("ConfigMap", "demo-config")
    assert found["data"] == {"mine": "yes"}
    assert "labels" not in found["metadata"]

    await stack.kube.delete("ConfigMap", "demo-config")
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_two_livescores_in_a_namespace_are_independent(stack: Stack) -> None:
    other = Stack(stack.kube, stack.reconciler, "other")
    await stack.create()
    await other.create(image="livescore:2")
    await stack.settle()
    await other.settle()
    await stack.settle()

    images = await stack.images()
    assert {images["demo-api"], images["other-api"]} == {IMAGE, "livescore:2"}
    assert await other.condition("Ready") == ("True", "Ready")


async def test_orphan_of_an_earlier_livescore_is_replaced(stack: Stack) -> None:
    """The old LiveScore's garbage collection may be slow; here it never happens."""
    await stack.create()
    await stack.settle()
    password = (await stack.secret("demo-credentials"))["postgres-password"]
    await stack.kube.delete("LiveScore", "demo")
    await stack.reconcile()
    made = await stack.create()

    await stack.settle()

    deployment = await stack.kube.get("Deployment", "demo-api")
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert (await stack.secret("demo-credentials"))["postgres-password"] == password
    assert await stack.condition("Ready") == ("True", "Ready")


# Secrets


async def test_credentials_are_generated_once(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    before = await stack.secret("demo-credentials")

    await stack.edit(image="livescore:2")
    await stack.settle()

    assert await stack.secret("demo-credentials") == before
    assert before["postgres-password"] in before["database-url"]


async def test_rotated_password_is_trimmed_and_url_encoded(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    data = {"postgres-password": b64encode(b"n@w/p:w\n").decode()}
    await stack.kube.patch("Secret", "demo-credentials", {"data": data})
    await stack.settle()
    found = await stack.secret("demo-credentials")
    assert found["postgres-password"] == "n@w/p:w"
    assert "livescore:n%40w%2Fp%3Aw@demo-postgres." in found["database-url"]
    assert await stack.condition("Ready") == ("True", "Ready")
    assert "n@w" not in str(await stack.events()) + str(await stack.livescore())


async def test_non_text_password_is_reported_until_corrected(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.kube.patch("Secret", "demo-credentials", {"data": {"redis-password": b64encode(b"\xff\xfe").decode()}})
    await stack.reconcile()
    ready = (await stack.conditions())["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "Invalid")
    assert "key redis-password of Secret demo-credentials is not UTF-8" in ready["message"]
    assert await stack.condition("Stalled") == ("True", "Invalid")
    await stack.kube.patch("Secret", "demo-credentials", {"data": {"redis-password": b64encode(b"good").decode()}})
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_lost_credentials_of_a_volume_are_reported_and_not_regenerated(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    kept = await stack.kube.get("Secret", "demo-credentials")
    await _label_claims(stack)
    await stack.kube.delete("Secret", "demo-credentials")

    await stack.reconcile()

    assert await stack.condition("DatabaseReady") == ("False", "CredentialsLost")
    assert await stack.kube.find("Secret", "demo-credentials") is None

    metadata = {"name": "demo-credentials", "labels": kept["metadata"]["labels"]}
    await stack.kube.create({**kept, "metadata": metadata})
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_missing_secret_blocks_until_it_exists(stack: Stack) -> None:
    await stack.create(
        postgres={"mode": "external", "external": {"secretRef": {"name": "database", "key": "url"}}},
    )
    assert await stack.reconcile() is not None
    assert await stack.condition("Ready") == ("False", "SecretNotFound")
    await stack.kube.create(secret("database", other="x"))
    await stack.reconcile()
    assert await stack.condition("Ready") == ("False", "SecretKeyNotFound")

    await stack.kube.patch("Secret", "database", {"data": secret("", url="postgresql://x")["data"]})
    await stack.settle()

    assert await stack.condition("Ready") == ("True", "Ready")
    assert "StatefulSet/demo-postgres" not in await stack.children()


async def test_a_missing_secret_holds_only_the_workload_that_reads_it(stack: Stack) -> None:
    await stack.create(api={"apiKeysSecret": {"name": "keys", "key": "keys"}})
    await stack.settle()

    assert await stack.condition("Ready") == ("False", "SecretNotFound")
    message = (await stack.conditions())["Ready"]["message"]
    assert message == f"Secret {stack.kube.namespace}/keys does not exist: create it with key keys"
    assert (await stack.images()).keys() == {"demo-worker", "demo-scheduler"}

    await stack.kube.create(secret("keys", keys="[]"))
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")
    assert "demo-api" in await stack.images()


async def test_workload_with_a_missing_secret_is_unchanged_while_others_are_updated(stack: Stack) -> None:
    await stack.kube.create(secret("keys", keys="[]"))
    await stack.create(api={"apiKeysSecret": {"name": "keys", "key": "keys"}})
    await stack.settle()
    before = (await stack.versions())["Deployment/demo-api"]

    await stack.kube.delete("Secret", "keys")
    await stack.edit(api={"replicas": 5}, worker={"replicas": 3})
    await stack.reconcile()

    assert (await stack.versions())["Deployment/demo-api"] == before
    assert (await stack.kube.get("Deployment", "demo-worker"))["spec"]["replicas"] == 3
    assert await stack.condition("Ready") == ("False", "SecretNotFound")


async def test_without_the_url_of_the_database_the_rest_is_made(stack: Stack) -> None:
    reference = {"secretRef": {"name": "database", "key": "url"}}
    await stack.create(postgres={"mode": "external", "external": reference})
    await stack.settle()

    assert await stack.condition("Ready") == ("False", "SecretNotFound")
    owned = await stack.children()
    assert {"StatefulSet/demo-redis", "Service/demo", "ConfigMap/demo-config"} <= owned.keys()
    assert not [name for name in owned if name.startswith(("Job/", "Deployment/"))]


async def test_an_invalid_origin_is_reported_with_its_field_and_nothing_is_rolled(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    before = await stack.versions()

    await stack.edit(api={"allowedOrigins": ["https://app.example.com", "app.example.com"]})
    await stack.settle()

    assert await stack.condition("Stalled") == ("True", "Invalid")
    message = (await stack.conditions())["Ready"]["message"]
    assert message.startswith("api.allowedOrigins[1]: 'app.example.com' is not a web origin")
    after = await stack.versions()
    assert {name for name in before if before[name] != after[name]} == {"LiveScore"}

    await stack.edit(api={"allowedOrigins": ["https://app.example.com"]})
    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_changed_secret_rolls_only_its_readers(stack: Stack) -> None:
    await stack.kube.create(secret("keys", keys="[]"))
    await stack.create(api={"apiKeysSecret": {"name": "keys", "key": "keys"}})
    await stack.settle()
    before = await _checksums(stack)

    await stack.kube.patch("Secret", "keys", {"data": secret("", keys="[1]")["data"]})
    await stack.settle()

    after = await _checksums(stack)
    assert {name for name in after if after[name] != before[name]} == {"demo-api"}


# Migrate, then roll


async def test_new_image_is_rolled_out_after_its_migration(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    old = await stack.kube.list("Job")

    await stack.edit(image="livescore:2")
    await stack.reconcile()
    assert set((await stack.images()).values()) == {IMAGE}
    assert await stack.condition("SchemaCurrent") == ("False", "Migrating")

    await stack.settle()
    assert set((await stack.images()).values()) == {"livescore:2"}
    assert (await stack.livescore())["status"]["schema"] == "livescore:2"
    (job,) = await stack.kube.list("Job")
    assert job["metadata"]["name"] != old[0]["metadata"]["name"]


async def test_a_failed_migration_keeps_the_old_version_serving(stack: Stack, api: Server) -> None:
    await stack.create()
    await stack.settle()
    await stack.edit(image="livescore:2")
    await stack.reconcile()
    (job,) = [one for one in await stack.kube.list("Job") if "livescore:2" in str(one)]

    await fail_job(stack.kube, api, job["metadata"]["name"], "first line\nrelation is in the way\n")
    await stack.reconcile()

    condition = (await stack.conditions())["SchemaCurrent"]
    assert (condition["status"], condition["reason"]) == ("False", "MigrationFailed")
    assert "relation is in the way" in condition["message"]
    assert await stack.condition("Stalled") == ("True", "MigrationFailed")
    assert set((await stack.images()).values()) == {IMAGE}
    assert ("Warning", "MigrationFailed") in {event[:2] for event in await stack.events()}

    await stack.edit(image="livescore:3")
    await stack.settle()
    assert set((await stack.images()).values()) == {"livescore:3"}
    assert await stack.condition("Stalled") == ("False", "Ready")


async def test_failed_migration_is_retried_after_a_delay(stack: Stack, api: Server) -> None:
    await stack.create()
    await stack.reconcile()
    await stack.make_ready()
    await stack.reconcile()
    (job,) = await stack.kube.list("Job")
    await fail_job(stack.kube, api, job["metadata"]["name"], "connection refused")

    after = await stack.reconcile()
    assert after is not None
    assert 250 < after <= 300
    stack.reconciler.now = lambda: datetime.now(UTC) + timedelta(seconds=301)
    await stack.reconcile()
    assert await stack.kube.find("Job", job["metadata"]["name"]) is None

    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")


async def test_edit_together_with_a_new_image_reaches_the_serving_version(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.edit(image="livescore:2", api={"replicas": 5})
    await stack.reconcile()

    deployment = await stack.kube.get("Deployment", "demo-api")
    assert deployment["spec"]["replicas"] == 5
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


async def test_lost_deployment_is_recreated_with_the_serving_image(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.edit(image="livescore:2")
    await stack.reconcile()
    await stack.kube.delete("Deployment", "demo-api")

    await stack.reconcile()

    assert (await stack.images())["demo-api"] == IMAGE


# Plan and suspend


async def test_plan_changes_nothing_and_apply_executes_exactly_the_plan(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    before = await stack.children()

    await stack.edit(reconcilePolicy="Plan", api={"replicas": 4, "securityMode": "DRY_RUN"})
    await stack.reconcile()

    assert await stack.children() == before
    plan = (await stack.livescore())["status"]["plan"]
    assert plan["summary"] == "0 to create, 4 to update, 0 to delete"
    assert "+  replicas: 4" in plan["diff"]
    assert "+  SECURITY_MODE: DRY_RUN" in plan["diff"]
    assert await stack.condition("Reconciling") == ("False", "PlanOnly")

    await stack.edit(reconcilePolicy="Apply")
    await stack.settle()
    after = await stack.children()
    processes = {"Deployment/demo-api", "Deployment/demo-worker", "Deployment/demo-scheduler"}
    changed = {name for name in after if _comparable(after[name]) != _comparable(before[name])}
    assert changed == {"ConfigMap/demo-config", *processes}
    assert "plan" not in (await stack.livescore())["status"]


async def test_a_plan_of_a_new_stack_shows_no_secret(stack: Stack) -> None:
    await stack.create(reconcilePolicy="Plan")

    await stack.reconcile()

    plan = (await stack.livescore())["status"]["plan"]
    assert "Secret/demo-credentials" in plan["diff"]
    assert "postgres-password: '********'" in plan["diff"]
    assert await stack.children() == {}


async def test_suspended_livescore_is_not_repaired(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.edit(suspend=True)
    await stack.kube.delete("Deployment", "demo-worker")

    await stack.reconcile()
    assert "demo-worker" not in await stack.images()
    assert await stack.condition("Reconciling") == ("False", "Suspended")
    assert await stack.condition("Ready") == ("Unknown", "Suspended"), "the state is not observed"
    assert await stack.condition("ApiAvailable") == ("True", "Available"), "as last observed"

    await stack.edit(suspend=False)
    await stack.settle()
    assert "demo-worker" in await stack.images()


# Status


async def test_status_has_all_documented_fields(stack: Stack) -> None:
    await stack.create(api={"replicas": 3, "ingress": {"host": "scores.example.com", "tlsSecretName": "cert"}})
    await stack.settle()

    status = (await stack.livescore())["status"]

    assert status["api"] == "3/3"
    assert (status["replicas"], status["readyReplicas"]) == (3, 3)
    assert status["image"] == status["schema"] == IMAGE
    assert status["observedGeneration"] == 1
    assert status["connections"] == 0
    assert "app.kubernetes.io/component=api" in status["selector"]
    namespace = stack.kube.namespace
    assert status["endpoints"] == {
        "service": f"http://demo.{namespace}.svc:8000",
        "websocket": f"ws://demo.{namespace}.svc:8000/ws",
        "ingress": "https://scores.example.com",
    }


async def test_transition_time_changes_only_with_the_status(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    before = await stack.conditions()
    stack.reconciler.now = lambda: datetime.now(UTC) + timedelta(hours=1)

    await stack.edit(api={"replicas": 4})
    await stack.reconcile()

    after = await stack.conditions()
    moved = {name for name in after if after[name]["lastTransitionTime"] != before[name]["lastTransitionTime"]}
    assert moved == {name for name in after if after[name]["status"] != before[name]["status"]}
    assert {condition["observedGeneration"] for condition in after.values()} == {2}


async def test_ready_follows_its_parts(stack: Stack) -> None:
    await stack.create()
    await stack.settle()

    await make_unready(stack.kube, "StatefulSet", "demo-postgres")
    await stack.reconcile()
    assert await stack.condition("Ready") == ("False", "Starting")

    await stack.settle()
    assert await stack.condition("Ready") == ("True", "Ready")
    reasons = [reason for _, reason, _ in await stack.events()]
    assert reasons.count("Ready") == 2


async def test_cloudnative_pg_mode_requires_its_operator(stack: Stack) -> None:
    await stack.create(postgres={"mode": "cloudnative-pg"})

    assert await stack.reconcile() is not None

    assert await stack.condition("DatabaseReady") == ("False", "CloudNativePGMissing")


async def test_deleted_livescore_is_released(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.kube.delete("LiveScore", "demo")
    before = await stack.children()

    await stack.reconcile()

    assert await stack.children() == before
    assert await stack.kube.find("LiveScore", "demo") is None


async def test_secret_and_claims_are_protected_from_argo_cd(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await stack.kube.patch("Secret", "demo-credentials", {"metadata": {"annotations": None}})
    await _label_claims(stack)

    await stack.settle()

    kept = [("Secret", "demo-credentials")]
    kept += [("PersistentVolumeClaim", f"data-demo-{server}-0") for server in ("postgres", "redis")]
    for kind, name in kept:
        found = await stack.kube.get(kind, name)
        assert found["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
        assert "ownerReferences" not in found["metadata"]
    before = await stack.versions()
    await stack.reconcile()
    assert await stack.versions() == before


async def test_a_volume_grows(stack: Stack) -> None:
    await stack.create()
    await stack.settle()
    await _label_claims(stack)

    await stack.edit(postgres={"storage": {"size": "20Gi"}})
    if not await _can_grow(stack):
        await stack.reconcile()
        assert await stack.condition("Stalled") == ("True", "Refused")
        return
    await stack.settle()

    claim = await stack.kube.get("PersistentVolumeClaim", "data-demo-postgres-0")
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    template = (await stack.kube.get("StatefulSet", "demo-postgres"))["spec"]["volumeClaimTemplates"][0]
    assert template["spec"]["resources"]["requests"]["storage"] == "10Gi"


def _comparable(child: Json) -> Json:
    """Return an owned object without what differs between two instances."""
    metadata = {name: child["metadata"].get(name) for name in ("labels", "annotations", "ownerReferences")}
    body = {name: value for name, value in child.items() if name not in ("metadata", "status")}
    body.get("spec", {}).pop("clusterIP", None)
    body.get("spec", {}).pop("clusterIPs", None)
    return {**body, "metadata": metadata}


async def _checksums(stack: Stack) -> dict[str, str]:
    found = await stack.kube.list("Deployment")
    return {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["annotations"]["livescore.dev/checksum"]
        for one in found
    }


async def _label_claims(stack: Stack) -> None:
    """Add the labels that the StatefulSet controller would add."""
    labels = {"app.kubernetes.io/name": "livescore", "app.kubernetes.io/instance": "demo"}
    for claim in await stack.kube.list("PersistentVolumeClaim"):
        await stack.kube.patch("PersistentVolumeClaim", claim["metadata"]["name"], {"metadata": {"labels": labels}})


async def _can_grow(stack: Stack) -> bool:
    """Create a storage class that allows growth: a real API server requires it, and has none."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-demo-postgres-0"},
        "spec": {"resources": {"requests": {"storage": "11Gi"}}},
    }
    try:
        await stack.kube.apply(claim, force=True, dry_run=True)
    except ApiError:
        return False
    return True


# Settings without effect


async def test_ineffective_setting_is_reported_and_the_livescore_stays_ready(stack: Stack) -> None:
    await stack.create(autoscaling={"minReplicas": 3})
    await stack.settle()

    assert await stack.condition("Ready") == ("True", "Ready")
    assert await stack.condition("Reconciling") == ("False", "Ready")
    assert await stack.condition("SettingsEffective") == ("False", "SettingsIgnored")
    assert [event[:2] for event in await stack.events()].count(("Warning", "SettingsIgnored")) == 1

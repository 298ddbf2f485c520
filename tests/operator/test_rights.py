"""The shipped permissions are sufficient for everything the operator does, and none is superfluous."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from livescore_operator.autoscaler import DELETION_COST
from livescore_operator.resource import KIND
from tests.operator.stack import Stack, secret
from tests.support.forkserver import ForkServer
from tests.support.kubernetes.faults import Faults
from tests.support.kubernetes.kinds import KINDS, Json
from tests.support.kubernetes.kube import Kube, eventually
from tests.support.kubernetes.kubelet import fail_job, make_pod, make_ready
from tests.support.kubernetes.server import Server
from tests.support.operators import Operator

K8S = Path(__file__).parents[2] / "k8s"
ACCOUNT = "livescore-operator"
Right = tuple[str, str]
"""Verb and resource: ``("patch", "livescores/status")``."""

ADMISSION = {("update", "livescores/finalizers")}
"""Permissions required by an admission plugin that is off by default: for blockOwnerDeletion."""

FOREIGN = [("postgresql.cnpg.io", "Cluster", "clusters"), ("monitoring.coreos.com", "PodMonitor", "podmonitors")]


def roles(path: str) -> list[Json]:
    return [one for one in yaml.safe_load_all((K8S / path).read_text()) if one["kind"].endswith("Role")]


def rights(found: list[Json]) -> set[Right]:
    rules = [rule for role in found for rule in role["rules"]]
    return {(verb, resource) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


CLUSTER_WIDE = roles("rbac/clusterrole.yaml") + roles("operator/role.yaml")
NAMESPACED = roles("namespaced/role.yaml") + roles("operator/role.yaml")


@pytest.fixture
async def kube(real_api: Server) -> AsyncIterator[Kube]:
    """A namespace on a server with RBAC and the kinds of other operators."""
    async with Kube(real_api.access, f"test-{secrets.token_hex(4)}") as client:
        kinds = [await client.define(_definition(*one)) for one in FOREIGN]
        await client.make_namespace()
        await client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}})
        yield client
        await client.remove_namespace()
        for kind in kinds:
            await client.undefine(kind)


@pytest.fixture
async def proxy(real_api: Server, kube: Kube) -> AsyncIterator[Faults]:
    """A proxy for the operator's account that counts its requests."""
    access = await asyncio.to_thread(real_api.access_of, kube.namespace, ACCOUNT)
    proxy = Faults(access)
    yield proxy
    await asyncio.to_thread(proxy.close)


@pytest.fixture
def operator(proxy: Faults, kube: Kube, operator_forks: ForkServer, tmp_path: Path) -> Iterator[Operator]:
    """The operator with only its account's permissions."""
    kubeconfig = proxy.access.write(tmp_path / "kubeconfig.yaml")
    operator = Operator(tmp_path, ACCOUNT, kube.namespace, kubeconfig, operator_forks)
    yield operator
    operator.close()
    operator.release()
    print(operator.log[-20_000:])


async def grant(kube: Kube, found: list[Json]) -> None:
    """Grant these roles to the account, as the manifests do."""
    for role in found:
        name = f"{role['metadata']['name']}-{kube.namespace}"
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": name}
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": kube.namespace}
        binding = {"kind": f"{role['kind']}Binding", "roleRef": reference, "subjects": [subject]}
        metadata = {"name": name} | ({"namespace": kube.namespace} if role["kind"] == "Role" else {})
        await kube.create({**role, "metadata": metadata})
        await kube.create({"apiVersion": role["apiVersion"], "metadata": metadata, **binding})


def _definition(group: str, kind: str, plural: str) -> Json:
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def test_both_variants_grant_the_same() -> None:
    assert rights(CLUSTER_WIDE) == rights(NAMESPACED)


@pytest.mark.parametrize("variant", ["namespaced", "cluster-wide"])
async def test_missing_permission_prevents_readiness_and_is_named(kube: Kube, operator: Operator, variant: str) -> None:
    namespaced = variant == "namespaced"
    granted = NAMESPACED if namespaced else CLUSTER_WIDE
    operator.launch(*(("--namespace", kube.namespace) if namespaced else ("--all-namespaces",)))
    answer = await operator.until("/readyz", lambda answer: "rights" in answer.text, 60)
    place = f" in {kube.namespace}" if namespaced else ""
    assert answer.status_code == 503
    for text in (
        f"get, list, watch livescores.livescore.dev{place};",
        f"get, update leases.coordination.k8s.io in {kube.namespace}",
    ):
        assert text in answer.json()["problems"][0].replace("create, get, update leases", "get, update leases")
    assert "leases" in answer.json()["problems"][1]

    await grant(kube, granted)
    await operator.until("/readyz", lambda answer: answer.status_code == 200, 30)


@pytest.mark.parametrize("variant", ["namespaced", "cluster-wide"])
async def test_granted_permissions_are_exactly_those_needed(
    kube: Kube, proxy: Faults, operator: Operator, real_api: Server, variant: str
) -> None:
    granted = NAMESPACED if variant == "namespaced" else CLUSTER_WIDE
    await grant(kube, granted)
    operator.launch(*(("--namespace", kube.namespace) if variant == "namespaced" else ("--all-namespaces",)))
    stack, other = Stack(kube, None), Stack(kube, None, "other")

    await stack.create(api={"ingress": {"host": "scores.example.com"}}, monitoring={"enabled": True})
    async with stack.kubelet():
        await stack.until_ready(60)
        await _grow(stack)
        # Without a garbage collector, the next LiveScore of this name has to replace what is left.
        await kube.delete(KIND, "demo")
        await kube.gone(KIND, "demo")
        await stack.create()
        await stack.until_ready(60)
        await _scale(stack)
    await _correct_a_claim(other)
    await _revert_cluster(other)
    await _fail_a_migration(other, real_api)

    assert not re.search(r"cannot \w+ resource", operator.log)
    # Every account may review its own permissions.
    asked = {(call.verb, call.resource) for call in proxy.calls() if not call.resource.startswith("/")}
    asked -= {("create", "selfsubjectaccessreviews")}
    needed = asked | await _creations_by_apply(operator) | ADMISSION
    assert sorted(needed ^ rights(granted)) == []


async def _creations_by_apply(operator: Operator) -> set[Right]:
    """Return the create permissions that were used: creating by server-side apply is a patch that requires create."""
    names = re.compile(r'livescore_operator_changes_total\{kind="(\w+)",verb="create"\}')
    made = (found[1] for name in await operator.metrics() if (found := names.fullmatch(name)))
    return {("create", KINDS[kind].plural) for kind in made}


async def _grow(stack: Stack) -> None:
    """Create a claim that is smaller than desired; the storage class need not allow growth."""
    labels = {"app.kubernetes.io/name": "livescore", "app.kubernetes.io/instance": "demo"}
    await stack.kube.patch("PersistentVolumeClaim", "data-demo-redis-0", {"metadata": {"labels": labels}})
    await stack.edit(redis={"storage": {"size": "2Gi"}})
    await eventually(lambda: _is_stalled(stack))
    await stack.kube.delete("PersistentVolumeClaim", "data-demo-redis-0")


async def _is_stalled(stack: Stack) -> bool:
    return (await stack.condition("Stalled"))[0] == "True"


async def _correct_a_claim(stack: Stack) -> None:
    """Create a LiveScore with an existing unbound claim of another storage class."""
    claim = f"data-{stack.name}-redis-0"
    labels = {"app.kubernetes.io/name": "livescore", "app.kubernetes.io/instance": stack.name}
    requests = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "wrong", "resources": requests}
    metadata = {"name": claim, "labels": labels}
    await stack.kube.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    await stack.create(postgres={"mode": "cloudnative-pg"}, redis={"storage": {"storageClassName": "right"}})
    await eventually(lambda: _is_deleted(stack.kube, claim), 30)
    if await stack.kube.find("PersistentVolumeClaim", claim):
        # No controller removes the finalizer once no pod uses the claim.
        await stack.kube.patch("PersistentVolumeClaim", claim, {"metadata": {"finalizers": None}})


async def _is_deleted(kube: Kube, claim: str) -> bool:
    found = await kube.find("PersistentVolumeClaim", claim)
    return found is None or "deletionTimestamp" in found["metadata"]


async def _scale(stack: Stack) -> None:
    """Add and remove a HorizontalPodAutoscaler, with an API pod that is drained before its removal."""
    deployment = await stack.kube.present("Deployment", "demo-api")
    await make_pod(stack.kube, "demo-api-1", deployment["spec"]["template"]["metadata"]["labels"])
    await stack.edit(autoscaling={"mode": "hpa"})
    await stack.kube.present("HorizontalPodAutoscaler", "demo-api")
    await stack.kube.present("Pod", "demo-api-1", lambda pod: DELETION_COST in pod["metadata"].get("annotations", {}))
    await stack.edit(autoscaling={"mode": "none"})
    await stack.kube.gone("HorizontalPodAutoscaler", "demo-api")
    await stack.kube.delete("Pod", "demo-api-1", gracePeriodSeconds=0)


async def _revert_cluster(stack: Stack) -> None:
    """Change a Cluster by hand; it is not watched, so the operator notices by polling."""
    await stack.kube.present("Cluster", "other-postgres")
    await stack.kube.patch("Cluster", "other-postgres", {"spec": {"instances": 9}}, fieldManager="other")
    await stack.kube.present("Cluster", "other-postgres", lambda cluster: cluster["spec"]["instances"] == 3)


async def _fail_a_migration(stack: Stack, api: Server) -> None:
    await make_ready(stack.kube, "Cluster", "other-postgres")
    await stack.kube.create(secret("other-postgres-app", uri="postgresql://x"))
    job = await eventually(lambda: _job(stack), 30)
    await fail_job(stack.kube, api, job, "no such table")
    await eventually(lambda: _condition_mentions(stack, "no such table"), 30)


async def _job(stack: Stack) -> str:
    jobs = [one["metadata"]["name"] for one in await stack.kube.list("Job")]
    return next((name for name in jobs if name.startswith(stack.name)), "")


async def _condition_mentions(stack: Stack, text: str) -> bool:
    return text in str((await stack.conditions()).get("SchemaCurrent"))

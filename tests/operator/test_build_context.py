"""The build context that the builders receive, as derived from an observation."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest

from livescore_operator.build_context import MISSING_SECONDS, PLANNED, build_context, serving_image
from livescore_operator.components import Credentials, Scale, migration
from livescore_operator.components.common import ClaimTemplate
from livescore_operator.errors import Waiting
from livescore_operator.observation import ObservedState, digest
from livescore_operator.planning import Key
from livescore_operator.resource import LiveScore, Manifest

IMAGE, OLD_IMAGE = "livescore:2", "livescore:1"
SCALE = Scale(replicas=2, minimum=1)

Children = Mapping[Key, Manifest]


def livescore(status: Manifest | None = None, **spec: Any) -> LiveScore:
    metadata = {"name": "demo", "namespace": "sport", "uid": "u"}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": IMAGE, **spec}, "status": status or {}})


def stateful(component: str, size: str | None = None, ready: int = 1) -> Children:
    theirs, ours = [_claim_template(name, wanted) for name, wanted in (("a-cache", "1Mi"), ("data", size))]
    spec = {"volumeClaimTemplates": [theirs, ours]} if size else {}
    name = f"demo-{component}"
    return {("StatefulSet", name): {"metadata": {"name": name}, "spec": spec, "status": {"readyReplicas": ready}}}


def _claim_template(name: str, size: str | None) -> Manifest:
    return {"metadata": {"name": name}, "spec": {"resources": {"requests": {"storage": size}}}}


def job(*conditions: str) -> Children:
    status = {"conditions": [{"type": type, "status": "True"} for type in conditions]}
    return {("Job", migration.name(livescore())): {"kind": "Job", "status": status}}


def deployment(image: str) -> Children:
    sidecar = {"name": "a-proxy", "image": "proxy:9"}
    template = {"spec": {"containers": [sidecar, {"name": "api", "image": image}], "initContainers": [sidecar]}}
    return {("Deployment", "demo-api"): {"kind": "Deployment", "spec": {"template": template}}}


def credentials(**passwords: str) -> Children:
    data = {f"{name}-password": b64encode(value.encode()).decode() for name, value in passwords.items()}
    return {("Secret", "demo-credentials"): {"kind": "Secret", "data": data}}


def claim(component: str, size: str) -> Children:
    name = f"data-demo-{component}-0"
    body = {"metadata": {"name": name}, "spec": {"resources": {"requests": {"storage": size}}}}
    return {("PersistentVolumeClaim", name): body}


def seen(*children: Children, **others: Any) -> ObservedState:
    return ObservedState(owned={key: one for some in children for key, one in some.items()}, **others)


# The permitted image


@pytest.mark.parametrize(
    ("children", "status", "serving"),
    [
        ({}, None, None),
        ({}, {"image": OLD_IMAGE}, OLD_IMAGE),
        (job(), None, None),
        (job("Failed"), None, None),
        (job("Complete"), None, IMAGE),
        ({**job("Complete"), **deployment(OLD_IMAGE)}, None, IMAGE),
        ({**job(), **deployment(OLD_IMAGE)}, None, OLD_IMAGE),
        ({**job("Failed"), **deployment(OLD_IMAGE)}, None, OLD_IMAGE),
        (deployment(OLD_IMAGE), {"image": "livescore:0"}, OLD_IMAGE),
    ],
)
def test_new_image_runs_only_after_its_migration_succeeded(
    children: Children, status: Manifest | None, serving: str | None
) -> None:
    assert serving_image(livescore(status), seen(children)) == serving


def test_migration_of_another_image_is_ignored() -> None:
    assert serving_image(livescore(image="livescore:3"), seen(job("Complete"), deployment(OLD_IMAGE))) == OLD_IMAGE


# BuildContext


def test_context_matches_the_observation() -> None:
    keys = {"data": {"json": "W10="}}
    resource = livescore(api={"apiKeysSecret": {"name": "keys", "key": "json"}})
    observation = seen(
        credentials(postgres="p", redis="r"),
        stateful("postgres", "5Gi"),
        stateful("redis"),
        claim("postgres", "5Gi"),
        references={"Secret/keys": keys},
        kinds=frozenset({"PodMonitor.monitoring.coreos.com"}),
    )

    found = build_context(resource, observation, OLD_IMAGE, "livescore-system", SCALE)

    assert found.operator_namespace == "livescore-system"
    assert found.credentials == Credentials("p", "r", found.credentials.admin_key, found.credentials.checksum_key)
    assert found.checksums == {"Secret/keys": digest(keys)}
    assert found.serving_image == OLD_IMAGE
    assert found.claimed == {"demo-postgres": ClaimTemplate("5Gi")}
    assert (found.claims, found.kinds) == ({"data-demo-postgres-0": "10Gi"}, observation.kinds)
    assert found.scale == SCALE


def test_credentials_are_kept_and_missing_ones_generated() -> None:
    first = build_context(livescore(), seen(), None, "", SCALE).credentials
    second = build_context(livescore(), seen(credentials(postgres="p")), None, "", SCALE).credentials

    assert first.postgres_password != first.redis_password
    assert second.postgres_password == "p"
    assert second.redis_password not in ("", first.redis_password)


def test_lost_password_of_a_volume_blocks_the_reconcile() -> None:
    with pytest.raises(Waiting, match="CredentialsLost"):
        build_context(livescore(), seen(claim("postgres", "10Gi")), None, "", SCALE)


@pytest.mark.parametrize(
    ("size", "grows"),
    [("1Gi", True), ("9.9Gi", True), ("10Gi", False), ("10240Mi", False), ("11Gi", False), ("?", False)],
)
def test_volumes_can_grow_but_not_shrink(size: str, grows: bool) -> None:
    found = build_context(livescore(), seen(credentials(postgres="p"), claim("postgres", size)), None, "", SCALE).claims

    assert found == {"data-demo-postgres-0": "10Gi" if grows else size}


def test_foreign_volumes_do_not_grow() -> None:
    assert build_context(livescore(), seen(claim("other", "1Gi")), None, "", SCALE).claims == {}


def test_plan_is_deterministic() -> None:
    plan, key = livescore(reconcilePolicy="Plan"), f"lsk_admin_{PLANNED}"

    assert build_context(plan, seen(), None, "", SCALE).credentials == Credentials(PLANNED, PLANNED, key, PLANNED)
    assert build_context(plan, seen(credentials(postgres="p")), None, "", SCALE).credentials == Credentials(
        "p", PLANNED, key, PLANNED
    )


def test_missing_database_operator_blocks_the_reconcile() -> None:
    resource = livescore(postgres={"mode": "cloudnative-pg"})

    with pytest.raises(Waiting, match="CloudNativePGMissing") as caught:
        build_context(resource, seen(), None, "", SCALE)
    assert (caught.value.condition, caught.value.after) == ("DatabaseReady", MISSING_SECONDS)

    there = seen(kinds=frozenset({"Cluster.postgresql.cnpg.io"}))
    assert not build_context(resource, there, None, "", SCALE).database_ready


@pytest.mark.parametrize(
    ("children", "ready"), [({}, False), (stateful("postgres", ready=0), False), (stateful("postgres"), True)]
)
def test_migration_starts_when_the_database_is_ready(children: Children, ready: bool) -> None:
    assert build_context(livescore(), seen(children), None, "", SCALE).database_ready == ready


@pytest.mark.parametrize("state", ["Complete", "Failed", "Running"])
def test_started_migration_stays_desired_while_the_database_restarts(state: str) -> None:
    """Otherwise the Job would be pruned while it runs, and run once more afterwards."""
    observation = seen(stateful("postgres", ready=0), job(state))

    assert build_context(livescore(), observation, IMAGE, "", SCALE).database_ready


def test_migration_of_a_new_image_starts_when_the_database_is_ready() -> None:
    observation = seen(stateful("postgres", ready=0), job("Complete"))

    assert not build_context(livescore(image="livescore:3"), observation, IMAGE, "", SCALE).database_ready

"""Ownership of objects, references of the spec, and digests."""

from typing import Any

import pytest

from livescore_operator.components.common import family
from livescore_operator.errors import Terminal, Waiting
from livescore_operator.observation import (
    ObservedState,
    digest,
    is_orphan,
    is_ours,
    name_conflicts,
    secret_problems,
    secret_uses,
)
from livescore_operator.resource import KIND, LiveScore, Manifest


def livescore(**spec: Any) -> LiveScore:
    metadata = {"name": "demo", "namespace": "sport", "uid": "u-2"}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": "livescore:1", **spec}})


LABELS = family(livescore())
MINE = {"kind": KIND, "name": "demo", "uid": "u-2", "controller": True}
EARLIER = {**MINE, "uid": "u-1"}
ANOTHER = {**MINE, "name": "other", "uid": "u-3"}
BYSTANDER = {"kind": "ConfigMap", "name": "demo", "uid": "u-4"}


def child(kind: str = "Deployment", *owners: Manifest, labels: dict[str, str] | None = None) -> Manifest:
    metadata: Manifest = {"name": "demo-api", "namespace": "sport"}
    return {"kind": kind, "metadata": metadata | ({"ownerReferences": list(owners)} if owners else {}) | _l(labels)}


def _l(labels: dict[str, str] | None) -> Manifest:
    return {} if labels is None else {"labels": labels}


# Ownership

# The object; True if it is ours; True if an earlier LiveScore of this name left it behind.
OBJECTS: list[tuple[Manifest, bool, bool]] = [
    (child("Deployment", MINE), True, False),
    (child("Deployment", BYSTANDER, MINE), True, False),
    (child("Deployment", MINE, labels={}), True, False),
    (child("Deployment", EARLIER, labels=LABELS), False, True),
    (child("Deployment", ANOTHER, labels=LABELS), False, False),
    (child("Deployment", BYSTANDER, labels=LABELS), False, False),
    (child("Deployment", labels=LABELS), False, False),
    (child("Secret", labels={**LABELS, "mine": "too"}), True, False),
    (child("PersistentVolumeClaim", labels=LABELS), True, False),
    (child("Cluster", labels=LABELS), True, False),
    (child("Cluster", labels={}), False, False),
    (child("Secret", labels={**LABELS, "app.kubernetes.io/instance": "other"}), False, False),
    (child("Secret", labels={}), False, False),
    (child("Secret"), False, False),
    (child("Secret", ANOTHER, labels=LABELS), False, False),
    (child("Secret", BYSTANDER, labels=LABELS), True, False),
]


@pytest.mark.parametrize(("live", "ours", "remains"), OBJECTS)
def test_object_is_ours_an_orphan_or_foreign(live: Manifest, ours: bool, remains: bool) -> None:
    assert is_ours(livescore(), live) == ours
    assert is_orphan(livescore(), live) == remains


@pytest.mark.parametrize(("live", "ours", "remains"), OBJECTS)
def test_name_of_a_foreign_object_is_never_taken(live: Manifest, ours: bool, remains: bool) -> None:
    wanted = [child(live["kind"])]
    live_children = {(live["kind"], "demo-api"): live}
    if ours or remains:
        assert name_conflicts(livescore(), wanted, live_children) == {}
        return
    if live["kind"] == "Secret":
        with pytest.raises(Terminal, match="OwnershipConflict: Secret sport/demo-api exists"):
            name_conflicts(livescore(), wanted, live_children)
        return
    (conflict,) = name_conflicts(livescore(), wanted, live_children).values()
    assert conflict.message.startswith(f"{live['kind']} sport/demo-api exists")
    assert "rename or delete it" in conflict.message
    assert conflict.after is not None, "no event announces that the object is gone"


def test_undesired_or_missing_objects_cause_no_conflict() -> None:
    stateful = child("StatefulSet", ANOTHER)
    assert name_conflicts(livescore(), [child()], {}) == {}
    assert name_conflicts(livescore(), [child()], {("StatefulSet", "demo-api"): stateful}) == {}
    assert name_conflicts(livescore(), [], {("Deployment", "demo-api"): child("Deployment", ANOTHER)}) == {}


# User-provided Secrets


def reference(name: str, key: str = "key") -> dict[str, str]:
    return {"name": name, "key": key}


def variable(name: str, secret: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": reference(secret)}}


def external(secret: str) -> Manifest:
    return {"mode": "external", "external": {"secretRef": reference(secret, "url")}}


def test_all_secrets_referenced_by_a_spec_are_found() -> None:
    resource = livescore(
        api={
            "env": [variable("A", "one"), {"name": "B", "value": "plain"}],
            "apiKeysSecret": reference("keys", "json"),
        },
        worker={"env": [variable("A", "two")]},
        scheduler={"env": [variable("A", "three"), {"name": "C", "valueFrom": {"configMapKeyRef": reference("map")}}]},
        postgres=external("database"),
        redis=external("redis"),
    )

    assert {(use.reference.name, use.reference.key) for use in secret_uses(resource)} == {
        ("one", "key"),
        ("keys", "json"),
        ("two", "key"),
        ("three", "key"),
        ("database", "url"),
        ("redis", "url"),
    }


def test_spec_with_managed_servers_references_no_secret() -> None:
    unused = {"external": {"secretRef": reference("unused")}}

    assert secret_uses(livescore()) == []
    assert secret_uses(livescore(postgres=unused, redis=unused)) == []


def test_existing_secrets_are_sufficient() -> None:
    assert secret_problems(livescore(), {}) == []
    there = {"redis": {"data": {"url": "cmVkaXM6Ly9ob3N0"}}}
    assert secret_problems(livescore(redis=external("redis")), there) == []


@pytest.mark.parametrize(
    ("secrets", "reason", "message"),
    [
        ({}, "SecretNotFound", "Secret sport/redis does not exist: create it with key url"),
        ({"redis": None}, "SecretNotFound", "Secret sport/redis does not exist: create it with key url"),
        ({"redis": {}}, "SecretKeyNotFound", "Secret sport/redis has no key url: add it"),
        ({"redis": {"data": None}}, "SecretKeyNotFound", "Secret sport/redis has no key url: add it"),
        ({"redis": {"data": {"URL": "eA=="}}}, "SecretKeyNotFound", "Secret sport/redis has no key url: add it"),
    ],
)
def test_missing_secret_is_named(secrets: dict[str, Manifest | None], reason: str, message: str) -> None:
    ((problem, components),) = secret_problems(livescore(redis=external("redis")), secrets)

    assert isinstance(problem, Waiting)
    assert (problem.reason, problem.message) == (reason, message)
    assert components == ("api", "worker", "scheduler", "migration")


def test_only_the_component_that_reads_a_missing_secret_is_held() -> None:
    resource = livescore(api={"apiKeysSecret": reference("keys")}, worker={"env": [variable("A", "one")]})

    held = [components for _, components in secret_problems(resource, {})]

    assert held == [("worker",), ("api",)]


# Digests


def test_digest_covers_only_the_data() -> None:
    one = digest({"data": {"a": "1", "b": "2"}, "metadata": {"resourceVersion": "1"}})

    assert one == digest({"data": {"b": "2", "a": "1"}, "metadata": {"resourceVersion": "2"}, "type": "Opaque"})
    assert len({one, digest({"data": {"a": "2", "b": "2"}}), digest({"data": {"a": "1"}}), digest({})}) == 4
    assert digest({}) == digest({"data": None}) == digest({"data": {}})


def test_missing_object_has_no_digest() -> None:
    secret = {"data": {"a": "1"}}
    seen = ObservedState(owned={}, references={"Secret/there": secret, "Secret/missing": None, "ConfigMap/gone": None})

    assert seen.checksums == {"Secret/there": digest(secret)}


def test_secret_and_config_map_of_one_name_are_distinct() -> None:
    secret, config = {"data": {"a": "1"}}, {"data": {"a": "2"}}
    seen = ObservedState(owned={}, references={"Secret/a": secret, "ConfigMap/a": config, "Secret/b": None})

    assert seen.checksums == {"Secret/a": digest(secret), "ConfigMap/a": digest(config)}
    assert seen.secrets == {"a": secret, "b": None}


def test_claims_report_their_requested_size() -> None:
    claim = {"kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    seen = ObservedState(owned={("PersistentVolumeClaim", "data"): claim, ("Deployment", "demo-api"): child()})

    assert seen.claims == {"data": "5Gi"}
    assert ObservedState(owned={}).claims == {}


def test_observation_can_be_updated_with_applied_objects() -> None:
    old, kept = child("Deployment"), child("Job")
    seen = ObservedState(owned={("Deployment", "demo-api"): old, ("Job", "demo-api"): kept})
    new, made = {**old, "spec": {"replicas": 2}}, child("Service")

    assert seen.updated([new, made]) == {
        ("Deployment", "demo-api"): new,
        ("Job", "demo-api"): kept,
        ("Service", "demo-api"): made,
    }
    assert seen.owned["Deployment", "demo-api"] is old, "the observation is unchanged"

"""The CRD's CEL rules one by one: what the API server refuses, with a message that says what to do."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from livescore_operator.crd import crd
from livescore_operator.resource import API_VERSION, KIND, RESERVED_ENV
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import ApiError, Kube
from tests.support.kubernetes.server import Server

Spec = dict[str, Any]

SECRET = {"name": "elsewhere", "key": "url"}
EXTERNAL = {"mode": "external", "external": {"secretRef": SECRET}}
ONE = {"configMapKeyRef": SECRET}
BOTH = {**ONE, "secretKeyRef": SECRET}


@pytest.fixture
async def kube(real_api: Server) -> AsyncIterator[Kube]:
    """A namespace on a server that supports CEL."""
    async with Kube(real_api.access, f"test-{secrets.token_hex(4)}") as client:
        await client.make_namespace()
        yield client
        await client.remove_namespace()


def livescore(spec: Spec, name: str = "demo") -> Json:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": {"image": "one", **spec}}


def env(part: str, **variable: Any) -> Spec:
    return {part: {"env": [{"name": "MINE", **variable}]}}


# A refused spec, a word of the message, and the most similar spec that is accepted.
REFUSED: list[tuple[Spec, str, Spec]] = [
    *((env(part), "exactly one of value and", env(part, value="x")) for part in ("api", "worker", "scheduler")),
    (
        env("api", value="x", valueFrom={"secretKeyRef": SECRET}),
        "exactly one of value and",
        env("api", valueFrom={"secretKeyRef": SECRET}),
    ),
    (
        env("worker", valueFrom=BOTH),
        "exactly one of secretKeyRef",
        env("worker", valueFrom={"configMapKeyRef": SECRET}),
    ),
    *((env("api", name=name, value="x"), "set by the operator", env("api", value="x")) for name in RESERVED_ENV),
    ({"api": {"port": 9100}}, "management port", {"api": {"port": 9101}}),
    (
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
        "set autoscaling.maxReplicas",
        {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
    ),
    ({"autoscaling": {"minReplicas": 11}}, "set autoscaling.maxReplicas", {"autoscaling": {"minReplicas": 10}}),
    ({"autoscaling": {"tolerance": 1.5}}, "spec.autoscaling.tolerance", {"autoscaling": {"tolerance": 0.5}}),
    (
        {"autoscaling": {"matchDay": {"expectations": [{"connections": 1}]}}},
        "give sport, team or both",
        {"autoscaling": {"matchDay": {"expectations": [{"connections": 1, "sport": "tennis"}]}}},
    ),
    ({"postgres": {"mode": "external"}}, "needs postgres.external.secretRef", {"postgres": EXTERNAL}),
    ({"redis": {"mode": "external"}}, "needs redis.external.secretRef", {"redis": EXTERNAL}),
    ({"api": {"replicas": -1}}, "spec.api.replicas", {"api": {"replicas": 0}}),
    ({"scheduler": {"replicas": 2}}, "spec.scheduler.replicas", {"scheduler": {"replicas": 1}}),
    (
        {"postgres": {"storage": {"size": "ten"}}},
        "spec.postgres.storage.size",
        {"postgres": {"storage": {"size": "10"}}},
    ),
    ({"image": ""}, "spec.image", {"image": "x"}),
]

# A spec, a refused edit, a word of the message, and an edit that is accepted.
IMMUTABLE: list[tuple[Spec, Spec, str, Spec]] = [
    ({}, {"postgres": {"mode": "cloudnative-pg"}}, "restore a dump", {"postgres": {"instances": 5}}),
    ({}, {"postgres": EXTERNAL}, "restore a dump", {"redis": EXTERNAL}),
    (
        {"postgres": {"mode": "cloudnative-pg"}},
        {"postgres": {"storage": {"size": "9Gi"}}},
        "cannot shrink",
        {"postgres": {"storage": {"size": "11Gi"}}},
    ),
    (
        {"postgres": {"mode": "cloudnative-pg"}},
        {"postgres": {"storage": {"storageClassName": "fast"}}},
        "cannot change",
        {"postgres": {"storage": {"size": "11Gi"}}},
    ),
]

BOUND = {"postgres": {"claim": "a", "volume": "pv-1"}, "redis": {"claim": "b", "volume": "pv-2"}}
UNBOUND = {"postgres": {"claim": "a"}, "redis": {"claim": "b"}}


def bound(spec: Spec) -> Spec:
    """Return ``status.volumes`` with the storage class of the spec at creation."""
    return {name: {**one, **_class(spec, name)} for name, one in BOUND.items()}


def _class(spec: Spec, server: str) -> Spec:
    storage = spec.get(server, {}).get("storage", {})
    return {"storageClassName": storage["storageClassName"]} if "storageClassName" in storage else {}


# The same, but refused only once a volume is bound.
BOUND_ONLY: list[tuple[Spec, Spec, str, Spec]] = [
    ({}, {"postgres": {"storage": {"size": "9Gi"}}}, "cannot shrink", {"postgres": {"storage": {"size": "11Gi"}}}),
    ({}, {"redis": {"storage": {"size": "1000Mi"}}}, "cannot shrink", {"redis": {"storage": {"size": "1024Mi"}}}),
    ({}, {"redis": {"storage": {"storageClassName": "fast"}}}, "cannot change", {"redis": {"replicas": 1}}),
    (
        {"postgres": {"storage": {"storageClassName": "fast"}}},
        {"postgres": {"storage": {"storageClassName": "slow"}}},
        "cannot change",
        {"postgres": {"storage": {"storageClassName": "fast", "size": "1Ti"}}},
    ),
    (
        {"postgres": {"storage": {"storageClassName": "fast"}}},
        {"postgres": {"storage": {"storageClassName": None}}},
        "cannot change",
        {"image": "two"},
    ),
    ({}, {"redis": {**EXTERNAL, "storage": {"storageClassName": "fast"}}}, "cannot change", {"redis": EXTERNAL}),
]
MOVES: list[tuple[Spec, Spec]] = [
    ({"postgres": EXTERNAL}, {"postgres": {"mode": "standalone", "storage": {"size": "1Gi", "storageClassName": "x"}}}),
    ({"redis": EXTERNAL}, {"redis": {"mode": "standalone", "storage": {"size": "2Gi"}}}),
    ({}, {"redis": EXTERNAL}),
]


@pytest.mark.parametrize(("spec", "word", "admitted"), REFUSED)
async def test_invalid_spec_is_refused_with_instructions(kube: Kube, spec: Spec, word: str, admitted: Spec) -> None:
    with pytest.raises(ApiError) as refused:
        await kube.create(livescore(spec))
    assert refused.value.code == 422
    assert word in str(refused.value)

    await kube.create(livescore(admitted))


@pytest.mark.parametrize(("spec", "edit", "word", "admitted"), IMMUTABLE)
async def test_changes_that_lose_data_are_refused_with_instructions(
    kube: Kube, spec: Spec, edit: Spec, word: str, admitted: Spec
) -> None:
    await kube.create(livescore(spec))
    with pytest.raises(ApiError) as refused:
        await kube.patch(KIND, "demo", {"spec": edit})
    assert refused.value.code == 422
    assert word in str(refused.value)

    await kube.patch(KIND, "demo", {"spec": admitted})


@pytest.mark.parametrize(("spec", "edit", "word", "admitted"), BOUND_ONLY)
async def test_class_and_size_are_immutable_once_a_volume_is_bound(
    kube: Kube, spec: Spec, edit: Spec, word: str, admitted: Spec
) -> None:
    await kube.create(livescore(spec))
    await kube.set_status(KIND, "demo", {"volumes": bound(spec)})
    with pytest.raises(ApiError) as refused:
        await kube.patch(KIND, "demo", {"spec": edit})
    assert refused.value.code == 422
    assert word in str(refused.value)

    await kube.patch(KIND, "demo", {"spec": admitted})


@pytest.mark.parametrize("status", [{}, {"volumes": {}}, {"volumes": UNBOUND}])
@pytest.mark.parametrize(("spec", "edit"), [(spec, edit) for spec, edit, _, _ in BOUND_ONLY])
async def test_class_and_size_may_change_while_no_volume_is_bound(
    kube: Kube, spec: Spec, edit: Spec, status: Spec
) -> None:
    await kube.create(livescore(spec))
    if status:
        await kube.set_status(KIND, "demo", status)

    await kube.patch(KIND, "demo", {"spec": edit})


@pytest.mark.parametrize("made", [{"storageClassName": "slow"}, {}])
async def test_class_can_be_reset_to_that_of_the_volume(kube: Kube, made: Spec) -> None:
    await kube.create(livescore({"redis": {"storage": {"storageClassName": "fast"}}}))
    await kube.set_status(KIND, "demo", {"volumes": {"redis": {**BOUND["redis"], **made}}})
    back = {"redis": {"storage": {"storageClassName": made.get("storageClassName")}}}

    with pytest.raises(ApiError):
        await kube.patch(KIND, "demo", {"spec": {"redis": {"storage": {"storageClassName": "third"}}}})
    await kube.patch(KIND, "demo", {"spec": back})


async def test_bound_volume_of_one_server_does_not_restrict_the_other(kube: Kube) -> None:
    await kube.create(livescore({}))
    await kube.set_status(KIND, "demo", {"volumes": {"redis": BOUND["redis"], "postgres": UNBOUND["postgres"]}})

    await kube.patch(KIND, "demo", {"spec": {"postgres": {"storage": {"storageClassName": "fast", "size": "1Gi"}}}})


@pytest.mark.parametrize(("before", "after"), MOVES)
async def test_changes_without_data_loss_are_accepted(kube: Kube, before: Spec, after: Spec) -> None:
    await kube.create(livescore(before))

    await kube.patch(KIND, "demo", {"spec": after})


@pytest.mark.parametrize("name", ["1st", "a" * 41, "a.b", "a-"])
async def test_name_that_is_invalid_for_a_service_is_refused(kube: Kube, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        await kube.create(livescore({}, name))
    assert refused.value.code == 422


async def test_the_longest_name_is_admitted(kube: Kube) -> None:
    await kube.create(livescore({}, "a" * 40))


async def test_the_scale_subresource_moves_the_replicas(kube: Kube) -> None:
    await kube.create(livescore({}))

    await kube.patch(KIND, "demo", {"spec": {"replicas": 5}}, subresource="scale")

    assert (await kube.get(KIND, "demo"))["spec"]["api"]["replicas"] == 5


def test_every_crd_rule_has_a_test_case() -> None:
    rules = {rule["message"] for rule in _rules(crd()["spec"]["versions"][0]["schema"])}
    words = (
        {word for _, word, _ in REFUSED}
        | {word for _, _, word, _ in [*IMMUTABLE, *BOUND_ONLY]}
        | {"must begin with a letter"}
    )
    assert [message for message in rules if not any(word in message for word in words)] == []


def _rules(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        mine = value.get("x-kubernetes-validations", [])
        return [*mine, *(rule for below in value.values() for rule in _rules(below))]
    return [rule for below in value for rule in _rules(below)] if isinstance(value, list) else []

"""Contract tests for both API servers of the operator's tests, the real and the emulated one."""

import asyncio
import json
import queue
import re
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import kopf
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kubernetes.aio.client.api.apps_v1_api import AppsV1Api
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.kube_config import load_kube_config

from tests.support.kubernetes import apiserver, choice, fields, kinds, kubelet, requests, schemas, selectors
from tests.support.kubernetes.emulator import Emulator
from tests.support.kubernetes.faults import WRITES, Fault, Faults, Plan
from tests.support.kubernetes.kinds import CLUSTER, KINDS, LIVESCORE, POD_MONITOR, Json
from tests.support.kubernetes.kube import AGENT, ApiError, Kube, eventually
from tests.support.kubernetes.loops import Loop
from tests.support.kubernetes.schemas import ATOMIC, GRANULAR, SET
from tests.support.kubernetes.server import Server

GOLDEN = Path(__file__).parent / "golden"

RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(scope="session", params=[choice.EMULATED, choice.REAL])
def api(request: pytest.FixtureRequest) -> Server:
    """Both servers, one after the other."""
    server: Server = request.getfixturevalue("real_api" if request.param == choice.REAL else "emulator")
    return server


def config(name: str = "settings", **data: str) -> Json:
    return {**head(KINDS["ConfigMap"], name), **({"data": data} if data else {})}


def livescore(**spec: Any) -> Json:
    return {**head(LIVESCORE, "demo"), "spec": {"image": "livescore:1", **spec}}


def head(kind: kinds.Kind, name: str) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}}


def container(name: str = "api", **more: Any) -> Json:
    return {"name": name, "image": "livescore:1", **more}


def deployment(*containers: Json, pod: Json | None = None, **spec: Any) -> Json:
    labels = {"app": "demo"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": list(containers or [container()]), **(pod or {})},
    }
    return {
        **head(KINDS["Deployment"], "demo"),
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def stateful_set() -> Json:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    body = deployment(serviceName="demo", volumeClaimTemplates=[claim])
    return {**body, "kind": "StatefulSet"}


def job() -> Json:
    template = {
        "metadata": {"labels": {"app": "demo"}},
        "spec": {"containers": [container()], "restartPolicy": "Never"},
    }
    return {**head(KINDS["Job"], "demo"), "spec": {"template": template}}


def containers(body: Json) -> list[Json]:
    found: list[Json] = body["spec"]["template"]["spec"]["containers"]
    return found


def names(items: list[Json]) -> list[str]:
    return [item["name"] for item in items]


def version(body: Json) -> str:
    found: str = body["metadata"]["resourceVersion"]
    return found


def owned(body: Json, manager: str, subresource: str = "") -> Json:
    """Return the ``fieldsV1`` of a manager; empty if it owns nothing."""
    for entry in body["metadata"]["managedFields"]:
        if (entry["manager"], entry.get("subresource", "")) == (manager, subresource):
            found: Json = entry["fieldsV1"]
            return found
    return {}


async def assert_refused(code: int, work: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await work
    assert caught.value.code == code, caught.value
    return caught.value


# Server-side apply


async def test_applied_object_is_owned_per_field(kube: Kube) -> None:
    port = {"name": "http", "containerPort": 8000}
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}]
    made = await kube.apply(
        deployment(
            container(ports=[port], env=env, args=["a"], resources={"limits": {"cpu": "1"}}),
            pod={"nodeSelector": {"disk": "fast"}, "volumes": [{"name": "tmp", "emptyDir": {}}]},
        ),
        "operator",
    )
    assert owned(made, "operator") == {
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"api"}': {
                            ".": {},
                            "f:name": {},
                            "f:image": {},
                            "f:args": {},
                            "f:resources": {"f:limits": {"f:cpu": {}}},
                            "f:ports": {
                                'k:{"containerPort":8000,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:name": {},
                                    "f:containerPort": {},
                                }
                            },
                            "f:env": {
                                'k:{"name":"KEY"}': {
                                    ".": {},
                                    "f:name": {},
                                    "f:valueFrom": {"f:secretKeyRef": {}},
                                }
                            },
                        }
                    },
                    "f:nodeSelector": {},
                    "f:volumes": {'k:{"name":"tmp"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
                },
            },
        }
    }
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["operation"], entry["apiVersion"], entry["fieldsType"]) == ("Apply", "apps/v1", "FieldsV1")


async def test_an_apply_that_changes_nothing_writes_nothing(kube: Kube) -> None:
    first = await kube.apply(deployment(container(env=[{"name": "A", "value": "1"}]), replicas=2), "operator")
    await asyncio.sleep(1.1)  # times of managers have a resolution of one second
    again = await kube.apply(
        deployment(container(env=[{"name": "A", "value": "1"}]), replicas=2), "operator", force=True
    )
    assert again == first == await kube.get("Deployment", "demo")


async def test_a_conflict_names_the_manager_and_the_field(kube: Kube) -> None:
    await kube.apply(config(a="1"), "first")
    error = await assert_refused(409, kube.apply(config(a="2"), "second"))
    assert error.reason == "Conflict"
    assert error.causes == [{"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.a"}]
    assert error.status["message"] == 'Apply failed with 1 conflict: conflict with "first": .data.a'
    assert (await kube.get("ConfigMap", "settings"))["data"] == {"a": "1"}


async def test_a_conflict_with_an_update_names_its_version_and_the_item(kube: Kube) -> None:
    await kube.apply(deployment(container(), container("side")), "operator")
    live = await kube.get("Deployment", "demo")
    containers(live)[1]["image"] = "other:2"
    await kube.replace(live, fieldManager="kubectl-edit")
    error = await assert_refused(409, kube.apply(deployment(container(), container("side")), "operator"))
    assert error.causes == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using apps/v1',
            "field": '.spec.template.spec.containers[name="side"].image',
        }
    ]


async def test_several_conflicts_are_all_named(kube: Kube) -> None:
    await kube.apply(config(a="1", b="1"), "first")
    error = await assert_refused(409, kube.apply(config(a="2", b="2"), "second"))
    assert sorted(cause["field"] for cause in error.causes) == [".data.a", ".data.b"]
    assert error.status["message"].startswith('Apply failed with 2 conflicts: conflicts with "first":\n- .data.')


async def test_equal_values_are_owned_jointly(kube: Kube) -> None:
    await kube.apply(config(a="1"), "first")
    await kube.apply(config(a="1"), "second")
    left = await kube.apply(config(), "first")
    assert left["data"] == {"a": "1"}
    assert owned(left, "first") == {}
    assert owned(left, "second") == {"f:data": {"f:a": {}}}


async def test_force_takes_the_field_over(kube: Kube) -> None:
    await kube.apply(config(a="1", b="1"), "first")
    taken = await kube.apply(config(a="2"), "second", force=True)
    assert taken["data"] == {"a": "2", "b": "1"}
    assert owned(taken, "first") == {"f:data": {"f:b": {}}}
    assert owned(taken, "second") == {"f:data": {"f:a": {}}}


async def test_field_no_longer_applied_is_removed(kube: Kube) -> None:
    await kube.apply(config(a="1", b="1"), "operator")
    await kube.patch("ConfigMap", "settings", {"data": {"c": "1"}}, fieldManager="another")
    left = await kube.apply(config(a="1"), "operator")
    assert left["data"] == {"a": "1", "c": "1"}


async def test_map_no_longer_applied_is_removed_completely(kube: Kube) -> None:
    await kube.apply({**config(), "metadata": {"name": "settings", "annotations": {"a": "1"}}}, "operator")
    left = await kube.apply(config(), "operator")
    assert "annotations" not in left["metadata"]


async def test_foreign_entries_of_lists_and_maps_are_kept(kube: Kube) -> None:
    await kube.apply(deployment(container(env=[{"name": "A", "value": "1"}])), "operator")
    side = container("side")
    await kube.apply(deployment({"name": "api", "env": [{"name": "B", "value": "2"}]}, side), "another")
    changed = await kube.apply(deployment(container(env=[{"name": "C", "value": "3"}])), "operator")
    assert names(containers(changed)) == ["api", "side"]
    assert names(containers(changed)[0]["env"]) == ["B", "C"]


async def test_item_is_removed_when_its_owner_no_longer_applies_it(kube: Kube) -> None:
    await kube.apply(deployment(container(), container("side")), "operator")
    left = await kube.apply(deployment(container()), "operator")
    assert names(containers(left)) == ["api"]


async def test_update_takes_the_field_from_its_applier(kube: Kube) -> None:
    await kube.apply(config(a="1", b="1"), "operator")
    edited = await kube.patch("ConfigMap", "settings", {"data": {"a": "2"}}, fieldManager="another")
    assert owned(edited, "operator") == {"f:data": {"f:b": {}}}
    assert owned(edited, "another") == {"f:data": {"f:a": {}}}
    repaired = await kube.apply(config(a="1", b="1"), "operator", force=True)
    assert repaired["data"] == {"a": "1", "b": "1"}
    assert owned(repaired, "another") == {}


async def test_removal_takes_the_field_from_its_applier(kube: Kube) -> None:
    await kube.apply(config(a="1", b="1"), "operator")
    edited = await kube.patch("ConfigMap", "settings", {"data": {"a": None}}, fieldManager="another")
    assert owned(edited, "operator") == {"f:data": {"f:b": {}}}
    repaired = await kube.apply(config(a="1", b="1"), "operator")
    assert repaired["data"] == {"a": "1", "b": "1"}


async def test_items_keep_the_applied_order(kube: Kube) -> None:
    env = [{"name": name, "value": name} for name in "CAB"]
    await kube.apply(deployment(container(env=env)), "operator")
    other = deployment({"name": "api", "env": [{"name": "X", "value": "X"}]})
    await kube.apply(other, "another")
    sorted_again = await kube.apply(deployment(container(env=sorted(env, key=str))), "operator")
    assert names(containers(sorted_again)[0]["env"]) == ["A", "B", "X", "C"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"b": "1"}}),
        (
            {"tolerations": [{"key": "a", "operator": "Exists"}]},
            {"tolerations": [{"key": "b", "operator": "Exists"}]},
        ),
    ],
)
async def test_atomic_value_has_one_owner(kube: Kube, one: Json, other: Json) -> None:
    await kube.apply(deployment(pod=one), "first")
    await assert_refused(409, kube.apply(deployment(pod=other), "second"))
    taken = await kube.apply(deployment(pod=other), "second", force=True)
    assert {key: taken["spec"]["template"]["spec"][key] for key in other} == other


async def test_spread_constraints_and_ports_are_identified_by_two_keys(kube: Kube) -> None:
    def spread(key: str) -> Json:
        return {"topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1}

    udp = {"containerPort": 80, "protocol": "UDP"}
    first = deployment(container(ports=[{"containerPort": 80}]), pod={"topologySpreadConstraints": [spread("a")]})
    await kube.apply(first, "first")
    second = deployment(container(ports=[udp]), pod={"topologySpreadConstraints": [spread("b")]})
    both = await kube.apply(second, "second")
    template = both["spec"]["template"]["spec"]
    assert {item["topologyKey"] for item in template["topologySpreadConstraints"]} == {"a", "b"}
    assert len(template["containers"][0]["ports"]) == 2


async def test_service_ports_are_identified_by_port_and_protocol(kube: Kube) -> None:
    def service(**port: Any) -> Json:
        return {**head(KINDS["Service"], "demo"), "spec": {"selector": {"app": "demo"}, "ports": [port]}}

    await kube.apply(service(name="http", port=80, protocol="TCP"), "first")
    both = await kube.apply(service(name="dns", port=53, protocol="UDP"), "second")
    assert names(both["spec"]["ports"]) == ["http", "dns"]
    assert 'k:{"port":53,"protocol":"UDP"}' in owned(both, "second")["f:spec"]["f:ports"]


async def test_owners_are_identified_by_uid(kube: Kube) -> None:
    owner = await kube.create(livescore())
    uid = owner["metadata"]["uid"]
    reference = {"apiVersion": LIVESCORE.api_version, "kind": "LiveScore", "name": "demo", "uid": uid}
    body = config()
    body["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    made = await kube.apply(body, "operator")
    assert owned(made, "operator") == {"f:metadata": {"f:ownerReferences": {f'k:{{"uid":"{uid}"}}': {}}}}


async def test_dry_run_returns_the_result_and_changes_nothing(kube: Kube) -> None:
    assert (await kube.apply(config(a="1"), dry_run=True))["data"] == {"a": "1"}
    assert await kube.find("ConfigMap", "settings") is None
    live = await kube.apply(config(a="1"), "operator")
    assert (await kube.apply(config(a="2"), "operator", dry_run=True))["data"] == {"a": "2"}
    same = await kube.apply(config(a="1"), "operator", dry_run=True)
    assert version(same) == version(live)
    assert await kube.get("ConfigMap", "settings") == live
    await assert_refused(409, kube.apply(config(a="2"), "second", dry_run=True))


async def test_apply_requires_a_manager(kube: Kube) -> None:
    await assert_refused(422, kube.apply(config(), ""))


async def test_apply_may_require_a_resource_version(kube: Kube) -> None:
    live = await kube.apply(config(a="1"), "operator")
    await kube.patch("ConfigMap", "settings", {"data": {"b": "1"}})
    body = config(a="2")
    body["metadata"]["resourceVersion"] = version(live)
    error = await assert_refused(409, kube.apply(body, "operator"))
    assert error.causes == []


async def test_created_object_is_owned_by_its_creator(kube: Kube) -> None:
    made = await kube.create(config(a="1"))
    assert owned(made, AGENT) == {"f:data": {".": {}, "f:a": {}}}
    assert made["metadata"]["managedFields"][0]["operation"] == "Update"


# The status and other subresources


async def test_status_is_written_separately(kube: Kube) -> None:
    made = await kube.apply({**livescore(), "status": {"image": "never"}}, "operator")
    assert made["status"] == {"observedGeneration": -1}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {**head(LIVESCORE, "demo"), "spec": {"image": "never"}, "status": {"replicas": 2, "conditions": [ready]}}
    written = await kube.apply(status, "operator", subresource="status")
    assert written["spec"]["image"] == "livescore:1"
    assert written["metadata"]["generation"] == 1
    assert owned(written, "operator", "status") == {
        "f:status": {
            "f:replicas": {},
            "f:conditions": {
                'k:{"type":"Ready"}': {
                    ".": {},
                    **{f"f:{name}": {} for name in ready},
                }
            },
        }
    }
    again = await kube.apply(livescore(image="livescore:2"), "operator")
    assert again["status"] == {"observedGeneration": -1, "replicas": 2, "conditions": [ready]}


async def test_unchanged_status_is_not_written(kube: Kube) -> None:
    await kube.apply(livescore(), "operator")
    status = {**head(LIVESCORE, "demo"), "status": {"replicas": 2}}
    first = await kube.apply(status, "operator", subresource="status", force=True)
    assert version(await kube.apply(status, "operator", subresource="status", force=True)) == version(first)


async def test_status_of_a_missing_object_cannot_be_written(kube: Kube) -> None:
    await assert_refused(404, kube.apply({**head(LIVESCORE, "demo"), "status": {}}, subresource="status"))


async def test_generation_changes_only_with_the_spec(kube: Kube) -> None:
    made = await kube.apply(livescore(), "operator")
    labelled = await kube.patch("LiveScore", "demo", {"metadata": {"labels": {"a": "1"}}})
    stated = await kube.set_status("LiveScore", "demo", {"replicas": 1})
    changed = await kube.patch("LiveScore", "demo", {"spec": {"suspend": True}})
    generations = [body["metadata"]["generation"] for body in (made, labelled, stated, changed)]
    assert generations == [1, 1, 1, 2]


async def test_scale_changes_the_replicas(kube: Kube) -> None:
    await kube.apply(livescore(), "operator")
    await kube.set_status("LiveScore", "demo", {"replicas": 2, "selector": "app=demo"})
    await kube.patch("LiveScore", "demo", {"spec": {"replicas": 5}}, subresource="scale")
    scale = await kube.get("LiveScore", "demo", subresource="scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 5},
        {"replicas": 2, "selector": "app=demo"},
    )
    assert (await kube.get("LiveScore", "demo"))["spec"]["api"]["replicas"] == 5


async def test_a_pod_has_a_log(kube: Kube, api: Server) -> None:
    await kubelet.make_pod(kube, "demo", {})
    api.logs.write(kube.namespace, "demo", "one\ntwo\nthree\n")
    assert await kube.log("demo") == "one\ntwo\nthree\n"
    assert await kube.log("demo", tailLines="2", limitBytes="100") == "two\nthree\n"
    await assert_refused(404, kube.log("absent"))


async def test_an_account_has_its_own_access(kube: Kube, api: Server) -> None:
    await kube.create(head(KINDS["ServiceAccount"], "operator"))
    access = api.access_of(kube.namespace, "operator")
    async with Kube(access, kube.namespace) as account:
        if api.is_real:
            await assert_refused(403, account.list("Pod"))
        else:
            assert await account.list("Pod") == []


# Objects


async def test_defaults_are_filled_in_and_unknown_fields_dropped(kube: Kube) -> None:
    made = await kube.create(livescore(api={"port": 9000}, unknown=1))
    assert made["spec"]["api"]["port"] == 9000
    assert made["spec"]["api"]["replicas"] == 2
    assert made["spec"]["postgres"]["storage"] == {"size": "10Gi"}
    assert "unknown" not in made["spec"]
    again = await kube.apply(livescore(), "operator")
    assert again["spec"]["api"]["port"] == 9000


async def test_created_object_has_server_generated_metadata(kube: Kube) -> None:
    made = await kube.create(livescore())
    assert made["metadata"]["namespace"] == kube.namespace
    assert re.fullmatch(r"[0-9a-f-]{36}", made["metadata"]["uid"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["metadata"]["creationTimestamp"])
    assert int(version(await kube.set_status("LiveScore", "demo", {"replicas": 1}))) > int(version(made))


async def test_missing_object_gets_a_status_object(kube: Kube) -> None:
    error = await assert_refused(404, kube.get("Deployment", "absent"))
    assert {**error.status, "metadata": {}} == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "absent" not found',
        "reason": "NotFound",
        "details": {"name": "absent", "group": "apps", "kind": "deployments"},
        "code": 404,
    }
    await assert_refused(404, kube.delete("Pod", "absent"))


async def test_an_unknown_kind_is_not_found(kube: Kube) -> None:
    await assert_refused(404, kube.list("PodMonitor"))


async def test_existing_object_cannot_be_created(kube: Kube) -> None:
    await kube.create(config())
    error = await assert_refused(409, kube.create(config()))
    assert (error.reason, error.status["message"]) == ("AlreadyExists", 'configmaps "settings" already exists')


async def test_namespace_must_exist(kube: Kube) -> None:
    body = config()
    body["metadata"]["namespace"] = "absent"
    await assert_refused(404, kube.create(body))
    await assert_refused(404, kube.apply(body))


async def test_a_name_is_generated(kube: Kube) -> None:
    about = {"kind": "LiveScore", "name": "demo", "namespace": kube.namespace}
    event = {
        **head(KINDS["Event"], ""),
        "metadata": {"generateName": "demo."},
        "involvedObject": about,
        "reason": "Tested",
        "type": "Normal",
    }
    first, second = [await kube.create(event) for _ in range(2)]
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert re.fullmatch(r"demo\.[a-z0-9]{5}", first["metadata"]["name"])


async def test_replacement_requires_the_current_version(kube: Kube) -> None:
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15}
    lease = await kube.create({**head(KINDS["Lease"], "leader"), "spec": spec})
    renewed = await kube.replace({**lease, "spec": {**spec, "holderIdentity": "b"}})
    error = await assert_refused(409, kube.replace({**lease, "spec": spec}))
    assert error.reason == "Conflict"
    assert (await kube.get("Lease", "leader"))["spec"]["holderIdentity"] == "b"
    same = await kube.replace(renewed)
    assert version(same) == version(renewed)


async def test_deletion_may_require_a_uid(kube: Kube) -> None:
    made = await kube.create(config())
    error = await assert_refused(409, kube.delete("ConfigMap", "settings", preconditions={"uid": "other"}))
    assert error.reason == "Conflict"
    await kube.delete(
        "ConfigMap", "settings", preconditions={"uid": made["metadata"]["uid"]}, propagationPolicy="Background"
    )
    assert await kube.find("ConfigMap", "settings") is None


async def test_finalizer_delays_deletion(kube: Kube) -> None:
    body = config()
    body["metadata"]["finalizers"] = ["tests/kept"]
    await kube.create(body)
    await kube.delete("ConfigMap", "settings")
    assert (await kube.get("ConfigMap", "settings"))["metadata"]["deletionTimestamp"]
    await kube.patch("ConfigMap", "settings", {"metadata": {"finalizers": None}})
    assert await kube.find("ConfigMap", "settings") is None


async def test_foreground_deletion_waits_for_the_garbage_collector(kube: Kube) -> None:
    await kube.create(deployment())
    await kube.delete("Deployment", "demo", propagationPolicy="Foreground")
    assert (await kube.get("Deployment", "demo"))["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_pod_on_a_node_is_deleted_by_its_kubelet(kube: Kube) -> None:
    await kubelet.make_pod(kube, "demo", {})
    await kube.delete("Pod", "demo")
    assert (await kube.get("Pod", "demo"))["metadata"]["deletionGracePeriodSeconds"] == 30
    await kube.delete("Pod", "demo", gracePeriodSeconds=0)
    assert await kube.find("Pod", "demo") is None


async def test_objects_are_deleted_by_selector(kube: Kube) -> None:
    for name in "ab":
        body = config(name)
        body["metadata"]["labels"] = {"name": name}
        await kube.create(body)
    await kube.delete_all("ConfigMap", "name=a")
    assert [body["metadata"]["name"] for body in await kube.list("ConfigMap", "name")] == ["b"]


@pytest.mark.parametrize(
    ("made", "changed", "field"),
    [
        (deployment(), {"selector": {"matchLabels": {"app": "other"}}}, "spec.selector"),
        (stateful_set(), {"serviceName": "other"}, "spec"),
        (job(), {"template": {"spec": {"activeDeadlineSeconds": 5}}}, "spec.template"),
    ],
)
async def test_immutable_fields_cannot_change(kube: Kube, made: Json, changed: Json, field: str) -> None:
    await kube.create(made)
    error = await assert_refused(422, kube.patch(made["kind"], "demo", {"spec": changed}))
    assert error.reason == "Invalid"
    assert any(cause["field"].startswith(field) for cause in error.causes)


async def test_the_strings_of_a_secret_are_encoded(kube: Kube) -> None:
    made = await kube.create({**head(KINDS["Secret"], "keys"), "stringData": {"key": "value"}})
    assert made["data"] == {"key": "dmFsdWU="}


# Selectors and watches

SELECTORS = {
    "app=a": ["a"],
    "app==a": ["a"],
    "app!=a": ["b", "none"],
    "app in (a, b)": ["a", "b"],
    "app notin (a)": ["b", "none"],
    "app": ["a", "b"],
    "!app": ["none"],
    "app,tests/tier=x": ["b"],
    "app in (a,b),tests/tier notin (x)": ["a"],
}


async def labelled(kube: Kube) -> None:
    for name, labels in {"a": {"app": "a"}, "b": {"app": "b", "tests/tier": "x"}, "none": {}}.items():
        body = config(name)
        body["metadata"]["labels"] = {**labels, "tests/mine": "yes"}
        await kube.create(body)


async def test_selector_matches_objects(kube: Kube) -> None:
    await labelled(kube)
    found = {
        selector: [body["metadata"]["name"] for body in await kube.list("ConfigMap", f"{selector},tests/mine")]
        for selector in SELECTORS
    }
    assert found == SELECTORS


async def test_malformed_selector_is_refused(kube: Kube) -> None:
    await assert_refused(400, kube.list("ConfigMap", "a in b"))


async def take_events(events: AsyncIterator[Json], number: int) -> list[tuple[str, str]]:
    """Return the next events as types and names of their objects."""
    async with asyncio.timeout(30):
        found = [await anext(events) for _ in range(number)]
    return [(event["type"], event["object"]["metadata"]["name"]) for event in found]


async def test_watch_reports_changes(kube: Kube) -> None:
    await kube.create(config("a"))
    async with kube.watch("ConfigMap", labelSelector="!skipped") as events:
        assert await take_events(events, 1) == [("ADDED", "a")]
        await kube.create(config("b"))
        await kube.patch("ConfigMap", "b", {"data": {"x": "1"}})
        await kube.delete("ConfigMap", "b")
        assert await take_events(events, 3) == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]


async def test_watch_continues_from_a_list(kube: Kube) -> None:
    await kube.create(config("a"))
    known = version(await kube.get("ConfigMap", "a"))
    await kube.create(config("b"))
    async with kube.watch("ConfigMap", resourceVersion=known) as events:
        assert await take_events(events, 1) == [("ADDED", "b")]


async def test_watch_with_a_selector_reports_entering_and_leaving_objects(kube: Kube) -> None:
    await kube.create(config("a"))
    async with kube.watch("ConfigMap", labelSelector="app=a") as events:
        for value in ("a", "b", "a"):
            await kube.patch("ConfigMap", "a", {"metadata": {"labels": {"app": value}}})
        await kube.delete("ConfigMap", "a")
        assert [type for type, _ in await take_events(events, 4)] == ["ADDED", "DELETED", "ADDED", "DELETED"]


async def test_watch_ends_at_its_timeout(kube: Kube) -> None:
    async with kube.watch("ConfigMap", timeoutSeconds="1", allowWatchBookmarks="true") as events:
        async with asyncio.timeout(30):
            assert [event["type"] async for event in events if event["type"] != "BOOKMARK"] == []


async def test_watch_may_start_with_initial_events_and_a_bookmark(kube: Kube) -> None:
    await kube.create(config("a"))
    first = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with kube.watch("ConfigMap", **first) as events, asyncio.timeout(30):
        assert [(await anext(events))["type"] for _ in range(2)] == ["ADDED", "BOOKMARK"]


async def test_watch_that_is_too_old_gets_410(short_history: Emulator) -> None:
    async with Kube(short_history.access) as kube:
        for number in range(4):
            await kube.create(config(str(number)))
        async with kube.watch("ConfigMap", resourceVersion="100") as events:
            event = await anext(events)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


@pytest.fixture
def short_history() -> Iterator[Emulator]:
    """A server with a short history, where a real one would need minutes to expire it."""
    server = Emulator(history=3)
    yield server
    server.close()


# Kinds


async def test_foreign_kind_can_be_defined_and_removed(kube: Kube) -> None:
    for kind in (CLUSTER, POD_MONITOR):
        await kube.define(kinds.definition(kind))
        await kube.apply({**head(kind, "demo"), "spec": {"instances": 3}}, "operator")
        if kind is CLUSTER:
            cluster = await kubelet.make_ready(kube, "Cluster", "demo")
            assert cluster["status"]["readyInstances"] == 3
        assert len(await kube.list(kind.kind)) == 1
        await kube.undefine(kind)
        await assert_refused(404, kube.list(kind.kind))


async def test_every_kind_is_discovered(api: Server) -> None:
    async with httpx.AsyncClient(base_url=api.access.url, verify=api.access.context() or False) as http:
        groups = {group["name"] for group in (await http.get("/apis")).json()["groups"]}
        assert groups >= {kind.group for kind in [*kinds.BUILT_IN, LIVESCORE]} - {""}
        for kind in [*kinds.BUILT_IN, LIVESCORE]:
            path = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
            found = (await http.get(path)).json()
            assert found["groupVersion"] == kind.api_version
            described = {resource["name"]: resource for resource in found["resources"]}
            assert described[kind.plural]["kind"] == kind.kind
            assert described[kind.plural]["namespaced"] is kind.namespaced
            assert {f"{kind.plural}/{name}" for name in kind.subresources} <= described.keys()


# Simulated controllers


@pytest.mark.parametrize("made", [deployment(replicas=2), stateful_set(), job()], ids=lambda body: str(body["kind"]))
async def test_workload_can_be_made_ready(kube: Kube, made: Json) -> None:
    await kube.apply(made, "operator")
    ready = await kubelet.make_ready(kube, made["kind"], "demo")
    if made["kind"] == "Job":
        assert {item["type"] for item in ready["status"]["conditions"]} == {"SuccessCriteriaMet", "Complete"}
        return
    assert ready["status"]["readyReplicas"] == made["spec"].get("replicas", 1)
    assert ready["status"]["observedGeneration"] == ready["metadata"]["generation"]
    unready = await kubelet.make_unready(kube, made["kind"], "demo")
    assert unready["status"].get("readyReplicas", 0) == 0


async def test_ready_stateful_set_has_its_claims(kube: Kube) -> None:
    await kube.apply(stateful_set(), "operator")
    await kubelet.make_ready(kube, "StatefulSet", "demo")
    claim = await kube.get("PersistentVolumeClaim", "data-demo-0")
    assert claim["status"]["phase"] == "Bound"


async def test_a_failed_job_has_a_pod_with_a_log(kube: Kube, api: Server) -> None:
    await kube.apply(job(), "operator")
    failed = await kubelet.fail_job(kube, api, "demo", "it broke\n")
    assert {item["type"] for item in failed["status"]["conditions"]} == {"FailureTarget", "Failed"}
    (pod,) = await kube.list("Pod", "batch.kubernetes.io/job-name=demo")
    assert await kube.log(pod["metadata"]["name"]) == "it broke\n"


async def test_pod_can_be_made_ready(kube: Kube) -> None:
    await kubelet.make_pod(kube, "demo", {"app": "demo"}, owner=await kube.create(livescore()))
    ready = await kubelet.make_ready(kube, "Pod", "demo")
    assert ready["status"]["phase"] == "Running"


# The clients of the operator


async def test_the_official_client_applies_with_a_kubeconfig(kube: Kube, kubeconfig: Path) -> None:
    configuration = Configuration()
    await load_kube_config(str(kubeconfig), client_configuration=configuration)
    async with ApiClient(configuration) as client:
        made = await AppsV1Api(client).patch_namespaced_deployment(
            "demo",
            kube.namespace,
            deployment(),
            field_manager="operator",
            force=True,
            _content_type="application/apply-patch+yaml",
        )
    assert made.kind == "Deployment"
    assert owned(await kube.get("Deployment", "demo"), "operator")


KopfEvent = tuple[str | None, str]


async def listen(
    namespace: str, kopf_events: "queue.Queue[KopfEvent]", ready: threading.Event, stop: asyncio.Event
) -> None:
    """Run a Kopf operator that records the events of labelled ConfigMaps."""
    registry, options = kopf.OperatorRegistry(), kopf.OperatorSettings()

    async def changed(type: str | None, name: str, **_: Any) -> None:
        kopf_events.put((type, name))

    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)
    kopf.on.event("v1", "configmaps", labels={"app": "demo"}, registry=registry)(changed)
    options.scanning.disabled = True
    options.posting.enabled = False
    options.watching.label_selectors["", "v1", "configmaps"] = "app=demo"
    await kopf.operator(
        registry=registry, settings=options, namespaces=[namespace], standalone=True, ready_flag=ready, stop_flag=stop
    )


@pytest.fixture
def kopf_events(
    kubeconfig: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[queue.Queue[KopfEvent]]":
    """Events seen by a Kopf operator on its own loop, because it cancels all younger tasks when it stops."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    loop, ready, stop = Loop("kopf"), threading.Event(), asyncio.Event()
    found: queue.Queue[KopfEvent] = queue.Queue()
    running = loop.start(listen(namespace, found, ready, stop))
    assert ready.wait(20)
    yield found
    loop.call(stop.set)
    running.result(20)
    loop.close()


async def test_kopf_receives_labelled_objects(kube: Kube, kopf_events: "queue.Queue[KopfEvent]") -> None:
    async def next_one() -> KopfEvent:
        return await asyncio.to_thread(kopf_events.get, timeout=20)

    body = config("mine")
    body["metadata"]["labels"] = {"app": "demo"}
    await kube.create(body)
    # Kopf may list or watch this object; it watches the rest.
    assert (await next_one())[1] == "mine"
    await kube.create(config("other"))
    await kube.patch("ConfigMap", "mine", {"data": {"a": "1"}})
    assert await next_one() == ("MODIFIED", "mine")
    await kube.delete("ConfigMap", "mine")
    assert await next_one() == ("DELETED", "mine")


# Faults


@pytest.fixture
async def through(faults: Faults, kube: Kube) -> AsyncIterator[Kube]:
    """A client with requests that pass the proxy."""
    async with Kube(faults.access, kube.namespace, agent="operator/1") as client:
        yield client


def only(*some: Fault, **more: Any) -> Plan:
    return Plan(rate=1, faults=some, **more)


async def test_a_healthy_proxy_changes_nothing(kube: Kube, through: Kube) -> None:
    made = await through.apply(config(a="1"), "operator")
    assert await kube.get("ConfigMap", "settings") == made
    async with through.watch("ConfigMap", labelSelector="app in (a,b)") as events:
        await kube.patch("ConfigMap", "settings", {"metadata": {"labels": {"app": "a"}}})
        assert await take_events(events, 1) == [("ADDED", "settings")]


async def test_proxy_counts_requests_by_agent_and_resource(faults: Faults, through: Kube) -> None:
    await through.create(config())
    await through.list("ConfigMap")
    assert faults.count() == 2
    assert faults.count(*WRITES) == faults.count("create", resource="configmaps", agent="operator/") == 1
    assert faults.count(agent="other") == 0
    faults.reset()
    assert not faults.calls()


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.CONFLICT, 409), (Fault.THROTTLE, 429), (Fault.ERROR, 500), (Fault.UNAVAILABLE, 503)],
)
async def test_overloaded_server_refuses_requests(faults: Faults, through: Kube, fault: Fault, code: int) -> None:
    faults.inject(only(fault))
    await assert_refused(code, through.create(config()))
    faults.heal()
    await through.create(config())


async def test_overloaded_server_sends_retry_after(faults: Faults) -> None:
    faults.inject(only(Fault.THROTTLE, retry_after_seconds=3))
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{faults.access.url}/api/v1/namespaces")
    assert answer.headers["Retry-After"] == "3"


@pytest.mark.parametrize(("fault", "made"), [(Fault.DROP, False), (Fault.LOSE, True)])
async def test_connection_is_broken(faults: Faults, kube: Kube, through: Kube, fault: Fault, made: bool) -> None:
    faults.inject(only(fault))
    with pytest.raises(httpx.TransportError):
        await through.create(config())
    assert (await kube.find("ConfigMap", "settings") is not None) is made


async def test_request_is_delayed(faults: Faults, through: Kube) -> None:
    faults.inject(only(Fault.DELAY, delay_seconds=0.2))
    assert await through.list("LiveScore") == []


async def test_watch_is_broken(faults: Faults, through: Kube) -> None:
    faults.inject(only(Fault.CUT, watch_seconds=0.2))
    with pytest.raises(httpx.TransportError):
        async with through.watch("ConfigMap", labelSelector="app=none") as events:
            await anext(events)


async def test_watch_gets_410(faults: Faults, through: Kube) -> None:
    faults.inject(only(Fault.GONE, watch_seconds=0.2))
    async with through.watch("ConfigMap", labelSelector="app=none") as events:
        event = await anext(events)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_partition_breaks_everything_until_it_is_healed(faults: Faults, through: Kube) -> None:
    async with through.watch("ConfigMap", labelSelector="app=none") as events:
        faults.partition()
        with pytest.raises(httpx.TransportError):
            await anext(events)
    with pytest.raises(httpx.TransportError):
        await through.list("LiveScore")
    faults.heal()
    assert await through.list("LiveScore") == []


async def test_exempt_requests_pass(faults: Faults, through: Kube) -> None:
    faults.inject(only(Fault.DROP, exempt=lambda target: target.resource == "leases"))
    assert await through.list("Lease") == []


async def test_a_seed_draws_the_same_faults_again(faults: Faults, through: Kube) -> None:
    async def codes() -> list[int]:
        faults.inject(Plan(seed=7, rate=0.5, faults=(Fault.ERROR, Fault.UNAVAILABLE)))
        return [await code() for _ in range(20)]

    async def code() -> int:
        try:
            await through.list("LiveScore")
        except ApiError as error:
            return error.code
        return 200

    first = await codes()
    assert set(first) == {200, 500, 503}
    assert await codes() == first


# Comparison of both servers


@pytest.fixture
def both(emulator: Server, real_api: Server) -> tuple[Server, Server]:
    """The emulator and the real server."""
    return emulator, real_api


def bare(body: Json) -> Json:
    """Return an object without what always differs."""
    metadata = body["metadata"]
    entries = [{**entry, "time": ""} for entry in metadata.get("managedFields", [])]
    kept = {name: metadata.get(name) for name in ("labels", "annotations", "generation")}
    return {**body, "metadata": {**kept, "managedFields": sorted(entries, key=written)}}


def written(body: Json) -> str:
    return json.dumps(body, sort_keys=True)


VALUES = st.sampled_from(["1", "2", None])
DATA = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]), max_size=3)
ENV = st.permutations("ABCD").flatmap(lambda order: st.integers(0, 4).map(lambda n: order[:n]))
MANAGERS = st.sampled_from(["first", "second", "third"])


@st.composite
def step(draw: st.DrawFn) -> Json:
    """Draw one write of one manager to a LiveScore: an apply, forced or not, or an edit."""
    env = [{"name": name, "value": draw(st.sampled_from("12"))} for name in draw(ENV)]
    api: Json = draw(
        st.fixed_dictionaries({}, optional={"replicas": st.integers(3, 4), "port": st.integers(2000, 2001)})
    )
    worker = draw(st.sampled_from([{}, {"replicas": 3}, {"template": {"nodeSelector": draw(DATA)}}]))
    body = livescore(api={**api, **({"env": env} if env else {})}, **({"worker": worker} if worker else {}))
    body["metadata"]["labels"] = draw(DATA)
    labels = {name: draw(VALUES) for name in draw(st.sets(st.sampled_from("abc")))}
    edited = draw(st.sampled_from([{"worker": {"replicas": 1}}, {"api": {"env": env}}, {"worker": None}]))
    edit = {"metadata": {"labels": labels}, "spec": edited}
    how = draw(st.sampled_from(["apply", "apply", "force", "edit"]))
    return {"how": how, "manager": draw(MANAGERS), "body": body, "edit": edit}


async def perform(kube: Kube, step: Json) -> Json:
    """Return the result of a write: the object, or the conflicts."""
    manager = step["manager"]
    try:
        if step["how"] == "edit":
            return bare(await kube.patch("LiveScore", "demo", step["edit"], fieldManager=manager))
        return bare(await kube.apply(step["body"], manager, force=step["how"] == "force"))
    except ApiError as error:
        return {"code": error.code, "causes": sorted(error.causes, key=written)}


async def perform_all(server: Server, steps: list[Json]) -> list[Json]:
    """Return the results of a series of writes."""
    async with Kube(server.access, f"course-{secrets.token_hex(4)}") as kube:
        await kube.make_namespace()
        try:
            return [await perform(kube, step) for step in steps]
        finally:
            await kube.remove_namespace()


@settings(max_examples=15, suppress_health_check=RELAXED, phases=[Phase.generate])
@given(steps=st.lists(step(), min_size=2, max_size=8))
def test_any_series_of_writes_has_the_same_result_on_both_servers(
    both: tuple[Server, Server], steps: list[Json]
) -> None:
    emulated, real = (asyncio.run(perform_all(server, steps)) for server in both)
    ruled_out = (at for at, outcome in enumerate(real) if breaks_rule(outcome))
    compared = next(ruled_out, len(real))
    assert emulated[:compared] == real[:compared]


def breaks_rule(outcome: Json) -> bool:
    """Return True if CEL, which the emulator lacks, refused the write: merging may leave an env without a value."""
    return outcome.get("code") == 422 and any(one["reason"] == "FieldValueInvalid" for one in outcome["causes"])


# Kinds of other operators, and claims, which StatefulSets create and the operator only grows.
NOT_MADE = (CLUSTER.kind, POD_MONITOR.kind, "PersistentVolumeClaim")


def golden() -> Iterator[Json]:
    for path in sorted(GOLDEN.glob("*/output.yaml")):
        for body in yaml.safe_load_all(path.read_text()):
            yield from body if isinstance(body, list) else [body]


async def fields_of(server: Server, bodies: list[Json]) -> list[Json]:
    async with Kube(server.access, "golden") as kube:
        await kube.make_namespace()
        made = [await kube.apply({**body, "metadata": {**body["metadata"], "namespace": "golden"}}) for body in bodies]
        await kube.remove_namespace()
    return [owned(body, AGENT) for body in made]


def test_applied_manifests_have_equal_ownership_on_both_servers(both: tuple[Server, Server]) -> None:
    bodies = {(body["kind"], body["metadata"]["name"]): body for body in golden() if body["kind"] not in NOT_MADE}
    emulated, real = (asyncio.run(fields_of(server, list(bodies.values()))) for server in both)
    assert dict(zip(bodies, emulated, strict=True)) == dict(zip(bodies, real, strict=True))


async def test_merge_rules_match_the_real_server(real_api: Server) -> None:
    async with httpx.AsyncClient(base_url=real_api.access.url, verify=real_api.access.context() or False) as http:
        for version in {kind.api_version for kind in kinds.BUILT_IN}:
            path = f"/openapi/v3/apis/{version}" if "/" in version else f"/openapi/v3/api/{version}"
            definitions = plain((await http.get(path)).json()["components"]["schemas"])
            for kind in (kind for kind in kinds.BUILT_IN if kind.api_version == version):
                (root,) = (name for name, body in definitions.items() if is_of(body, kind))
                found = dict(rules(definitions, root, (kind.kind,), ()))
                assert {place: schemas.built_in_rule(place) for place in found} == found


PARTS = ("ArbitraryKeys", "SchemaProps", "SwaggerSchemaProps")


def plain(schema: Any) -> Any:
    """Return the meaning of a schema: some builds of kube-apiserver write its parts separately, as Go holds them."""
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    apart = {name: value for part in PARTS for name, value in schema.get(part, {}).items()}
    return {name: plain(value) for name, value in {**schema, **apart}.items() if name not in PARTS}


def is_of(definition: Json, kind: kinds.Kind) -> bool:
    named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return named in definition.get("x-kubernetes-group-version-kind", [])


def rules(
    definitions: Json, name: str, place: schemas.Place, above: tuple[str, ...]
) -> Iterator[tuple[schemas.Place, schemas.Rule]]:
    """Yield every place of a definition with an unusual rule, or one that is in our table by mistake."""
    if name in above:
        return
    for field, schema in definitions[name].get("properties", {}).items():
        here = (*place, field)
        inner, target = rule(definitions, schema), referred(schema)
        listed = referred(schema.get("items", {}))
        if schema.get("type") == "array":
            yield here, inner if inner != ATOMIC else arrays_rule(here)
            if isinstance(inner, tuple) and listed:
                yield (*here, "[]"), rule(definitions, schema["items"])
                yield from rules(definitions, listed, (*here, "[]"), (*above, name))
            continue
        yield here, inner
        if target and inner != ATOMIC:
            yield from rules(definitions, target, here, (*above, name))


def arrays_rule(place: schemas.Place) -> schemas.Rule:
    """Return the rule of a list; lists without a rule are atomic, so both names are correct."""
    found = schemas.built_in_rule(place)
    return found if found in (ATOMIC, GRANULAR) else ATOMIC


def rule(definitions: Json, schema: Json) -> schemas.Rule:
    target = referred(schema)
    found = {**(definitions[target] if target else {}), **schema}
    kept: str = found.get("x-kubernetes-list-type") or found.get("x-kubernetes-map-type") or GRANULAR
    if schema.get("type") == "array":
        kept = schema.get("x-kubernetes-list-type", ATOMIC)
    return tuple(schema["x-kubernetes-list-map-keys"]) if kept == "map" else kept


def referred(schema: Json) -> str:
    reference: str = schema.get("$ref") or schema.get("allOf", [{}])[0].get("$ref", "")
    return reference.rpartition("/")[2]


# Selection of the server


def test_real_server_is_chosen_if_its_binaries_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(apiserver.ASSETS, str(tmp_path))
    assert choice.chosen() == choice.EMULATED
    assert choice.header() == f"operator tests: the emulator, as {apiserver.ASSETS} has no etcd and no kube-apiserver"
    for name in apiserver.BINARIES:
        (tmp_path / name).touch(mode=0o755)
    assert choice.chosen() == choice.REAL
    assert choice.header() == "operator tests: a real kube-apiserver"
    monkeypatch.delenv(apiserver.ASSETS)
    assert "is not set" in choice.header()


def test_server_has_a_name(api: Server) -> None:
    assert re.match(r"kube-apiserver v\d" if api.is_real else r"KMock \d", api.name)


async def test_ended_process_reports_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "etcd").write_text("#!/bin/sh\necho no room left\n")
    (tmp_path / "etcd").chmod(0o755)
    monkeypatch.setenv(apiserver.ASSETS, str(tmp_path))
    process = apiserver.Process(tmp_path, "etcd")
    await eventually(lambda: asyncio.to_thread(lambda: process.log))
    process.stop()
    with pytest.raises(apiserver.NotReady, match="no room left"):
        process.check()


# Small parts


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "resource"),
    [
        ("GET", "/api/v1/namespaces/a/pods", {}, "list", "pods"),
        ("GET", "/api/v1/pods", {"watch": "true"}, "watch", "pods"),
        ("GET", "/api/v1/namespaces/a", {}, "get", "namespaces"),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, "update", "namespaces/finalize"),
        ("GET", "/api/v1/namespaces/a/pods/b/log", {}, "get", "pods/log"),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b/status", {}, "patch", "deployments/status"),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", {}, "create", "deployments"),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", {}, "deletecollection", "deployments"),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b", {}, "delete", "deployments"),
    ],
)
def test_request_is_described_in_rbac_terms(method: str, path: str, query: Json, verb: str, resource: str) -> None:
    target = requests.read(method, path, query)
    assert target is not None
    assert (target.verb, target.resource) == (verb, resource)


@pytest.mark.parametrize("path", ["/", "/api", "/apis/apps/v1", "/version", "/readyz"])
def test_discovery_requests_are_not_object_requests(path: str) -> None:
    assert requests.read("GET", path, {}) is None


def test_field_sets_round_trip() -> None:
    tree = {"f:a": {}, "f:l": {".": {}, 'k:{"name":"x"}': {".": {}, "f:v": {}}}, "f:s": {'v:"x"': {}}}
    assert fields.encode(fields.decode(tree)) == tree


def test_field_selector_matches() -> None:
    body = {"metadata": {"name": "a"}}
    assert selectors.fields("metadata.name=a,metadata.namespace!=b")(body)
    assert not selectors.fields("metadata.name==b")(body)


async def test_timeout_reports_the_last_result() -> None:
    async def never() -> list[int]:
        return []

    with pytest.raises(AssertionError, match=r"last: \[\]"):
        await eventually(never, timeout=0.05)


def test_sets_are_merged_by_value() -> None:
    place = ("ConfigMap", "metadata", "finalizers")
    assert schemas.built_in_rule(place) == SET
    assert fields.merge(["a", "b"], ["c"], place, schemas.BuiltIn()) == ["a", "b", "c"]

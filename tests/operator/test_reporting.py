"""The status contains observed facts, and leaves out what is unknown."""

from typing import Any

import pytest

from livescore_operator import reporting
from livescore_operator.components import migration
from livescore_operator.planning import Key
from livescore_operator.resource import Condition, LiveScore, Manifest, Plan, Status

IMAGE, OLD_IMAGE = "livescore:2", "livescore:1"


def livescore(status: Manifest | None = None, **spec: Any) -> LiveScore:
    metadata = {"name": "demo", "namespace": "sport", "uid": "u", "generation": 7}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": IMAGE, **spec}, "status": status or {}})


def deployment(wanted: int, **status: int) -> dict[Key, Manifest]:
    return {("Deployment", "demo-api"): {"spec": {"replicas": wanted}, "status": status}}


def job(type: str) -> dict[Key, Manifest]:
    return {("Job", migration.name(livescore())): {"status": {"conditions": [{"type": type, "status": "True"}]}}}


def status(
    resource: LiveScore,
    children: dict[Key, Manifest],
    serving: str | None = IMAGE,
    connections: int | None = None,
    plan: Plan | None = None,
) -> dict[str, Any]:
    scaled = reporting.Scaled(connections, None, [])
    return reporting.dumped(reporting.status(resource, children, [], serving, scaled, plan))


def test_status_before_any_object_exists() -> None:
    assert status(livescore(), {}, serving=None) == {
        "observedGeneration": 7,
        "conditions": [],
        "replicas": 0,
        "readyReplicas": 0,
        "api": "0/0",
        "selector": (
            "app.kubernetes.io/name=livescore,app.kubernetes.io/instance=demo,app.kubernetes.io/component=api"
        ),
        "endpoints": {"service": "http://demo.sport.svc:8000", "websocket": "ws://demo.sport.svc:8000/ws"},
    }


def test_pods_are_counted_by_the_deployment() -> None:
    found = status(livescore(), deployment(3, replicas=4, readyReplicas=2), connections=0)

    shown = {name: found[name] for name in ("replicas", "readyReplicas", "api", "connections")}
    assert shown == {"replicas": 4, "readyReplicas": 2, "api": "2/3", "connections": 0}


def test_image_is_the_rolled_out_one() -> None:
    assert status(livescore(), deployment(1), serving=OLD_IMAGE)["image"] == OLD_IMAGE
    assert status(livescore({"image": OLD_IMAGE}), {}, serving=IMAGE)["image"] == OLD_IMAGE, "no pod runs it yet"
    assert "image" not in status(livescore(), {}, serving=IMAGE)


@pytest.mark.parametrize(
    ("children", "schema"), [(job("Complete"), IMAGE), (job("Failed"), OLD_IMAGE), ({}, OLD_IMAGE)]
)
def test_schema_is_the_last_migrated_image(children: dict[Key, Manifest], schema: str) -> None:
    assert status(livescore({"schema": OLD_IMAGE}), children)["schema"] == schema


@pytest.mark.parametrize(
    ("ingress", "url"),
    [
        (None, None),
        ({"host": "live.example"}, "http://live.example"),
        ({"host": "live.example", "tlsSecretName": "tls"}, "https://live.example"),
    ],
)
def test_endpoints_are_urls(ingress: Manifest | None, url: str | None) -> None:
    endpoints = reporting.endpoints(livescore(api={"port": 8080, "ingress": ingress}))

    assert (endpoints.service, endpoints.websocket) == ("http://demo.sport.svc:8080", "ws://demo.sport.svc:8080/ws")
    assert endpoints.ingress == url


def test_plan_is_in_the_status_until_the_next_one() -> None:
    plan = Plan(observed_generation=7, summary="1 to create", diff="+a")

    assert status(livescore(), {}, plan=plan)["plan"] == {
        "observedGeneration": 7,
        "summary": "1 to create",
        "diff": "+a",
    }
    assert "plan" not in status(livescore({"plan": plan.model_dump(by_alias=True)}), {})


def test_only_the_status_is_applied() -> None:
    condition = Condition(
        type="Ready", status="True", reason="Ready", observed_generation=7, last_transition_time="then"
    )

    assert reporting.manifest(livescore().metadata, Status(conditions=[condition], api="0/0")) == {
        "apiVersion": "livescore.dev/v1",
        "kind": "LiveScore",
        "metadata": {"name": "demo", "namespace": "sport"},
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Ready",
                    "message": "",
                    "observedGeneration": 7,
                    "lastTransitionTime": "then",
                }
            ],
            "api": "0/0",
        },
    }


def test_status_round_trips() -> None:
    """Otherwise it would be written by every reconcile."""
    plan = Plan(observed_generation=7, summary="1 to create", diff="")
    written = status(livescore(), deployment(3, replicas=3, readyReplicas=3), connections=5, plan=plan)

    assert reporting.dumped(livescore(written).status) == written

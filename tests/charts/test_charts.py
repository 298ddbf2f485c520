"""Tests of the charts themselves: valid, strict about values, up to date, and versioned together."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from livescore.telemetry import metrics as service_metrics
from livescore_operator.crd import crd
from livescore_operator.resource import Postgres, Redis
from livescore_operator.settings import Settings
from livescore_operator.telemetry import metrics as operator_metrics
from tests.charts.rendering import PROMETHEUS, VARIANTS, Manifest, Variant, parsed, pods, template
from tests.support import tools
from tools.charts import CHARTS, LIVESCORE, OPERATOR, ROOT, comments, files

ALL = sorted(path.parent for path in CHARTS.glob("*/Chart.yaml"))

OWN_SETTINGS = {"NAMESPACES", "POD_NAMESPACE", "POD_NAME", "HOST", "PORT", "LEASE_NAME"}
"""Settings that the chart determines itself, including those of the metrics adapter."""

DASHBOARD = OPERATOR / "files" / "dashboard.json"
ALERTS = OPERATOR / "files" / "alerts.yaml"

VERSION = yaml.safe_load((LIVESCORE / "Chart.yaml").read_text())["appVersion"]


def chart_yaml(chart: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((chart / "Chart.yaml").read_text())
    return found


def schema(chart: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return found


def helm_error(chart: Path, *settings: str) -> str:
    """Return Helm's error message for invalid values."""
    arguments = [argument for setting in settings for argument in ("--set-json", setting)]
    with pytest.raises(tools.ToolError) as caught:
        template(chart, *arguments)
    return str(caught.value)


# Validity


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_helm_lint_reports_nothing(variant: Variant) -> None:
    tools.run("helm", "lint", "--strict", str(variant.chart), "--values", str(variant.values))


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.name)
def test_package_contains_no_test_values(chart: Path, tmp_path: Path) -> None:
    tools.run("helm", "package", str(chart), "--destination", str(tmp_path))
    (package,) = tmp_path.iterdir()
    assert package.name == f"{chart.name}-{chart_yaml(chart)['version']}.tgz"
    shown = tools.run("helm", "show", "all", str(package)).stdout
    assert "ci/" not in shown


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(CHARTS)))
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text() == files()[path], "run `make charts`"


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.name)
def test_chart_version_matches_the_project(chart: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    about = chart_yaml(chart)
    assert (about["version"], about["appVersion"]) == (version, version)
    images = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert [image["image"].rpartition(":")[2] for image in images] == [version]


def test_artifact_hub_annotations_describe_the_crd() -> None:
    annotations = chart_yaml(OPERATOR)["annotations"]
    (listed,) = yaml.safe_load(annotations["artifacthub.io/crds"])
    (example,) = yaml.safe_load(annotations["artifacthub.io/crdsExamples"])
    version = crd()["spec"]["versions"][0]["name"]

    assert (listed["name"], listed["kind"], listed["version"]) == (crd()["metadata"]["name"], example["kind"], version)


# The resource definition


def definition(*arguments: str) -> list[dict[str, Any]]:
    return [one for one in parsed(template(OPERATOR, *arguments)) if one["kind"] == "CustomResourceDefinition"]


def test_crd_matches_the_model_and_survives_uninstallation() -> None:
    (found,) = definition()
    assert found["spec"] == crd()["spec"]
    assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_crd_installation_can_be_disabled() -> None:
    assert definition("--set", "crds.install=false") == []


# Values


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.name)
def test_every_value_has_a_comment(chart: Path) -> None:
    text = (chart / "values.yaml").read_text()
    listed = {path for path, _ in comments(text)}
    assert [path for path in leaves(yaml.safe_load(text)) if not any(path[: len(one)] == one for one in listed)] == []


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name)


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: chart.name)
def test_unknown_values_are_refused(chart: Path) -> None:
    loose = [path for path, one in objects(schema(chart)) if one.get("additionalProperties") is not False]
    assert loose == []


def objects(found: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object schema with a known set of fields."""
    if "properties" in found:
        yield path, found
    for name, field in found.get("properties", {}).items():
        yield from objects(field, f"{path}.{name}")
    if "items" in found:
        yield from objects(found["items"], f"{path}[]")


def test_all_operator_settings_except_those_of_the_chart_are_accepted() -> None:
    names = {name.upper() for name in Settings.model_fields if not name.startswith("metrics_adapter")}
    assert schema(OPERATOR)["properties"]["settings"]["properties"].keys() == names - OWN_SETTINGS


@pytest.mark.parametrize(
    ("chart", "setting", "path"),
    [
        (OPERATOR, "replica=1", "at '': additional properties 'replica'"),
        (OPERATOR, 'replicas="two"', "at '/replicas'"),
        (OPERATOR, "replicas=-1", "at '/replicas'"),
        (OPERATOR, 'fullnameOverride="Upper"', "at '/fullnameOverride'"),
        (OPERATOR, 'image.digest="abc"', "at '/image/digest'"),
        (OPERATOR, 'image.pullPolicy="Sometimes"', "at '/image/pullPolicy'"),
        (OPERATOR, 'watch.namespaces="sports"', "at '/watch/namespaces'"),
        (OPERATOR, 'watch.namespaces=["a_b"]', "at '/watch/namespaces/0'"),
        (OPERATOR, 'settings.LOG_LEVEL="LOUD"', "at '/settings/LOG_LEVEL'"),
        (OPERATOR, 'settings.POD_NAME="x"', "at '/settings': additional properties 'POD_NAME'"),
        (OPERATOR, 'resources.limits.memory="much"', "at '/resources/limits/memory'"),
        (OPERATOR, "networkPolicy.apiServerPorts=[0]", "at '/networkPolicy/apiServerPorts/0'"),
        (OPERATOR, 'metricsAdapter.enabled="yes"', "at '/metricsAdapter/enabled'"),
        (OPERATOR, 'monitoring.serviceMonitor.interval="often"', "at '/monitoring/serviceMonitor/interval'"),
        (LIVESCORE, 'name="1"', "at '/name'"),
        (LIVESCORE, "spec.aip={}", "at '/spec': additional properties 'aip'"),
        (LIVESCORE, 'spec.api.replicas="two"', "at '/spec/api/replicas'"),
        (LIVESCORE, "spec.api.replicas=-1", "at '/spec/api/replicas'"),
        (LIVESCORE, "spec.api.replicas=1001", "at '/spec/api/replicas'"),
        (LIVESCORE, 'spec.image=""', "at '/spec/image'"),
        (LIVESCORE, 'spec.api.env=[{"name":"1X"}]', "at '/spec/api/env/0/name'"),
        (LIVESCORE, 'spec.api.resources.requests.memory="much"', "at '/spec/api/resources/requests/memory'"),
        (LIVESCORE, 'spec.postgres.mode="sqlite"', "at '/spec/postgres/mode'"),
        (LIVESCORE, 'spec.postgres.external={"secretRef":{"name":"x"}}', "at '/spec/postgres/external/secretRef'"),
        (LIVESCORE, "spec.autoscaling.tolerance=2", "at '/spec/autoscaling/tolerance'"),
        (LIVESCORE, "secrets.redisUrl=1", "at '/secrets/redisUrl'"),
        (LIVESCORE, "test.seconds=0", "at '/test/seconds'"),
    ],
)
def test_invalid_value_is_refused_with_its_path(chart: Path, setting: str, path: str) -> None:
    assert path in helm_error(chart, setting)


@pytest.mark.parametrize(
    "setting",
    [
        'spec.api.template.affinity={"nodeAffinity":{}}',
        'spec.api.resources.requests={"cpu":1,"memory":"1Gi"}',
        'spec.api.template.labels={"a":"b"}',
        'global={"anything":1}',
    ],
)
def test_fields_without_a_schema_accept_any_value(setting: str) -> None:
    assert template(LIVESCORE, "--set-json", setting)


def test_server_is_either_managed_or_external() -> None:
    said = helm_error(LIVESCORE, 'spec.redis.mode="standalone"', 'secrets.redisUrl="redis://elsewhere"')
    assert "spec.redis.mode is standalone, and secrets has the URL of an external one" in said


def livescore(*arguments: str) -> Manifest:
    (found,) = (one for one in parsed(template(LIVESCORE, *arguments)) if one["kind"] == "LiveScore")
    return found


def test_null_removes_a_value(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    spec = {"api": {"ingress": {"host": "scores.example"}, "replicas": 3, "resources": {"limits": {"memory": "1Gi"}}}}
    values.write_text(json.dumps({"spec": {**spec, "redis": {"storage": {"size": "2Gi"}}}}))
    nulls = ("spec.api.ingress=null", "spec.api.resources.limits.memory=null", "spec.redis=null", "spec.suspend=null")
    found = livescore("--values", str(values), *(word for null in nulls for word in ("--set", null)))["spec"]
    assert "redis" not in found
    assert "suspend" not in found
    assert "ingress" not in found["api"]
    assert found["api"]["replicas"] == 3
    assert not found["api"]["resources"]["limits"]


def test_null_in_a_values_file_removes_only_its_value(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("spec:\n  api: {ingress: null, securityMode: null, replicas: 4}\n  worker: null\n")
    assert livescore("--values", str(values))["spec"] == {"api": {"replicas": 4}, "image": f"livescore:{VERSION}"}


def value_paths(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the path of each value of a chart, including sections."""
    for name, value in values.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from value_paths(value, f"{above}{name}.")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("chart", [LIVESCORE, OPERATOR], ids=lambda chart: chart.name)
def test_every_value_and_section_can_be_null(chart: Path, deep: bool) -> None:
    paths = [*value_paths(yaml.safe_load((chart / "values.yaml").read_text())), "global", "global.imageRegistry"]
    # A section and one of its members cannot both be set: Helm refuses that.
    sections = {path.rpartition(".")[0] for path in paths}
    chosen = [path for path in paths if ("." in path and path not in sections if deep else "." not in path)]
    found = parsed(template(chart, *(word for path in chosen for word in ("--set", f"{path}=null"))))
    # What a value switches on disappears with it; everything else keeps its default.
    lost = ("NetworkPolicy", "PodDisruptionBudget")
    usual = [one for one in parsed(template(chart)) if one["kind"] not in lost]
    assert [key_of(one) for one in found] == [key_of(one) for one in usual]
    images, usual_images = (
        [one["image"] for pod in pods(some) for one in pod["containers"]] for some in (found, usual)
    )
    assert images == usual_images


def key_of(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def test_null_removes_a_section_of_the_operator_chart() -> None:
    nulls = ("networkPolicy", "podDisruptionBudget", "monitoring", "resources", "podLabels.a", "settings.LOG_LEVEL")
    given = ("podLabels.a=b", "settings.LOG_LEVEL=DEBUG", "podLabels.c=d", *(f"{name}=null" for name in nulls))
    manifests = parsed(template(OPERATOR, *(word for one in given for word in ("--set", one))))
    kinds = {one["kind"] for one in manifests}
    assert not kinds & {"NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "PrometheusRule"}
    (deployment,) = (one for one in manifests if one["kind"] == "Deployment")
    labels, (container,) = deployment["spec"]["template"]["metadata"]["labels"], pods([deployment])
    assert (labels.get("a"), labels["c"]) == (None, "d")
    assert not container["containers"][0].get("resources")
    assert "LOG_LEVEL" not in {one["name"] for one in container["containers"][0]["env"]}


def test_image_registry_applies_to_images_without_one() -> None:
    registry = ("--set", "global.imageRegistry=registry.example/mirror/")
    found = livescore(*registry)["spec"]
    assert found["image"] == f"registry.example/mirror/livescore:{VERSION}"
    assert found["postgres"]["image"] == f"registry.example/mirror/{Postgres().image}"
    assert found["redis"]["image"] == f"registry.example/mirror/{Redis().image}"
    for chart in (LIVESCORE, OPERATOR):
        images = [one["image"] for pod in pods(parsed(template(chart, *registry))) for one in pod["containers"]]
        assert images
        assert all(image.startswith("registry.example/mirror/livescore") for image in images)

    given = (
        "--set",
        "spec.image=other/app:1",
        "--set",
        "spec.postgres.image=other/postgres:1",
        "--set",
        "spec.redis.mode=external",
    )
    found = livescore(*registry, *given)["spec"]
    assert (found["image"], found["postgres"]["image"]) == ("other/app:1", "other/postgres:1")
    assert "image" not in found["redis"]
    assert "postgres" not in livescore()["spec"]


def test_large_integer_is_rendered_exactly(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("spec: {autoscaling: {targetConnectionsPerPod: 1000000}}\n")
    (resource,) = (one for one in parsed(template(LIVESCORE, "--values", str(values))) if one["kind"] == "LiveScore")
    assert resource["spec"]["autoscaling"]["targetConnectionsPerPod"] == 1_000_000


# Two releases


def test_two_operator_releases_in_one_namespace_share_no_objects() -> None:
    def names(*arguments: str) -> set[tuple[str, str]]:
        found = parsed(template(OPERATOR, "--set", "crds.install=false", *arguments))
        return {(one["kind"], one["metadata"]["name"]) for one in found}

    other = ("--set", "fullnameOverride=other")
    assert names().isdisjoint(names(*other))
    (deployment,) = (one for one in parsed(template(OPERATOR, *other)) if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "LEASE_NAME", "value": "other"} in container["env"]


# Pods


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_pod_meets_the_restricted_standard(variant: Variant) -> None:
    found = list(pods(variant.objects()))
    assert found
    for spec in found:
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {"emptyDir", "configMap"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


# Monitoring


def kinds(*arguments: str) -> set[str]:
    return {one["kind"] for one in parsed(template(OPERATOR, *arguments))}


def test_prometheus_objects_are_rendered_only_if_their_api_exists() -> None:
    assert kinds().isdisjoint({"ServiceMonitor", "PrometheusRule", "ConfigMap"})
    assert kinds("--api-versions", PROMETHEUS) >= {"ServiceMonitor", "PrometheusRule", "ConfigMap"}


def test_alerts_match_the_documentation() -> None:
    rows = re.findall(
        r"^\| (\w+) \| `([^`]+)` \| (\d+) m \| \[[^]]+\]\(runbooks/([^)]+)\) \|$",
        (ROOT / "docs" / "operator.md").read_text(),
        re.MULTILINE,
    )
    shipped = yaml.safe_load(ALERTS.read_text())
    assert [(one["alert"], one["expr"], one["for"], one["runbook"]) for one in shipped] == [
        (name, expression.replace("&#124;", "|"), f"{minutes}m", runbook) for name, expression, minutes, runbook in rows
    ]


def test_alerts_are_rendered_unchanged() -> None:
    rendered = template(OPERATOR, "--api-versions", PROMETHEUS, "--set", "monitoring.rules.runbookUrl=https://x/y/")
    (rule,) = (one for one in parsed(rendered) if one["kind"] == "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    for made, written in zip(group["rules"], yaml.safe_load(ALERTS.read_text()), strict=True):
        assert (made["expr"], made["annotations"]["summary"]) == (written["expr"], written["summary"])
        assert made["annotations"]["runbook_url"] == f"https://x/y/{written['runbook']}"


def samples() -> set[str]:
    """Return the names of all time series of the service and the operator."""
    registries = (service_metrics.REGISTRY, operator_metrics.REGISTRY)
    families = [family for registry in registries for family in registry.collect()]
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, [""])}


def expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_dashboard_and_alerts_use_existing_metrics() -> None:
    alerts = [one["expr"] for one in yaml.safe_load(ALERTS.read_text())]
    variables = [one["query"] for one in json.loads(DASHBOARD.read_text())["templating"]["list"]]
    named = {name for text in [*expressions(), *alerts, str(variables)] for name in re.findall(r"livescore_\w+", text)}
    assert named - samples() == set()


@pytest.mark.parametrize(
    "metric",
    [
        "livescore_operator_connections",
        "livescore_operator_scaling_replicas",
        "livescore_operator_scaling_floor",
        "livescore_operator_connection_spread",
        "livescore_operator_condition",
        "livescore_transition_lateness_seconds_bucket",
        "livescore_events_total",
    ],
)
def test_the_dashboard_shows(metric: str) -> None:
    assert any(metric in expression for expression in expressions())


def test_dashboard_panels_do_not_overlap_and_use_the_selected_source() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}

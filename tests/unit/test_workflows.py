"""The GitHub workflows call existing targets, on every supported Python and Kubernetes version."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

PINNED = re.compile(r"^[\w-]+/[\w-]+@[0-9a-f]{40}$")


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    return found


def jobs(name: str) -> Iterator[dict[str, Any]]:
    yield from workflow(name)["jobs"].values()


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name) for step in job["steps"]]


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z0-9-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def called(name: str) -> set[str]:
    """Return the targets that a workflow calls, including all of its matrix."""
    found: set[str] = set()
    for job in jobs(name):
        matrix = job.get("strategy", {}).get("matrix", {})
        for command in (step["run"] for step in job["steps"] if "run" in step):
            for words in re.findall(r"\bmake (?:--\S+ )*((?:[\w-]+(?: |$|\)|\n)|\$\{\{ matrix\.\w+ \}\})+)", command):
                found |= expanded(words, matrix)
    return found


def expanded(words: str, matrix: dict[str, list[str]]) -> set[str]:
    variables = re.findall(r"matrix\.(\w+)", words)
    if variables:
        return {value for variable in variables for value in matrix[variable]}
    return {word.rstrip(")") for word in words.split() if not word.isupper()}


def supported() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in project["classifiers"]]
    return [one[1] for one in found if one]


@pytest.mark.parametrize("name", [path.stem for path in WORKFLOWS])
def test_every_called_make_target_exists(name: str) -> None:
    assert called(name)
    assert called(name) <= targets()


def test_called_make_targets_are_found() -> None:
    assert called("ci") == {"lint", "types", "audit", "coverage", "images"}
    assert called("e2e") == {"kind", "undeploy", "e2e", "e2e-install"}
    assert called("release") == {"version", "lint", "types", "dist", "images", "publish-charts"}


@pytest.mark.parametrize("name", [path.stem for path in WORKFLOWS])
def test_actions_are_pinned_by_commit_and_permissions_are_explicit(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]

    assert [action for action in used if not PINNED.match(action)] == []
    assert workflow(name)["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in jobs(name))


def test_no_failure_is_tolerated_and_no_test_is_repeated() -> None:
    assert [step for path in WORKFLOWS for step in steps(path.stem) if "continue-on-error" in step] == []
    texts = [path.read_text() for path in (ROOT / ".ci" / "run", ROOT / "Makefile", ROOT / "pyproject.toml")]
    assert [word for word in ("--last-failed", "--lf", "--reruns", "flaky") for text in texts if word in text] == []


def test_the_workflow_runs_the_checks_of_the_script() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    run = {word for words in re.findall(r"^make (?:--\S+ )*([a-z ]+)", script, re.MULTILINE) for word in words.split()}
    assert run == {"lint", "types", "coverage"}
    assert run <= called("ci")
    assert ".ci/packages" in script
    assert {"run": ".ci/packages"} in steps("ci")


def test_every_supported_python_is_tested() -> None:
    (matrix,) = (job["strategy"]["matrix"] for job in jobs("ci") if "strategy" in job)
    assert matrix["python"] == supported()


def test_the_oldest_kubernetes_of_the_chart_is_tested() -> None:
    (matrix,) = (job["strategy"]["matrix"] for job in jobs("e2e"))
    chart = yaml.safe_load((ROOT / "charts" / "livescore-operator" / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={matrix['kubernetes'][0]}.0-0"


@pytest.mark.parametrize("name", [path.stem for path in WORKFLOWS])
def test_event_data_is_not_interpolated_into_commands(name: str) -> None:
    """Names and titles chosen by other people would be executed."""
    commands = [step["run"] for step in steps(name) if "run" in step]
    assert [command for command in commands if re.search(r"\$\{\{ *(github|inputs|vars)\.", command)] == []


def test_kind_cluster_name_matches_the_makefile() -> None:
    config = yaml.safe_load((ROOT / "k8s" / "kind.yaml").read_text())
    assert (config["kind"], config["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in config["nodes"]].count("worker") == 2
    assert any("--name livescore " in step.get("run", "") for step in steps("e2e"))
    assert re.search(r"^CLUSTER \?= livescore$", (ROOT / "Makefile").read_text(), re.MULTILINE)

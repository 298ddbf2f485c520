"""The lists in the documentation match the operator."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.core import TyperGroup

from livescore_operator.cli import app
from livescore_operator.conditions import assess, effectiveness
from livescore_operator.events import EVENT_CONDITIONS
from livescore_operator.resource import LiveScore
from livescore_operator.settings import Settings
from livescore_operator.telemetry import metrics
from tests.unit.test_documentation import anchors, commands, links
from tools.documentation import operator_page

Schema = dict[str, Any]
Function = ast.FunctionDef | ast.AsyncFunctionDef

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operator.md"
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
PACKAGE = ROOT / "operator" / "livescore_operator"

MAX_RUNBOOKS = 5
"""Maximum number of alerts that page someone, so that their runbooks are read."""

QUIET = {"External", "Available", "ModeNone", "PlanOnly", "Connections", "NoReadings", "Autoscaler"}
QUIET |= {"AutoscalerStarting", "AutoscalerFailing", "ScalingUp", "Effective"}
"""Reasons that never become Events: they appear only in conditions without notification."""


# Facts from the source


def functions() -> Iterator[Function]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield node


def reasons(position: int, *names: str) -> set[str]:
    """Return the texts at a position of calls to these names: the reasons of findings, errors and Events."""
    return {reason for function in functions() for reason in reasons_in(function, position, names)}


def reasons_in(function: Function, position: int, names: tuple[str, ...]) -> Iterator[str]:
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if called in names and len(call.args) > position:
            yield from texts(call.args[position], function)


def texts(node: ast.expr, function: Function) -> Iterator[str]:
    """Yield the possible values of an expression; a name is resolved to its assignments in the function."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=yes, orelse=no):
            yield from texts(yes, function)
            yield from texts(no, function)
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.Name(id=name):
            for value in assigned(name, function):
                yield from texts(value, function)


def assigned(name: str, function: Function) -> list[ast.expr]:
    assigns = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    return [node.value for node in assigns if isinstance(node.targets[0], ast.Name) and node.targets[0].id == name]


def condition_reasons() -> set[str]:
    return reasons(2, "Finding") | reasons(1, "Activity") | reasons(0, "Terminal", "Waiting", "Trouble")


def condition_types() -> list[str]:
    resource = LiveScore.parse({"metadata": {"name": "demo"}, "spec": {"image": "livescore:1"}})
    return [*(finding.type for finding in assess(resource, {}, None, "", None)), effectiveness("").type]


def metric_names() -> list[str]:
    families = [family for family in metrics.REGISTRY.collect() if family.name.startswith("livescore_operator_")]
    return [family.name + ("_total" if family.type == "counter" else "") for family in families]


# Facts from the page


def section(title: str, page: Path = PAGE) -> str:
    """Return the text under a heading, up to the next heading that is not below it."""
    found = re.search(
        rf"^(#+) {re.escape(title)}$\n(.*?)(?=^#{{1,2}} |^### |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[2]


def listed(title: str) -> list[str]:
    """Return the code in the first column of the table under a heading."""
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", section(title), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def examples() -> list[dict[str, Any]]:
    """Return every LiveScore, or spec of one, shown in the page."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [
        body for body in map(yaml.safe_load, blocks) if "spec" in body and body.get("kind", "LiveScore") == "LiveScore"
    ]


def test_every_table_matches_the_code() -> None:
    assert PAGE.read_text() == operator_page(PAGE.read_text()), "run `make docs`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    assert (Settings.model_fields[name].description or "").endswith(".")


def test_every_condition_is_documented() -> None:
    assert sorted(listed("Conditions")) == sorted(condition_types())


def test_every_reason_of_a_condition_is_documented_once() -> None:
    assert sorted(listed("Reasons")) == sorted(condition_reasons())


def test_every_reason_of_a_logged_error_is_documented_once() -> None:
    assert sorted(listed("Errors")) == sorted(reasons(0, "Transient"))


def test_every_reason_of_an_event_is_documented_once() -> None:
    recorded = reasons(2, "record") | reasons(1, "_record")
    assert sorted(listed("Events")) == sorted(recorded | condition_reasons() - QUIET)


@pytest.mark.parametrize("name", EVENT_CONDITIONS)
def test_every_condition_reported_by_events_is_named(name: str) -> None:
    assert f"`{name}`" in section("Events")


def test_every_metric_is_documented() -> None:
    assert listed("Metrics") == metric_names()


@pytest.mark.parametrize("path", [PAGE, *RUNBOOKS], ids=lambda path: path.name)
def test_every_named_metric_exists(path: Path) -> None:
    named = set(re.findall(r"\b(livescore_operator_\w+)", path.read_text())) - {"livescore_operator_"}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= set(metric_names())


def test_every_command_is_documented() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    assert {name.split(" -")[0] for name in listed("Commands")} == set(commands(command, "livescore-operator"))


@pytest.mark.parametrize("example", examples())
def test_every_example_has_only_fields_that_exist(example: dict[str, Any]) -> None:
    whole = {"metadata": {"name": "demo"}, **example, "spec": {"image": "livescore:1", **example["spec"]}}
    read = LiveScore.parse(whole).spec.model_dump(by_alias=True, exclude_unset=True)
    assert {name: read.get(name) for name in example["spec"]} == example["spec"]


def test_runbooks_are_few_and_linked_from_the_page() -> None:
    assert 0 < len(RUNBOOKS) <= MAX_RUNBOOKS
    assert {path.name for path in RUNBOOKS} == set(re.findall(r"\]\(runbooks/([^)]+)\)", section("Alerts")))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.name)
def test_runbook_has_meaning_diagnosis_and_remedy(path: Path) -> None:
    assert re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE) == ["Meaning", "Diagnosis", "Mitigation"]


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.name)
def test_every_link_of_a_runbook_resolves(path: Path) -> None:
    for link in links(path):
        file, _, anchor = link.partition("#")
        assert (path.parent / file).exists(), link
        assert not anchor or anchor in anchors(path.parent / file), link


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.name)
def test_alert_expression_matches_its_runbook(path: Path) -> None:
    expression = re.search(r"```promql\n(.*?)\n```", path.read_text(), re.DOTALL)
    assert expression
    assert " ".join(expression[1].split()) in section("Alerts").replace("&#124;", "|")

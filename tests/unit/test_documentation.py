"""The lists in the documentation match the program."""

import re
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from typer.core import TyperGroup

from livescore.api import asyncapi
from livescore.cli import app
from livescore.live import messages
from livescore.security.keys import SCOPES
from livescore.settings import Settings
from livescore.telemetry import metrics
from livescore_operator.settings import Settings as OperatorSettings
from tests.support.validation import message_faults
from tools.documentation import SETTINGS_HEAD, settings_table

DOCS = Path(__file__).parents[2] / "docs"


def text(*names: str) -> str:
    return "\n".join((DOCS / f"{name}.md").read_text() for name in names)


def commands(group: TyperGroup, *above: str) -> list[str]:
    """Return ``livescore …`` for every command, including those of groups."""
    found: list[str] = []
    for name, command in group.commands.items():
        path = (*above, name)
        found += commands(command, *path) if isinstance(command, TyperGroup) else [" ".join(path)]
    return found


def cli() -> list[str]:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return commands(command, "livescore")


def metric_names() -> list[str]:
    """Return the metric names as exposed to Prometheus."""
    families = [family for family in metrics.REGISTRY.collect() if family.name.startswith("livescore_")]
    return [family.name + ("_total" if family.type == "counter" else "") for family in families]


def message_types() -> list[str]:
    return list(asyncapi.document()["components"]["messages"])


def test_settings_table_matches_the_code() -> None:
    _, head, table = text("settings").partition(SETTINGS_HEAD)
    assert head + table == settings_table(), "run `make docs`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    assert (Settings.model_fields[name].description or "").endswith(".")


@pytest.mark.parametrize("kind", message_types())
def test_every_message_is_documented(kind: str) -> None:
    assert re.search(rf"[`\"]{kind}[`\"]", text("api"))


@pytest.mark.parametrize("example", re.findall(r'^\{"type".*$', text("api"), re.MULTILINE))
def test_every_example_message_is_valid(example: str) -> None:
    assert not (message_faults(example) and message_faults(example, sent=False))


@pytest.mark.parametrize("code", get_args(messages.ErrorCode))
def test_every_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in text("api")


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_is_documented(scope: str) -> None:
    assert f"`{scope}`" in text("api")


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_is_documented(name: str) -> None:
    assert f"`{name}`" in text("operations")


def test_every_documented_metric_exists() -> None:
    assert set(re.findall(r"`(livescore_\w+)`", text("operations"))) <= set(metric_names())


@pytest.mark.parametrize("command", cli())
def test_every_command_is_documented(command: str) -> None:
    assert f"`{command}" in text("operations", "development")


def test_every_setting_named_in_the_documentation_exists() -> None:
    """Capitalized words with an underscore must be settings of the service or the operator, or known exceptions."""
    others = {
        "DRY_RUN",
        "TCP_USER_TIMEOUT",
        "LIVESCORE_COMMIT",
        "LIVESCORE_API_KEY",
        "PYTHON_IMAGE",
        "SCHEMATHESIS_SECONDS",
        "COVERAGE_PROCESS_CONFIG",
        "KUBEBUILDER_ASSETS",
        "BUILD_FLAGS",
        "NODE_IMAGE",
    }
    settings = {name.upper() for fields in (Settings, OperatorSettings) for name in fields.model_fields}
    # The words of sports.md are codes of other feeds.
    for path in sorted(set(DOCS.glob("*.md")) - {DOCS / "sports.md"}):
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", path.read_text()))
        assert named <= settings | others, path.name


PAGES = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.parent.glob("*.md"))]


def shell(path: Path) -> str:
    """Return the commands of a page: its code blocks, and the code in its text."""
    page = path.read_text()
    return "\n".join([*re.findall(r"```sh\n(.*?)```", page, re.DOTALL), *re.findall(r"`([^`\n]+)`", page)])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):.* ## ", (DOCS.parent / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_documented_make_target_exists(path: Path) -> None:
    named = re.findall(r"^(?:\w+=\S+ )*make((?: [a-z][a-z0-9-]*\b(?!=))+)", shell(path), re.MULTILINE)
    assert {target for words in named for target in words.split()} <= targets()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_documented_program_of_the_environment_exists(path: Path) -> None:
    names = set(re.findall(r"\.venv/bin/([\w-]+)", shell(path)))
    assert [name for name in names if not (Path(sys.executable).parent / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_applied_folder_and_manifest_exists(path: Path) -> None:
    named = re.findall(r"(?:-k|-f|--filename) (k8s/\S+)|\b(charts/[\w-]+)", shell(path))
    files = {(kustomized or chart).rstrip("`,;") for kustomized, chart in named}
    assert [name for name in files if not (DOCS.parent / name).exists()] == []


def test_commands_of_the_readme_are_found() -> None:
    page = shell(DOCS.parent / "README.md")
    assert all(
        line in page for line in ("make run ", "kubectl apply -k k8s/default", "helm install demo charts/livescore")
    )


def test_kubernetes_quick_start_has_four_commands() -> None:
    _, _, rest = (DOCS.parent / "README.md").read_text().partition("\n## On Kubernetes\n")
    (block, *_) = re.findall(r"```sh\n(.*?)```", rest, re.DOTALL)
    verbs = [" ".join(line.split()[:2]) for line in block.splitlines()]
    assert verbs == ["kubectl apply", "kubectl apply", "kubectl wait", "kubectl port-forward"]


def modules_on_the_map(page: str, heading: str) -> list[str]:
    """Return the paths of all modules in the tree below a heading, relative to the repository."""
    tree = page.split(f"\n{heading}\n")[1].split("```")[1]
    folders: list[tuple[int, str]] = []
    found = []
    for line in tree.strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        first = line.split()[0]
        if first.endswith("/"):
            folders.append((indent, first))
        found += ["".join(name for _, name in folders) + file for file in re.findall(r"[\w/]+\.py\b", line)]
    return found


@pytest.mark.parametrize(
    ("heading", "packages"),
    [
        ("## Modules", ["app/livescore", "app/livescore_dev"]),
        ("### Modules of the operator", ["operator/livescore_operator"]),
    ],
)
def test_the_architecture_map_has_every_module_once_in_its_folder(heading: str, packages: list[str]) -> None:
    root = DOCS.parent
    files = [path for package in packages for path in (root / package).rglob("*.py")]
    # Alembic finds its revisions and env.py by their place; __init__.py has no code of its own.
    modules = [path for path in files if path.name not in ("__init__.py", "env.py") and "versions" not in path.parts]
    assert sorted(modules_on_the_map(text("architecture"), heading)) == sorted(
        str(path.relative_to(root)) for path in modules
    )


def links(path: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()) if "://" not in link]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_between_documents_resolves(path: Path) -> None:
    for link in links(path):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub generates for the headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

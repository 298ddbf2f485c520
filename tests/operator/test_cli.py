"""The command: its output, and its exit status on errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from livescore_operator import __version__, cli
from livescore_operator.crd import crd
from livescore_operator.rendering import PLACEHOLDER
from livescore_operator.settings import Settings

SECONDS = 60.0
"""Timeout after which a command counts as hanging."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*Settings.model_fields, "kubernetes_service_host", "kubernetes_service_port"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("COLUMNS", "200")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "livescore_operator", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_version_and_commit_are_shown() -> None:
    done = run("--version", LIVESCORE_COMMIT="c0ffee")

    assert (done.returncode, done.stdout) == (0, f"livescore-operator {__version__} (c0ffee)\n")


def test_help_is_printed_without_a_command() -> None:
    result = call()

    assert result.exit_code == 2
    assert all(command in result.output for command in ("run", "crd", "render"))


def test_crd_prints_the_definition() -> None:
    result = call("crd")

    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == crd()


# render


def livescore(directory: Path, text: str | bytes) -> str:
    file = directory / "livescore.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


GOOD = """\
kind: LiveScore
metadata: {name: demo, namespace: sport}
spec: {image: "livescore:1"}
"""


def test_render_prints_the_manifests_of_a_livescore(tmp_path: Path) -> None:
    result = call("render", "-f", livescore(tmp_path, GOOD))

    assert (result.exit_code, result.stderr) == (0, "")
    manifests = list(yaml.safe_load_all(result.stdout))
    names = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    assert {("Deployment", "demo-api"), ("StatefulSet", "demo-postgres"), ("Service", "demo")} <= names
    assert {one["metadata"]["namespace"] for one in manifests} == {"sport"}
    assert PLACEHOLDER not in result.stdout, "appears only encoded, in the Secret"


def test_render_finds_the_livescore_among_other_documents(tmp_path: Path) -> None:
    file = livescore(tmp_path, f"---\n---\nkind: Namespace\n---\n[a, list]\n---\ntext\n---\n{GOOD}")

    assert call("render", "--filename", file).exit_code == 0


def test_render_is_deterministic(tmp_path: Path) -> None:
    file = livescore(tmp_path, GOOD)

    assert call("render", "-f", file).stdout == call("render", "-f", file).stdout


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("kind: [", ["is not valid YAML"]),
        (b"kind: \xff", ["can't decode"]),
        ("", ["contains no object of kind LiveScore"]),
        ("kind: Deployment\n", ["contains no object of kind LiveScore"]),
        ("kind: LiveScore\n", ["metadata: Field required", "spec: Field required"]),
        ("kind: LiveScore\nmetadata: {}\nspec: {}\n", ["metadata.name: Field required", "spec.image: Field required"]),
        (GOOD.replace('"livescore:1"', '""'), ["spec.image: String should have at least 1 character"]),
        (
            GOOD.replace("}\n", ", api: {port: 80, replicas: many}, postgres: {mode: sqlite}}\n").replace(
                "sport, api", "sport} #"
            ),
            ["spec.api.port: ", "spec.api.replicas: ", "spec.postgres.mode: "],
        ),
        (GOOD.replace("}\n", ", redis: {storage: {size: lots}}}\n").replace("sport, redis", "sport} #"), ["size: "]),
        (
            GOOD.replace("}\n", ", worker: {env: [{name: A-B}]}}\n").replace("sport, worker", "sport} #"),
            ["spec.worker.env.0.name: "],
        ),
    ],
)
def test_render_names_every_invalid_field(tmp_path: Path, text: str | bytes, messages: list[str]) -> None:
    file = livescore(tmp_path, text)

    result = call("render", "-f", file)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"livescore-operator render: {file}: ")
    assert [message for message in messages if message not in result.stderr] == []


def test_render_needs_a_file(tmp_path: Path) -> None:
    for arguments in ([], ["-f", str(tmp_path / "missing")], ["-f", str(tmp_path)]):
        result = call("render", *arguments)
        assert result.exit_code == 2
        assert "--filename" in result.stderr


# run

EITHER = "give either --namespace NAME, once or more, or --all-namespaces"


@pytest.mark.parametrize(
    ("arguments", "namespaces"),
    [
        ([], ""),
        (["--all-namespaces", "--namespace", "a"], ""),
        (["--all-namespaces"], "a"),
    ],
)
def test_run_requires_either_namespaces_or_all(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], namespaces: str
) -> None:
    monkeypatch.setenv("NAMESPACES", namespaces)

    result = call("run", *arguments)

    assert result.exit_code == 2
    assert EITHER in result.stderr


def test_invalid_environment_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("WORKERS", "0")
    monkeypatch.setattr(sys, "argv", ["livescore-operator", "run", "--all-namespaces"])

    with pytest.raises(SystemExit) as caught:
        cli.main()

    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("invalid configuration:\n  ")
    assert {line.partition(":")[0].strip() for line in error.splitlines()[1:]} == {"PORT", "WORKERS"}


@pytest.mark.parametrize("arguments", [["--all-namespaces"], ["--namespace", "a", "--namespace", "b"]])
def test_run_without_a_cluster_reports_it(arguments: list[str]) -> None:
    result = run("run", *arguments)

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("livescore-operator run: no cluster is configured: ")
    assert "Traceback" not in result.stderr


def test_run_names_the_occupied_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        context: dict[str, Any] = {"cluster": "c", "user": "c"}
        body = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": context}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(body))

        result = run("run", "--namespace", "a", HOST="127.0.0.1", PORT=port, KUBECONFIG=str(tmp_path / "kubeconfig"))

    assert result.returncode == 1
    assert f"livescore-operator run: HOST 127.0.0.1 and PORT {port} cannot be used" in result.stderr
    assert "Traceback" not in result.stderr

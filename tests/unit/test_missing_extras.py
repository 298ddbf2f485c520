"""A command without the packages of its extra names the extra in one sentence."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from {program}.__main__ import main
sys.argv = ["program", *sys.argv[2:]]
main()
"""
"""Runs a command while importing one package fails as if it were not installed."""


def run(program: str, missing: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    code = WITHOUT.format(program=program)
    return subprocess.run(
        [sys.executable, "-c", code, missing, *arguments],
        env={"DATABASE_URL": "postgresql://localhost/livescore", "REDIS_URL": "redis://localhost"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("program", "missing", "arguments", "extra"),
    [
        ("livescore", "orjson", ["--help"], "app"),
        ("livescore", "psycopg", ["keys", "list"], "app"),
        ("livescore", "fastapi", ["api"], "app"),
        ("livescore", "rq", ["worker"], "app"),
        ("livescore", "rq_scheduler", ["scheduler"], "app"),
        ("livescore", "alembic", ["migrate"], "app"),
        ("livescore", "httpx", ["replay", "cup.json"], "app"),
        ("livescore", "httpx", ["import", "cup.json"], "app"),
        ("livescore", "psutil", ["dev"], "app,embedded"),
        ("livescore_operator", "kopf", ["run", "--all-namespaces"], "operator"),
        ("livescore_operator", "yaml", ["crd"], "operator"),
    ],
)
def test_missing_package_is_reported_with_its_extra(
    program: str, missing: str, arguments: list[str], extra: str
) -> None:
    done = run(program, missing, *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"{missing} is missing" in done.stderr
    assert f"pip install '.[{extra}]'" in done.stderr


def test_missing_module_of_the_project_is_a_traceback() -> None:
    done = run("livescore", "livescore.settings", "--help")

    assert "Traceback" in done.stderr


@pytest.mark.parametrize("arguments", [["dev"], ["replay", "cup.json"]])
def test_development_commands_of_a_release_refer_to_a_clone(arguments: list[str]) -> None:
    done = run("livescore", "livescore_dev", *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "install them from a clone with `pip install --editable '.[app,embedded]'`" in done.stderr

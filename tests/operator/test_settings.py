"""Parsing of environment variables in all common spellings, with all errors reported at once."""

import socket

import pytest

from livescore_operator.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load()


def test_all_settings_are_optional() -> None:
    settings = load()

    assert (settings.namespaces, settings.pod_namespace, settings.lease_name) == (
        [],
        "livescore-system",
        "livescore-operator",
    )
    assert settings.pod_name == socket.gethostname()
    assert (settings.host, settings.port, settings.workers) == ("*", 8080, 4)
    assert (settings.lease_seconds, settings.resync_seconds, settings.connections_seconds) == (15, 300, 15)
    assert (settings.log_level, settings.log_format) == ("INFO", "auto")


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, **{name.upper(): "" for name in Settings.model_fields}) == load()


def test_every_setting_has_a_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "namespaces": "a,b",
        "pod_namespace": "n",
        "pod_name": "p",
        "host": "127.0.0.1",
        "port": "0",
        "lease_name": "l",
        "lease_seconds": "2",
        "resync_seconds": "3",
        "connections_seconds": "0.5",
        "workers": "7",
        "metrics_adapter": "True",
        "metrics_adapter_port": "7",
        "metrics_adapter_service": "s",
        "metrics_adapter_role": "r",
        "request_timeout_seconds": "0.25",
        "log_level": "DEBUG",
        "log_format": "json",
    }
    assert given.keys() == Settings.model_fields.keys()

    found = read(monkeypatch, **{name.upper(): value for name, value in given.items()}).model_dump()

    assert found.pop("namespaces") == ["a", "b"]
    assert {name: str(value).removesuffix(".0") for name, value in found.items()} == {
        name: value for name, value in given.items() if name != "namespaces"
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [("a", ["a"]), ("a,b", ["a", "b"]), (" a , b ", ["a", "b"]), ("a,,b,", ["a", "b"]), (",", []), (" ", [])],
)
def test_namespaces_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, text: str, names: list[str]) -> None:
    assert read(monkeypatch, NAMESPACES=text).namespaces == names


def test_options_override_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESPACES", "a")
    monkeypatch.setenv("PORT", "1")

    settings = load(namespaces=["b", "c"])

    assert (settings.namespaces, settings.port) == (["b", "c"], 1)


def test_unrelated_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, LOG_COLOUR="blue", DATABASE_URL="x") == load()


def test_all_errors_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "PORT": "65536",
        "LEASE_SECONDS": "0",
        "RESYNC_SECONDS": "0.5",
        "CONNECTIONS_SECONDS": "often",
        "WORKERS": "0",
        "REQUEST_TIMEOUT_SECONDS": "0",
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
    }

    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **wrong)

    assert sorted(problem.partition(":")[0] for problem in caught.value.problems) == sorted(wrong)
    assert str(caught.value).startswith("invalid configuration:\n  ")
    assert str(caught.value).count("\n") == len(wrong)


def test_request_timeout_must_be_shorter_than_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, LEASE_SECONDS="9", REQUEST_TIMEOUT_SECONDS="3").request_timeout_seconds == 3

    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, LEASE_SECONDS="9", REQUEST_TIMEOUT_SECONDS="3.1")
    assert caught.value.problems == ["REQUEST_TIMEOUT_SECONDS must be at most a third of LEASE_SECONDS"]


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]  # mypy would refuse it too


def test_every_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []

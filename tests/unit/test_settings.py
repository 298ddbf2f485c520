"""Parsing of environment variables in all common spellings, with all errors reported at once."""

import math
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from livescore.settings import Settings, SettingsError, load

REQUIRED = {"DATABASE_URL": "postgresql://localhost/livescore", "REDIS_URL": "redis://localhost"}
PASSWORD = "tr0ub4dor"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in {**REQUIRED, **environment}.items():
        monkeypatch.setenv(name, value)
    return load()


def test_two_urls_are_sufficient(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)

    assert (settings.host, settings.port, settings.management_port) == ("*", 8000, 9100)
    assert (settings.environment, settings.security_mode) == ("development", "DRY_RUN")
    assert (settings.trusted_proxies, settings.allowed_origins) == ([], [])
    assert (settings.dev_api_key, settings.api_keys_file, settings.event_retention_days) == (None, None, None)
    assert settings.instance


def test_optional_settings_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = {name.upper(): "" for name, field in Settings.model_fields.items() if not field.is_required()}

    assert read(monkeypatch, **optional) == read(monkeypatch)


def test_empty_url_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, DATABASE_URL="")

    assert caught.value.problems == ["DATABASE_URL: is required"]


def test_all_errors_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "DATABASE_URL": "",
        "PORT": "eighty",
        "MANAGEMENT_PORT": "65536",
        "DRAIN_SECONDS": "-1",
        "SECURITY_MODE": "ON",
        "READ_KEYS_REQUIRED": "perhaps",
        "TRUSTED_PROXIES": "10.0.0.0/8, here",
        "HTTP_LIMIT": "a lot",
        "INSTANCES": "0",
    }

    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **wrong)

    assert sorted(problem.partition(":")[0] for problem in caught.value.problems) == sorted(wrong)
    assert str(caught.value).startswith("invalid configuration:\n  ")
    assert str(caught.value).count("\n") == len(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"PORT": PASSWORD},
        {"DATABASE_URL": f"postgresql://desk:{PASSWORD}@localhost/x", "PORT": "x"},
        {"DEV_API_KEY": PASSWORD, "HTTP_LIMIT": "x"},
        {"HTTP_LIMIT": PASSWORD},
        {"TRUSTED_PROXIES": PASSWORD},
        {"SECURITY_MODE": PASSWORD},
    ],
)
def test_values_are_not_shown_in_errors(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **wrong)

    assert PASSWORD not in str(caught.value)


def test_secrets_are_hidden_in_representations(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://desk:{PASSWORD}@localhost/x"

    settings = read(monkeypatch, DATABASE_URL=url, REDIS_URL=f"redis://:{PASSWORD}@localhost", DEV_API_KEY=PASSWORD)

    assert PASSWORD not in f"{settings} {settings!r} {settings.model_dump_json()}"
    assert settings.database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("https://a.example", ["https://a.example"]),
        (" https://a.example , https://b.example ,", ["https://a.example", "https://b.example"]),
        ("*", ["*"]),
        (",", []),
    ],
)
def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, text: str, read_as: list[str]) -> None:
    assert read(monkeypatch, ALLOWED_ORIGINS=text).allowed_origins == read_as


def test_networks_are_addresses_or_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.7, 2001:db8::/32")

    assert settings.trusted_proxies == [ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32")]


@pytest.mark.parametrize("text", ["50 per 10 seconds", "5/second", "1000 per minute"])
def test_limits_accept_common_notations(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert read(monkeypatch, HTTP_LIMIT=text, HANDSHAKE_LIMIT=text).handshake_limit == text


@pytest.mark.parametrize("text", ["many", "50", "50 per 10 parsecs", "-1 per second", "1.5 per second"])
def test_invalid_limits_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(SettingsError, match="HANDSHAKE_LIMIT"):
        read(monkeypatch, HANDSHAKE_LIMIT=text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("READ_KEYS_REQUIRED", "true", True),
        ("READ_KEYS_REQUIRED", "1", True),
        ("DRAIN_SECONDS", "0.5", 0.5),
        ("PORT", "0", 0),
        ("LOG_LEVEL", "DEBUG", "DEBUG"),
        ("EVENT_RETENTION_DAYS", "30", 30.0),
    ],
)
def test_values_are_read(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any) -> None:
    assert getattr(read(monkeypatch, **{name: text}), name.lower()) == value


def test_names_are_case_insensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, port="8123").port == 8123


def test_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8001")

    assert load(database_url="postgresql://x", redis_url="redis://x", port=8002).port == 8002


STRANGE = [
    "",
    " ",
    "\t\n",
    "-1",
    "0",
    "-0.0",
    "1e-300",
    "1e308",
    "9" * 400,
    "9" * 5_000,
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "1_000",
    "0x10",
    "１２",
    "١",
    "é" * 2_000,
    "\U0001f600",
    "\udcff",
    "a\nb",
    "a\x7fb",
    "a\x1b[31mb",
    '"quoted"',
    "'quoted'",
    "'",
    "null",
    "true",
    "[]",
    "{}",
    "[1",
    '["https://a.example"]',
    ",",
    ",,",
    "a,b",
    "1,2",
    "%",
    "%zz",
    "${HOME}",
    "/",
    "..",
    "../" * 2_000,
    "http://[",
    "postgresql://[",
    "redis://[",
    "://",
    "10.0.0.0/99",
    "50 per 10 seconds, 100 per minute",
    "x" * 100_000,
]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_value_is_accepted_or_refused_without_a_traceback(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for value in STRANGE:
        settings, problems = outcome(monkeypatch, name, value)
        assert all(problem.startswith(f"{name.upper()}: ") for problem in problems), value
        assert len(value.strip()) < 5 or not any(value.strip() in problem for problem in problems), value
        assert settings is None or is_sound(getattr(settings, name)), value


def outcome(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> tuple[Settings | None, list[str]]:
    try:
        return read(monkeypatch, **{name.upper(): value}), []
    except SettingsError as error:
        return None, error.problems


def is_sound(value: Any) -> bool:
    """Return True if the program can work with a value."""
    if isinstance(value, float):
        return math.isfinite(value) and 0 <= value <= 1_000_000
    if isinstance(value, int):
        return 0 <= value <= 2**30
    if isinstance(value, str | Path):
        text = str(value)
        return text == text.strip() and text.isprintable() and len(text) <= 1_024
    return True


@pytest.mark.parametrize("space", [" ", "\n", "\r\n", "\t", "\u00a0"])
def test_surrounding_whitespace_is_stripped(monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    wanted = {
        "DATABASE_URL": "postgresql://u:p@h/x",
        "REDIS_URL": "redis://:p@h/1",
        "HOST": "127.0.0.1",
        "PORT": "8123",
        "LOG_LEVEL": "DEBUG",
        "HTTP_LIMIT": "5 per second",
        "DEV_API_KEY": "a-key",
        "READ_KEYS_REQUIRED": "true",
        "DATA_DIR": "/tmp/data",
        "INSTANCE": "one",
    }
    plain = read(monkeypatch, **wanted)
    assert read(monkeypatch, **{name: f"{space}{value}{space}" for name, value in wanted.items()}) == plain
    assert plain.database_url.get_secret_value() == wanted["DATABASE_URL"]


def test_a_blank_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = {name.upper(): " \n" for name, field in Settings.model_fields.items() if not field.is_required()}
    assert read(monkeypatch, **optional) == read(monkeypatch)
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, DATABASE_URL=" ", REDIS_URL="\n")
    assert caught.value.problems == ["DATABASE_URL: is required", "REDIS_URL: is required"]


@pytest.mark.parametrize("host", ["*", "127.0.0.1", "::", "::1", "fe80::1%eth0", "localhost", "a.example", "a_b"])
def test_hosts_may_be_addresses_or_names(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert read(monkeypatch, HOST=host).host == host


@pytest.mark.parametrize("host", ["a b", "http://a", "a:80", "[::1]:80", "é", "-a", "a,b", "**", "x" * 300])
def test_invalid_hosts_are_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with pytest.raises(SettingsError, match="HOST: must be an address"):
        read(monkeypatch, HOST=host)


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []

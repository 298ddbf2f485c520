"""Accepted values of DATABASE_URL; errors state the reason without the password."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from livescore.settings import SettingsError, load

SECRET = "s3cr3t"


def read(text: str) -> str:
    return load(database_url=text, redis_url="redis://localhost").database_url.get_secret_value()


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("postgresql://u:p@h:5432/x", "postgresql://u:p@h:5432/x"),
        ("postgres://h/x", "postgresql://h/x"),
        ("postgresql+psycopg://u:p%40ss@h/x", "postgresql://u:p%40ss@h/x"),
        ("POSTGRESQL://h/x", "postgresql://h/x"),
        (" postgresql://h/x\r\n", "postgresql://h/x"),
    ],
)
def test_equivalent_urls_are_normalized(text: str, canonical: str) -> None:
    assert read(text) == canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://a:1,b:2/x", {"host": "a,b", "port": "1,2"}),
        ("postgresql://a,b/x?target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql/x", {"host": "/var/run/postgresql"}),
        ("postgresql:///x?host=/tmp/a%20b", {"host": "/tmp/a b"}),
        ("postgresql://[::1]:5433/x", {"host": "::1", "port": "5433"}),
        ("postgresql://h/x?options=-c%20search_path%3Dscores", {"options": "-c search_path=scores"}),
        ("postgresql://h/x?sslmode=verify-full&sslrootcert=/ca.pem", {"sslmode": "verify-full"}),
        ("postgresql://h/x?sslmode=require&channel_binding=require", {"channel_binding": "require"}),
        ("postgresql://h?hostaddr=192.0.2.1", {"hostaddr": "192.0.2.1"}),
        ("postgresql://%C3%A9:%40%2F%3A%23%3F@h/x", {"user": "é", "password": "@/:#?"}),
    ],
)
def test_libpq_parameters_are_kept(text: str, expected: dict[str, str]) -> None:
    found = conninfo_to_dict(read(text))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SECRET, "must begin with postgresql://"),
        (f"host=h password={SECRET}", "%20"),
        (f"mysql://u:{SECRET}@h/x", "must begin with postgresql://"),
        (f"postgresql+asyncpg://u:{SECRET}@h/x", "must begin with postgresql://"),
        (f"postgresql:{SECRET}", "must begin with postgresql://"),
        (f'"postgresql://u:{SECRET}@h/x"', "quotes"),
        (f"postgresql://u:{SECRET}@h/x\npostgresql://other", "line ends"),
        (f"postgresql://u:{SECRET} x@h/x", "%20"),
        (f"postgresql://u:{SECRET}@ss@h/x", "%40"),
        (f"postgresql://u:{SECRET}/x@h/x", "port"),
        (f"postgresql://u:one@{SECRET}/x@h/x", "%40"),
        (f"postgresql://u:%zz{SECRET}@h/x", "percent-encoded"),
        (f"postgresql://u:{SECRET}@h/x?schema=public", "parameters of libpq"),
        (f"postgresql://u:{SECRET}@h/x?{SECRET}=1", "parameters of libpq"),
        (f"postgresql://u:{SECRET}@[::1/x", "cannot be read"),
        (f"postgresql://u:{SECRET}@::1/x", "port"),
        (f"postgresql://u:{SECRET}@h:99999/x", "port"),
        (f"postgresql://u:{SECRET}@h:0/x", "port"),
        (f"postgresql://u:{SECRET}@h:abc/x", "port"),
        (f"postgresql://u:{SECRET}@a:1,b:x/x", "port"),
        (f"postgresql://u:{SECRET}@h/x?port=1,2", "port"),
        (f"postgresql://u:{SECRET}@h/x?sslmode={SECRET}", "sslmode"),
        (f"postgresql://u:{SECRET}@h/x?sslmode=require&sslmode=disable", "sslmode twice"),
        (f"postgresql://u:{SECRET}@h/x?ssl%6Dode=require&sslmode=disable", "sslmode twice"),
        (f"postgresql://u:{SECRET}@h/x?host=other&dbname=y", "dbname, host twice"),
        (f"postgresql://u:x@h/x?password={SECRET}", "password twice"),
        (f"postgresql://u:{SECRET}@h:1/x?port=2", "port twice"),
        (f"postgresql://u:{SECRET}@h/x?channel_binding={SECRET}", "channel_binding"),
        (f"postgresql://u:{SECRET}@h/x?service={SECRET}", "service"),
        (f"postgresql://u:{SECRET}@h/x?target_session_attrs=standby", "target_session_attrs"),
        (f"postgresql://u:{SECRET}@h/x?connect_timeout=5", "connect_timeout"),
        (f"postgresql://u:{SECRET}@h/x?application_name=x&keepalives=0", "application_name, keepalives"),
        (f"postgresql://u:{SECRET}@h/x?client_encoding=latin1", "client_encoding"),
        (f"postgresql://u:{SECRET}@h/x?replication=database", "replication"),
        (f"postgresql://u:{SECRET}\udcff@h/x", "UTF-8"),
    ],
)
def test_invalid_url_is_reported_with_the_reason_and_not_shown(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        read(text)
    (problem,) = raised.value.problems
    assert problem.startswith("DATABASE_URL: ")
    assert SECRET not in problem

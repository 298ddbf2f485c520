"""Schema revisions that this version accepts."""

import pytest

from livescore.scores import schema


@pytest.mark.parametrize("revision", [schema.HEAD, f"{int(schema.HEAD) + 1:04}", "0010", "9999", "10000", "999999999"])
def test_own_and_newer_revisions_are_accepted(revision: str) -> None:
    assert schema.is_known(revision)
    assert schema.objection(revision) is None
    assert schema.is_newer(revision) == (revision != schema.HEAD)


@pytest.mark.parametrize("revision", ["0000", "0001", f"{int(schema.HEAD) - 1:04}"])
def test_older_revisions_need_a_migration(revision: str) -> None:
    assert schema.objection(revision) == (
        f"the database's schema is {revision} and this version needs {schema.HEAD}: run `livescore migrate`"
    )
    assert not schema.is_newer(revision)


def test_a_database_without_a_schema_needs_a_migration() -> None:
    assert schema.objection("") == "the database has no schema yet: run `livescore migrate`"


@pytest.mark.parametrize(
    "revision",
    ["ae1027a6acf", "head", "3", "003", "0003a", " 0003", "0003\n", "-0003", "00030003000", "٠٠٠٤", "0001, 0002"],
)
def test_foreign_revisions_are_refused(revision: str) -> None:
    assert not schema.is_known(revision)
    assert schema.objection(revision) == (
        f"the database's schema is {revision}, which is not a revision of LiveScore: check DATABASE_URL"
    )

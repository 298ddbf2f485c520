"""The schema revision that this version of the service needs.

Schemas change in two steps: a release adds what it needs, and a later one removes what is no longer used. So every
version works with its own schema and with newer ones, and old processes serve until they are replaced.
"""

import re
from typing import LiteralString

# The oldest revision that this version works with. A test compares it with the latest file in migrations/versions/.
HEAD = "0008"

# All revisions in one text: there is more than one only if another program has written to the table.
EXISTS: LiteralString = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: LiteralString = "SELECT coalesce(string_agg(version_num, ', ' ORDER BY version_num), '') FROM alembic_version"

_ORDERED = re.compile(r"[0-9]{4,9}")


def is_known(revision: str) -> bool:
    """Return True if this is a revision of LiveScore, older or newer."""
    return _ORDERED.fullmatch(revision) is not None


def is_newer(revision: str) -> bool:
    """Return True if a newer version has made this known revision."""
    return int(revision) > int(HEAD)


def objection(revision: str) -> str | None:
    """Return why this version cannot use a schema; None if it can.

    Args:
        revision: Revision of the schema; empty if the database has none.
    """
    if not revision:
        return "the database has no schema yet: run `livescore migrate`"
    if not is_known(revision):
        return unknown(revision)
    if int(revision) < int(HEAD):
        return f"the database's schema is {revision} and this version needs {HEAD}: run `livescore migrate`"
    return None


def unknown(revision: str) -> str:
    """Return the error message for a revision of another program."""
    return f"the database's schema is {revision}, which is not a revision of LiveScore: check DATABASE_URL"

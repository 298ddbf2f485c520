"""Revision of the database's schema, and whether this version can work with it.

Schemas change in two steps: a release adds what it needs, and a later one removes what nothing uses any more. So every
version works with its own schema and with newer ones, which lets old processes serve until they are replaced.
"""

import re
from typing import LiteralString

# The revision that this version was made for; a test keeps it equal to the latest file in migrations/versions/.
HEAD = "0003"

# Every revision in one text, as there is more than one only if something else has written the table.
EXISTS: LiteralString = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: LiteralString = "SELECT coalesce(string_agg(version_num, ', ' ORDER BY version_num), '') FROM alembic_version"

_ORDERED = re.compile(r"[0-9]{4,9}")


def is_known(revision: str) -> bool:
    """Return whether this is one of LiveScore's revisions, older or newer."""
    return _ORDERED.fullmatch(revision) is not None


def is_newer(revision: str) -> bool:
    """Return whether a later version has made this known revision."""
    return int(revision) > int(HEAD)


def objection(revision: str) -> str | None:
    """Return why this version cannot work with a schema, None if it can.

    Args:
        revision: empty if the database has no schema.
    """
    if not revision:
        return "the database has no schema yet: run `livescore migrate`"
    if not is_known(revision):
        return unknown(revision)
    if int(revision) < int(HEAD):
        return f"the database's schema is {revision} and this version needs {HEAD}: run `livescore migrate`"
    return None


def unknown(revision: str) -> str:
    """Return what to say about a revision of something else."""
    return f"the database's schema is {revision}, which is no revision of LiveScore: check DATABASE_URL"

"""The error envelope, and the tree of errors that its module documents."""

import importlib
import json
import pkgutil

import livescore
from livescore import http_errors
from livescore.http_errors import BadRequest, Conflict, HttpError, Issue
from livescore.scores.database import DatabaseAway
from livescore.scores.store import StillRunning


def test_the_envelope_has_details_and_reason_only_if_there_are_some() -> None:
    assert json.loads(Conflict("no").body()) == {"error": "no"}
    assert json.loads(DatabaseAway("PostgreSQL is away").body()) == {
        "error": "Service unavailable",
        "reason": "PostgreSQL is away",
    }
    fault = Issue(("metadata", "k" * 500, 0), "too long")
    assert json.loads(BadRequest("Invalid", fault).body()) == {
        "error": "Invalid",
        "details": [{"path": ["metadata", "k" * http_errors.MAX_KEY_LENGTH, 0], "message": "too long"}],
    }


def test_headers_of_an_error_are_lower_case_bytes() -> None:
    assert StillRunning().raw_headers() == [(b"retry-after", b"1")]


def _descendants(error: type[HttpError]) -> set[type[HttpError]]:
    return {error}.union(*(_descendants(child) for child in error.__subclasses__()))


def test_the_documented_tree_is_the_tree_of_the_code() -> None:
    for module in pkgutil.walk_packages(livescore.__path__, "livescore."):
        if module.name != "livescore.__main__" and ".migrations." not in module.name:
            importlib.import_module(module.name)
    names = {error.__name__ for error in _descendants(HttpError)}
    words = set((http_errors.__doc__ or "").replace(",", " ").split())
    assert names <= words

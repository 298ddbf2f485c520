"""Conditional requests: ``If-Match`` and ``If-None-Match`` (RFC 9110, section 13).

No object has a modification date, so the conditions on dates are ignored, as the RFC demands.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request

from livescore.http_errors import BadRequest, Issue, PreconditionFailed
from livescore.scores.store import Condition

IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"

_WEAK = "W/"
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LIST = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")


def entity_tag(epoch: str, match_id: int, seq: int) -> str:
    """Return the strong ETag of a match or of one of its entries; empty if the epoch is not known.

    It consists of the epoch of the feed, the id of the match and the seq of its last event.
    """
    return f'"{epoch}-{match_id}-{seq}"' if epoch else ""


@dataclass(frozen=True, slots=True)
class TagList:
    """Parsed value of an ETag header; ``tags`` is None for ``*``, which matches any representation."""

    tags: frozenset[str] | None

    @classmethod
    def parse(cls, lines: Collection[str]) -> Self:
        """Return the tags of all lines of a header, which count as one list.

        Raises:
            ValueError: The header is neither ``*`` nor a list of quoted tags.
        """
        text = ", ".join(lines).strip()
        if text == "*":
            return cls(None)
        if not _LIST.fullmatch(text):
            raise ValueError('must be "*" or a list of ETags in double quotes')
        return cls(frozenset(_TAG.findall(text)))

    def matches_strongly(self, current: Collection[str]) -> bool:
        """Return True if a tag is a current one. A weak tag never matches."""
        return self.tags is None or not self.tags.isdisjoint(current)

    def matches_weakly(self, current: Collection[str]) -> bool:
        """Return True if a tag is a current one, weak or not."""
        return self.tags is None or not {tag.removeprefix(_WEAK) for tag in self.tags}.isdisjoint(current)


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The state that a request expects."""

    if_match: TagList | None
    if_none_match: TagList | None

    @classmethod
    def of(cls, request: Request) -> Self | None:
        """Return the conditions of a request that changes something, or None if it has no condition.

        Raises:
            BadRequest: A header is malformed. The request must not be carried out as if it had no condition.
        """
        if_match, if_none_match = _tag_list(request, IF_MATCH), _tag_list(request, IF_NONE_MATCH)
        if if_match is None and if_none_match is None:
            return None
        return cls(if_match, if_none_match)

    def check(self, current: Collection[str]) -> None:
        """Compare the conditions with the tags of the current state; an object without an ETag has none.

        Raises:
            PreconditionFailed: The current state is not the expected one.
        """
        if self.if_match is not None and not self.if_match.matches_strongly(current):
            raise PreconditionFailed(f"{IF_MATCH} does not name the current state: read it and decide again")
        if self.if_none_match is not None and self.if_none_match.matches_weakly(current):
            raise PreconditionFailed(f"{IF_NONE_MATCH} names the current state")


def of_write(request: Request, match_id: int) -> Condition | None:
    """Return the conditions of a write, for the store to check under the lock of the match's row.

    Args:
        request: The request.
        match_id: The match that it changes; 0 for the list of matches, which has no ETag and is checked here.

    Raises:
        BadRequest: A header is malformed.
        PreconditionFailed: The list of matches is not the expected one.
    """
    conditions = Preconditions.of(request)
    if conditions is None:
        return None
    if not match_id:
        conditions.check(())
        return None
    return lambda epoch, seqs: conditions.check({entity_tag(epoch, match_id, seq) for seq in seqs})


def check_readable(request: Request, tag: str) -> None:
    """Check ``If-Match`` of a request that only reads.

    Args:
        request: The request.
        tag: The ETag of the representation; empty if it is not known.

    Raises:
        BadRequest: The header is malformed.
        PreconditionFailed: The header names another representation.
    """
    if_match = _tag_list(request, IF_MATCH)
    if if_match is not None:
        Preconditions(if_match, None).check({tag})


def is_known(request: Request, tag: str) -> bool:
    """Return True if ``If-None-Match`` names the representation, so that the client has it.

    A malformed header names no representation.
    """
    lines = _lines(request, IF_NONE_MATCH)
    if not lines:
        return False
    if lines == [tag]:  # nearly every client sends exactly the tag that it received
        return True
    try:
        return TagList.parse(lines).matches_weakly({tag})
    except ValueError:
        return False


def asks_for_origin(request: Request) -> bool:
    """Return True if the client accepts no cached response, not even one of this process."""
    return any("no-cache" in line for line in _lines(request, "Cache-Control"))


def _tag_list(request: Request, name: str) -> TagList | None:
    lines = _lines(request, name)
    try:
        return TagList.parse(lines) if lines else None
    except ValueError as error:
        raise BadRequest(f"Invalid {name}", Issue((name,), f"Header {error}")) from None


def _lines(request: Request, name: str) -> list[str]:
    """Return the values of all header lines of this name, faster than Starlette's ``Headers``."""
    key = name.lower().encode("latin-1")
    return [value.decode("latin-1") for header, value in request.scope["headers"] if header == key]

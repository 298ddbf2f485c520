"""Conditional requests: ``If-Match`` and ``If-None-Match`` (RFC 9110, section 13).

Nothing here has a modification date, so the conditions about dates are ignored, as the RFC wants it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request

from livescore.http_errors import BadRequest, Issue, PreconditionFailed
from livescore.scores.store import Condition

IF_MATCH, IF_NONE_MATCH = "If-Match", "If-None-Match"

_WEAK = "W/"
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LIST = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")


def entity_tag(epoch: str, match_id: int, seq: int) -> str:
    """Return the strong ETag of a match, or of one of its entries: the feed's fingerprint and its last event."""
    return f'"{epoch}-{match_id}-{seq}"'


@dataclass(frozen=True, slots=True)
class TagList:
    """The value of a header of tags; ``tags`` is None for ``*``, which stands for any representation."""

    tags: frozenset[str] | None

    @classmethod
    def parse(cls, lines: Collection[str]) -> Self:
        """Return the tags of all lines of a header, which count as one list.

        Raises:
            ValueError: if it is neither ``*`` nor a list of quoted tags.
        """
        text = ", ".join(lines).strip()
        if text == "*":
            return cls(None)
        if not _LIST.fullmatch(text):
            raise ValueError('must be "*" or a list of ETags in double quotes')
        return cls(frozenset(_TAG.findall(text)))

    def matches_strongly(self, current: Collection[str]) -> bool:
        """Return whether some tag is a current one; weak tags never are."""
        return self.tags is None or not self.tags.isdisjoint(current)

    def matches_weakly(self, current: Collection[str]) -> bool:
        """Return whether some tag is a current one, weak or not."""
        return self.tags is None or not {tag.removeprefix(_WEAK) for tag in self.tags}.isdisjoint(current)


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What a request says about the state that it expects."""

    if_match: TagList | None
    if_none_match: TagList | None

    @classmethod
    def of(cls, request: Request) -> Self | None:
        """Return the conditions of a request that changes something; None if there are none.

        Raises:
            BadRequest: naming the malformed header. The request must not be carried out as if it had no condition.
        """
        lists = [_tag_list(request, name) for name in (IF_MATCH, IF_NONE_MATCH)]
        return cls(*lists) if any(lists) else None

    def check(self, current: Collection[str]) -> None:
        """Compare with the tags of the present state; none for a resource that has no ETag.

        Raises:
            PreconditionFailed: if the state is not the expected one.
        """
        if self.if_match is not None and not self.if_match.matches_strongly(current):
            raise PreconditionFailed(f"{IF_MATCH} does not name the current state: read it and decide again")
        if self.if_none_match is not None and self.if_none_match.matches_weakly(current):
            raise PreconditionFailed(f"{IF_NONE_MATCH} names the current state")


def of_match(request: Request, match_id: int) -> Condition | None:
    """Return the conditions of a request that changes a match, for the store to check under the lock of the row."""
    conditions = Preconditions.of(request)
    if conditions is None:
        return None
    return lambda epoch, seqs: conditions.check({entity_tag(epoch, match_id, seq) for seq in seqs})


def check_readable(request: Request, tag: str) -> None:
    """Check ``If-Match`` of a request that only reads; ``tag`` is empty where the ETag is not known.

    Raises:
        BadRequest: if it is malformed.
        PreconditionFailed: if the representation is another one.
    """
    Preconditions(_tag_list(request, IF_MATCH), None).check({tag})


def is_known(request: Request, tag: str) -> bool:
    """Return whether ``If-None-Match`` names the representation: it need not be sent. A malformed one names nothing."""
    lines = request.headers.getlist(IF_NONE_MATCH)
    try:
        return bool(lines) and TagList.parse(lines).matches_weakly({tag})
    except ValueError:
        return False


def _tag_list(request: Request, name: str) -> TagList | None:
    lines = request.headers.getlist(name)
    try:
        return TagList.parse(lines) if lines else None
    except ValueError as error:
        raise BadRequest(f"Invalid {name}", Issue((name,), f"Header {error}")) from None

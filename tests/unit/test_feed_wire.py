"""The message of an event for clients, and its envelope on Redis."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.event_types import EVENT_TYPES
from livescore.scores.feed import (
    EVERYBODY,
    EVERYTHING,
    Event,
    channel,
    channels,
    pack,
    unpack,
)
from livescore.scores.rules import INT4_MAX
from tests.support.deployments import ORIGIN


def _event(kind: str = "commentary", data: str = '{"minute":7}') -> Event:
    return Event.from_row(7, 42, kind, data, 1_750_000_000.125, "a-request")


def test_message_matches_the_contract() -> None:
    assert _event().message == b'{"type":"commentary","seq":42,"matchId":7,"data":{"minute":7}}'


def test_a_message_is_encoded_once() -> None:
    event = _event()
    assert event.message is event.message


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_event_type_survives_encoding(kind: str) -> None:
    stamp, found = unpack(pack(_event(kind), ORIGIN))
    assert (found.match_id, found.seq, found.type) == (7, 42, kind)
    assert (found.created, found.request_id) == (1_750_000_000.125, "a-request")
    assert found.message == _event(kind).message
    assert stamp == ORIGIN.stamp


@given(
    match_id=st.integers(1, INT4_MAX),
    seq=st.integers(1, INT4_MAX),
    data=st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
    created=st.floats(0, 1e11, allow_nan=False),
    request_id=st.text(alphabet=st.characters(codec="ascii"), max_size=255),
)
def test_any_event_survives_encoding(
    match_id: int, seq: int, data: dict[str, object], created: float, request_id: str
) -> None:
    event = Event.from_row(match_id, seq, "score_update", json.dumps(data), created, request_id)
    _, found = unpack(pack(event, ORIGIN))
    assert (found.match_id, found.seq, found.created, found.request_id) == (match_id, seq, created, request_id)
    assert json.loads(found.message) == {"type": "score_update", "seq": seq, "matchId": match_id, "data": data}


@given(st.binary(max_size=41))
def test_payload_shorter_than_the_header_is_not_an_event(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not an event"):
        unpack(payload)


@given(st.binary(max_size=200))
def test_any_payload_is_parsed_or_refused(payload: bytes) -> None:
    """Another program may publish on our channel."""
    with suppress(ValueError):
        unpack(payload)


def test_channels_are_named_by_match() -> None:
    assert channel(7) == "match:7"


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_match_created_is_broadcast_and_other_events_go_to_their_match(kind: str) -> None:
    own = EVERYBODY if kind == "match_created" else "match:7"
    assert channels(_event(kind)) == (own, EVERYTHING)

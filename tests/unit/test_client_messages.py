"""The models of client messages, which AsyncAPI documents, are also the parser."""

import json
from typing import Any

import pytest

from livescore.api import asyncapi
from livescore.live import client_messages
from livescore.live.client_messages import CLIENT_MESSAGES, ClientMessage, InvalidMessage, SetSubscriptions, Subscribe

EXAMPLES: dict[str, Any] = {"matchId": 7, "matchIds": [7, 8], "since": 0, "epoch": "e"}


def parse(message: object) -> ClientMessage:
    return client_messages.validate(client_messages.read(json.dumps(message).encode()))


@pytest.mark.parametrize("model", CLIENT_MESSAGES)
def test_every_documented_message_is_parsed_with_all_members_and_with_the_required_ones(
    model: type[ClientMessage],
) -> None:
    schema = asyncapi.document()["components"]["schemas"][model.__name__]
    kind = schema["properties"]["type"]["const"]
    for names in (schema["properties"], schema["required"]):
        members = {name: EXAMPLES[name] for name in names if name != "type"}
        message = parse({"type": kind, **members, "unknown": None})
        assert isinstance(message, model)
        assert message.model_dump(by_alias=True, exclude_none=True) == {"type": kind, **members}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"matchId": 0}, "matchId must be between 1 and 2147483647"),
        ({"matchId": 7, "since": 2**31}, "since must be between 0 and 2147483647"),
        ({"match_id": 7}, "matchId must be an integer: the id of a match"),
        ({"matchId": 7, "since": False}, "since must be an integer: the seq of the last event seen"),
        ({"matchId": 7, "epoch": 1}, "epoch must be the string that subscribed carried"),
        ({"matchId": "7", "since": "1"}, "matchId must be an integer: the id of a match"),
    ],
)
def test_the_first_fault_is_described(members: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidMessage, match=text):
        parse({"type": "subscribe", **members})


def test_a_number_without_a_fraction_is_an_integer_wherever_one_is_expected() -> None:
    assert parse({"type": "subscribe", "matchId": 7.0, "since": 3.0}) == Subscribe(matchId=7, since=3)
    assert parse({"type": "setSubscriptions", "matchIds": [7.0, 8]}) == SetSubscriptions(matchIds=[7, 8])
    with pytest.raises(InvalidMessage, match=r"matchIds\[1\] must be an integer"):
        parse({"type": "setSubscriptions", "matchIds": [7.0, 8.5]})


def test_members_that_are_null_count_as_absent() -> None:
    assert parse({"type": "subscribe", "matchId": 7, "since": None, "epoch": None}) == Subscribe(matchId=7)

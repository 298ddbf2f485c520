"""Messages of WebSocket clients: one definition for parsing and for AsyncAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from livescore.live.messages import Epoch, MatchId
from livescore.scores import json_text
from livescore.scores.rules import INT4_MAX

Since = Annotated[int, Field(ge=0, le=INT4_MAX, description="`seq` of the last event that the client has.")]


class InvalidMessage(Exception):
    """A member of a message is missing or has a wrong value; the text names it."""


class ClientMessage(BaseModel):
    """A JSON object with a ``type``. Unknown members are ignored, because later versions may add some."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class Subscribe(ClientMessage):
    """Follow one match; with ``since``, everything after that event first."""

    type: Literal["subscribe"] = "subscribe"
    match_id: MatchId
    since: Since | None = None
    epoch: Epoch | None = None


class Unsubscribe(ClientMessage):
    """Stop following one match."""

    type: Literal["unsubscribe"] = "unsubscribe"
    match_id: MatchId


class SetSubscriptions(ClientMessage):
    """Follow exactly these matches."""

    type: Literal["setSubscriptions"] = "setSubscriptions"
    match_ids: list[MatchId]


class SubscribeAll(ClientMessage):
    """Follow every match; single subscriptions end."""

    type: Literal["subscribeAll"] = "subscribeAll"


class UnsubscribeAll(ClientMessage):
    """End all subscriptions."""

    type: Literal["unsubscribeAll"] = "unsubscribeAll"


class Ping(ClientMessage):
    """Ask for a ``pong``."""

    type: Literal["ping"] = "ping"


CLIENT_MESSAGES: tuple[type[ClientMessage], ...] = (
    Subscribe,
    Unsubscribe,
    SetSubscriptions,
    SubscribeAll,
    UnsubscribeAll,
    Ping,
)

# By type. The validators are kept: looking them up takes as long as they run.
_VALIDATORS = {model.model_fields["type"].default: TypeAdapter(model).validator for model in CLIENT_MESSAGES}

_EXPECTED = {
    "matchId": "an integer: the id of a match",
    "matchIds": "an array of integers: the ids of matches",
    "since": "an integer: the seq of the last event seen",
    "epoch": "the string that subscribed carried",
}


def read(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a message with a known type; its other members are not checked yet.

    Raises:
        JsonError: If the message is not JSON.
        InvalidMessage: If it is not an object or has no known type.
    """
    message = json_text.parse(data)
    if not isinstance(message, dict):
        raise InvalidMessage("A message must be a JSON object with a type")
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _VALIDATORS:
        raise InvalidMessage(f"type must be one of {', '.join(_VALIDATORS)}")
    return message


def validate(message: dict[str, Any]) -> ClientMessage:
    """Return a message from :func:`read` with its members checked.

    Raises:
        InvalidMessage: If a member is missing or has a wrong value.
    """
    validator = _VALIDATORS[message["type"]]
    try:
        checked: ClientMessage = validator.validate_python(message)
    except ValidationError:
        try:
            checked = validator.validate_python(_with_integers(message))
        except ValidationError as error:
            raise InvalidMessage(_describe(error)) from None
    return checked


def _with_integers(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in which numbers like 7.0 are integers, as for JavaScript's ``Number.isInteger``.

    Models are strict, so that neither ``true`` nor ``"7"`` is an integer. Clients hardly ever write one as 7.0.
    """
    return {name: _integer(value) for name, value in message.items()}


def _integer(value: Any) -> Any:
    if isinstance(value, list):
        return [_integer(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _describe(error: ValidationError) -> str:
    """Return the text for the first fault."""
    fault = error.errors(include_url=False, include_input=False)[0]
    name = member = str(fault["loc"][0])
    if len(fault["loc"]) > 1:  # a member of matchIds
        name, member = "matchId", f"matchIds[{fault['loc'][1]}]"
    if fault["type"] in ("greater_than_equal", "less_than_equal"):
        least = 0 if name == "since" else 1
        return f"{member} must be between {least} and {INT4_MAX}"
    return f"{member} must be {_EXPECTED[name]}"

"""The AsyncAPI document: every message of WebSockets and streams, from the types that encode them."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from starlette.responses import Response

from livescore import __version__
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.base import Answer
from livescore.api.schemas.commentary import Commentary, Deleted
from livescore.api.schemas.events import Snapshot
from livescore.api.schemas.fields import Count, Id, Timestamp
from livescore.api.schemas.matches import Detail, Match, MatchClock, MatchShootout, PeriodPoints
from livescore.event_types import EventType
from livescore.live.client_messages import CLIENT_MESSAGES
from livescore.live.messages import SERVER_MESSAGES
from livescore.scores.rules import INT4_MAX
from livescore.scores.state import Status

Json = dict[str, Any]

SCHEMA = "#/components/schemas/{model}"

DESCRIPTION = """\
Every change of a match is an event with a `seq`: 1, 2, 3… per match, without a gap, in the order of commit.

**The promise.** A client that stays connected, or reconnects with the last `seq` that it received, receives every \
event of a match exactly once and in order, whichever instance it reaches and whatever has failed meanwhile. If the \
history is not available (`recovered: false`), a `snapshot` replaces it and the events continue after its `seq`.

Ignore unknown message types and unknown members: later versions may add some."""


class ScoreUpdate(Answer):
    """The score and the state after the change; ``cause`` is the id of the commentary that made it, if any."""

    match_id: Id
    home_score: Count
    away_score: Count
    scores: list[PeriodPoints]
    shootout: MatchShootout | None
    period: str | None
    clock: MatchClock | None
    state: Detail
    cause: Id | None


class PeriodChange(Answer):
    """The period and the clock after the change."""

    match_id: Id
    period: str | None
    clock: MatchClock | None


class StatusChange(Answer):
    """The status before and after the change, and the time of the change."""

    match_id: Id
    old_status: Status
    new_status: Status
    timestamp: Timestamp


EVENTS: dict[EventType, tuple[type[Answer], str]] = {
    "match_created": (Match, "A match was created. Every connected client receives this event, subscribed or not."),
    "commentary": (Commentary, "Commentary was appended."),
    "commentary_updated": (Commentary, "Commentary was corrected; the data is its new state."),
    "commentary_deleted": (Deleted, "Commentary was deleted."),
    "score_update": (ScoreUpdate, "The score changed, by hand or by a goal, which is then the previous event."),
    "period_changed": (PeriodChange, "A period began or ended, or the clock was started, stopped or set."),
    "match_status_changed": (StatusChange, "The status changed, by the clock, by an entry or by hand."),
    "match_updated": (Match, "Details or the result of the match changed; the data is its new state."),
}
"""Event type → the model of its ``data``, and its description."""

REPLIES = {
    "subscribe": ("subscribed", "snapshot", "error"),
    "unsubscribe": ("unsubscribed", "error"),
    "setSubscriptions": ("subscriptions", "error"),
    "subscribeAll": ("subscribedAll", "error"),
    "unsubscribeAll": ("unsubscribedAll",),
    "ping": ("pong",),
}
"""Client message → its possible replies. Any of them may also be answered by the error ``rate_limited``."""

UNSOLICITED = ("welcome", "reconnect", "error")


class _Schema(GenerateJsonSchema):
    """Schema of messages as they are sent: a member is absent only if its default is None."""

    def field_is_required(
        self, field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField, total: bool
    ) -> bool:
        schema: Any = field["schema"]
        return schema["type"] != "default" or schema["default"] is not None

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # titles only repeat the names

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return only the inner schema, since readers of messages never apply a default."""
        inner: Any = schema["schema"]
        is_left_out = schema.get("default") is None and inner["type"] == "nullable"
        return self.generate_inner(inner["schema"] if is_left_out else inner)


@cache
def document() -> Json:
    """Return the document, which is made once. Callers must not change it."""
    kinds = {_kind(model): model for model in (*CLIENT_MESSAGES, *SERVER_MESSAGES)}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "LiveScore", "version": __version__, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"websocket": _server("ws"), "http": _server("http")},
        "channels": _channels(kinds),
        "operations": _operations(),
        "components": {
            "messages": _messages(kinds),
            "schemas": _schemas(kinds),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _kind(model: type[BaseModel]) -> str:
    kind: str = model.model_fields["type"].default
    return kind


# Messages


def _messages(kinds: dict[str, type[BaseModel]]) -> Json:
    messages = {kind: _message(kind, model.__name__, model.__doc__ or "") for kind, model in kinds.items()}
    events = {kind: _message(kind, kind, meaning) for kind, (_, meaning) in EVENTS.items()}
    return messages | events | {"snapshot": _message("snapshot", "snapshot", Snapshot.__doc__ or "")}


def _message(kind: str, schema: str, summary: str) -> Json:
    return {"name": kind, "summary": _markdown(summary), "payload": {"$ref": SCHEMA.format(model=schema)}}


def _markdown(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").split())


def _schemas(kinds: dict[str, type[BaseModel]]) -> Json:
    data = {model for model, _ in EVENTS.values()} | {Snapshot}
    models: list[type[BaseModel]] = [*kinds.values(), *sorted(data, key=lambda model: model.__name__)]
    wanted: list[tuple[type[BaseModel], Literal["serialization"]]] = [(model, "serialization") for model in models]
    made: Json = models_json_schema(wanted, ref_template=SCHEMA, schema_generator=_Schema)[1]["$defs"]
    for schema in made.values():
        schema["description"] = _markdown(schema["description"])
    events = {kind: _event(kind, model) for kind, (model, _) in EVENTS.items()}
    return made | events | {"snapshot": _event("snapshot", Snapshot)}


def _event(kind: str, data: type[Answer]) -> Json:
    least = 0 if kind == "snapshot" else 1
    return {
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "seq": {"type": "integer", "minimum": least, "maximum": INT4_MAX},
            "matchId": {"type": "integer", "minimum": 1, "maximum": INT4_MAX},
            "data": {"$ref": SCHEMA.format(model=data.__name__)},
        },
        "required": ["type", "seq", "matchId", "data"],
    }


# Channels and operations

_MATCH_ID: Json = {"type": "integer", "minimum": 1, "maximum": INT4_MAX}
_RESUME: Json = {
    "since": {"type": "integer", "minimum": 0, "maximum": INT4_MAX, "description": "`seq` of the last event received."},
    "epoch": {"type": "string", "description": "`epoch` of the previous connection."},
}
_LAST_EVENT_ID: Json = {
    "lastEventId": {"type": "string", "description": "Replaces `Last-Event-ID`, which a web page cannot set."}
}
_API_KEY: Json = {
    "apiKey": {
        "type": "string",
        "description": "API key, for clients that cannot set a header, if reading needs a key.",
    }
}
_SOCKET_QUERY: Json = {
    "matchId": {
        "type": "array",
        "items": _MATCH_ID,
        "description": "Subscribe to this match; may be repeated.",
    },
    "all": {"const": "1", "description": "Subscribe to all matches; `matchId` is then ignored."},
    **_RESUME,
    **_API_KEY,
}
_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer lsk_…`"},
    "header": {"type": "httpApiKey", "in": "header", "name": "X-API-Key"},
    "query": {"type": "httpApiKey", "in": "query", "name": "apiKey"},
}


def _server(protocol: str) -> Json:
    return {
        "host": "{host}",
        "protocol": protocol,
        "description": f"`{protocol}s` behind TLS. Reading needs a key only if the service is configured so.",
        "variables": {"host": {"default": "localhost:8000", "description": "Host and port of the service."}},
    }


def _channels(kinds: Iterable[str]) -> Json:
    return {
        "socket": {
            "address": "/ws",
            "description": "One JSON object per text message, in both directions. `/api/ws` is the same.",
            "servers": [_server_ref("websocket")],
            "messages": _named(*kinds, "snapshot", *EVENTS),
            "bindings": {"ws": {"method": "GET", "query": _query(_SOCKET_QUERY), "bindingVersion": "0.1.0"}},
        },
        "matchStream": {
            "address": "/matches/{id}/events/stream",
            "description": "Server-sent events of one match: `id` is the `seq`, so `Last-Event-ID` resumes.",
            "servers": [_server_ref("http")],
            "parameters": {"id": {"description": "Id of the match."}},
            "messages": _named("subscribed", "snapshot", *EVENTS),
        },
        "stream": {
            "address": "/events/stream",
            "description": "Server-sent events of all matches: `id` is opaque, `Last-Event-ID` resumes.",
            "servers": [_server_ref("http")],
            "messages": _named("subscribedAll", "snapshot", *EVENTS),
        },
    }


def _operations() -> Json:
    requests = {
        kind: {
            "action": "receive",
            "channel": _channel_ref("socket"),
            "messages": _in_channel("socket", kind),
            "reply": {"channel": _channel_ref("socket"), "messages": _in_channel("socket", *answers)},
        }
        for kind, answers in REPLIES.items()
    }
    return {
        **requests,
        "tell": _sending("socket", "Messages without a request.", *UNSOLICITED),
        "push": _sending(
            "socket", "The events of the matches to which the client has subscribed, and `match_created`.", *EVENTS
        ),
        "pushMatch": {
            **_sending("matchStream", "First the acknowledgement, then events.", "subscribed", "snapshot", *EVENTS),
            "bindings": _http_binding(_RESUME | _LAST_EVENT_ID | _API_KEY),
        },
        "pushAll": {
            **_sending("stream", "First the acknowledgement, then events.", "subscribedAll", "snapshot", *EVENTS),
            "bindings": _http_binding(_LAST_EVENT_ID | _API_KEY),
        },
    }


def _sending(channel: str, summary: str, *kinds: str) -> Json:
    return {
        "action": "send",
        "summary": summary,
        "channel": _channel_ref(channel),
        "messages": _in_channel(channel, *kinds),
    }


def _http_binding(query: Json) -> Json:
    return {"http": {"method": "GET", "query": _query(query), "bindingVersion": "0.3.0"}}


def _query(properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def _named(*kinds: str) -> Json:
    return {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds}


def _in_channel(channel: str, *kinds: str) -> list[Json]:
    return [{"$ref": f"#/channels/{channel}/messages/{kind}"} for kind in kinds]


def _channel_ref(name: str) -> Json:
    return {"$ref": f"#/channels/{name}"}


def _server_ref(name: str) -> Json:
    return {"$ref": f"#/servers/{name}"}


@endpoint("GET", "/asyncapi.json", documented=False)
async def asyncapi_json(_: Call) -> Response:
    """Return the AsyncAPI document."""
    return Response(orjson.dumps(document()), media_type="application/json")


routes = [asyncapi_json]

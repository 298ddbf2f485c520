"""Webhooks: bodies, queries and responses."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from livescore.api.schemas.base import OMITTED, Answer, Body, Patch, Query
from livescore.api.schemas.events import Event
from livescore.api.schemas.fields import Id, Instant, Limit, Name, Text, Timestamp, integer_schema, parse_whole_float
from livescore.event_types import EventType
from livescore.http_errors import Issue
from livescore.scores.rules import INT4_MAX

# Characters of a URL and of a description.
MAX_URL = 2_048
MAX_DESCRIPTION = 1_000

# Seconds. Receivers get at most a month to replace a secret; a day by default.
MAX_OVERLAP = 2_592_000
DEFAULT_OVERLAP = 86_400

# The largest id in the log: JavaScript reads it exactly.
MAX_LOG_ID = 2**53 - 1

_LOG_ID = re.compile("[1-9][0-9]{0,15}")
_URL_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)


def parse_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ValueError: The URL cannot be one of a webhook.
    """
    if _URL_CHARACTERS.fullmatch(url) is None:
        raise ValueError("write other characters than visible ASCII in percent-encoding, and names in Punycode")
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("start it with https:// and the name of a host")
    if parts.port == 0:
        raise ValueError("port 0 does not exist")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave out user and password: deliveries are signed instead")
    if parts.fragment:
        raise ValueError("leave out the fragment")
    return parts


def _url(value: str) -> str:
    try:
        parse_url(value)
    except ValueError as error:
        raise PydanticCustomError("url", "URL is not valid: {reason}", {"reason": str(error)}) from None
    return value


def _unique(values: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(values))


Url = Annotated[Text, Field(min_length=1, max_length=MAX_URL), AfterValidator(_url)]
Types = Annotated[list[EventType], Field(min_length=1, max_length=50), AfterValidator(_unique)]
Description = Annotated[Text, Field(max_length=MAX_DESCRIPTION)]
MatchId = Annotated[
    int,
    Strict(),
    Field(ge=1, le=INT4_MAX),
    BeforeValidator(parse_whole_float),
    WithJsonSchema(integer_schema(1)),
]
Overlap = Annotated[
    int,
    Strict(),
    Field(ge=0, le=MAX_OVERLAP),
    BeforeValidator(parse_whole_float),
    WithJsonSchema(integer_schema(0, MAX_OVERLAP)),
]
LogCursor = Annotated[
    int,
    Strict(),
    Field(ge=1, le=MAX_LOG_ID),
    BeforeValidator(lambda value: int(value) if _LOG_ID.fullmatch(value) else value),
    WithJsonSchema(integer_schema(1, MAX_LOG_ID)),
]
Flag = Annotated[bool, Strict()]

_URL_EXAMPLE = "https://example.com/hooks/livescore"


class NewWebhook(Body):
    """An endpoint that receives events from now on. Without a filter it receives all events of all matches."""

    url: Url = Field(examples=[_URL_EXAMPLE], description="`https://`, or `http://` if `WEBHOOK_ALLOW_HTTP` is set.")
    event_types: Types | None = Field(None, alias="eventTypes", description="Types of events; null for all.")
    competition: Name | None = Field(None, description="Only matches of this competition; null for all.")
    match_id: MatchId | None = Field(None, alias="matchId", description="Only this match; null for all.")
    description: Description = Field("", description="A text of your own; empty by default.")
    enabled: Flag = Field(True, description="True by default.")


class WebhookPatch(Patch):
    """Changes of a webhook. Enabling it again continues where it stopped."""

    url: Url = Field(OMITTED, examples=[_URL_EXAMPLE])
    event_types: Types | None = Field(OMITTED, alias="eventTypes", description="Types of events; null for all.")
    competition: Name | None = Field(OMITTED, description="Only matches of this competition; null for all.")
    match_id: MatchId | None = Field(OMITTED, alias="matchId", description="Only this match; null for all.")
    description: Description = OMITTED
    enabled: Flag = OMITTED


class Rotation(Body):
    """The end of the present secrets."""

    expires_in: Overlap = Field(
        DEFAULT_OVERLAP,
        alias="expiresIn",
        description="Seconds for which the present secrets stay valid beside the new one; 86400, a day, by default.",
    )


class Redelivery(Body):
    """The events to deliver once more."""

    since: Instant = Field(description="All events since this time that the filter passes, as far as they are stored.")
    match_id: MatchId | None = Field(None, alias="matchId", description="Only of this match; null for all.")

    def issues(self) -> Iterator[Issue]:
        """Yield no issue: any time is possible."""
        yield from ()


class DeliveriesQuery(Query):
    """A page of the log."""

    limit: Limit = 50
    cursor: LogCursor = Field(OMITTED, description="`nextCursor` of the previous page.")
    outcome: Literal["delivered", "retrying", "failed"] = Field(OMITTED, description="Only attempts with this outcome.")


class WebhookSecret(Answer):
    """A secret that is valid, without its text."""

    created_at: Timestamp
    expires_at: Timestamp | None


class Webhook(Answer):
    """A webhook."""

    id: Id
    url: str
    event_types: list[EventType] | None
    competition: str | None
    match_id: Id | None
    description: str
    enabled: bool
    disabled_reason: Annotated[str | None, Field(description="Why the service has disabled it; null if it has not.")]
    failing_since: Annotated[Timestamp | None, Field(description="First failure since the last success.")]
    last_success_at: Annotated[Timestamp | None, Field(description="Accurate to a minute.")]
    paused_until: Annotated[Timestamp | None, Field(description="The endpoint asked for a pause with `Retry-After`.")]
    created_at: Timestamp
    updated_at: Timestamp
    secrets: Annotated[list[WebhookSecret], Field(description="Valid secrets, newest first, without their text.")]
    pending: Annotated[int, Field(ge=0, description="Number of matches with events that wait for delivery.")]
    secret: str = Field(OMITTED, description="The new secret. Only this response contains it.")


class WebhookAnswer(Answer):
    """One webhook."""

    data: Webhook


class WebhooksAnswer(Answer):
    """All webhooks, oldest first."""

    data: list[Webhook]


class DeletedWebhook(Answer):
    """The id of a deleted webhook."""

    id: Id


class DeletedWebhookAnswer(Answer):
    """A deleted webhook."""

    data: DeletedWebhook


class Delivery(Answer):
    """One attempt to deliver an event."""

    id: Annotated[int, Field(ge=1)]
    message_id: Annotated[str, Field(description="`webhook-id` of the request.")]
    match_id: Annotated[Id | None, Field(description="Null for a test event.")]
    seq: Annotated[int, Field(ge=1, le=INT4_MAX)]
    type: str
    attempt: Annotated[int, Field(ge=1, description="1 for the first attempt at this event.")]
    outcome: Annotated[
        Literal["delivered", "retrying", "failed"],
        Field(description="`retrying`: it follows again later. `failed`: it does not."),
    ]
    status: Annotated[int | None, Field(description="HTTP status; null without an answer.")]
    error: str | None
    duration_ms: Annotated[int, Field(ge=0)]
    created_at: Timestamp


class DeliveriesAnswer(Answer):
    """A page of the log, newest first."""

    data: list[Delivery]
    next_cursor: int | None


class RedeliveryResult(Answer):
    """The number of matches with events that are delivered once more."""

    matches: Annotated[int, Field(ge=0)]


class RedeliveryAnswer(Answer):
    """A redelivery that has begun."""

    data: RedeliveryResult


class TestResult(Answer):
    """The id of a test event, by which its attempt is found in the log."""

    message_id: str


class TestAnswer(Answer):
    """A test event that is about to be sent."""

    data: TestResult


class TestEvent(Answer):
    """The data of a delivery of type `test`."""

    webhook_id: Id
    number: Annotated[int, Field(ge=1, le=INT4_MAX)]


class WebhookPayload(Answer):
    """The body of a delivery: one event, as a WebSocket would receive it, in an envelope of Standard Webhooks."""

    type: EventType | Literal["test"]
    timestamp: Annotated[Timestamp, Field(description="Time of the event, not of the attempt.")]
    data: Event | TestEvent

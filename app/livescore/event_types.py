"""The types of the feed's events. Metrics, the AsyncAPI document and the docs take them from here."""

from typing import Literal, get_args

EventType = Literal[
    "match_created",
    "commentary",
    "commentary_updated",
    "commentary_deleted",
    "score_update",
    "period_changed",
    "match_status_changed",
    "match_updated",
]

EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

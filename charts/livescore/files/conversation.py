"""Test of a release: create a match over REST and receive it over WebSocket.

``helm test`` runs this script in the image of the service. ``URL`` is the URL of the service, ``SECONDS`` the time that
it may take to respond, ``API_KEY`` an API key with write access, if one is needed.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

RETRY_SECONDS = 1.0
"""Delay between two attempts while the service is unavailable."""

HEARD_SECONDS = 10.0
"""Time-out for an event, which normally takes milliseconds."""


def main() -> None:
    """Retry until the test succeeds. Exits with status 1 after ``SECONDS``."""
    deadline = time.monotonic() + float(os.environ.get("SECONDS", "120"))
    url, key = os.environ["URL"], os.environ.get("API_KEY", "")
    while True:
        try:
            return converse(url, {"X-API-Key": key} if key else {})
        except (OSError, httpx.HTTPError, WebSocketException, TimeoutError) as error:
            print(f"{url}: {type(error).__name__}: {error}", flush=True)
            if time.monotonic() > deadline or is_refusal(error):
                sys.exit(1)
            time.sleep(RETRY_SECONDS)


def is_refusal(error: Exception) -> bool:
    """Return True if a retry cannot succeed, because the key is missing or wrong."""
    return isinstance(error, httpx.HTTPStatusError | InvalidStatus) and error.response.status_code in (400, 401, 403)


def converse(url: str, headers: dict[str, str]) -> None:
    """Subscribe to all matches, create a match, wait for its event, and cancel it.

    Raises:
        TimeoutError: Raised if the event is not received.
    """
    feed = f"ws{url.removeprefix('http')}/ws?all=1"
    with (
        connect(feed, additional_headers=headers, proxy=None) as socket,
        httpx.Client(base_url=url, headers=headers, trust_env=False) as rest,
    ):
        begin = time.monotonic()
        match = rest.post("/matches", json=fixture()).raise_for_status().json()["data"]["id"]
        while not is_creation(json.loads(socket.recv(begin + HEARD_SECONDS - time.monotonic())), match):
            pass
        print(f"match {match} was created and received within {time.monotonic() - begin:.3f} s", flush=True)
        rest.patch(f"/matches/{match}", json={"status": "cancelled"}).raise_for_status()


def fixture() -> dict[str, str]:
    """Return a match of tomorrow, which cannot be mistaken for one of today."""
    start = datetime.now(UTC) + timedelta(days=1)
    times = {"startTime": start, "endTime": start + timedelta(hours=2)}
    instants = {name: f"{at:%Y-%m-%dT%H:%M:%S}Z" for name, at in times.items()}
    return {"sport": "test", "homeTeam": "helm", "awayTeam": "test", **instants}


def is_creation(message: dict[str, object], match: int) -> bool:
    """Return True if the message announces the match."""
    data = message.get("data")
    return message.get("type") == "match_created" and isinstance(data, dict) and data.get("id") == match


if __name__ == "__main__":
    main()

"""Smoke test of a LiveScore on a cluster: create a match and receive its event over WebSocket.

Run it as ``python -m tests.smoke`` or ``make smoke``. It needs only a kubeconfig: it waits until the LiveScore is
Ready, connects by ``kubectl port-forward``, and prints the delay of the event.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

from tests.e2e.kubectl import Kubectl, find_kubectl
from tests.e2e.service_endpoint import ServiceEndpoint, port_forward
from tests.support.clients import Listener
from tests.support.service import instant

READY_SECONDS = 600.0
"""Timeout until the LiveScore is Ready, including the time to pull images."""

TOMORROW = 86400.0
"""Start of the match, in seconds from now, so that it is not mistaken for one of today."""

RECEIVE_SECONDS = 10.0
"""Timeout for the event, far above the milliseconds that delivery takes."""


async def smoke(kubectl: Kubectl, name: str, port: int) -> float:
    """Check one LiveScore.

    Returns:
        Seconds from the request that creates a match to the event.

    Raises:
        CommandError: the LiveScore does not become Ready.
        TimeoutError: the service does not answer, or the event does not arrive.
    """
    await kubectl.wait(f"livescore/{name}", "condition=Ready", READY_SECONDS)
    async with port_forward(kubectl, name, port) as endpoint:
        return await measure_delivery(endpoint)


async def measure_delivery(endpoint: ServiceEndpoint) -> float:
    """Follow all matches, create one, and return the seconds until its event arrives."""
    async with Listener(f"{endpoint.ws_url}?all=1") as listener:
        began = time.monotonic()
        match_id = await endpoint.create_match(
            sport="test", startTime=instant(TOMORROW), endTime=instant(TOMORROW + 7200)
        )
        await listener.until(lambda log: any(is_creation(message, match_id) for message in log), RECEIVE_SECONDS)
        return time.monotonic() - began


def is_creation(message: dict[str, object], match_id: int) -> bool:
    """Return True if the message announces this match."""
    data = message.get("data")
    return message.get("type") == "match_created" and isinstance(data, dict) and data.get("id") == match_id


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--port", type=int, default=8000, help="port of the Service")
    given = parser.parse_args(arguments)
    seconds = asyncio.run(smoke(find_kubectl().within(given.namespace), given.name, given.port))
    print(f"livescore/{given.name}: created a match and received its event within {seconds:.3f} s")


if __name__ == "__main__":
    main()

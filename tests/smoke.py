"""Whether a LiveScore on a cluster works: ``python -m tests.smoke`` (``make smoke``) makes a match and hears of it.

It asks nothing of the cluster but a kubeconfig: it waits until the LiveScore is Ready, comes in by ``kubectl
port-forward``, as a newcomer does, and tells how long each step took.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

from tests.e2e.entrance import Entrance, forwarded
from tests.e2e.kubectl import Kubectl, found
from tests.support.clients import Listener
from tests.support.service import instant

READY_SECONDS = 600.0
"""Longest until it is Ready, with images that are still to be pulled."""

TOMORROW = 86400.0
"""When the match begins, in seconds from now, so that nobody takes it for one of today."""

HEAR_SECONDS = 10.0
"""Longest until the event is heard, far above the milliseconds that it needs."""


async def smoke(kubectl: Kubectl, name: str, port: int) -> float:
    """See one LiveScore work.

    Returns:
        Seconds from asking for a match to hearing of it.

    Raises:
        CommandError: it does not become Ready.
        TimeoutError: nobody answers, or the event does not come.
    """
    await kubectl.wait(f"livescore/{name}", "condition=Ready", READY_SECONDS)
    async with forwarded(kubectl, name, port) as entrance:
        return await heard(entrance)


async def heard(entrance: Entrance) -> float:
    """Listen to all matches, make one, and measure until it is heard of."""
    async with Listener(f"{entrance.ws_url}?all=1") as listener:
        began = time.monotonic()
        match_id = await entrance.create_match(
            sport="test", startTime=instant(TOMORROW), endTime=instant(TOMORROW + 7200)
        )
        await listener.until(lambda log: any(is_creation(message, match_id) for message in log), HEAR_SECONDS)
        return time.monotonic() - began


def is_creation(message: dict[str, object], match_id: int) -> bool:
    """Whether this message says that the match was created."""
    data = message.get("data")
    return message.get("type") == "match_created" and isinstance(data, dict) and data.get("id") == match_id


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--port", type=int, default=8000, help="port of the Service")
    given = parser.parse_args(arguments)
    seconds = asyncio.run(smoke(found().within(given.namespace), given.name, given.port))
    print(f"livescore/{given.name}: a match was made and heard of within {seconds:.3f} s")


if __name__ == "__main__":
    main()

"""The clock of background work, so that tests can let time pass without waiting."""

import asyncio
from time import monotonic


class Clock:
    """The machine's monotonic clock and the event loop's timers."""

    def now(self) -> float:
        """Return the seconds since an arbitrary moment."""
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task for ``seconds``."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event for at most ``seconds``. Returns True if the event is set."""
        try:
            # Not wait_for(): before Python 3.12 it loses a cancellation that arrives together with the event.
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True

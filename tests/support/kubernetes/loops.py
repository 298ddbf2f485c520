"""An event loop in its own thread, whose servers are reachable from every loop and process of a test."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

CALL_SECONDS = 30.0
"""Timeout for starting or stopping a server, on two busy cores."""

SETTLE_SECONDS = 0.02
"""Grace period for closed transports, which release their sockets some iterations later."""


class Loop:
    """A running event loop. Objects that live on it may be used only through its methods."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run ``work`` on the loop and wait for its result; must not be called from the loop itself."""
        return self.start(work).result(CALL_SECONDS)

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start ``work`` on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, step: Callable[[], object]) -> None:
        """Schedule a callback on the loop."""
        self._loop.call_soon_threadsafe(step)

    def close(self) -> None:
        """Cancel all tasks and end the thread."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.sleep(SETTLE_SECONDS)

"""Base class for tasks that run in the background of a test."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self


class BackgroundTask(ABC):
    """A task that runs for the duration of an ``async with`` block."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """Run until cancelled."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def raise_if_failed(self) -> None:
        """Re-raise the exception that ended the task, if any."""
        if self._task is not None and self._task.done():
            self._task.result()

"""The functions that jobs may call. A job can make this service do nothing else."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from livescore.jobs import transitions
from livescore.jobs.transitions import Transitions


@dataclass(frozen=True, slots=True)
class JobFunction:
    """A coroutine function for jobs, and the type of its positional arguments after the first one.

    The first argument is :attr:`JobContext.transitions`.
    """

    function: Callable[..., Coroutine[Any, Any, None]]
    arguments: TypeAdapter[tuple[Any, ...]]


FUNCTIONS: Mapping[str, JobFunction] = {
    transitions.PATH: JobFunction(transitions.transition, TypeAdapter(transitions.Arguments)),
}
"""Job functions by their name in jobs."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """What job functions use. RQ runs jobs in a thread of its own, their work belongs to the event loop."""

    loop: asyncio.AbstractEventLoop
    transitions: Transitions

    def run(self, function: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[Any, ...]) -> None:
        """Run a job function in the event loop and block this thread until it has returned."""
        work = function(self.transitions, *arguments)
        asyncio.run_coroutine_threadsafe(work, self.loop).result()


CONTEXT: ContextVar[JobContext] = ContextVar("job context")
"""Set in the thread of the worker."""


def run(function: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[Any, ...]) -> None:
    """Run a job function from the thread of the worker.

    Raises:
        LookupError: This thread is not that of a worker.
    """
    context = CONTEXT.get(None)
    if context is None:
        raise LookupError("no worker runs in this thread: start it with `livescore worker`")
    context.run(function, arguments)

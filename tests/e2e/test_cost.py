"""What the operator costs while nothing happens: memory, and requests to the API server. Measured, with wide bounds."""

import asyncio
import os
import time
from collections.abc import Mapping

import pytest

from tests.e2e.measures import MEASURES
from tests.e2e.stack import Stack, manifest
from tests.e2e.system import System

pytestmark = pytest.mark.timeout(1800)

IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS") or 60)
"""How long is counted; requests of the Lease come every 3 s, those of the resync every 300 s."""

MANY = 50
MANY_SECONDS = 1200.0
"""Longest until so many are Ready: each is migrated by a Job of its own, which is one Python after the other."""

MEMORY = "process_resident_memory_bytes"
REQUESTS = "livescore_operator_api_requests_total"
RECONCILES, CHANGES = "livescore_operator_reconciles_total", "livescore_operator_changes_total"

MEBIBYTE = 1 << 20
MOST_MEMORY = 100 * MEBIBYTE
MOST_MEMORY_OF_MANY = 150 * MEBIBYTE
"""What an idle operator should stay below, and what 50 more LiveScores may make of that: the limit is 256 MiB."""

MOST_REQUESTS = 60
"""Per minute: the Lease is read and written every 2.4 to 3 s."""


async def test_an_idle_operator_costs_little(system: System, stack: Stack) -> None:
    await system.restart()
    await system.quiet()
    MEASURES.note("memory of the operator, no LiveScore", _mebibytes((await system.metrics())[MEMORY]))
    # Without policies, for the others reach its servers too.
    await stack.up(api={"replicas": 1}, networkPolicy={"enabled": False})
    await idle(system, "1 LiveScore", MOST_MEMORY)
    await many(stack)
    rate = await idle(system, f"{MANY + 1} LiveScores", MOST_MEMORY_OF_MANY)
    await look(system, stack, rate)


async def idle(system: System, what: str, most_memory: int) -> float:
    """Measure while nothing happens; the requests per minute."""
    moved = await quiet_minute(system)
    rate, memory = moved[REQUESTS] / IDLE_SECONDS * 60, (await system.metrics())[MEMORY]
    MEASURES.note(f"memory of the operator, {what}", _mebibytes(memory))
    MEASURES.note(f"API requests per minute, {what}, idle", f"{rate:.0f}")
    assert moved.get(CHANGES, 0.0) == 0
    assert rate <= MOST_REQUESTS
    assert memory < most_memory
    return rate


async def quiet_minute(system: System) -> dict[str, float]:
    """What its counters moved by in a time in which it reconciled nothing. The resync may come once, not twice."""
    moved: dict[str, float] = {}
    for _ in range(2):
        await system.quiet()
        before = await system.metrics()
        await asyncio.sleep(IDLE_SECONDS)
        moved = _moved(before, await system.metrics())
        if not moved[RECONCILES]:
            return moved
    raise AssertionError(f"{moved[RECONCILES]:.0f} reconciles while nothing happens")


async def look(system: System, stack: Stack, rate: float) -> None:
    """Let everything be compared, as the resync does, and count what that costs beyond ``rate`` requests per minute."""
    before, started = await system.metrics(), time.monotonic()
    await stack.kubectl("annotate", "lsc", "--all", "example.com/look=again")
    await system.quiet()
    moved = _moved(before, await system.metrics())
    requests = moved[REQUESTS] - rate * (time.monotonic() - started) / 60
    MEASURES.note("API requests of a reconcile that changes nothing", f"{requests / moved[RECONCILES]:.0f}")
    assert moved[RECONCILES] > MANY
    assert moved.get(CHANGES, 0.0) == 0


def _moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


async def many(stack: Stack) -> None:
    """So many LiveScores with the servers of ``stack`` and no processes: one real migration each, and no more pods."""
    secret = f"{stack.name}-credentials"
    spec = {
        **{part: {"replicas": 0} for part in ("api", "worker", "scheduler")},
        "postgres": {"mode": "external", "external": {"secretRef": {"name": secret, "key": "database-url"}}},
        "redis": {"mode": "external", "external": {"secretRef": {"name": secret, "key": "redis-url"}}},
    }
    started = time.monotonic()
    await stack.kubectl.apply(*(manifest(f"many-{number}", **spec) for number in range(MANY)))
    await stack.kubectl.wait("lsc --all", "condition=Ready", MANY_SECONDS)
    MEASURES.seconds(f"apply of {MANY} without processes to all Ready", [time.monotonic() - started])


def _mebibytes(amount: float) -> str:
    return f"{amount / MEBIBYTE:.0f} MiB"

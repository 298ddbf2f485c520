"""Measure the memory and API requests of an idle operator, with wide bounds."""

import asyncio
import os
import time
from collections.abc import Mapping

import pytest

from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.stack import Stack, manifest
from tests.e2e.system import System

pytestmark = pytest.mark.timeout(1800)

IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS") or 60)
"""Measuring time. The Lease causes a request every 3.6 s, the resync some every 300 s."""

MANY = 50
MANY_SECONDS = 1200.0
"""Timeout until all are ready. Each is migrated by its own Job, which starts Python once, one after another."""

MEMORY = "process_resident_memory_bytes"
REQUESTS = "livescore_operator_api_requests_total"
RECONCILES, CHANGES = "livescore_operator_reconciles_total", "livescore_operator_changes_total"

MEBIBYTE = 1 << 20
MAX_MEMORY = 100 * MEBIBYTE
MAX_MEMORY_OF_MANY = 150 * MEBIBYTE
"""Memory limits of an idle operator, with one and with 51 LiveScores; the pod's limit is 256 MiB."""

MAX_REQUESTS = 25
"""Per minute: the Lease is renewed every 3.4 to 3.75 s."""

MAX_REQUESTS_PER_RECONCILE = 3.5
"""Of a reconcile that changes nothing: the LiveScore, its pods and some of its claims; the half is for the Lease."""


async def test_idle_operator_uses_little_memory_and_few_requests(system: System, stack: Stack) -> None:
    await system.restart()
    await system.wait_idle()
    MEASUREMENTS.record("memory of the operator, no LiveScore", _mebibytes((await system.metrics())[MEMORY]))
    # Without network policies, because the other LiveScores use its servers too.
    await stack.up(api={"replicas": 1}, networkPolicy={"enabled": False})
    await measure_idle(system, "1 LiveScore", MAX_MEMORY)
    await add_livescores(stack)
    rate = await measure_idle(system, f"{MANY + 1} LiveScores", MAX_MEMORY_OF_MANY)
    await resync_all(system, stack, rate)


async def measure_idle(system: System, what: str, most_memory: int) -> float:
    """Measure the idle operator and return its requests per minute."""
    moved = await idle_counters(system)
    rate, memory = moved[REQUESTS] / IDLE_SECONDS * 60, (await system.metrics())[MEMORY]
    MEASUREMENTS.record(f"memory of the operator, {what}", _mebibytes(memory))
    MEASUREMENTS.record(f"API requests per minute, {what}, idle", f"{rate:.0f}")
    assert moved.get(CHANGES, 0.0) == 0
    assert rate <= MAX_REQUESTS
    assert memory < most_memory
    return rate


async def idle_counters(system: System) -> dict[str, float]:
    """Return the changes of the counters over a period without a reconcile. A resync may interrupt it once."""
    moved: dict[str, float] = {}
    for _ in range(2):
        await system.wait_idle()
        before = await system.metrics()
        await asyncio.sleep(IDLE_SECONDS)
        moved = _moved(before, await system.metrics())
        if not moved[RECONCILES]:
            return moved
    raise AssertionError(f"{moved[RECONCILES]:.0f} reconciles while idle")


async def resync_all(system: System, stack: Stack, rate: float) -> None:
    """Trigger a reconcile of every LiveScore, as a resync does, and count its requests beyond ``rate`` per minute."""
    before, started = await system.metrics(), time.monotonic()
    await stack.kubectl("annotate", "lsc", "--all", "example.com/look=again")
    await system.wait_idle()
    moved = _moved(before, await system.metrics())
    requests = moved[REQUESTS] - rate * (time.monotonic() - started) / 60
    requests_per_reconcile = requests / moved[RECONCILES]
    MEASUREMENTS.record("API requests of a reconcile that changes nothing", f"{requests_per_reconcile:.1f}")
    assert requests_per_reconcile <= MAX_REQUESTS_PER_RECONCILE
    assert moved[RECONCILES] > MANY
    assert moved.get(CHANGES, 0.0) == 0


def _moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


async def add_livescores(stack: Stack) -> None:
    """Add LiveScores without processes on the servers of ``stack``: each runs a real migration and no other pods."""
    secret = f"{stack.name}-credentials"
    spec = {
        **{part: {"replicas": 0} for part in ("api", "worker", "scheduler")},
        "postgres": {"mode": "external", "external": {"secretRef": {"name": secret, "key": "database-url"}}},
        "redis": {"mode": "external", "external": {"secretRef": {"name": secret, "key": "redis-url"}}},
    }
    started = time.monotonic()
    await stack.kubectl.apply(*(manifest(f"many-{number}", **spec) for number in range(MANY)))
    await stack.kubectl.wait("lsc --all", "condition=Ready", MANY_SECONDS)
    MEASUREMENTS.record_seconds(f"apply of {MANY} without processes to all Ready", [time.monotonic() - started])


def _mebibytes(amount: float) -> str:
    return f"{amount / MEBIBYTE:.0f} MiB"

"""A stopwatch counts sleep and work, but not the time for which a thread waits for a CPU."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stopwatch import Stopwatch

WORK_SECONDS = 0.2
RIVALS = 4

RIVAL = "import os; os.sched_setaffinity(0, [{cpu}])\nwhile os.times().elapsed < {end}: pass"

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count waiting")


@pytest.fixture
def rivals() -> Iterator[None]:
    """Share a single CPU with busy processes that are no descendants of this process."""
    before = os.sched_getaffinity(0)
    cpu = min(before)
    code = RIVAL.format(cpu=cpu, end=os.times().elapsed + 30)
    # The shell ends at once, which makes its children those of init.
    start = f'for n in $(seq {RIVALS}); do "$0" -c "$1" >/dev/null 2>&1 & echo $!; done'
    shell = subprocess.run(["sh", "-c", start, sys.executable, code], capture_output=True, text=True, check=True)
    os.sched_setaffinity(0, {cpu})
    yield
    os.sched_setaffinity(0, before)
    for pid in shell.stdout.split():
        os.kill(int(pid), signal.SIGKILL)


def work() -> None:
    end = time.process_time() + WORK_SECONDS
    while time.process_time() < end:
        pass


@pytest.mark.usefixtures("rivals")
def test_waiting_for_a_cpu_does_not_count() -> None:
    time.sleep(0.5)  # until the rivals have started
    started, watch = time.monotonic(), Stopwatch()
    work()
    elapsed, seconds, waited = time.monotonic() - started, watch.seconds(), watch.waited()
    assert elapsed > 2 * WORK_SECONDS
    assert seconds < elapsed / 2
    assert waited > elapsed / 2


def test_sleep_counts() -> None:
    watch = Stopwatch()
    time.sleep(0.3)
    assert watch.seconds() > 0.15

"""Processes of the fork server have their own session, environment and exit code, like any other process."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support import forkserver
from tests.support.forkserver import ForkServer
from tests.support.service import eventually, inherited

# Never becomes ready, and runs until it is stopped.
SCHEDULER = {
    "DATABASE_URL": "postgresql://127.0.0.1:1/livescore",
    "REDIS_URL": "redis://127.0.0.1:1",
    "MANAGEMENT_HOST": "127.0.0.1",
    "MANAGEMENT_PORT": "0",
}


def test_forked_process_has_its_own_environment_output_and_exit_code(service_forks: ForkServer, tmp_path: Path) -> None:
    said = []
    for commit, arguments, code in (("c0ffee", "--version", 0), ("decaf", "--version", 0), ("", "--wrong", 2)):
        with (tmp_path / "log").open("wb") as log:
            process = service_forks.run([arguments], inherited() | {"LIVESCORE_COMMIT": commit}, log)
        assert process.wait(60) == process.poll() == code
        said.append((tmp_path / "log").read_text())

    assert said[:2] == ["livescore 0.1.0 (c0ffee)\n", "livescore 0.1.0 (decaf)\n"]


def test_forked_process_leads_a_session_and_reports_its_terminating_signal(
    service_forks: ForkServer, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = service_forks.run(["scheduler"], inherited() | SCHEDULER, log)
    assert process.poll() is None
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)

    process.kill()

    assert process.wait(60) == process.returncode == -signal.SIGKILL
    process.kill()


async def test_forked_process_ends_with_its_fork_server(tmp_path: Path) -> None:
    with forkserver.running("livescore", "livescore.cli") as forks, (tmp_path / "log").open("wb") as log:
        process = forks.run(["scheduler"], inherited() | SCHEDULER, log)

    await eventually(lambda: not psutil.pid_exists(process.pid))

    assert process.wait(60) == -signal.SIGKILL


def test_simultaneous_exits_are_all_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleeting.py").write_text("import os\ndef main(): os._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with forkserver.running("fleeting", "fleeting") as forks, (tmp_path / "log").open("wb") as log:
        for _ in range(200):
            processes = [forks.run([], {}, log) for _ in range(3)]
            assert [process.wait(60) for process in processes] == [7, 7, 7]

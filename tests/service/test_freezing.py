"""Freezing and resuming a server while some of its processes end."""

import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.servers import Postgres


def test_process_that_ended_after_it_was_listed_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as process:
        ended = psutil.Process(process.pid)
    server = Postgres(tmp_path)
    monkeypatch.setattr(server, "_processes", lambda: [ended])

    server.pause()
    server.resume()

"""The system's PgBouncer in front of a PostgreSQL of the tests."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.failover import admit
from tests.support.ports import Port
from tests.support.servers import OwnPostgres

ANYONE = "local all all trust"
"""Rule for ``pg_hba.conf``: PgBouncer and the tests run as different users."""

START_SECONDS = 20.0
POOL_SIZES = {"transaction": 3, "session": 20}
"""Connections to PostgreSQL: in transaction mode fewer than clients, so that transactions change connections."""


class PgBouncer:
    """One PgBouncer in front of one database.

    Attributes:
        url: the ``DATABASE_URL`` through PgBouncer.
    """

    def __init__(self, directory: Path, server: OwnPostgres, database_url: str, mode: str) -> None:
        self._server = server
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is None:
            pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
        self._program = program
        self._directory = directory
        self._port = Port()
        self._target = conninfo_to_dict(database_url)
        self.mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://{self._target['user']}@127.0.0.1:{self._port.number}/test"

    def start(self) -> None:
        """Start PgBouncer and wait until it answers."""
        admit(self._server, ANYONE)
        target = " ".join(
            f"{name}={self._target[name]}" for name in ("host", "dbname", "user", "password") if self._target.get(name)
        )
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port.number,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": self.mode,
            "default_pool_size": POOL_SIZES[self.mode],
            "max_client_conn": 200,
            "server_login_retry": 1,
            "logfile": self._directory / "pgbouncer.log",
        }
        bouncer = [f"{name} = {value}" for name, value in settings.items()]
        lines = ["[databases]", f"test = {target}", "[pgbouncer]", *bouncer]
        configuration = self._directory / "pgbouncer.ini"
        configuration.write_text("\n".join(lines))
        owner = os.stat(str(self._target["host"]))
        identity = []
        if os.geteuid() == 0:  # PgBouncer refuses to run as root, and must reach PostgreSQL's socket
            shutil.chown(self._directory, owner.st_uid, owner.st_gid)
            self._directory.chmod(0o755)
            setpriv = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
            identity = [*setpriv, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        self._process = subprocess.Popen([*identity, self._program, "-q", str(configuration)])
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop PgBouncer immediately."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def close(self) -> None:
        """Stop PgBouncer for good."""
        self.stop()
        self._port.release()

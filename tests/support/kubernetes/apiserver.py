"""A real API server: etcd and kube-apiserver from ``KUBEBUILDER_ASSETS``, without other components, on loopback."""

import os
import signal
import ssl
import subprocess
import time
from pathlib import Path

import aiohttp.web
import httpx

from livescore_dev.processes import guarded
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.certificates import Certificates
from tests.support.kubernetes.kinds import KINDS, Json
from tests.support.kubernetes.loops import Loop
from tests.support.kubernetes.server import NODE, Logs, Server
from tests.support.kubernetes.stopping import stop
from tests.support.ports import Port

ASSETS = "KUBEBUILDER_ASSETS"
"""The environment variable that controller-runtime's envtest uses."""

BINARIES = ("etcd", "kube-apiserver")

START_SECONDS = 120.0
"""Timeout until the server is ready, on two cores shared with other tests."""

STOP_SECONDS = 10.0
"""Timeout after which a process is killed; its data is not needed."""

TOKEN_SECONDS = 3600

PROXY = "front-proxy-client"
"""User name the API server presents to aggregated API servers."""

ISSUER = "https://kubernetes.default.svc"


class NotReady(Exception):
    """A process ended or was not ready in time; the message has its log."""


def missing() -> str:
    """Return the reason why no real server can be started; empty if it can."""
    if not os.environ.get(ASSETS):
        return f"{ASSETS} is not set; it must name the folder of etcd and kube-apiserver"
    absent = [name for name in BINARIES if not os.access(_binary(name), os.X_OK)]
    return f"{ASSETS} has no {' and no '.join(absent)}" if absent else ""


def _binary(name: str) -> Path:
    return Path(os.environ.get(ASSETS, "")) / name


class Process:
    """A server process that dies with this one. Start it from the main thread, see ``guarded``."""

    def __init__(self, directory: Path, name: str, *arguments: str) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                guarded([str(_binary(name)), *arguments], signal.SIGKILL),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise :class:`NotReady` if the process has ended."""
        if self._process.poll() is not None:
            raise NotReady(f"{self.name} has ended; its log:\n{self.log}")

    def stop(self) -> None:
        """Stop the process, by SIGKILL if necessary."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        """The end of the process's output."""
        return self._log.read_text(errors="replace")[-10_000:]


class ApiServer(Server):
    """etcd and kube-apiserver with RBAC, without controllers, and with a single node that only serves logs."""

    is_real = True

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._certificates = Certificates(directory)
        self._admin = self._certificates.issue("admin", "/O=system:masters/CN=tests", "client")
        self._tls = self._certificates.issue("server", "/CN=kube-apiserver", "server")
        # As in every cluster, the certificate presented to aggregated API servers has its own CA.
        self._front = Certificates(_made(directory / "front-proxy"))
        self._proxy = self._front.issue("proxy", f"/CN={PROXY}", "client")
        self._ports = [Port() for _ in range(3)]
        self._etcd_port, self._peer_port, self._port = (port.number for port in self._ports)
        self._processes: list[Process] = []
        self._kubelet: Kubelet | None = None
        self._version = ""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._processes.append(Process(self._directory, "etcd", *self._etcd_arguments()))
        self._processes.append(Process(self._directory, "kube-apiserver", *self._server_arguments()))
        self._kubelet = Kubelet(self.logs, *self._tls)
        with httpx.Client(base_url=self.access.url, verify=self.access.context() or False, timeout=5) as client:
            self._wait(client)
            self._version = client.get("/version").json()["gitVersion"]
            self._add_node(client, self._kubelet.port)

    def _etcd_arguments(self) -> list[str]:
        clients, peers = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        return [
            *(f"--data-dir={self._directory / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"),
            *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
            *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
            f"--initial-cluster=default={peers}",
        ]

    def _server_arguments(self) -> list[str]:
        private, public = self._certificates.pair("service-accounts")
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self._port}"),
            *(f"--tls-cert-file={self._tls[0]}", f"--tls-private-key-file={self._tls[1]}"),
            *(f"--client-ca-file={self._certificates.ca}", "--authorization-mode=RBAC"),
            *(f"--service-account-issuer={ISSUER}", f"--service-account-key-file={public}"),
            *(f"--service-account-signing-key-file={private}", "--service-cluster-ip-range=10.0.0.0/16"),
            *(f"--proxy-client-cert-file={self._proxy[0]}", f"--proxy-client-key-file={self._proxy[1]}"),
            *(f"--requestheader-client-ca-file={self._front.ca}", f"--requestheader-allowed-names={PROXY}"),
            *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            # The `default` account and the server's endpoints would be created by controllers.
            *("--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"),
            *("--kubelet-preferred-address-types=InternalIP", "--profiling=false"),
        ]

    def _wait(self, client: httpx.Client) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _ready(client):
            for process in self._processes:
                process.check()
            if time.monotonic() > deadline:
                raise NotReady(f"not ready; the end of its log:\n{self._processes[-1].log}")
            time.sleep(0.1)

    def _add_node(self, client: httpx.Client, port: int) -> None:
        """Add a node with a kubelet that serves logs."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        client.post(KINDS["Node"].path(), json=node).raise_for_status()
        endpoint = {"kubeletEndpoint": {"Port": port}}
        status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoint}
        headers = {"Content-Type": "application/merge-patch+json"}
        path = KINDS["Node"].path(None, NODE, "status")
        client.patch(path, json={"status": status}, headers=headers).raise_for_status()

    @property
    def name(self) -> str:
        return f"kube-apiserver {self._version}"

    @property
    def access(self) -> Access:
        certificate, key = self._admin
        return Access(f"https://127.0.0.1:{self._port}", self._certificates.ca, certificate, key)

    def access_of(self, namespace: str, account: str) -> Access:
        path = KINDS["ServiceAccount"].path(namespace, account, "token")
        wanted: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        wanted["spec"]["expirationSeconds"] = TOKEN_SECONDS
        with httpx.Client(base_url=self.access.url, verify=self.access.context() or False, timeout=10) as client:
            answer = client.post(path, json=wanted).raise_for_status().json()
        return Access(self.access.url, self._certificates.ca, token=answer["status"]["token"], namespace=namespace)

    def close(self) -> None:
        for process in reversed(self._processes):
            process.stop()
        if self._kubelet:
            self._kubelet.close()
        for port in self._ports:
            port.release()


class Kubelet:
    """Serves logs to the API server."""

    def __init__(self, logs: Logs, certificate: Path, key: Path) -> None:
        self._logs = logs
        self._loop = Loop("kubelet")
        self._runner = self._loop.run(self._start(certificate, key))

    async def _start(self, certificate: Path, key: Path) -> aiohttp.web.AppRunner:
        application = aiohttp.web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._log)
        runner = aiohttp.web.AppRunner(application)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls(certificate, key)).start()
        return runner

    async def _log(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        namespace, pod = request.match_info["namespace"], request.match_info["pod"]
        return aiohttp.web.Response(text=self._logs.read(namespace, pod, request.query))

    @property
    def port(self) -> int:
        """The port the kubelet listens on."""
        port: int = self._runner.addresses[0][1]
        return port

    def close(self) -> None:
        """Stop the kubelet."""
        self._loop.run(stop(self._runner))
        self._loop.close()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False

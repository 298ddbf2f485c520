"""The API pods of a LiveScore and their sockets, as a ReplicaSet, kubelet and Deployment controller would run them.

Each pod has a loopback address with the management port of the service, and a Pod object in the API server. Nothing
happens by itself: :meth:`Fleet.play` takes one step, after which the cluster matches its Deployment.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.kubernetes.kubelet import make_pod
from tests.support.kubernetes.stopping import stop
from tests.support.ports import Port

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass
class ApiPod:
    """One pod. Tests set its sockets and whether it answers.

    Attributes:
        number: sequence number within the LiveScore, which determines name and address.
        sockets: number of open WebSockets.
        draining: True after a drain request.
        silent: True to answer every request with nonsense.
        commands: received POST requests, for example ``/drain?cancel=true``; reads are not recorded.
    """

    name: str
    number: int
    sockets: int = 0
    draining: bool = False
    silent: bool = False
    commands: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.{self.number + 1}"

    @property
    def ready(self) -> bool:
        return not self.draining

    def answer(self, request: web.Request) -> Json | None:
        """Return the response body of the management port; None if there is none."""
        if self.silent:
            return None
        if request.method == "POST":
            self._apply_command(request)
        return {"instance": self.name, "connections": self.sockets, "subscriptions": 0, "draining": self.draining}

    def _apply_command(self, request: web.Request) -> None:
        self.commands.append(request.path_qs)
        if request.path == "/drain":
            self.draining = request.query.get("cancel") != "true"


class Fleet:
    """All API pods of a LiveScore.

    Attributes:
        pods: the existing pods by name, oldest first.
        fixtures: matches returned by every pod; None if the endpoint does not exist.
        asked: the horizons, in seconds, of the requests for fixtures.
    """

    def __init__(self, kube: Kube, name: str = "demo") -> None:
        self.pods: dict[str, ApiPod] = {}
        self.fixtures: list[Json] | None = []
        self.asked: list[int] = []
        self._kube, self._name = kube, name
        self._made = 0
        self._port = Port()
        self._sites: dict[str, web.TCPSite] = {}
        application = web.Application()
        application.router.add_get("/fixtures", self._fixtures)
        application.router.add_route("*", "/{path}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    @property
    def port(self) -> int:
        """The management port of the pods."""
        return self._port.number

    async def start(self) -> None:
        """Start the server, without pods."""
        await self._runner.setup()

    async def stop(self) -> None:
        """Stop the server, as if all pods were lost."""
        await stop(self._runner)
        self._port.release()

    # Sockets and commands

    def set_sockets(self, *sockets: int) -> None:
        """Set the number of sockets of each pod, oldest first."""
        for pod, count in zip(self.pods.values(), sockets, strict=True):
            pod.sockets = count

    @property
    def new_commands(self) -> dict[str, list[str]]:
        """Commands that each pod has received since the last access; pods without commands are left out."""
        found = {name: pod.commands for name, pod in self.pods.items() if pod.commands}
        for pod in self.pods.values():
            pod.commands = []
        return found

    def _pod(self, request: web.Request) -> ApiPod | None:
        assert request.transport
        address = request.transport.get_extra_info("sockname")[0]
        return next((pod for pod in self.pods.values() if pod.address == address), None)

    async def _answer(self, request: web.Request) -> web.Response:
        pod = self._pod(request)
        said = pod.answer(request) if pod else None
        return web.Response(status=503) if said is None else web.json_response(said)

    async def _fixtures(self, request: web.Request) -> web.Response:
        self.asked.append(int(request.query["withinSeconds"]))
        pod = self._pod(request)
        if pod is None or pod.silent or self.fixtures is None:
            return web.Response(status=503)
        return web.json_response({"fixtures": self.fixtures})

    # Steps of the cluster

    async def play(self) -> None:
        """Take one step: match the Deployment's replicas, set each pod's readiness, and update the status."""
        deployment = await self._kube.find("Deployment", f"{self._name}-api")
        if deployment is None:
            return
        wanted = deployment["spec"]["replicas"]
        for _ in range(wanted - len(self.pods)):
            await self.add(deployment)
        for name in (await self.ranked())[: max(0, len(self.pods) - wanted)]:
            await self.remove(name)
        await asyncio.gather(*(self._update_pod(pod) for pod in self.pods.values()))
        await self._kube.set_status("Deployment", f"{self._name}-api", self._status(deployment))

    async def add(self, deployment: Json) -> None:
        """Start one more pod."""
        self._made += 1
        pod = ApiPod(f"{self._name}-api-{self._made}", self._made)
        self._sites[pod.name] = web.TCPSite(self._runner, pod.address, self.port)
        await self._sites[pod.name].start()
        await make_pod(self._kube, pod.name, deployment["spec"]["template"]["metadata"]["labels"])
        self.pods[pod.name] = pod

    async def remove(self, name: str) -> None:
        """Lose one pod."""
        self.pods.pop(name)
        await self._sites.pop(name).stop()
        await self._kube.delete("Pod", name, gracePeriodSeconds=0)

    async def ranked(self) -> list[str]:
        """Return the names in the order in which a ReplicaSet removes pods: unready, then by cost, then youngest."""
        costs = await self.costs()
        pods = sorted(self.pods.values(), key=lambda pod: (pod.ready, int(costs[pod.name] or 0), -pod.number))
        return [pod.name for pod in pods]

    async def costs(self) -> dict[str, str | None]:
        """Return the deletion cost of each pod."""
        found = {name: await self._kube.get("Pod", name) for name in self.pods}
        return {name: (pod["metadata"].get("annotations") or {}).get(DELETION_COST) for name, pod in found.items()}

    async def _update_pod(self, pod: ApiPod) -> None:
        ready: Json = {"type": "Ready", "status": "True" if pod.ready else "False"}
        status: Json = {"phase": "Running", "podIP": pod.address, "podIPs": [{"ip": pod.address}]}
        await self._kube.set_status("Pod", pod.name, {**status, "conditions": [ready]})

    def _status(self, deployment: Json) -> dict[str, Any]:
        ready = sum(pod.ready for pod in self.pods.values())
        counts = dict.fromkeys(("replicas", "updatedReplicas"), len(self.pods))
        generation = deployment["metadata"]["generation"]
        return {"observedGeneration": generation, **counts, "readyReplicas": ready, "availableReplicas": ready}

    async def clear(self) -> None:
        """Remove all pods, as if the Deployment had been deleted."""
        for name in list(self.pods):
            await self.remove(name)

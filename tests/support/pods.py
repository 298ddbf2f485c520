"""The API pods of one LiveScore, as ReplicaSet, kubelet and Deployment controller would have them, and what they hold.

Each has an address on loopback with the management port of the service, and a Pod object in the API server. Nothing
happens by itself: :meth:`Fleet.play` takes one step, after which the cluster is what its Deployment says.
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
    """One pod; tests set what it holds and whether it answers.

    Attributes:
        number: the how manieth of its LiveScore: its name and its address come of it.
        sockets: open WebSockets.
        draining: whether it was told to drain.
        silent: it answers nothing that makes sense.
        told: what it was told, ``/drain?cancel=true`` for example; not what it was only asked.
    """

    name: str
    number: int
    sockets: int = 0
    draining: bool = False
    silent: bool = False
    told: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.{self.number + 1}"

    @property
    def ready(self) -> bool:
        return not self.draining

    def answer(self, request: web.Request) -> Json | None:
        """What it says on its management port; None where that is nothing."""
        if self.silent:
            return None
        if request.method == "POST":
            self._obey(request)
        return {"instance": self.name, "connections": self.sockets, "subscriptions": 0, "draining": self.draining}

    def _obey(self, request: web.Request) -> None:
        self.told.append(request.path_qs)
        if request.path == "/drain":
            self.draining = request.query.get("cancel") != "true"


class Fleet:
    """All API pods of a LiveScore.

    Attributes:
        pods: those that there are, by name, oldest first.
        fixtures: matches that every pod tells of; None where they cannot.
        asked: seconds ahead for which fixtures were asked.
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
        """Their management port."""
        return self._port.number

    async def start(self) -> None:
        """Begin, without a pod."""
        await self._runner.setup()

    async def stop(self) -> None:
        """Let all pods be lost."""
        await stop(self._runner)
        self._port.release()

    # What they hold and hear

    def hold(self, *sockets: int) -> None:
        """Give each pod, oldest first, so many sockets."""
        for pod, count in zip(self.pods.values(), sockets, strict=True):
            pod.sockets = count

    @property
    def told(self) -> dict[str, list[str]]:
        """What each pod was told since this was last asked, where it was told anything."""
        found = {name: pod.told for name, pod in self.pods.items() if pod.told}
        for pod in self.pods.values():
            pod.told = []
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

    # What the cluster does

    async def play(self) -> None:
        """Take one step: as many pods as the Deployment says, each as ready as it is, and all of it in the status."""
        deployment = await self._kube.find("Deployment", f"{self._name}-api")
        if deployment is None:
            return
        wanted = deployment["spec"]["replicas"]
        for _ in range(wanted - len(self.pods)):
            await self.add(deployment)
        for name in (await self.ranked())[: max(0, len(self.pods) - wanted)]:
            await self.remove(name)
        await asyncio.gather(*(self._tell(pod) for pod in self.pods.values()))
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
        """Let one be lost."""
        self.pods.pop(name)
        await self._sites.pop(name).stop()
        await self._kube.delete("Pod", name, gracePeriodSeconds=0)

    async def ranked(self) -> list[str]:
        """The names in the order in which a ReplicaSet removes pods: unready, then cheap, then young ones first."""
        costs = await self.costs()
        pods = sorted(self.pods.values(), key=lambda pod: (pod.ready, int(costs[pod.name] or 0), -pod.number))
        return [pod.name for pod in pods]

    async def costs(self) -> dict[str, str | None]:
        """Deletion cost of each pod."""
        found = {name: await self._kube.get("Pod", name) for name in self.pods}
        return {name: (pod["metadata"].get("annotations") or {}).get(DELETION_COST) for name, pod in found.items()}

    async def _tell(self, pod: ApiPod) -> None:
        ready: Json = {"type": "Ready", "status": "True" if pod.ready else "False"}
        status: Json = {"phase": "Running", "podIP": pod.address, "podIPs": [{"ip": pod.address}]}
        await self._kube.set_status("Pod", pod.name, {**status, "conditions": [ready]})

    def _status(self, deployment: Json) -> dict[str, Any]:
        ready = sum(pod.ready for pod in self.pods.values())
        counts = dict.fromkeys(("replicas", "updatedReplicas"), len(self.pods))
        generation = deployment["metadata"]["generation"]
        return {"observedGeneration": generation, **counts, "readyReplicas": ready, "availableReplicas": ready}

    async def clear(self) -> None:
        """Let all pods be gone, as those of a deleted Deployment are."""
        for name in list(self.pods):
            await self.remove(name)

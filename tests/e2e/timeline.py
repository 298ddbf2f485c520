"""Pods and sockets sampled every second, to plot and to check against bounds."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Self

from tests.e2e.background import BackgroundTask
from tests.e2e.client_pool import ClientPool
from tests.e2e.stack import Stack
from tests.support.plot import DOTTED, GREEN, RED, Line, Panel, document

SAMPLE_INTERVAL_SECONDS = 1.0
"""Interval between two samples."""

PLOT_FOLDER = os.environ.get("SCALING_PLOTS", "")
"""Folder for plots; empty disables them."""


@dataclass(frozen=True)
class Sample:
    """The state at one moment.

    Attributes:
        seconds: since the first sample.
        clients: active clients, connected or reconnecting.
        open: sockets, as the clients see them.
        wanted: replicas of the Deployment.
        ready: ready pods of the Deployment.
        pods: serving pods; this and the next three are from the status of the LiveScore.
        mean: sockets per serving pod.
        highest: sockets of the fullest pod.
        draining: number of draining pods.
    """

    seconds: float
    clients: int
    open: int
    wanted: int
    ready: int
    pods: int
    mean: int
    highest: int
    draining: int

    @property
    def spread(self) -> float:
        """Sockets of the fullest pod divided by the mean; 0 without sockets."""
        return self.highest / self.mean if self.mean else 0.0


class Timeline(BackgroundTask):
    """Samples of a LiveScore and its clients, one per second.

    Attributes:
        samples: in order of time.
    """

    def __init__(self, stack: Stack, clients: ClientPool) -> None:
        super().__init__()
        self._stack, self._clients = stack, clients
        self.samples: list[Sample] = []
        self._began = monotonic()

    async def __aenter__(self) -> Self:
        self.samples.append(await self.sample())
        return await super().__aenter__()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._began

    def since(self, seconds: float) -> list[Sample]:
        """Return the samples from that time on."""
        return [one for one in self.samples if one.seconds >= seconds]

    async def sample(self) -> Sample:
        """Take one sample."""
        deployment, resource = await asyncio.gather(
            self._stack.kube.get("Deployment", f"{self._stack.name}-api"), self._stack.get()
        )
        status = resource.get("status", {})
        readings = (status.get("scaling") or {}).get("readings") or {}
        return Sample(
            seconds=round(self.now, 1),
            clients=len(self._clients.active),
            open=self._clients.open,
            wanted=deployment["spec"]["replicas"],
            ready=deployment["status"].get("readyReplicas", 0),
            pods=readings.get("pods", 0),
            mean=readings.get("mean", 0),
            highest=readings.get("highest", 0),
            draining=len(status.get("draining", [])),
        )

    async def run(self) -> None:
        """Take a sample every second."""
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)
            self.samples.append(await self.sample())

    # Plots

    def save(self, name: str, title: str) -> None:
        """Write ``NAME.json`` and ``NAME.svg`` to the folder of ``SCALING_PLOTS``, if set."""
        if PLOT_FOLDER:
            folder = Path(PLOT_FOLDER)
            folder.mkdir(parents=True, exist_ok=True)
            rows = ",\n".join(json.dumps(asdict(one)) for one in self.samples)
            (folder / f"{name}.json").write_text(f"[\n{rows}\n]\n")
            (folder / f"{name}.svg").write_text(self._svg(title))

    def _svg(self, title: str) -> str:
        seconds = max(self.samples[-1].seconds, 1.0)
        panels = [
            self._panel("clients; connected ones dotted", lambda one: one.clients, lambda one: one.open),
            self._panel("replicas; ready pods dotted", lambda one: one.wanted, lambda one: one.ready),
            self._panel("sockets of the fullest pod; mean dotted", lambda one: one.highest, lambda one: one.mean),
        ]
        return document(title, panels, seconds)

    def _panel(self, title: str, plain: Callable[[Sample], float], dotted: Callable[[Sample], float]) -> Panel:
        lines = [
            Line([(one.seconds, plain(one)) for one in self.samples], GREEN),
            Line([(one.seconds, dotted(one)) for one in self.samples], RED, DOTTED),
        ]
        return Panel(title, lines)

"""What became of pods and sockets from second to second: to look at, and to check that nothing went too far."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Self

from tests.e2e.background import Background
from tests.e2e.crowd import Crowd
from tests.e2e.stack import Stack
from tests.support.plot import DOTTED, GREEN, RED, Line, Panel, document

SECONDS = 1.0
"""Between two samples."""

FOLDER = os.environ.get("SCALING_PLOTS", "")
"""Where timelines are written; empty for nowhere."""


@dataclass(frozen=True)
class Sample:
    """One moment.

    Attributes:
        seconds: since the first one.
        clients: that are there, or on the way back.
        open: sockets, as the clients see them.
        wanted: replicas of the Deployment.
        ready: pods of it.
        pods: that serve, as the status has it, and the two after it too.
        mean: sockets of a serving pod.
        highest: sockets of the fullest one.
        draining: pods that the status names.
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
        """Sockets of the fullest pod divided by the mean, 0 without any."""
        return self.highest / self.mean if self.mean else 0.0


class Timeline(Background):
    """Samples of a LiveScore and its clients, one a second.

    Attributes:
        samples: the oldest first.
    """

    def __init__(self, stack: Stack, crowd: Crowd) -> None:
        super().__init__()
        self._stack, self._crowd = stack, crowd
        self.samples: list[Sample] = []
        self._began = monotonic()

    async def __aenter__(self) -> Self:
        self.samples.append(await self.sample())
        return await super().__aenter__()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return monotonic() - self._began

    def since(self, seconds: float) -> list[Sample]:
        """The samples from there on."""
        return [one for one in self.samples if one.seconds >= seconds]

    async def sample(self) -> Sample:
        """How it is."""
        deployment, resource = await asyncio.gather(
            self._stack.kube.get("Deployment", f"{self._stack.name}-api"), self._stack.get()
        )
        status = resource.get("status", {})
        readings = (status.get("scaling") or {}).get("readings") or {}
        return Sample(
            seconds=round(self.now, 1),
            clients=len(self._crowd.present),
            open=self._crowd.open,
            wanted=deployment["spec"]["replicas"],
            ready=deployment["status"].get("readyReplicas", 0),
            pods=readings.get("pods", 0),
            mean=readings.get("mean", 0),
            highest=readings.get("highest", 0),
            draining=len(status.get("draining", [])),
        )

    async def run(self) -> None:
        """Take them."""
        while True:
            await asyncio.sleep(SECONDS)
            self.samples.append(await self.sample())

    # To look at

    def keep(self, name: str, title: str) -> None:
        """Write ``NAME.json`` and ``NAME.svg`` where ``SCALING_PLOTS`` says."""
        if FOLDER:
            folder = Path(FOLDER)
            folder.mkdir(parents=True, exist_ok=True)
            rows = ",\n".join(json.dumps(asdict(one)) for one in self.samples)
            (folder / f"{name}.json").write_text(f"[\n{rows}\n]\n")
            (folder / f"{name}.svg").write_text(self._svg(title))

    def _svg(self, title: str) -> str:
        seconds = max(self.samples[-1].seconds, 1.0)
        panels = [
            self._panel("clients; those that have a socket dotted", lambda one: one.clients, lambda one: one.open),
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

"""PostgreSQL's pod is deleted: its data is still there, and the service comes back by itself."""

import time

import pytest

from tests.e2e.measures import MEASURES
from tests.e2e.stack import Stack, listening
from tests.e2e.writer import Writer, heard_all
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)

BACK_SECONDS = 120.0
"""Longest until the pod is there again and answers."""


async def test_data_outlives_the_pod_of_postgresql(stack: Stack) -> None:
    await stack.up()
    async with stack.entered() as entrance:
        match_id = await entrance.create_match(homeTeam="Before")
        async with listening(entrance, match_id) as listener, Writer(entrance, match_id) as writer:
            await writer.writes(5)
            started = time.monotonic()
            await replace(stack, "postgres")
            await writer.writes(5)
            MEASURES.seconds("PostgreSQL's pod deleted to the next write", [time.monotonic() - started])
            await stack.ready()
        await heard_all(listener, writer, entrance)
        assert match_id in [match["id"] for match in await entrance.matches()]
    # Liveness does not depend on servers: a restart of all processes would not bring them back.
    assert [await stack.restarts(part) for part in ("api", "worker", "scheduler")] == [0, 0, 0]


async def replace(stack: Stack, server: str) -> None:
    """Delete the pod of a server, and wait until another one is ready."""
    name = f"{stack.name}-{server}-0"
    before = (await stack.kube.get("Pod", name))["metadata"]["uid"]
    await stack.kubectl("delete", "pod", name, "--wait=false")

    async def probe() -> bool:
        pod = await stack.kube.find("Pod", name)
        conditions = {one["type"]: one["status"] for one in (pod or {}).get("status", {}).get("conditions", [])}
        return bool(pod and pod["metadata"]["uid"] != before and conditions.get("Ready") == "True")

    await eventually(probe, BACK_SECONDS)

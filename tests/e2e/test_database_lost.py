"""Data and service survive the deletion of PostgreSQL's pod."""

import time

import pytest

from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.stack import Stack, following
from tests.e2e.writer import Writer, assert_received_all
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)

BACK_SECONDS = 120.0
"""Timeout until the pod is recreated and ready."""


async def test_data_survives_deletion_of_the_postgresql_pod(stack: Stack) -> None:
    await stack.up()
    async with stack.endpoint() as endpoint:
        match_id = await endpoint.create_match(homeTeam="Before")
        async with following(endpoint, match_id) as listener, Writer(endpoint, match_id) as writer:
            await writer.wait_for_writes(5)
            started = time.monotonic()
            await replace_pod(stack, "postgres")
            await writer.wait_for_writes(5)
            MEASUREMENTS.record_seconds("PostgreSQL's pod deleted to the next write", [time.monotonic() - started])
            await stack.wait_ready()
        await assert_received_all(listener, writer, endpoint)
        assert match_id in [match["id"] for match in await endpoint.matches()]
    # Liveness probes do not depend on the servers: restarting the processes would not bring the servers back.
    assert [await stack.restarts(part) for part in ("api", "worker", "scheduler")] == [0, 0, 0]


async def replace_pod(stack: Stack, server: str) -> None:
    """Delete the pod of a server, and wait until its replacement is ready."""
    name = f"{stack.name}-{server}-0"
    before = (await stack.kube.get("Pod", name))["metadata"]["uid"]
    await stack.kubectl("delete", "pod", name, "--wait=false")

    async def probe() -> bool:
        pod = await stack.kube.find("Pod", name)
        conditions = {one["type"]: one["status"] for one in (pod or {}).get("status", {}).get("conditions", [])}
        return bool(pod and pod["metadata"]["uid"] != before and conditions.get("Ready") == "True")

    await eventually(probe, BACK_SECONDS)

"""The README's quick start on a cluster: one apply, one wait, and the service answers."""

import time
from pathlib import Path

import pytest

from livescore.imports.openfootball import read
from livescore_dev.rest import instant
from tests.e2e.environment import APP_IMAGE
from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.service_endpoint import ServiceEndpoint, port_forward
from tests.e2e.stack import Stack, following
from tests.e2e.writer import Writer, assert_received_all
from tests.support.command import livescore
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "k8s/samples/minimal.yaml"
TOURNAMENT = ROOT / "tests/data/tournament-today.json"

SPEED = "6000"
"""Replays a match in a second or two."""

COUNTED_SECONDS = 60.0
"""The operator polls the pods every 15 s; a slow machine needs longer."""


async def test_the_sample_becomes_ready_and_serves(stack: Stack) -> None:
    started = time.monotonic()
    await stack.kubectl("apply", "-f", "-", stdin=SAMPLE.read_text().replace("livescore:dev", APP_IMAGE))
    await stack.wait_ready()
    MEASUREMENTS.record_seconds("apply to Ready", [time.monotonic() - started])
    await stack.assert_replicas_current()
    async with stack.endpoint() as endpoint:
        await assert_serves(stack, endpoint)
    async with port_forward(stack.kubectl, stack.name, 8000) as endpoint:
        await assert_serves(stack, endpoint)


async def assert_serves(stack: Stack, endpoint: ServiceEndpoint) -> None:
    """Write by REST, receive by WebSocket, and assert that the operator counts the connection."""
    match_id = await endpoint.create_match()
    async with following(endpoint, match_id) as listener:
        async with Writer(endpoint, match_id) as writer:
            await writer.wait_for_writes(1)
        await assert_received_all(listener, writer, endpoint)
        await eventually(lambda: _connections(stack, 1), COUNTED_SECONDS)
    columns = (await stack.kubectl("get", f"lsc/{stack.name}", "--no-headers")).split()
    assert columns[:4] == [stack.name, "True", "Ready", "2/2"]


async def _connections(stack: Stack, wanted: int) -> bool:
    return bool((await stack.get())["status"].get("connections") == wanted)


async def test_a_replay_ends_with_the_right_scores(stack: Stack) -> None:
    await stack.up()
    async with stack.endpoint() as endpoint:
        target = ("--base-url", endpoint.base_url, "--api-key", endpoint.api_key)
        done = await livescore("replay", str(TOURNAMENT), *target, "--speed", SPEED)
        assert done.returncode == 0, done.stdout + done.stderr
        await assert_final_scores(endpoint)


async def assert_final_scores(endpoint: ServiceEndpoint) -> None:
    """Assert that every played match has the same result on the server as in the file."""
    records = {(one["homeTeam"], one["startTime"]): one for one in await endpoint.matches()}
    played = [match for match in read(TOURNAMENT).matches if match.decided]
    assert played
    for match in played:
        record = records[match.home, instant(match.kick_off)]
        assert match.score.final is not None
        actual = (record["homeScore"], record["awayScore"], record["status"])
        assert actual == (match.score.final.home, match.score.final.away, "finished")

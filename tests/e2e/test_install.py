"""What the README promises to somebody with a cluster: one apply, one wait, and the service answers."""

import time
from pathlib import Path

import pytest

from livescore.dev.openfootball import read
from livescore.dev.rest import instant
from tests.e2e.entrance import Entrance, forwarded
from tests.e2e.environment import APP_IMAGE
from tests.e2e.measures import MEASURES
from tests.e2e.stack import Stack, listening
from tests.e2e.writer import Writer, heard_all
from tests.support.command import livescore
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "k8s/samples/minimal.yaml"
TOURNAMENT = ROOT / "tests/data/tournament-today.json"

SPEED = "6000"
"""A match in a second or two."""

COUNTED_SECONDS = 60.0
"""The operator asks the pods every 15 s; a slow machine needs longer."""


async def test_the_sample_becomes_ready_and_serves(stack: Stack) -> None:
    started = time.monotonic()
    await stack.kubectl("apply", "-f", "-", given=SAMPLE.read_text().replace("livescore:dev", APP_IMAGE))
    await stack.ready()
    MEASURES.seconds("apply to Ready", [time.monotonic() - started])
    await stack.replicated()
    async with stack.entered() as entrance:
        await rest_and_websocket_answer(stack, entrance)
    async with forwarded(stack.kubectl, stack.name, 8000) as entrance:
        await rest_and_websocket_answer(stack, entrance)


async def rest_and_websocket_answer(stack: Stack, entrance: Entrance) -> None:
    """Write by REST, hear by WebSocket, and see that the operator counts who listens."""
    match_id = await entrance.create_match()
    async with listening(entrance, match_id) as listener:
        async with Writer(entrance, match_id) as writer:
            await writer.writes(1)
        await heard_all(listener, writer, entrance)
        await eventually(lambda: _connections(stack, 1), COUNTED_SECONDS)
    columns = (await stack.kubectl("get", f"lsc/{stack.name}", "--no-headers")).split()
    assert columns[:3] == [stack.name, "True", "2/2"]


async def _connections(stack: Stack, wanted: int) -> bool:
    return bool((await stack.get())["status"].get("connections") == wanted)


async def test_a_replay_ends_with_the_right_scores(stack: Stack) -> None:
    await stack.up()
    async with stack.entered() as entrance:
        target = ("--base-url", entrance.base_url, "--api-key", entrance.api_key)
        done = await livescore("replay", str(TOURNAMENT), *target, "--speed", SPEED)
        assert done.returncode == 0, done.stdout + done.stderr
        await final_scores_are_right(entrance)


async def final_scores_are_right(entrance: Entrance) -> None:
    """Every match that was played stands on the server as it stands in the file."""
    records = {(one["homeTeam"], one["startTime"]): one for one in await entrance.matches()}
    played = [match for match in read(TOURNAMENT).matches if match.decided]
    assert played
    for match in played:
        record = records[match.home, instant(match.kick_off)]
        assert match.score.final is not None
        said = (record["homeScore"], record["awayScore"], record["status"])
        assert said == (match.score.final.home, match.score.final.away, "finished")

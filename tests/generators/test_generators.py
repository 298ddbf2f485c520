"""The output of openapi-python-client, datamodel-code-generator and openapi-typescript is usable.

Tests are skipped if their generator is not on ``PATH``; ``make generators`` installs and runs all.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import Start
from tests.support.validation import openapi

PYTHON_CLIENT = """
from datetime import datetime, timedelta, timezone

from livescore_client import Client
from livescore_client.api.commentary import change_commentary, create_commentary, delete_commentary, list_commentary
from livescore_client.api.matches import change_match, create_match, end_match, get_match, list_matches, set_score
from livescore_client.models import (
    CommentaryPatch, ListMatchesStatusItem, MatchPatch, NewCommentary, NewCommentaryMetadata, NewMatch, ScoreBody
)

client = Client(base_url="{base_url}", raise_on_unexpected_status=True)
begin = datetime.now(timezone(timedelta(hours=5, minutes=30)))
body = NewMatch("football", "Spain", "England", begin - timedelta(hours=1), begin + timedelta(hours=1))
match = create_match.sync(client=client, body=body).data
path = dict(client=client, id=match.id)
metadata = NewCommentaryMetadata.from_dict({{"scoreDelta": {{"home": 1, "away": 0}}, "free": [1, {{"a": None}}]}})
entry = create_commentary.sync(
    **path, body=NewCommentary(minute=1, message="Goal!", event_type="goal", metadata=metadata, tags=["a"])
).data
assert get_match.sync(**path).data.home_score == 1
assert change_commentary.sync(**path, commentary_id=entry.id, body=CommentaryPatch(message="x")).data.message == "x"
assert [found.id for found in list_commentary.sync(**path).data] == [entry.id]
assert delete_commentary.sync(**path, commentary_id=entry.id).data.id == entry.id
assert set_score.sync(**path, body=ScoreBody(2, 1)).data.home_score == 2
assert change_match.sync(**path, body=MatchPatch(sport="futsal")).data.sport == "futsal"
assert end_match.sync(**path).data.status == "finished"
status = [ListMatchesStatusItem.FINISHED, ListMatchesStatusItem.LIVE]
page = list_matches.sync(client=client, status=status, sport=["futsal"], from_=begin - timedelta(hours=2))
assert [found.id for found in page.data] == [match.id]
"""

PYDANTIC_MODELS = """
import httpx

from models import CommentaryAnswer, CommentaryPatch, MatchAnswer, MatchPatch, NewCommentary, NewMatch

http = httpx.Client(base_url="{base_url}", headers={{"Content-Type": "application/json"}})
times = {{"startTime": "2026-06-11T21:00:00+02:00", "endTime": "2126-06-11T23:00:00+02:00"}}
new = NewMatch.model_validate({{"sport": "football", "homeTeam": "Spain", "awayTeam": "England", **times}})
text = http.post("/matches", content=new.model_dump_json(exclude_none=True)).raise_for_status().content
match = MatchAnswer.model_validate_json(text).data
path = f"/matches/{{match.id}}"
goal = NewCommentary(minute=1, message="Goal!", eventType="goal", metadata={{"scoreDelta": {{"home": 1}}, "free": []}})
text = http.post(f"{{path}}/commentary", content=goal.model_dump_json(exclude_none=True)).raise_for_status().content
entry = CommentaryAnswer.model_validate_json(text).data
change = CommentaryPatch(message="x").model_dump_json(exclude_none=True)
http.patch(f"{{path}}/commentary/{{entry.id}}", content=change).raise_for_status()
http.patch(path, content=MatchPatch(sport="futsal").model_dump_json(exclude_none=True)).raise_for_status()
# Members that a later version adds must not break a client of today.
answer = http.get(path).json()
MatchAnswer.model_validate({{"data": {{**answer["data"], "later": 1}}, "later": 2}})
"""

TYPESCRIPT = """
import type { components, paths } from "./livescore";

type Schemas = components["schemas"];
const match: Schemas["NewMatch"] = { sport: "football", homeTeam: "Spain", awayTeam: "England",
  startTime: "2026-06-11T19:00:00Z", endTime: "2026-06-11T21:00:00Z" };
const goal: Schemas["NewCommentary"] = { minute: 1, message: "Goal!", eventType: "goal",
  metadata: { scoreDelta: { home: 1 }, free: [1, { a: null }] } };
const change: Schemas["CommentaryPatch"] = { message: "x" };
const patch: Schemas["MatchPatch"] = { status: "postponed" };
const query: paths["/matches"]["get"]["parameters"]["query"] = { status: ["live", "finished"], team: ["Spain"] };
export function headline(answer: Schemas["MatchAnswer"]): string { return `${answer.data.homeScore}`; }
// @ts-expect-error a message is required
const silent: Schemas["NewCommentary"] = { minute: 1 };
export default [match, goal, change, patch, query, silent];
"""


def run(directory: Path, program: str, *arguments: str) -> str:
    """Run a program in ``directory`` and return its output; skip the test if the program is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on PATH: `make generators` installs it")
    done = subprocess.run(
        [found, *arguments], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def document(tmp_path: Path) -> str:
    """Write the OpenAPI document to the test's directory, and return it."""
    (tmp_path / "openapi.json").write_text(json.dumps(openapi()))
    return "openapi.json"


async def test_openapi_python_client_makes_every_operation(start: Start, tmp_path: Path, document: str) -> None:
    target = ("--output-path", "livescore_client", "--meta", "none")
    printed = run(tmp_path, "openapi-python-client", "generate", "--path", document, *target)
    assert "WARNING" not in printed
    operations = {operation["operationId"] for path in openapi()["paths"].values() for operation in path.values()}
    assert {file.stem for file in (tmp_path / "livescore_client/api").rglob("*.py")} >= operations
    service = await start("api")
    (tmp_path / "use.py").write_text(PYTHON_CLIENT.format(base_url=service.base_url))
    run(tmp_path, sys.executable, "use.py")


async def test_datamodel_code_generator_makes_usable_models(start: Start, tmp_path: Path, document: str) -> None:
    models = ("--output", "models.py", "--output-model-type", "pydantic_v2.BaseModel")
    run(tmp_path, "datamodel-codegen", "--input", document, "--input-file-type", "openapi", *models)
    service = await start("api")
    (tmp_path / "use.py").write_text(PYDANTIC_MODELS.format(base_url=service.base_url))
    run(tmp_path, sys.executable, "use.py")


def test_openapi_typescript_makes_usable_types(tmp_path: Path, document: str) -> None:
    run(tmp_path, "openapi-typescript", document, "--output", "livescore.d.ts")
    (tmp_path / "use.ts").write_text(TYPESCRIPT)
    run(tmp_path, "tsc", "--noEmit", "--strict", "--skipLibCheck", "--lib", "es2022", "use.ts")

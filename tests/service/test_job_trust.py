"""Jobs written to Redis by other clients: only this service's own functions run, regardless of a job's contents."""

import json
import pickle
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from livescore.deployment import Deployment
from livescore.jobs import transitions
from livescore.jobs.functions import FUNCTIONS, JobFunction
from livescore.jobs.queue import Worker
from livescore.jobs.queues import TRANSITIONS
from livescore.jobs.scheduler import Scheduler
from livescore.jobs.transition_jobs import Plan, TransitionJobs
from livescore.redis_clients import rq_client
from livescore.settings import Settings, load
from tests.support.deployments import DEPLOYMENT, deployment_of
from tests.support.jobs import soon
from tests.support.service import Start, eventually

Fields = dict[str, bytes | str]

QUEUE = f"rq:queue:{DEPLOYMENT.name('transitions')}"
PLANNED = f"rq:scheduled:{DEPLOYMENT.name('transitions')}"

VALID = [7, "2026-06-11T19:00:00+00:00"]
SECRET = "argument-that-must-not-be-logged"


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load(database_url="postgresql://localhost/none", redis_url=redis_url)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the job functions that were called. Importing anything on behalf of a job fails the test."""
    found: list[str] = []

    def refuse_import(name: str) -> Any:
        found.append(f"import of {name}")
        raise AssertionError(name)

    for module in ("rq.job", "rq.queue", "rq.serializers", "rq.utils", "rq_scheduler.scheduler"):
        monkeypatch.setattr(f"{module}.import_attribute", refuse_import)
    return found


@pytest.fixture
def serving(settings: Settings, executed: list[str]) -> Worker:
    def record(name: str, function: JobFunction, arguments: tuple[Any, ...]) -> None:
        executed.append(function.function.__name__)
        assert arguments == tuple(FUNCTIONS[name].arguments.validate_python(arguments))

    made = Worker(rq_client(settings, wait=1), DEPLOYMENT, TRANSITIONS, 1, record)
    made.register_birth()  # type: ignore[no-untyped-call]  # RQ has no annotation for it
    return made


def call(function: Any = transitions.PATH, instance: Any = None, arguments: Any = VALID, keywords: Any = None) -> bytes:
    return json.dumps([function, instance, arguments, keywords or {}]).encode()


def fields(data: bytes = b"", **more: bytes | str) -> Fields:
    return {"data": zlib.compress(data or call()), "created_at": "2026-06-11T19:00:00.000000Z", **more}


class Exploit:
    """An object that creates a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.mkdir, (str(self._path),)


REFUSED: dict[str, Fields] = {
    "another function": fields(call("os.mkdir", arguments=[f"/nonexistent/{SECRET}"])),
    "a function that is not a job": fields(call("livescore.jobs.runner.Runner.run", arguments=[SECRET])),
    "a builtin": fields(call("builtins.eval", arguments=[SECRET])),
    "a method of an instance": fields(call("upper", instance=SECRET, arguments=[])),
    "no function": fields(call(None)),
    "a function name that is not text": fields(call(["os.mkdir"])),
    "too many arguments": fields(call(arguments=[*VALID, SECRET])),
    "too few arguments": fields(call(arguments=[7])),
    "an argument of another type": fields(call(arguments=[SECRET, VALID[1]])),
    "an argument out of range": fields(call(arguments=[2**40, VALID[1]])),
    "an invalid time argument": fields(call(arguments=[7, SECRET])),
    "a time argument without offset": fields(call(arguments=[7, "2026-06-11T19:00:00"])),
    "arguments that are not a list": fields(call(arguments={"match_id": 7})),
    "keyword arguments": fields(call(arguments=[], keywords={"match_id": 7, "moment": VALID[1]})),
    "a pickle": fields(pickle.dumps(("os.mkdir", None, (SECRET,), {}))),
    "a pickled exploit": fields(pickle.dumps(Exploit(Path("/nonexistent")))),
    "invalid JSON": fields(b"{"),
    "JSON of another structure": fields(b"[1]"),
    "nested JSON": fields(b"[" * 100_000),
    "an oversized payload": fields(b" " * 10_000_000 + call()),
    "no data": {"created_at": "2026-06-11T19:00:00.000000Z"},
    "a callback on success": fields(success_callback_name="os.mkdir"),
    "a callback on failure": fields(call(arguments=[]), failure_callback_name="os.mkdir"),
    "a callback on stop": fields(stopped_callback_name="os.mkdir"),
    "a webhook": fields(webhooks='[{"url": "http://127.0.0.1:1/", "statuses": ["finished"]}]'),
    "dependencies": fields(dependency_ids='["other"]'),
    "a legacy dependency": fields(dependency_id="other"),
    "a repetition": fields(repeats_left="5", repeat_intervals="[1]"),
    "retries": fields(call(arguments=[]), retries_left="5"),
    "a group": fields(group_id="group"),
    "a rate limit": fields(rate_limit_key="key", rate_limit_concurrency="1"),
    "metadata": fields(meta=json.dumps({"queue_class_name": "os.mkdir", "interval": 1})),
    "pickled metadata": fields(meta=pickle.dumps({"interval": 1})),
    "a pickled result": fields(result=pickle.dumps(1)),
    "an unknown field": fields(serializer="pickle"),
    "an invalid time": fields(enqueued_at=b"\xff"),
    "an invalid status": fields(status="owned"),
    "an invalid number": fields(result_ttl="ten"),
}


def put(client: redis.Redis, job_id: str, job: Fields) -> None:
    mapping: dict[Any, Any] = dict(job)
    client.hset(f"rq:job:{job_id}", mapping=mapping)


def failed(client: redis.Redis, deployment: Deployment = DEPLOYMENT) -> set[str]:
    ids: Any = client.zrange(f"rq:failed:{deployment.name('transitions')}", 0, -1)
    return {job_id.decode() for job_id in ids}


def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err + caplog.text


@pytest.mark.parametrize("job", REFUSED.values(), ids=REFUSED.keys())
def test_worker_refuses(
    job: Fields,
    serving: Worker,
    redis_client: redis.Redis,
    executed: list[str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(redis_client, "planted", job)
    redis_client.rpush(QUEUE, "planted")

    serving.run_next()

    assert executed == []
    assert failed(redis_client) == {"planted"}
    reason = redis_client.hget("rq:job:planted", "exc_info")
    assert isinstance(reason, bytes)
    assert reason.startswith(b"refused: ")
    text = said(capsys, caplog)
    assert "job refused" in text
    assert SECRET not in text + reason.decode()
    assert redis_client.llen(f"{QUEUE}:intermediate") == 0


@pytest.mark.parametrize("job", REFUSED.values(), ids=REFUSED.keys())
def test_scheduler_refuses(job: Fields, settings: Settings, redis_client: redis.Redis, executed: list[str]) -> None:
    put(redis_client, "planted", job)
    jobs = TransitionJobs(rq_client(settings), DEPLOYMENT)
    jobs.write([Plan(7, "live", soon(-9), soon(-5))])
    redis_client.zadd(PLANNED, {"planted": 1})

    Scheduler(rq_client(settings), settings, DEPLOYMENT).enqueue_due_jobs()

    assert executed == []
    assert failed(redis_client) == {"planted"}
    assert jobs.known() == {}
    assert redis_client.lrange(QUEUE, 0, -1) == [DEPLOYMENT.job_id("match-7-end").encode()]


@pytest.mark.parametrize("job_id", [b"\xff\xfe", b"a b", b"../../x", b"", b"a:b", "é".encode(), b"x" * 10_000])
def test_invalid_job_id_stops_neither_process(
    job_id: bytes, serving: Worker, settings: Settings, redis_client: redis.Redis, executed: list[str]
) -> None:
    jobs = TransitionJobs(rq_client(settings), DEPLOYMENT)
    jobs.write([Plan(7, "live", soon(-9), soon(-5))])
    redis_client.hset(b"rq:job:" + job_id, "data", "x")
    redis_client.zadd(PLANNED, {job_id: 1})
    redis_client.rpush(QUEUE, job_id)

    Scheduler(rq_client(settings), settings, DEPLOYMENT).enqueue_due_jobs()
    serving.run_next()
    serving.run_next()

    assert executed == ["transition"]
    assert jobs.known() == {}


def test_job_that_is_not_a_hash_stops_neither_process(
    serving: Worker, settings: Settings, redis_client: redis.Redis, executed: list[str]
) -> None:
    jobs = TransitionJobs(rq_client(settings), DEPLOYMENT)
    jobs.write([Plan(7, "live", soon(-9), soon(-5))])
    for name in ("queued", "scheduled"):
        redis_client.set(f"rq:job:{name}", "text")
    redis_client.zadd(PLANNED, {"scheduled": 1})
    redis_client.rpush(QUEUE, "queued")

    Scheduler(rq_client(settings), settings, DEPLOYMENT).enqueue_due_jobs()
    serving.run_next()
    serving.run_next()

    assert executed == ["transition"]
    assert jobs.known() == {}


def test_maintenance_loads_and_calls_nothing(
    serving: Worker, redis_client: redis.Redis, executed: list[str], tmp_path: Path
) -> None:
    exploit = pickle.dumps(Exploit(tmp_path / "made"))
    put(
        redis_client,
        "planted",
        fields(failure_callback_name="os.mkdir", status="started", meta=exploit, result=exploit),
    )
    redis_client.zadd(f"rq:wip:{DEPLOYMENT.name('transitions')}", {"planted:execution": 1})
    redis_client.sadd("rq:groups", "group")
    redis_client.sadd("rq:group:group", "planted")

    serving.maintain()

    assert executed == []
    assert not (tmp_path / "made").exists()


def test_valid_job_runs_and_leaves_nothing(
    serving: Worker, settings: Settings, redis_client: redis.Redis, executed: list[str]
) -> None:
    jobs = TransitionJobs(rq_client(settings), DEPLOYMENT)
    jobs.write([Plan(7, "live", soon(-9), soon(-5))])
    Scheduler(rq_client(settings), settings, DEPLOYMENT).enqueue_due_jobs()

    serving.run_next()

    assert executed == ["transition"]
    assert failed(redis_client) == set()
    assert redis_client.keys("rq:job:*") == []


async def test_planted_jobs_have_no_effect_on_real_processes(
    start: Start, database_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """Plant jobs for the processes, and commands for a worker through Pub/Sub, which none of ours subscribes to."""
    made, deployment = tmp_path / "made", deployment_of(database_url)
    services = [await start("worker"), await start("scheduler")]
    put(redis_client, "queued", fields(call("os.mkdir", arguments=[str(made)])))
    put(redis_client, "scheduled", fields(call("os.mkdir", arguments=[str(made)])))
    redis_client.rpush(f"rq:queue:{deployment.name('transitions')}", "queued")
    redis_client.zadd(f"rq:scheduled:{deployment.name('transitions')}", {"scheduled": time.time() - 1})
    assert redis_client.pubsub_channels("rq:pubsub:*") == []

    await eventually(lambda: failed(redis_client, deployment) == {"queued", "scheduled"})

    assert not made.exists()
    for service in services:
        await service.logged("job refused")
        assert str(made) not in service.log
        assert "Traceback" not in service.log

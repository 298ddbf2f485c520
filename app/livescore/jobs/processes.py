"""The worker and the scheduler as processes.

An event loop runs the sweeps, the publisher and the jobs, on the same Database and Broker as the API. RQ and
rq-scheduler are synchronous and run in threads; what they need from PostgreSQL is done in the event loop. So nothing
exists twice, and a job function is an ordinary coroutine. Every loop is restarted when it fails, until a signal ends
the process.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread

import psycopg
import structlog
import uvloop

from livescore import broker, outages, redis_clients
from livescore.deployment import Origin
from livescore.jobs import management, standings
from livescore.jobs.attempts import LONGEST_PAUSE, Attempts
from livescore.jobs.backlog import Backlog
from livescore.jobs.context import JobContext
from livescore.jobs.deployment_watch import DeploymentWatch
from livescore.jobs.due import DueJobs
from livescore.jobs.publisher import Publisher
from livescore.jobs.queue import DEQUEUE_SECONDS, Worker, warn_of_eviction
from livescore.jobs.queues import QUEUES, JobQueue
from livescore.jobs.runner import Runner
from livescore.jobs.schedule import Schedule
from livescore.jobs.scheduler import Scheduler
from livescore.jobs.sweep import Sweeper
from livescore.jobs.transition_jobs import TransitionJobs, reconcile
from livescore.jobs.transitions import Transitions
from livescore.jobs.webhooks.worker import WebhookWorker
from livescore.redis_clients import AWAY
from livescore.scores import feed
from livescore.scores.database import Database, DatabaseAway, Parameters, Row
from livescore.scores.store import Store
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Seconds between two comparisons of the jobs with the table.
RECONCILE_SECONDS = 60.0

# Seconds without a turn of the sweep, successful or not, after which the process hangs and should be restarted: longer
# than a connect and a statement may take.
LIVE_SECONDS = 30.0

# Seconds that the threads get to end, so that the process is gone within two. Whatever they do then can be interrupted.
STOP_SECONDS = 1.2

# Connections to PostgreSQL for transitions, and for other jobs: these must not delay transitions.
TRANSITION_CONNECTIONS = {"worker": 4, "scheduler": 2}
JOB_CONNECTIONS = {"worker": 8, "scheduler": 1}

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Loggers of RQ that write several lines about every job.
_VERBOSE_LOGGERS = ("rq", "rq.worker", "rq_scheduler.scheduler")


@dataclass
class JobProcess:
    """What the loops of one process share.

    Attributes:
        keys_lost: Set when Redis has lost its keys, so that the jobs are compared with the table at once.
        stopping: Set when the process stops.
    """

    settings: Settings
    loop: asyncio.AbstractEventLoop
    database: Database
    watch: DeploymentWatch
    runner: Runner
    keys_lost: Event = field(default_factory=Event)
    stopping: Event = field(default_factory=Event)

    def query(self, statement: str, parameters: Parameters) -> list[Row]:
        """Return the rows of a statement. Called from threads, which it blocks."""
        return asyncio.run_coroutine_threadsafe(self.database.rows(statement, parameters), self.loop).result()

    def stop_threads(self) -> None:
        """Tell every thread to end."""
        self.stopping.set()
        self.keys_lost.set()
        self.watch.stop()


ThreadLoop = Callable[[JobProcess], None]


def run_worker(settings: Settings) -> int:
    """Run the RQ workers of all queues and the sweeps until a signal. Returns the exit code.

    Call it from the main thread.
    """
    return _run("worker", settings, {f"worker {queue.name}": partial(_execute_jobs, queue) for queue in QUEUES})


def run_scheduler(settings: Settings) -> int:
    """Run rq-scheduler, its repair and the sweeps until a signal. Returns the exit code.

    Call it from the main thread.
    """
    return _run("scheduler", settings, {"scheduler": _enqueue_due_jobs, "reconcile": _repair_jobs})


def _run(name: str, settings: Settings, thread_loops: dict[str, ThreadLoop]) -> int:
    for logger in _VERBOSE_LOGGERS:
        logging.getLogger(logger).setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(name, settings, thread_loops))
    return 0


async def _serve(name: str, settings: Settings, thread_loops: dict[str, ThreadLoop]) -> None:
    stopped_by = _stop_signal()
    has_queues = not redis_clients.redis_url(settings).is_cluster
    database = _database(settings, TRANSITION_CONNECTIONS[name])
    job_database = _database(settings, JOB_CONNECTIONS[name])
    watch, redis = DeploymentWatch(), broker.create(settings)
    publisher = Publisher(redis)
    schedule = Schedule(settings, lambda: watch.deployment)

    def publish(events: list[feed.Event], origin: Origin) -> None:
        publisher.put(events, origin)
        standings.enqueue(schedule, events)

    transitions = Transitions(settings, database, publish, watch.update)
    webhooks = WebhookWorker(settings, job_database, redis) if name == "worker" else None
    context = JobContext(settings, job_database, Store(job_database), transitions, publish, schedule, webhooks)
    runner = Runner(context)
    sweeper = Sweeper(settings, database, transitions, has_jobs=has_queues)
    due_jobs = DueJobs(context, has_queues=has_queues, runner=runner if name == "worker" else None)
    process = JobProcess(settings, asyncio.get_running_loop(), database, watch, runner)
    loops: list[Callable[[], Awaitable[None]]] = [sweeper.run, publisher.run, due_jobs.run]
    drains: list[Callable[[float], Awaitable[None]]] = [runner.drain]
    if webhooks is not None:
        loops += [webhooks.run, webhooks.listen, webhooks.observe]
        drains.append(webhooks.drain)
    with _management(settings, sweeper, watch):
        await schedule.start()
        tasks = [asyncio.create_task(_supervise(loop)) for loop in loops]
        threads = [
            _start_thread(thread_name, loop, process) for thread_name, loop in thread_loops.items() if has_queues
        ]
        log.info("process started", process=name)
        log.info("process stops", process=name, signal=(await stopped_by).name)
        process.stop_threads()
        await asyncio.gather(*(drain(settings.worker_grace_seconds) for drain in drains))
        for task in tasks:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*tasks, *threads, schedule.stop(), transitions.close(), return_exceptions=True)
                await redis.close()
                await database.close()
                await job_database.close()


def _database(settings: Settings, connections: int) -> Database:
    return Database(
        settings.database_url.get_secret_value(),
        size=connections,
        timeout=settings.database_timeout_seconds,
        prepared=settings.database_prepared_statements,
    )


def _stop_signal() -> asyncio.Future[signal.Signals]:
    """Return a future that ends with the signal that stops the process."""
    loop = asyncio.get_running_loop()
    stopped_by: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped_by.done():
            stopped_by.set_result(number)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop, number)
    return stopped_by


def _management(settings: Settings, sweeper: Sweeper, watch: DeploymentWatch) -> AbstractContextManager[None]:
    """Serve metrics and probes if a port was set: the default is the API's, often on the same machine."""
    if "management_port" not in settings.model_fields_set:
        return nullcontext()
    return management.serve(
        settings,
        Backlog(settings, lambda: watch.deployment),
        live=lambda: None if time.monotonic() - sweeper.turned_at < LIVE_SECONDS else "the sweep hangs",
        ready=sweeper.objection,
    )


async def _supervise(loop: Callable[[], Awaitable[None]]) -> None:
    """Restart a loop of the event loop whenever it fails."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("a loop failed and is started again")
            await asyncio.sleep(LONGEST_PAUSE)


def _start_thread(name: str, loop: ThreadLoop, process: JobProcess) -> asyncio.Future[None]:
    """Run a loop in a daemon thread. Returns a future that is done when the thread has ended."""
    ended: asyncio.Future[None] = process.loop.create_future()

    def report_end() -> None:
        if not ended.done():
            ended.set_result(None)

    def run() -> None:
        _supervise_thread(loop, process)
        with suppress(RuntimeError):  # the event loop is closed: nothing waits for this thread any more
            process.loop.call_soon_threadsafe(report_end)

    Thread(target=run, name=name, daemon=True).start()
    return ended


def _supervise_thread(loop: ThreadLoop, process: JobProcess) -> None:
    """Restart a loop of a thread whenever it fails, until the process stops."""
    while not process.stopping.is_set():
        try:
            loop(process)
        except Exception:
            log.exception("a loop failed and is started again")
            process.stopping.wait(LONGEST_PAUSE)


def _execute_jobs(queue: JobQueue, process: JobProcess) -> None:
    """Run the RQ worker of one queue."""
    settings = process.settings
    connection = redis_clients.rq_client(settings, wait=DEQUEUE_SECONDS)
    attempts = Attempts(outages.REDIS)
    limit = queue.limit or settings.worker_concurrency
    worker: Worker | None = None
    while (term := process.watch.wait()) is not None:
        try:
            if worker is None or worker.deployment != term.deployment:
                worker = Worker(connection, term.deployment, queue, limit, process.runner.run, attempts.failed)
            worker.serve(term, attempts.succeeded)
        except AWAY as error:
            term.wait(attempts.failed(error))


def _enqueue_due_jobs(process: JobProcess) -> None:
    """Run rq-scheduler."""
    connection = redis_clients.rq_client(process.settings)
    attempts = Attempts(outages.REDIS)
    while (term := process.watch.wait()) is not None:
        try:
            warn_of_eviction(connection)
            process.keys_lost.set()
            scheduler = Scheduler(connection, process.settings, term.deployment)
            scheduler.serve(term, process.keys_lost, attempts.succeeded)
        except AWAY as error:
            term.wait(attempts.failed(error))


def _repair_jobs(process: JobProcess) -> None:
    """Compare the jobs with the table every minute, and whenever Redis has lost them. Other loops log the outages."""
    connection = redis_clients.rq_client(process.settings)
    while (term := process.watch.wait()) is not None:
        process.keys_lost.clear()
        try:
            wrong = reconcile(TransitionJobs(connection, term.deployment), process.query)
            log.debug("jobs compared with the table", wrong=wrong)
            process.keys_lost.wait(RECONCILE_SECONDS)
        except (*AWAY, DatabaseAway, psycopg.Error):
            term.wait(LONGEST_PAUSE)

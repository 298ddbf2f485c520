"""The worker and the scheduler as processes: loops in threads, each started again when it fails, until a signal."""

import logging
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from threading import Event, Thread

import psycopg
import structlog

from livescore import outages, redis_clients
from livescore.jobs import management, transitions
from livescore.jobs.database import Database
from livescore.jobs.deployment import DeploymentWatch
from livescore.jobs.outage import LONGEST_PAUSE, Outage
from livescore.jobs.publish import Publisher
from livescore.jobs.queue import DEQUEUE_SECONDS, warn_of_eviction, worker
from livescore.jobs.schedule import Hints, Scheduler, reconcile
from livescore.jobs.sweep import Sweeper
from livescore.redis_clients import AWAY
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Seconds between two comparisons of the jobs with the table.
RECONCILE_SECONDS = 60.0

# Seconds without a turn of the sweep's loop, successful or not, after which it hangs and should be restarted: longer
# than a connect and a statement may take.
LIVE_SECONDS = 30.0

# Seconds that the loops get to end, so that the process is gone within two; whatever they do then is safe to break off.
STOP_SECONDS = 1.2

_STOPS = (signal.SIGINT, signal.SIGTERM)

Loop = Callable[[], None]


def run_worker(settings: Settings) -> int:
    """Run the RQ worker and a sweeper until a signal; the exit code. Call it from the main thread."""
    watch = DeploymentWatch()
    loops: dict[str, Loop] = {"worker": partial(_work, settings, watch)}
    return _run("worker", settings, watch, loops, [])


def run_scheduler(settings: Settings) -> int:
    """Run rq-scheduler, its repair and a sweeper until a signal; the exit code. Call it from the main thread."""
    watch, lost = DeploymentWatch(), Event()
    loops: dict[str, Loop] = {
        "scheduler": partial(_schedule, settings, watch, lost),
        "reconcile": partial(_reconcile, settings, watch, lost),
    }
    return _run("scheduler", settings, watch, loops, [lost.set])


def _run(name: str, settings: Settings, watch: DeploymentWatch, loops: dict[str, Loop], wakes: list[Loop]) -> int:
    """Run the loops, and a sweep with its publisher in every process: transitions happen when either one lives."""
    stop = Event()
    publisher = Publisher(settings)
    sweeper = Sweeper(settings, publisher.put, watch.update)
    transitions.attach(sweeper.wake)
    everything: dict[str, Loop] = {
        **({} if redis_clients.redis_url(settings).is_cluster else loops),
        "sweep": partial(sweeper.run, stop),
        "publish": partial(publisher.run, stop),
    }
    threads = _threads(everything, stop)
    if redis_clients.redis_url(settings).is_cluster:
        log.info("Redis is a cluster, which RQ cannot use: no hints, this process sweeps at every transition's moment")
    with _management(settings, sweeper):
        for thread in threads:
            thread.start()
        log.info("process started", process=name)
        log.info("process stops", process=name, signal=signal.Signals(signal.sigwait(_STOPS)).name)
        _stop(stop, [watch.stop, *wakes, sweeper.wake, publisher.wake], threads)
    return 0


def _threads(loops: dict[str, Loop], stop: Event) -> list[Thread]:
    for talkative in ("rq", "rq.worker", "rq_scheduler.scheduler"):  # four lines about every job
        logging.getLogger(talkative).setLevel(logging.WARNING)
    # The threads inherit it: signals wait for sigwait() and interrupt nobody.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    return [Thread(target=_supervise, args=(loop, stop), name=name, daemon=True) for name, loop in loops.items()]


def _stop(stop: Event, wakes: Iterable[Loop], threads: list[Thread]) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    stop.set()
    for wake in wakes:
        wake()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _management(settings: Settings, sweeper: Sweeper) -> AbstractContextManager[None]:
    """Only when a port is asked for: the default is the API's, which runs on the same machine in development."""
    if "management_port" not in settings.model_fields_set:
        return nullcontext()
    return management.serve(
        settings,
        live=lambda: None if time.monotonic() - sweeper.turned < LIVE_SECONDS else "the sweep hangs",
        ready=sweeper.objection,
    )


def _supervise(loop: Loop, stop: Event) -> None:
    """Start a loop again however it ends."""
    while not stop.is_set():
        try:
            loop()
        except Exception:
            log.exception("a loop failed and is started again")
            stop.wait(LONGEST_PAUSE)


def _work(settings: Settings, watch: DeploymentWatch) -> None:
    connection, outage = redis_clients.rq_client(settings, wait=DEQUEUE_SECONDS), Outage(outages.REDIS)
    while (term := watch.wait()) is not None:
        try:
            warn_of_eviction(connection)
            worker(connection, term.deployment).serve(term, outage.end)
        except AWAY as error:
            term.wait(outage.begin(error))


def _schedule(settings: Settings, watch: DeploymentWatch, lost: Event) -> None:
    connection, outage = redis_clients.rq_client(settings), Outage(outages.REDIS)
    while (term := watch.wait()) is not None:
        try:
            warn_of_eviction(connection)
            lost.set()
            Scheduler(connection, settings, term.deployment).serve(term, lost, outage.end)
        except AWAY as error:
            term.wait(outage.begin(error))


def _reconcile(settings: Settings, watch: DeploymentWatch, lost: Event) -> None:
    """Compare the hints with the table. Other loops log the outages."""
    database, connection = Database(settings), redis_clients.rq_client(settings)
    while (term := watch.wait()) is not None:
        lost.clear()
        try:
            wrong = reconcile(Hints(connection, settings, term.deployment), database)
            log.debug("hints compared with the table", wrong=wrong)
            lost.wait(RECONCILE_SECONDS)
        except (*AWAY, psycopg.Error):
            term.wait(LONGEST_PAUSE)
    database.close()

"""rq-scheduler for one deployment. The adapter of rq-scheduler.

rq-scheduler keeps its keys and its lock in constants of the class, which every deployment on a Redis would share; its
lock has no owner; its loop ends only by a signal; and before it enqueues a job it imports the class of the queue that
the job names. So the loop and the lock here are our own. Planned jobs are kept where RQ keeps them, in the
``ScheduledJobRegistry`` of their queue, so that RQ's tools and dashboards show them.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import Any

import rq_scheduler
from redis import Redis
from redis.exceptions import LockError, ResponseError
from rq import Queue
from rq.exceptions import NoSuchJobError

from livescore.deployment import Deployment
from livescore.jobs.enqueue import Enqueuer
from livescore.jobs.queue import Job, enqueue_planned, is_of_another_type, queue, refuse
from livescore.jobs.queues import QUEUES
from livescore.redis_clients import AWAY
from livescore.settings import Settings

# Seconds that the lock of a crashed scheduler blocks the next one. A turn takes milliseconds.
LOCK_SECONDS = 1.0

# Due jobs of a queue that one turn enqueues.
BATCH = 1_000


class Scheduler(rq_scheduler.Scheduler):  # type: ignore[misc]  # untyped
    """Moves due jobs to the queues of one deployment."""

    def __init__(self, connection: Redis, settings: Settings, deployment: Deployment) -> None:
        self.interval_seconds = settings.scheduler_interval_seconds
        super().__init__(deployment.namespace, None, self.interval_seconds, connection, Job)
        self.redis_scheduler_namespace_prefix = deployment.name("scheduler", "")
        self.scheduler_lock_key = deployment.name("scheduler-lock")
        self.queues = [queue(connection, deployment, known) for known in QUEUES]
        self.lock = connection.lock(self.scheduler_lock_key, timeout=LOCK_SECONDS, thread_local=False)
        self._enqueuer = Enqueuer(connection, deployment)

    def serve(self, stop: Event, keys_lost: Event, on_answer: Callable[[], None]) -> None:
        """Move due jobs to the queues until ``stop`` is set.

        Args:
            stop: Ends the work.
            keys_lost: Set whenever Redis turns out to have lost its keys.
            on_answer: Called whenever Redis has answered.

        Raises:
            RedisError, OSError: Redis is away.
        """
        self._register()
        try:
            while not stop.wait(self.interval_seconds):
                self._turn(keys_lost)
                on_answer()
        finally:
            with suppress(*AWAY):
                self.register_death()

    def enqueue_due_jobs(self) -> None:
        """Move due jobs to the queues, and refuse jobs that this service did not write.

        rq-scheduler's own method also repeats jobs as their metadata says.
        """
        now = time.time()
        with self.connection.pipeline(transaction=False) as pipeline:
            for served in self.queues:
                pipeline.zrangebyscore(served.scheduled_job_registry.key, 0, now, start=0, num=BATCH)
            answers: Any = pipeline.execute()
        for served, due in zip(self.queues, answers, strict=True):
            for raw_id in due:
                self._enqueue_or_refuse(served, raw_id)

    def _register(self) -> None:
        self.register_birth()
        self._enqueuer.register_queues()

    def _turn(self, keys_lost: Event) -> None:
        # The same time as in register_birth().
        if not self.connection.expire(self.key, int(self.interval_seconds) + 10):
            self._register()
            keys_lost.set()
        if self.lock.acquire(blocking=False):
            try:
                self.enqueue_due_jobs()
            finally:
                with suppress(LockError):
                    self.lock.release()

    def _enqueue_or_refuse(self, served: Queue, raw_id: bytes) -> None:
        """Move one due job to its queue."""
        reason = None
        job_id = raw_id.decode(errors="replace")
        try:
            reason = Job.fetch(job_id, connection=self.connection).refusal
        except NoSuchJobError:
            self.connection.zrem(served.scheduled_job_registry.key, raw_id)
            return
        except ValueError:
            reason = "the id cannot be read"
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            reason = "the job is not a hash"
        with self.connection.pipeline() as pipeline:
            pipeline.zrem(served.scheduled_job_registry.key, raw_id)
            if reason is None:
                enqueue_planned(job_id, served, pipeline)
            pipeline.execute()
        if reason is not None:
            refuse(served, job_id, reason)

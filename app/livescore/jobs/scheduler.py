"""rq-scheduler for one deployment. The adapter of rq-scheduler.

rq-scheduler keeps its keys and its lock in constants of the class, which every deployment on a Redis would share; its
lock has no owner; its loop ends only by a signal; and before it enqueues a job it imports the class of the queue that
the job names. So the loop and the lock here are our own, and only the format in Redis is rq-scheduler's.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import Any

import rq_scheduler
from redis import Redis
from redis.exceptions import LockError, ResponseError
from rq.exceptions import NoSuchJobError

from livescore.deployment import Deployment
from livescore.jobs.queue import Job, is_of_another_type, queue, refuse
from livescore.redis_clients import AWAY
from livescore.settings import Settings
from livescore.telemetry import metrics

# Seconds that the lock of a crashed scheduler blocks the next one. A turn takes milliseconds.
LOCK_SECONDS = 1.0

# Due jobs that one turn enqueues.
BATCH = 1_000


class Scheduler(rq_scheduler.Scheduler):  # type: ignore[misc]  # untyped
    """Moves due jobs to the queue of one deployment."""

    def __init__(self, connection: Redis, settings: Settings, deployment: Deployment) -> None:
        self.interval_seconds = settings.scheduler_interval_seconds
        super().__init__(deployment.namespace, None, self.interval_seconds, connection, Job)
        self.redis_scheduler_namespace_prefix = deployment.name("scheduler", "")
        self.scheduler_lock_key = deployment.name("scheduler-lock")
        self.scheduled_jobs_key = deployment.name("scheduled-jobs")
        self.jobs = queue(connection, deployment)
        self.lock = connection.lock(self.scheduler_lock_key, timeout=LOCK_SECONDS, thread_local=False)

    def serve(self, stop: Event, keys_lost: Event, on_answer: Callable[[], None]) -> None:
        """Move due jobs to the queue until ``stop`` is set.

        Args:
            stop: Ends the work.
            keys_lost: Set whenever Redis turns out to have lost its keys.
            on_answer: Called whenever Redis has answered.

        Raises:
            RedisError, OSError: Redis is away.
        """
        self.register_birth()
        try:
            while not stop.wait(self.interval_seconds):
                self._turn(keys_lost)
                on_answer()
        finally:
            with suppress(*AWAY):
                self.register_death()

    def enqueue_due_jobs(self) -> None:
        """Move due jobs to the queue, and refuse jobs that this service did not write.

        rq-scheduler's own method also repeats jobs as their metadata says.
        """
        now = int(time.time())
        due: Any = self.connection.zrangebyscore(self.scheduled_jobs_key, 0, now, start=0, num=BATCH)
        for raw_id in due:
            self._enqueue_or_refuse(raw_id.decode(errors="replace"))
            self.connection.zrem(self.scheduled_jobs_key, raw_id)

    def _turn(self, keys_lost: Event) -> None:
        # The same time as in register_birth().
        if not self.connection.expire(self.key, int(self.interval_seconds) + 10):
            self.register_birth()
            keys_lost.set()
        if self.lock.acquire(blocking=False):
            try:
                self.enqueue_due_jobs()
            finally:
                with suppress(LockError):
                    self.lock.release()
        metrics.QUEUE_DEPTH.set(self.jobs.count)

    def _enqueue_or_refuse(self, job_id: str) -> None:
        try:
            job = Job.fetch(job_id, connection=self.connection)
        except NoSuchJobError:
            return
        except ValueError:
            refuse(self.jobs, job_id, "the id cannot be read")
            return
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            refuse(self.jobs, job_id, "the job is not a hash")
            return
        if job.refusal is None:
            self.jobs.enqueue_job(job)
        else:
            refuse(self.jobs, job.id, job.refusal)

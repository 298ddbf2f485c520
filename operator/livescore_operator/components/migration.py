"""The Job that migrates the database to the schema of the desired image, before a Deployment runs that image."""

from datetime import datetime

from livescore_operator.components import pods, process
from livescore_operator.components.common import BuildContext, digest, manifest, pruned
from livescore_operator.resource import LiveScore, Manifest

# Four retries within ten minutes: enough for a restart of the database, and short enough to report other failures soon.
RETRIES = 4
DEADLINE_SECONDS = 600

# Seconds after which a failed Job is created again: the cause may have been in the database, and have passed.
RETRY_SECONDS = 300.0

# Name of the migration container. Webhooks may add other containers to its pods.
CONTAINER = "migration"

# Hexadecimal digits, enough to distinguish the images of one LiveScore.
_HASH_LENGTH = 8


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return the migration Job if the database is ready."""
    return [_job(resource)] if context.database_ready else []


def name(resource: LiveScore) -> str:
    """Return the name of the Job. It contains a digest of the pod template, so another image has another Job."""
    return f"{resource.name}-migrate-{digest(_template(resource))[:_HASH_LENGTH]}"


def succeeded(job: Manifest) -> bool:
    """Return True if the schema matches the image of the Job."""
    return _condition(job, "Complete") is not None


def failed(job: Manifest) -> bool:
    """Return True if the Job failed after all retries."""
    return _condition(job, "Failed") is not None


def failure(job: Manifest) -> str:
    """Return why a Job failed, in the words of its controller; empty if it has not failed."""
    condition = _condition(job, "Failed") or {}
    return ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))


def may_retry(job: Manifest, now: datetime) -> bool:
    """Return True if a failed Job should be deleted, so that it is created again."""
    return failed(job) and retry_after(job, now) == 0


def retry_after(job: Manifest, now: datetime) -> float:
    """Return the seconds until a failed Job may be created again."""
    condition = _condition(job, "Failed")
    if condition is None:
        return RETRY_SECONDS
    waited = now - datetime.fromisoformat(condition["lastTransitionTime"])
    return max(0.0, RETRY_SECONDS - waited.total_seconds())


def _condition(job: Manifest, type: str) -> Manifest | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == type and one["status"] == "True"), None)


def _job(resource: LiveScore) -> Manifest:
    # No ttlSecondsAfterFinished: a deleted Job would be created, and run, again.
    spec = {"backoffLimit": RETRIES, "activeDeadlineSeconds": DEADLINE_SECONDS, "template": _template(resource)}
    return manifest(resource, "batch/v1", "Job", name(resource), "migration", spec=spec)


def _template(resource: LiveScore) -> Manifest:
    """Return the pod template, with the resources and the scheduling of the workers.

    It has no checksum: a changed Secret is no reason to migrate again.
    """
    spec = resource.spec
    container = process.container(
        resource,
        CONTAINER,
        "migrate",
        spec.image,
        # Exclude worker env: any template change would re-run the migration.
        spec.worker.model_copy(update={"env": []}),
        # The last lines of a failed migration become the message of SchemaCurrent.
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    template = pods.template(
        resource, "migration", container, user=process.USER, extra=spec.worker.template, restartPolicy="Never"
    )
    pruned_template: Manifest = pruned(template)
    return pruned_template

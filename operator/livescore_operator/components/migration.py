"""The Job that brings the database to the schema of the wanted image, before any Deployment gets that image."""

from datetime import datetime

from livescore_operator.components import pods, process
from livescore_operator.components.common import BuildContext, digest, manifest, pruned
from livescore_operator.resource import LiveScore, Manifest

# Four more attempts, ten minutes in all: a migration that fails for another reason than a restart of its database
# shall be seen soon.
RETRIES = 4
DEADLINE_SECONDS = 600

# Seconds after which a Job that has given up is made again: its cause may have been the database's, and gone with it.
RETRY_SECONDS = 300.0

# Name of the migration's container in its pods, beside which others may be.
CONTAINER = "migration"

# Hexadecimal digits: enough to tell the images of one LiveScore apart.
_HASH_LENGTH = 8


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """The migration Job, once the database answers."""
    return [_job(resource)] if context.database_ready else []


def name(resource: LiveScore) -> str:
    """Name of the Job for what the resource wants now; another image, another name."""
    return f"{resource.name}-migrate-{digest(_template(resource))[:_HASH_LENGTH]}"


def succeeded(job: Manifest) -> bool:
    """Whether the schema is now that of the Job's image."""
    return _condition(job, "Complete") is not None


def failed(job: Manifest) -> bool:
    """Whether the Job has given up."""
    return _condition(job, "Failed") is not None


def failure(job: Manifest) -> str:
    """Return why a Job has given up, in the words of its controller; empty if it has not."""
    condition = _condition(job, "Failed") or {}
    return ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))


def may_retry(job: Manifest, now: datetime) -> bool:
    """Whether a Job that has given up shall be deleted, so that it is made again."""
    return failed(job) and retry_after(job, now) == 0


def retry_after(job: Manifest, now: datetime) -> float:
    """Seconds until a Job that has given up may be made again."""
    condition = _condition(job, "Failed")
    if condition is None:
        return RETRY_SECONDS
    waited = now - datetime.fromisoformat(condition["lastTransitionTime"])
    return max(0.0, RETRY_SECONDS - waited.total_seconds())


def _condition(job: Manifest, type: str) -> Manifest | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == type and one["status"] == "True"), None)


def _job(resource: LiveScore) -> Manifest:
    # No ttlSecondsAfterFinished: a Job that went away would be made, and run, again.
    spec = {"backoffLimit": RETRIES, "activeDeadlineSeconds": DEADLINE_SECONDS, "template": _template(resource)}
    return manifest(resource, "batch/v1", "Job", name(resource), "migration", spec=spec)


def _template(resource: LiveScore) -> Manifest:
    """With a worker's resources and on its nodes.

    It has no checksum: a Job's template is immutable, and a changed Secret is no reason to migrate again.
    """
    spec = resource.spec
    container = process.container(
        resource,
        CONTAINER,
        "migrate",
        spec.image,
        # Variables of the workers' own are none of its: whatever is in its template makes it run again.
        spec.worker.model_copy(update={"env": []}),
        # The last lines of a failed migration become the message of SchemaCurrent.
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    template = pods.template(
        resource, "migration", container, user=process.USER, extra=spec.worker.template, restartPolicy="Never"
    )
    pruned_template: Manifest = pruned(template)
    return pruned_template

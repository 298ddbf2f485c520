"""Input of the builders in addition to the spec, derived from the observed state. Pure functions."""

from collections.abc import Callable, Iterable, Mapping

from livescore_operator import conditions
from livescore_operator.components import api, credentials, migration, server
from livescore_operator.components.common import BuildContext, ClaimTemplate, Scale
from livescore_operator.errors import Waiting
from livescore_operator.kinds import CLUSTER
from livescore_operator.observation import ObservedState
from livescore_operator.planning import Key
from livescore_operator.quantities import canonical, is_less
from livescore_operator.resource import LiveScore, Manifest

# Placeholder in plans for a password that is generated only when the plan is carried out.
PLANNED = "to-be-made"

# Requeue delay in seconds while CloudNativePG is missing: a person must install it.
MISSING_SECONDS = 30.0


def build_context(
    resource: LiveScore, observed: ObservedState, serving: str | None, namespace: str, scale: Scale
) -> BuildContext:
    """Return the context in which the owned objects of a LiveScore are built.

    Args:
        resource: The LiveScore.
        observed: Its observed state.
        serving: See :func:`serving_image`.
        namespace: Namespace of the operator.
        scale: Number of API pods.

    Raises:
        Waiting: Raised if CloudNativePG, or the password of an existing database, is missing.
        Terminal: Raised if a password cannot be used.
    """
    _require_cloudnative_pg(resource, observed)
    secret = observed.owned.get(("Secret", credentials.name(resource)))
    # A migration that was started stays desired while the database restarts; else it would be pruned and run again.
    begun = ("Job", migration.name(resource)) in observed.owned
    return BuildContext(
        operator_namespace=namespace,
        credentials=credentials.kept(resource, secret, observed.claims.keys(), make=_maker(resource)),
        checksums=observed.checksums,
        serving_image=serving,
        database_ready=begun or _is_settled(conditions.database(resource, observed.owned)),
        claimed=_claimed(observed.owned),
        claims=_sizes(resource, observed.claims),
        kinds=observed.kinds,
        scale=scale,
    )


def _is_settled(database: conditions.Finding) -> bool:
    """Return True if the database is ready and is not about to restart for a new revision."""
    return database.status == "True" and database.reason not in conditions.UNFINISHED


def _maker(resource: LiveScore) -> Callable[[], str]:
    """Return the generator of passwords. Plans use a placeholder: they are reproducible and show no password."""
    return (lambda: PLANNED) if resource.spec.reconcile_policy == "Plan" else credentials.new


def _sizes(resource: LiveScore, claims: Mapping[str, str]) -> dict[str, str]:
    """Return the desired size of each existing claim. A claim of an earlier LiveScore may stay larger."""
    spec = resource.spec
    wanted = {
        server.claim(resource, "postgres"): spec.postgres.storage.size,
        server.claim(resource, "redis"): spec.redis.storage.size,
    }
    found = {name: size for name, size in wanted.items() if name in claims}
    return {name: canonical(size) if is_less(claims[name], size) else claims[name] for name, size in found.items()}


def _require_cloudnative_pg(resource: LiveScore, observed: ObservedState) -> None:
    if resource.spec.postgres.mode == "cloudnative-pg" and CLUSTER.full_name not in observed.kinds:
        message = "CloudNativePG is not installed in this cluster: install it, or choose another postgres.mode"
        raise Waiting("CloudNativePGMissing", message, condition="DatabaseReady", after=MISSING_SECONDS)


def _claimed(owned: Mapping[Key, Manifest]) -> dict[str, ClaimTemplate]:
    """Return the volume claim template of each StatefulSet. Claim templates are immutable."""
    found = {name: server.template(child) for (kind, name), child in owned.items() if kind == "StatefulSet"}
    return {name: template for name, template in found.items() if template}


def _named(items: Iterable[Manifest] | None, name: str) -> Manifest | None:
    """Return the item of this name. Webhooks may have added other items, in any position."""
    return next((item for item in items or () if (item.get("metadata") or item).get("name") == name), None)


def serving_image(resource: LiveScore, observed: ObservedState) -> str | None:
    """Return the image that Deployments may run: the current one until the migration of the desired one succeeded."""
    job = observed.owned.get(("Job", migration.name(resource)))
    if job is not None and migration.succeeded(job):
        return resource.spec.image
    deployment = observed.owned.get(("Deployment", resource.api_name))
    if deployment is None:
        return resource.status.image
    container = _named(deployment["spec"]["template"]["spec"].get("containers"), api.CONTAINER)
    return resource.status.image if container is None else container["image"]

"""What the builders are told of the cluster beside the spec, read out of an observation. Pure."""

from collections.abc import Callable, Iterable, Mapping

from livescore_operator import conditions
from livescore_operator.cluster import optional_kind
from livescore_operator.components import api, credentials, migration, server
from livescore_operator.components.common import BuildContext, ClaimTemplate, Scale
from livescore_operator.components.common import quantity as canonical
from livescore_operator.errors import Waiting
from livescore_operator.observation import ObservedState, require_secrets
from livescore_operator.planning import Key, quantity
from livescore_operator.resource import LiveScore, Manifest

# Stands for a password that is not made before the plan is carried out.
PLANNED = "to-be-made"

# An operator is installed by a person: nobody waits for it in seconds.
MISSING_SECONDS = 30.0


def build_context(
    resource: LiveScore, observed: ObservedState, serving: str | None, namespace: str, scale: Scale
) -> BuildContext:
    """Everything that the builders need to know.

    Args:
        resource: whose owned are built.
        observed: what the cluster holds of it.
        serving: see :func:`serving_image`.
        namespace: of the operator.
        scale: how many API pods there should be.

    Raises:
        Waiting: when something must be there first that only others can bring.
    """
    require_secrets(resource, observed.secrets)
    _require_cloudnative_pg(resource, observed)
    secret = observed.owned.get(("Secret", credentials.name(resource)))
    # A migration that was begun stays wanted while the database restarts: it would be pruned, and then run again.
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
    """Return whether the database is ready and not about to be restarted for a new revision."""
    return database.status == "True" and database.reason not in conditions.UNFINISHED


def _maker(resource: LiveScore) -> Callable[[], str]:
    """New passwords; a plan is the same whenever it is made, and shows none."""
    return (lambda: PLANNED) if resource.spec.reconcile_policy == "Plan" else credentials.new


def _sizes(resource: LiveScore, claims: Mapping[str, str]) -> dict[str, str]:
    """Return the size that each claim should have. One that an earlier LiveScore left may be larger, and stays so."""
    spec = resource.spec
    wanted = {
        server.claim(resource, "postgres"): spec.postgres.storage.size,
        server.claim(resource, "redis"): spec.redis.storage.size,
    }
    found = {name: size for name, size in wanted.items() if name in claims}
    return {name: canonical(size) if _less(claims[name], size) else claims[name] for name, size in found.items()}


def _less(size: str, other: str) -> bool:
    mine, theirs = quantity(size), quantity(other)
    return mine is not None and theirs is not None and mine < theirs


def _require_cloudnative_pg(resource: LiveScore, observed: ObservedState) -> None:
    if resource.spec.postgres.mode == "cloudnative-pg" and optional_kind("Cluster") not in observed.kinds:
        message = "this cluster has no CloudNativePG: install it, or choose another postgres.mode"
        raise Waiting("CloudNativePGMissing", message, condition="DatabaseReady", after=MISSING_SECONDS)


def _claimed(owned: Mapping[Key, Manifest]) -> dict[str, ClaimTemplate]:
    """Return the volume claim template of each StatefulSet, which the API server lets nobody change."""
    found = {name: server.template(child) for (kind, name), child in owned.items() if kind == "StatefulSet"}
    return {name: template for name, template in found.items() if template}


def _named(items: Iterable[Manifest] | None, name: str) -> Manifest | None:
    """Return the item of this name; others may add containers and claims of their own, in any place."""
    return next((item for item in items or () if (item.get("metadata") or item).get("name") == name), None)


def serving_image(resource: LiveScore, observed: ObservedState) -> str | None:
    """The image that Deployments may run: the wanted one once the schema is its, until then the one that serves."""
    job = observed.owned.get(("Job", migration.name(resource)))
    if job is not None and migration.succeeded(job):
        return resource.spec.image
    deployment = observed.owned.get(("Deployment", resource.api_name))
    if deployment is None:
        return resource.status.image
    container = _named(deployment["spec"]["template"]["spec"].get("containers"), api.CONTAINER)
    return resource.status.image if container is None else container["image"]

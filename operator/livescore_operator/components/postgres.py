"""PostgreSQL: one pod with a volume, a Cluster of CloudNativePG, or an external server."""

from livescore_operator.components import credentials, pods, server
from livescore_operator.components.common import BuildContext, fingerprint, manifest
from livescore_operator.kinds import CLUSTER
from livescore_operator.quantities import canonical
from livescore_operator.resource import LiveScore, Manifest

# Name of the database and of its owner.
DATABASE = "livescore"

# The image declares a volume at or below this directory, depending on its version. The data is in a subdirectory,
# since a new volume may contain lost+found.
FOLDER = "/var/lib/postgresql"

# Seconds for a fast shutdown to write its checkpoint; a server that is killed earlier must recover.
STOP_SECONDS = 60

# Number of startup probes, one every two seconds: a recovery may replay half an hour of write-ahead log.
START_ATTEMPTS = 900


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return the objects of `postgres.mode`."""
    mode = resource.spec.postgres.mode
    if mode == "standalone":
        return server.build(resource, context, _server(resource, context))
    return [_cluster(resource)] if mode == "cloudnative-pg" and CLUSTER.full_name in context.kinds else []


def _server(resource: LiveScore, context: BuildContext) -> server.Server:
    postgres = resource.spec.postgres
    return server.Server(
        component="postgres",
        port=server.POSTGRES_PORT,
        user=postgres.run_as_user,
        storage=postgres.storage,
        container=_container(resource),
        checksum=fingerprint(context.credentials.checksum_key, context.credentials.postgres_password),
        stop_seconds=STOP_SECONDS,
        # Parallel queries share memory there; the 64 MB of a container by default are not enough.
        volumes=[pods.scratch("run"), {"name": "shm", "emptyDir": {"medium": "Memory"}}],
    )


def _container(resource: LiveScore) -> Manifest:
    postgres = resource.spec.postgres
    return pods.container(
        "postgres",
        postgres.image,
        postgres.resources,
        mounts=[
            {"name": server.VOLUME, "mountPath": FOLDER},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a volume of this container alone
        ],
        env=_environment(resource),
        ports=[pods.port("postgres", server.POSTGRES_PORT)],
        startupProbe=_probe(periodSeconds=2, timeoutSeconds=5, failureThreshold=START_ATTEMPTS),
        readinessProbe=_probe(periodSeconds=5, timeoutSeconds=5, failureThreshold=3),
        livenessProbe=_probe(periodSeconds=10, timeoutSeconds=5, failureThreshold=6),
    )


def _environment(resource: LiveScore) -> list[Manifest]:
    return [
        {"name": "POSTGRES_USER", "value": DATABASE},
        {"name": "POSTGRES_DB", "value": DATABASE},
        pods.secret_variable("POSTGRES_PASSWORD", credentials.name(resource), "postgres-password"),
        {"name": "PGDATA", "value": f"{FOLDER}/pgdata"},
    ]


def _probe(**timing: int) -> Manifest:
    # By TCP: while the image initializes a new database, a temporary server listens on the socket only.
    command = ["pg_isready", "-U", DATABASE, "-d", DATABASE, "-h", "localhost"]
    return {"exec": {"command": command}, **timing}


def _cluster(resource: LiveScore) -> Manifest:
    postgres = resource.spec.postgres
    spec = {
        "instances": postgres.instances,
        "bootstrap": {"initdb": {"database": DATABASE, "owner": DATABASE}},
        "storage": {"size": canonical(postgres.storage.size), "storageClass": postgres.storage.storage_class_name},
        "resources": pods.amounts(postgres.resources),
    }
    # Without an owner, like all volumes: CloudNativePG deletes the data together with the Cluster.
    return manifest(
        resource,
        CLUSTER.api_version,
        CLUSTER.name,
        server.name(resource, "postgres"),
        "postgres",
        owned=False,
        spec=spec,
    )

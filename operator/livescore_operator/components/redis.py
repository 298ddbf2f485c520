"""Redis or Valkey: one pod with a volume, or an external server."""

from livescore_operator.components import credentials, pods, server
from livescore_operator.components.common import BuildContext, fingerprint
from livescore_operator.resource import LiveScore, Manifest

FOLDER = "/data"

# Seconds to write the rest of the append-only file.
STOP_SECONDS = 30

# Arguments only: the entry points of the images prepend the name of the server.
ARGUMENTS = (
    # No event depends on Redis, but jobs that survive a restart run on time.
    ("--appendonly", "yes"),
    ("--save", ""),
    # Jobs must not be evicted when memory is full.
    ("--maxmemory-policy", "noeviction"),
    # As a hash: Valkey 8 does not start with quotes in a password, and drops backslashes.
    ("--user", "default", "on", "#$(REDIS_PASSWORD_SHA256)", "allkeys", "allchannels", "allcommands"),
    ("--dir", FOLDER),
)


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return the objects of `redis.mode`."""
    standalone = resource.spec.redis.mode == "standalone"
    return server.build(resource, context, _server(resource, context)) if standalone else []


def _server(resource: LiveScore, context: BuildContext) -> server.Server:
    redis = resource.spec.redis
    return server.Server(
        component="redis",
        port=server.REDIS_PORT,
        user=redis.run_as_user,
        storage=redis.storage,
        container=_container(resource),
        checksum=fingerprint(context.credentials.checksum_key, context.credentials.redis_password),
        stop_seconds=STOP_SECONDS,
    )


def _container(resource: LiveScore) -> Manifest:
    redis = resource.spec.redis
    return pods.container(
        "redis",
        redis.image,
        redis.resources,
        mounts=[{"name": server.VOLUME, "mountPath": FOLDER}],
        args=[argument for option in ARGUMENTS for argument in option],
        env=[pods.secret_variable("REDIS_PASSWORD_SHA256", credentials.name(resource), credentials.REDIS_HASH)],
        ports=[pods.port("redis", server.REDIS_PORT)],
        startupProbe=_probe(periodSeconds=1, failureThreshold=60),
        readinessProbe=_probe(periodSeconds=5, timeoutSeconds=3, failureThreshold=3),
        livenessProbe=_probe(periodSeconds=10, timeoutSeconds=3, failureThreshold=6),
    )


def _probe(**timing: int) -> Manifest:
    # No command: the images name their clients differently.
    return {"tcpSocket": {"port": "redis"}, **timing}

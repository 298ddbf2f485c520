"""Redis or Valkey: one pod with a volume, or none of ours."""

from livescore_operator.components import credentials, pods, server
from livescore_operator.components.common import BuildContext, fingerprint
from livescore_operator.resource import LiveScore, Manifest

FOLDER = "/data"

# Seconds in which it writes the rest of its append-only file.
STOP_SECONDS = 30

# Arguments only: the images' entry points put the server's name before them.
ARGUMENTS = (
    # No event depends on Redis, but jobs that survive a restart come at their second.
    ("--appendonly", "yes"),
    ("--save", ""),
    # Jobs must not vanish when memory runs out.
    ("--maxmemory-policy", "noeviction"),
    # By its hash: Valkey 8 does not start with a password that contains quotes, and drops backslashes from others.
    ("--user", "default", "on", "#$(REDIS_PASSWORD_SHA256)", "allkeys", "allchannels", "allcommands"),
    ("--dir", FOLDER),
)


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """What `redis.mode` asks for."""
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
    # Not by a command: images name their clients differently.
    return {"tcpSocket": {"port": "redis"}, **timing}

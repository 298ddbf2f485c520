"""Configuration of the processes, and their ServiceAccount."""

from livescore_operator.components import credentials
from livescore_operator.components.common import BuildContext, manifest
from livescore_operator.resource import MANAGEMENT_PORT, KeyReference, LiveScore, Manifest

# Seconds until kube-proxy and Ingress controllers stop routing to a pod that is no longer ready.
DRAIN_GRACE_SECONDS = 5

KEYS_FOLDER, KEYS_FILE = "/etc/livescore", "keys.json"

# A separate directory, so that the administrator's key is available with and without a file of keys.
ADMIN_FOLDER = "/etc/livescore-admin"


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return ConfigMap, Secret of credentials and ServiceAccount."""
    return [_config_map(resource), credentials.secret(resource, context.credentials), _service_account(resource)]


def config_name(resource: LiveScore) -> str:
    """Return the name of the ConfigMap."""
    return f"{resource.name}-config"


def data(resource: LiveScore) -> dict[str, str]:
    """Return the settings that all processes share, as environment variables."""
    api = resource.spec.api
    # HOST and MANAGEMENT_HOST are reserved and unset: by default processes listen on all IPv4 and IPv6 addresses.
    settings = {
        "PORT": str(api.port),
        "MANAGEMENT_PORT": str(MANAGEMENT_PORT),
        "ENVIRONMENT": "production",
        "LOG_FORMAT": "json",
        "SECURITY_MODE": api.security_mode,
        "ALLOWED_ORIGINS": ",".join(api.allowed_origins),
        "DRAIN_GRACE_SECONDS": str(DRAIN_GRACE_SECONDS),
        "DRAIN_SECONDS": str(api.drain.deadline_seconds),
        "ADMIN_KEY_FILE": f"{ADMIN_FOLDER}/{credentials.ADMIN_KEY}",
        "API_KEYS_FILE": f"{KEYS_FOLDER}/{KEYS_FILE}" if api.api_keys_secret else "",
    }
    return {name: value for name, value in settings.items() if value}


def database(resource: LiveScore) -> KeyReference:
    """Return the Secret key that holds DATABASE_URL."""
    postgres = resource.spec.postgres
    if postgres.mode == "external" and postgres.external:
        return postgres.external.secret_ref
    if postgres.mode == "cloudnative-pg":
        # Created by CloudNativePG: `<cluster>-app`.
        return KeyReference(name=f"{resource.name}-postgres-app", key="uri")
    return KeyReference(name=credentials.name(resource), key="database-url")


def redis(resource: LiveScore) -> KeyReference:
    """Return the Secret key that holds REDIS_URL."""
    server = resource.spec.redis
    if server.mode == "external" and server.external:
        return server.external.secret_ref
    return KeyReference(name=credentials.name(resource), key="redis-url")


def _config_map(resource: LiveScore) -> Manifest:
    return manifest(resource, "v1", "ConfigMap", config_name(resource), "config", data=data(resource))


def _service_account(resource: LiveScore) -> Manifest:
    return manifest(resource, "v1", "ServiceAccount", resource.name, "config", automountServiceAccountToken=False)

"""The LiveScore resource as pydantic models. ``crd.py`` generates the CRD from these.

``kubectl explain`` shows the descriptions; the API server evaluates the rules, which are CEL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""

GROUP, VERSION, KIND, PLURAL = "livescore.dev", "v1", "LiveScore", "livescores"
API_VERSION = f"{GROUP}/{VERSION}"

# Default of the service. No Service exposes the port, so clients cannot reach it.
MANAGEMENT_PORT = 9100

METRIC = "livescore_websocket_connections"
"""Metric of an API pod: open WebSockets."""

# Names of owned objects append up to 23 characters, and are used in labels of at most 63.
MAX_NAME = 40

QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"

# Environment variables that the operator sets. Other values would disconnect a process from its database, its probes
# or its drain.
RESERVED_ENV = (
    "DATABASE_URL",
    "REDIS_URL",
    "HOST",
    "PORT",
    "MANAGEMENT_HOST",
    "MANAGEMENT_PORT",
    "INSTANCE",
    "API_KEYS_FILE",
    "ADMIN_KEY_FILE",
    "SECURITY_MODE",
    "ALLOWED_ORIGINS",
    "DRAIN_GRACE_SECONDS",
    "DRAIN_SECONDS",
)


def _rules(*rules: tuple[str, str]) -> dict[str, Any]:
    """Return a schema with CEL rules, each with a message that says what to do."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def timestamp(moment: datetime) -> str:
    """Format a time as Kubernetes does: RFC 3339 in UTC, truncated to seconds."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_empty(value: Any) -> bool:
    """Return True for values that a status omits."""
    return not value


def _keyed(*keys: str) -> dict[str, Any]:
    """Return the schema of a list that server-side apply merges item by item, by these keys."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value),
    Field(pattern=QUANTITY),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, "pattern": QUANTITY}
    ),
]
Size = Annotated[str, Field(pattern=QUANTITY, max_length=20)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
# Passed on unchanged: the API server validates it when the owned object is applied.
PassedThrough = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]


class Model(BaseModel):
    """Base of all models. Fields are camelCase in YAML, as everywhere in Kubernetes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Resources(Model):
    """Resource requests and limits of a container."""

    requests: dict[str, Quantity] = Field(
        {}, description="Resources that the scheduler reserves on the node, by name: cpu, memory."
    )
    limits: dict[str, Quantity] = Field({}, description="Resources that the container may use at most, by name.")


@dataclass(frozen=True)
class ResourceDefaults:
    """Annotation of a field of :class:`Resources`: defaults of its two members.

    The defaults are those of `requests` and `limits` themselves, so that setting one of them keeps the other.
    """

    requests: Mapping[str, str]
    limits: Mapping[str, str]

    @property
    def value(self) -> Resources:
        """The defaults as a value."""
        return Resources(requests=dict(self.requests), limits=dict(self.limits))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Fill in the defaults before validation."""
        return no_info_before_validator_function(self._with_defaults, handler(source))

    def _with_defaults(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {"requests": dict(self.requests), "limits": dict(self.limits), **value}

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of :class:`Resources` with these defaults in place of its own."""
        found = dict(handler.resolve_ref_schema(handler(schema)))
        properties = {name: dict(member) for name, member in found["properties"].items()}
        properties["requests"]["default"] = dict(self.requests)
        properties["limits"]["default"] = dict(self.limits)
        return {**found, "properties": properties}


# An idle API container needs 90 MB, a socket 3 to 8 KB.
_API_RESOURCES = ResourceDefaults({"cpu": "100m", "memory": "128Mi"}, {"memory": "512Mi"})
_JOB_RESOURCES = ResourceDefaults({"cpu": "50m", "memory": "96Mi"}, {"memory": "256Mi"})
_POSTGRES_RESOURCES = ResourceDefaults({"cpu": "100m", "memory": "256Mi"}, {"memory": "1Gi"})
_REDIS_RESOURCES = ResourceDefaults({"cpu": "50m", "memory": "64Mi"}, {"memory": "256Mi"})


class Toleration(Model):
    """A taint that the pods tolerate."""

    key: str | None = Field(
        None, description="Key of the taint. If absent, operator must be Exists, and every taint is tolerated."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="How the value is compared: Exists ignores it, Equal (the default) requires it."
    )
    value: str | None = Field(None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. If absent, every effect is tolerated."
    )
    toleration_seconds: int | None = Field(
        None, description="Seconds for which a NoExecute taint is tolerated; for ever if absent."
    )


class PodTemplate(Model):
    """Additions to the pods: metadata and scheduling."""

    labels: dict[str, str] = Field(
        {}, description="Additional labels of the pods. Labels that the operator sets cannot be replaced."
    )
    annotations: dict[str, str] = Field({}, description="Additional annotations of the pods.")
    node_selector: dict[str, str] = Field({}, description="Labels that a node must have to run the pods.")
    tolerations: list[Toleration] = Field([], max_length=50, description="Taints that the pods tolerate.")
    affinity: PassedThrough | None = Field(None, description="Affinity of the pods, as in the spec of a pod.")
    priority_class_name: str | None = Field(None, max_length=253, description="Priority class of the pods.")
    topology_spread_constraints: list[PassedThrough] | None = Field(
        None,
        max_length=10,
        description="How pods are spread, as in the spec of a pod; evenly over the nodes if absent.",
    )


class KeyReference(Model):
    """A key of a Secret or ConfigMap in the same namespace."""

    name: ObjectName = Field(description="Name of the object.")
    key: str = Field(min_length=1, max_length=253, description="Key within the object.")


class EnvSource(Model):
    """Source of the value of an environment variable."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "has(self.secretKeyRef) != has(self.configMapKeyRef)",
                "give exactly one of secretKeyRef and configMapKeyRef",
            )
        )
    )

    secret_key_ref: KeyReference | None = Field(None, description="A key of a Secret.")
    config_map_key_ref: KeyReference | None = Field(None, description="A key of a ConfigMap.")


class EnvVar(Model):
    """An additional environment variable."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            ("has(self.value) != has(self.valueFrom)", "give exactly one of value and valueFrom"),
            (
                f"!(self.name in {list(RESERVED_ENV)})",
                (
                    "this variable is set by the operator: use the field of the spec that stands for it (api.port, "
                    "api.securityMode, api.allowedOrigins, api.apiKeysSecret, api.drain, postgres, redis)"
                ),
            ),
        )
    )

    name: str = Field(
        min_length=1, max_length=128, pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the variable."
    )
    value: str | None = Field(None, max_length=4096, description="Value of the variable.")
    value_from: EnvSource | None = Field(None, description="Source of the value, instead of value.")


EnvList = Annotated[
    list[EnvVar],
    Field(
        max_length=64,
        json_schema_extra=_keyed("name"),
        description="Additional environment variables of the service. Variables that the operator sets are rejected.",
    ),
]


class Drain(Model):
    """Drain of a pod: it closes its sockets before it stops."""

    deadline_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds over which a stopping pod closes its sockets; clients receive reconnect hints first.",
    )


class Ingress(Model):
    """An Ingress in front of the API."""

    class_name: str | None = Field(
        None, max_length=253, description="Ingress class; the default of the cluster if absent."
    )
    host: str = Field(min_length=1, max_length=253, description="Host name that clients use.")
    tls_secret_name: str | None = Field(
        None, max_length=253, description="Secret with the TLS certificate. If absent, the Ingress serves plain HTTP."
    )
    annotations: dict[str, str] = Field(
        {}, description="Annotations of the Ingress, such as settings of its controller."
    )


class PodDisruptionBudget(Model):
    """Limit on API pods that node drains may evict at the same time."""

    enabled: bool = Field(True, description="Create a PodDisruptionBudget.")
    max_unavailable: int = Field(
        1, ge=1, le=1000, description="Number of API pods that may be unavailable at the same time."
    )


class Api(Model):
    """The API: REST, WebSocket and server-sent events."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (f"self.port != {MANAGEMENT_PORT}", f"{MANAGEMENT_PORT} is the management port: choose another api.port")
        )
    )

    replicas: int = Field(2, ge=0, le=1000, description="Number of API pods if autoscaling.mode is none.")
    port: int = Field(8000, ge=1024, le=65535, description="Port of the pods and of the Service.")
    resources: Annotated[Resources, _API_RESOURCES] = Field(
        _API_RESOURCES.value, description="Resource requests and limits of the API container."
    )
    env: EnvList = []
    drain: Drain = Field(Drain(), description="How a pod closes its sockets before it stops.")
    security_mode: Literal["DRY_RUN", "LIVE"] = Field(
        "LIVE",
        description="LIVE enforces the rate limits on requests and handshakes, DRY_RUN only logs what it would refuse.",
    )
    allowed_origins: list[Annotated[str, Field(max_length=253)]] = Field(
        [],
        max_length=100,
        description=(
            "Web origins that may call the API from browsers, such as https://app.example.com; * for all, empty for "
            "its own only."
        ),
    )
    api_keys_secret: KeyReference | None = Field(
        None, description="Key of a Secret with hashed API keys, as printed by `livescore keys create --json`."
    )
    ingress: Ingress | None = Field(None, description="Ingress in front of the API; none if absent.")
    pod_disruption_budget: PodDisruptionBudget = Field(
        PodDisruptionBudget(), description="Limit on API pods that node drains may evict at the same time."
    )
    template: PodTemplate = Field(PodTemplate(), description="Additions to the API pods.")


class Worker(Model):
    """RQ workers, which change the status of matches on time."""

    replicas: int = Field(1, ge=0, le=100, description="Number of worker pods.")
    resources: Annotated[Resources, _JOB_RESOURCES] = Field(
        _JOB_RESOURCES.value, description="Resource requests and limits of the worker container."
    )
    env: EnvList = []
    template: PodTemplate = Field(PodTemplate(), description="Additions to the worker pods.")


class Scheduler(Model):
    """rq-scheduler, which queues jobs for the workers when they are due."""

    replicas: int = Field(
        1,
        ge=0,
        le=1,
        description="Number of scheduler pods. With 0 the status of matches depends on the workers' sweep.",
    )
    resources: Annotated[Resources, _JOB_RESOURCES] = Field(
        _JOB_RESOURCES.value, description="Resource requests and limits of the scheduler container."
    )
    env: EnvList = []
    template: PodTemplate = Field(PodTemplate(), description="Additions to the scheduler pod.")


class ScalingPolicy(Model):
    """Limit on the change of the number of pods within a period."""

    type: Literal["Pods", "Percent"] = Field(
        description="Unit of value: pods, or percent of the pods at the start of the period."
    )
    value: int = Field(ge=1, le=1000, description="Maximum change within the period.")
    period_seconds: int = Field(ge=1, le=1800, description="Length of the period in seconds.")


def _steps(*policies: ScalingPolicy) -> Any:
    """Return the field of the policies. It is required unless a default is given."""
    default = list(policies) if policies else ...
    return Field(default, min_length=1, max_length=8, description="Limits on the change of the number of pods.")


class ScalingRules(Model):
    """Limits on the rate of scaling, as in the `behavior` of a HorizontalPodAutoscaler."""

    stabilization_window_seconds: int = Field(
        ge=0, le=3600, description="Seconds over which the most careful recommendation is used."
    )
    select_policy: Literal["Max", "Min", "Disabled"] = Field(
        "Max",
        description=(
            "Which policy applies if there are several: the one that allows the largest (Max) or the smallest (Min) "
            "change. Disabled never scales in this direction."
        ),
    )
    policies: list[ScalingPolicy] = _steps()


class ScaleUp(ScalingRules):
    """Limits on the rate of adding pods: by default at once, and doubled or four more within 15 seconds."""

    stabilization_window_seconds: int = Field(
        0, ge=0, le=3600, description="Seconds over which the lowest recommendation is used."
    )
    policies: list[ScalingPolicy] = _steps(
        ScalingPolicy(type="Percent", value=100, period_seconds=15),
        ScalingPolicy(type="Pods", value=4, period_seconds=15),
    )


class ScaleDown(ScalingRules):
    """Limits on the rate of removing pods. A removal loses no events, but makes clients reconnect."""

    stabilization_window_seconds: int = Field(
        300, ge=0, le=3600, description="Seconds over which the highest recommendation is used."
    )
    policies: list[ScalingPolicy] = _steps(
        ScalingPolicy(type="Percent", value=10, period_seconds=60),
        ScalingPolicy(type="Pods", value=1, period_seconds=60),
    )


class Rebalance(Model):
    """Sockets stay on their pod: after a scale-up, pods above the mean ask some clients to reconnect."""

    enabled: bool = Field(True, description="Let pods with too many sockets shed them gradually.")
    tolerance: float = Field(
        0.2,
        ge=0.05,
        le=1,
        description="Relative excess over the mean that a pod may hold without shedding sockets (0.2 = 20 %).",
    )
    per_second: int = Field(
        20, ge=1, le=10_000, description="Maximum number of reconnect hints per second, over all pods."
    )


class Expectation(Model):
    """Expected connections of certain matches."""

    model_config = ConfigDict(
        json_schema_extra=_rules(("has(self.sport) || has(self.team)", "give sport, team or both"))
    )

    sport: str | None = Field(None, min_length=1, max_length=100, description="Sport of the match, as in the REST API.")
    team: str | None = Field(None, min_length=1, max_length=100, description="Name of one of the two teams.")
    connections: int = Field(ge=0, le=100_000_000, description="Expected connections of such a match.")


class MatchDay(Model):
    """Scale-up before kick-off, by the fixtures of the service."""

    enabled: bool = Field(False, description="Raise the number of pods ahead of matches.")
    lead_minutes: int = Field(
        10, ge=1, le=240, description="Minutes before kick-off at which the number of pods is raised."
    )
    expected_connections: int = Field(
        1000,
        ge=0,
        le=100_000_000,
        description="Expected connections of a match if no expectation applies and no similar match was seen before.",
    )
    expectations: list[Expectation] = Field(
        [],
        max_length=100,
        description="Expected connections by sport and team. The first that applies to a match is used.",
    )


class Autoscaling(Model):
    """Autoscaling of the API pods."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "self.minReplicas <= self.maxReplicas",
                (
                    "minReplicas is above maxReplicas, which is 10 unless it is given: set autoscaling.maxReplicas to "
                    "at least autoscaling.minReplicas"
                ),
            )
        )
    )

    mode: Literal["none", "connections", "hpa"] = Field(
        "none",
        description=(
            "none: by api.replicas, which `kubectl scale` changes. connections: by the operator, from open WebSockets. "
            f"hpa: by a HorizontalPodAutoscaler on the metric {METRIC}."
        ),
    )
    min_replicas: int = Field(2, ge=1, le=1000, description="Minimum number of API pods.")
    max_replicas: int = Field(10, ge=1, le=1000, description="Maximum number of API pods.")
    target_connections_per_pod: int = Field(
        5000,
        ge=1,
        le=1_000_000,
        description="Target number of WebSockets per pod. 5000 need about 40 MB of memory and little CPU.",
    )
    tolerance: float = Field(
        0.1, ge=0, le=1, description="Relative deviation from the target that does not trigger scaling (0.1 = 10 %)."
    )
    scale_up: ScaleUp = Field(ScaleUp(), description="How fast pods are added.")
    scale_down: ScaleDown = Field(ScaleDown(), description="How fast pods are removed.")
    rebalance: Rebalance = Field(Rebalance(), description="How sockets move from full pods to new ones.")
    match_day: MatchDay = Field(MatchDay(), description="Scale-up before kick-off, by the fixtures of the service.")


def _volume_rules(server: str, exists: str) -> tuple[tuple[str, str], ...]:
    """Return the rules about an existing volume, for the whole object: only there `status` can be read.

    In mode external there is no volume, so its size and class may change.
    """
    new, old = f"self.spec.{server}", f"oldSelf.spec.{server}"
    volume = f"self.status.volumes.{server}"
    admitted = f"{old}.mode == 'external' || !({exists})"
    return (
        (
            f"{admitted} || quantity({new}.storage.size).compareTo(quantity({old}.storage.size)) >= 0",
            (
                f"{server}.storage.size: a volume cannot shrink: make another LiveScore with the size you want and "
                "restore a dump into it"
            ),
        ),
        (
            (
                f"{admitted} || {_same_class(f'{new}.storage', f'{old}.storage')} || "
                # Back to the class of the volume, if the spec was changed at the moment when the volume was bound.
                f"({_is_bound(server)} && {_same_class(f'{new}.storage', volume)})"
            ),
            (
                f"{server}.storage.storageClassName cannot change while the volume exists: make another LiveScore "
                "with the class you want and restore a dump into it"
            ),
        ),
    )


def _same_class(one: str, other: str) -> str:
    """Return a CEL expression: two objects have the same storage class, or none."""
    mine, theirs = f"{one}.storageClassName", f"{other}.storageClassName"
    return f"(has({mine}) == has({theirs}) && (!has({mine}) || {mine} == {theirs}))"


def _is_bound(server: str) -> str:
    """Return a CEL expression: the claim is bound to a volume."""
    paths = ("status", "status.volumes", f"status.volumes.{server}", f"status.volumes.{server}.volume")
    return " && ".join(f"has(self.{path})" for path in paths)


class Storage(Model):
    """A volume. It outlives its pod and the LiveScore."""

    size: Size = Field("10Gi", description="Size of the volume. It may grow if the storage class allows expansion.")
    storage_class_name: str | None = Field(
        None,
        max_length=253,
        description="Storage class; the default of the cluster if absent. It cannot change once a volume is bound.",
    )


class RedisStorage(Storage):
    """The volume of Redis."""

    size: Size = Field("1Gi", description="Size of the volume. It may grow if the storage class allows expansion.")


class ExternalReference(Model):
    """A server that the operator does not run."""

    secret_ref: KeyReference = Field(description="Key of a Secret that holds the URL.")


class Postgres(Model):
    """PostgreSQL, which holds all data."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "self.mode == oldSelf.mode || oldSelf.mode == 'external'",
                (
                    "postgres.mode cannot change while this database holds data: make another LiveScore with the mode "
                    "you want and restore a dump into it"
                ),
            ),
            (
                "self.mode != 'external' || has(self.external)",
                "postgres.mode external needs postgres.external.secretRef",
            ),
        )
    )

    mode: Literal["standalone", "cloudnative-pg", "external"] = Field(
        "standalone",
        description="standalone: one pod and volume. cloudnative-pg: a CloudNativePG Cluster. external: your server.",
    )
    image: str = Field(
        "postgres:17",
        min_length=1,
        max_length=512,
        description="Image for mode standalone, compatible with the official one.",
    )
    run_as_user: int = Field(999, ge=1, description="User ID of PostgreSQL in the image: 999 on Debian, 70 on Alpine.")
    instances: int = Field(3, ge=1, le=20, description="Instances of the CloudNativePG Cluster.")
    storage: Storage = Field(
        Storage(), description="Volume in mode standalone, or of each instance in mode cloudnative-pg."
    )
    resources: Annotated[Resources, _POSTGRES_RESOURCES] = Field(
        _POSTGRES_RESOURCES.value, description="Resource requests and limits of the PostgreSQL container."
    )
    external: ExternalReference | None = Field(None, description="Location of the URL in mode external.")


class Redis(Model):
    """Redis or Valkey, which carries notifications and jobs. No data depends on it."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            ("self.mode != 'external' || has(self.external)", "redis.mode external needs redis.external.secretRef"),
        )
    )

    mode: Literal["standalone", "external"] = Field(
        "standalone", description="standalone: one pod with one volume. external: your own server, Sentinel or Cluster."
    )
    image: str = Field(
        "valkey/valkey:8", min_length=1, max_length=512, description="Image for mode standalone: Valkey or Redis."
    )
    run_as_user: int = Field(999, ge=1, description="User ID of the server in the image.")
    storage: RedisStorage = Field(RedisStorage(), description="Volume in mode standalone.")
    resources: Annotated[Resources, _REDIS_RESOURCES] = Field(
        _REDIS_RESOURCES.value, description="Resource requests and limits of the Redis container."
    )
    external: ExternalReference | None = Field(None, description="Location of the URL in mode external.")


class NetworkPolicy(Model):
    """Traffic that is allowed between pods."""

    enabled: bool = Field(True, description="Deny all traffic that is not needed.")
    clients: list[PassedThrough] = Field(
        [], max_length=50, description="Peers that may reach the API, as in a NetworkPolicy; everything if empty."
    )
    management: list[PassedThrough] = Field(
        [],
        max_length=50,
        description=(
            "Peers that may reach the management ports in addition to the operator, such as Prometheus. Give a "
            "podSelector with each namespaceSelector: the ports accept drain requests without a key."
        ),
    )
    dns: list[PassedThrough] = Field(
        [],
        max_length=50,
        description=(
            "DNS servers that the pods may query, as peers. If empty: the pods labelled k8s-app=kube-dns or "
            "node-local-dns in kube-system, and 169.254.20.10, the usual address of a node-local cache."
        ),
    )


class Monitoring(Model):
    """PodMonitor for the Prometheus operator."""

    enabled: bool = Field(False, description="Create a PodMonitor if its CRD is installed.")
    interval: str = Field("30s", pattern="^[0-9]+(ms|s|m)$", description="Interval between scrapes.")
    labels: dict[str, str] = Field({}, description="Labels of the PodMonitor, by which Prometheus selects it.")


class LocalReference(Model):
    """An object in the same namespace."""

    name: ObjectName = Field(description="Name of the object.")


class Spec(Model):
    """Desired state."""

    image: str = Field(
        min_length=1,
        max_length=512,
        description="Image of the service. The database is migrated before a new image is rolled out.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes pull the image of the service."
    )
    image_pull_secrets: list[LocalReference] = Field(
        [], max_length=10, json_schema_extra=_keyed("name"), description="Secrets for pulling images."
    )
    suspend: bool = Field(False, description="Stop reconciling: nothing is changed or repaired; pods keep running.")
    reconcile_policy: Literal["Apply", "Plan"] = Field(
        "Apply", description="Apply: make the changes. Plan: make none, and write them to status.plan."
    )
    api: Api = Field(Api(), description="The API: REST, WebSocket and server-sent events.")
    worker: Worker = Field(Worker(), description="RQ workers, which change the status of matches on time.")
    scheduler: Scheduler = Field(
        Scheduler(), description="rq-scheduler, which queues jobs for the workers when they are due."
    )
    autoscaling: Autoscaling = Field(Autoscaling(), description="How the number of API pods is determined.")
    postgres: Postgres = Field(Postgres(), description="PostgreSQL, which holds all data.")
    redis: Redis = Field(
        Redis(), description="Redis or Valkey, which carries notifications and jobs. No data depends on it."
    )
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="Traffic that is allowed between pods.")
    monitoring: Monitoring = Field(Monitoring(), description="PodMonitor for the Prometheus operator.")


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Model):
    """A status condition, following the kstatus conventions."""

    type: str = Field(description="Type of the condition.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(description="Reason as one CamelCase word, for programs.")
    message: str = Field("", description="Reason for people, and what to do.")
    observed_generation: int = Field(description="Generation of the spec for which the condition was determined.")
    last_transition_time: str = Field(
        json_schema_extra={"format": "date-time"}, description="When the status last changed."
    )


class Endpoints(Model):
    """URLs of the service."""

    service: str | None = Field(None, description="URL of the Service inside the cluster.")
    websocket: str | None = Field(None, description="URL of the WebSocket inside the cluster.")
    ingress: str | None = Field(None, description="URL of the Ingress, if there is one.")


class Plan(Model):
    """Changes that Apply would make."""

    observed_generation: int = Field(description="Generation of the spec for which the plan was made.")
    summary: str = Field(description="Number of objects to create, update and delete.")
    diff: str = Field("", description="Changes as a diff. Values of Secrets are masked.")


class Readings(Model):
    """Connections of the API pods, as last read."""

    pods: int = Field(description="Serving API pods: ready, and neither draining nor stopping.")
    unread: int = Field(0, description="Serving pods whose connections could not be read.")
    mean: int = Field(0, description="Mean number of connections per serving pod.")
    highest: int = Field(0, description="Highest number of connections of a serving pod.")


class Floor(Model):
    """Minimum number of pods because of matches."""

    replicas: int = Field(description="Minimum number of API pods.")
    until: str | None = Field(
        None,
        json_schema_extra={"format": "date-time"},
        description="When the last of these matches is expected to end.",
    )
    message: str = Field(description="Reason for people.")


class Learnt(Model):
    """Highest number of connections of a match, by sport."""

    sport: str = Field(description="Sport of the match.")
    connections: int = Field(description="Highest number of connections of one such match so far.")


class Scaling(Model):
    """Scaling decision: the number of API pods, and the reason."""

    replicas: int = Field(description="Desired number of API pods.")
    reason: str = Field(description="Reason as one CamelCase word, for programs.")
    message: str = Field("", description="Reason for people.")
    readings: Readings | None = Field(None, description="Connections of the API pods, as last read.")
    floor: Floor | None = Field(None, description="Minimum number of pods because of matches.")
    learnt: list[Learnt] = Field(
        [],
        exclude_if=_is_empty,
        json_schema_extra=_keyed("sport"),
        description="Connections of earlier matches, from which those of the next ones are estimated.",
    )
    last_scale_time: str | None = Field(
        None, json_schema_extra={"format": "date-time"}, description="When the number of pods last changed."
    )


class Draining(Model):
    """A pod that drains before it is removed."""

    pod: str = Field(description="Name of the pod.")
    connections: int = Field(description="Sockets that are still open.")
    deadline: str = Field(
        json_schema_extra={"format": "date-time"},
        description="When the pod is removed, even if sockets are still open.",
    )
    released: bool = Field(False, description="Whether the number of replicas was reduced for this pod.")


class Identity(Model):
    """An installation of the operator, identified by its Lease, which survives restarts and changes of leader."""

    model_config = ConfigDict(frozen=True)

    namespace: str = Field(max_length=63, description="Namespace of the Lease.")
    lease: str = Field(max_length=253, description="Name of the Lease.")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.lease}"


class Contender(Identity):
    """Another operator that asks the owner for an acknowledgement."""

    asked_at: str = Field(json_schema_extra={"format": "date-time"}, description="When the operator asked.")
    acknowledged: bool = Field(False, description="Whether the owner acknowledged. The contender stands back then.")

    @property
    def identity(self) -> Identity:
        """The installation itself."""
        return Identity(namespace=self.namespace, lease=self.lease)

    def __str__(self) -> str:
        return str(self.identity)


class Volume(Model):
    """Volume of a server that the operator runs."""

    claim: str = Field(description="Name of the PersistentVolumeClaim.")
    volume: str | None = Field(
        None,
        max_length=253,
        description="Name of the bound PersistentVolume. While it is absent, size and class may still change.",
    )
    storage_class_name: str | None = Field(
        None,
        max_length=253,
        description="Storage class that the StatefulSet requests; the default of the cluster if absent.",
    )


class Volumes(Model):
    """Volumes of the servers that the operator runs."""

    postgres: Volume | None = Field(None, description="Volume of PostgreSQL.")
    redis: Volume | None = Field(None, description="Volume of Redis.")


class Status(Model):
    """Observed state."""

    observed_generation: int | None = Field(None, description="Generation of the spec that was last reconciled.")
    conditions: list[Condition] = Field([], json_schema_extra=_keyed("type"), description="Status conditions.")
    replicas: int | None = Field(None, description="Number of API pods.")
    ready_replicas: int | None = Field(None, description="Number of ready API pods.")
    api: str | None = Field(None, description="Ready and desired API pods, for people.")
    selector: str | None = Field(None, description="Label selector of the API pods, for the scale subresource.")
    connections: int | None = Field(None, description="Open WebSockets of all API pods, as last read.")
    scaling: Scaling | None = Field(None, description="Scaling decision: the number of API pods, and the reason.")
    draining: list[Draining] = Field(
        [],
        exclude_if=_is_empty,
        json_schema_extra=_keyed("pod"),
        description="Pods that drain before they are removed.",
    )
    settled: dict[str, int] = Field(
        {},
        exclude_if=_is_empty,
        description=(
            "Pods of each Deployment that were last available at the same time. Fewer mean an outage, more a scale-up."
        ),
    )
    image: str | None = Field(None, description="Image to which the API was last rolled out.")
    schema_image: str | None = Field(
        None, alias="schema", description="Image whose migrations were last applied to the database."
    )
    volumes: Volumes | None = Field(None, description="Volumes of standalone PostgreSQL and Redis.")
    endpoints: Endpoints | None = Field(None, description="URLs of the service.")
    plan: Plan | None = Field(None, description="Changes that Apply would make, while reconcilePolicy is Plan.")
    operator: Identity | None = Field(
        None, description="Operator that reconciles this LiveScore. Others stand back while it acknowledges them."
    )
    contender: Contender | None = Field(None, description="Another operator that watches this LiveScore.")


class Metadata(Model):
    """The metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1


class LiveScore(Model):
    """A live-score service: API, worker, scheduler, Redis and PostgreSQL."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                (
                    f"self.metadata.name.size() <= {MAX_NAME} && "
                    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
                ),
                (
                    f"the name must begin with a letter, hold only a-z, 0-9 and -, and have at most {MAX_NAME} "
                    "characters: the names of Services are made from it"
                ),
            ),
            # CloudNativePG creates the volumes of its instances at once, and the operator does not read their claims.
            *_volume_rules("postgres", f"oldSelf.spec.postgres.mode == 'cloudnative-pg' || ({_is_bound('postgres')})"),
            *_volume_rules("redis", _is_bound("redis")),
        )
    )

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Parse an object of the API server, and fill in defaults.

        Raises:
            pydantic.ValidationError: Raised if the object violates the schema; it was stored under another CRD.
        """
        return cls.model_validate(body)

    @property
    def name(self) -> str:
        """Name of the pod."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the LiveScore."""
        return self.metadata.namespace

    @property
    def api_name(self) -> str:
        """Name of the Deployment of the API, and of the HorizontalPodAutoscaler that scales it."""
        return f"{self.name}-api"

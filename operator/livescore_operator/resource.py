"""LiveScore as pydantic: the only definition of the resource. ``crd.py`` writes the CRD from it.

Every description here is what ``kubectl explain`` shows; every rule is CEL that the API server checks.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

Manifest = dict[str, Any]
"""An object as the API server takes and gives it."""

GROUP, VERSION, KIND, PLURAL = "livescore.dev", "v1", "LiveScore", "livescores"
API_VERSION = f"{GROUP}/{VERSION}"

# The service's default. No client may reach it: no Service has it.
MANAGEMENT_PORT = 9100

METRIC = "livescore_websocket_connections"
"""Of every API pod: its open WebSockets."""

# Names of children are the resource's name and up to 23 characters, in labels of at most 63.
MAX_NAME = 40

QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"

# What the operator itself decides for every process: another value would cut it off from its database, its probes or
# its drain.
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
    """CEL rules, each with a message that says what to do."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes one: RFC 3339 in UTC and whole seconds, the rest cut off."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_empty(value: Any) -> bool:
    """What is empty in a status is not written."""
    return not value


def _keyed(*keys: str) -> dict[str, Any]:
    """A list whose items are told apart by these keys: server-side apply merges them one by one."""
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
# Passed to the API server as it is: its own schema checks it when the child is applied.
PassedThrough = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]


class Model(BaseModel):
    """Fields are camelCase in YAML, as everywhere in Kubernetes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Resources(Model):
    """What a container asks for and may use at most."""

    requests: dict[str, Quantity] = Field({}, description="What the scheduler keeps free, by resource: cpu, memory.")
    limits: dict[str, Quantity] = Field({}, description="What the container may use at most, by resource.")


class ApiResources(Resources):
    """What an API container asks for: an idle one needs 90 MB, a socket 3 to 8 KB."""

    requests: dict[str, Quantity] = Field(
        {"cpu": "100m", "memory": "128Mi"}, description="What the scheduler keeps free, by resource: cpu, memory."
    )
    limits: dict[str, Quantity] = Field(
        {"memory": "512Mi"}, description="What the container may use at most, by resource."
    )


class JobResources(Resources):
    """What a worker or scheduler asks for."""

    requests: dict[str, Quantity] = Field(
        {"cpu": "50m", "memory": "96Mi"}, description="What the scheduler keeps free, by resource: cpu, memory."
    )
    limits: dict[str, Quantity] = Field(
        {"memory": "256Mi"}, description="What the container may use at most, by resource."
    )


class PostgresResources(Resources):
    """What PostgreSQL asks for."""

    requests: dict[str, Quantity] = Field(
        {"cpu": "100m", "memory": "256Mi"}, description="What the scheduler keeps free, by resource: cpu, memory."
    )
    limits: dict[str, Quantity] = Field(
        {"memory": "1Gi"}, description="What the container may use at most, by resource."
    )


class RedisResources(Resources):
    """What Redis or Valkey asks for."""

    requests: dict[str, Quantity] = Field(
        {"cpu": "50m", "memory": "64Mi"}, description="What the scheduler keeps free, by resource: cpu, memory."
    )
    limits: dict[str, Quantity] = Field(
        {"memory": "256Mi"}, description="What the container may use at most, by resource."
    )


class Toleration(Model):
    """One taint that the pods bear."""

    key: str | None = Field(None, description="Key of the taint; absent with operator Exists for every taint.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="How key and value are compared.")
    value: str | None = Field(None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; absent for every effect."
    )
    toleration_seconds: int | None = Field(None, description="Seconds that a NoExecute taint is borne.")


class PodTemplate(Model):
    """What is added to the pods: where they run and what else they carry."""

    labels: dict[str, str] = Field({}, description="More labels of the pods; the operator's own cannot be replaced.")
    annotations: dict[str, str] = Field({}, description="More annotations of the pods.")
    node_selector: dict[str, str] = Field({}, description="Labels that a node must have.")
    tolerations: list[Toleration] = Field([], max_length=50, description="Taints that the pods bear.")
    affinity: PassedThrough | None = Field(None, description="Affinity of the pods, as in a pod's spec.")
    priority_class_name: str | None = Field(None, max_length=253, description="Priority class of the pods.")
    topology_spread_constraints: list[PassedThrough] | None = Field(
        None, max_length=10, description="How pods are spread, as in a pod's spec; by default over the nodes."
    )


class KeyReference(Model):
    """One key of a Secret or ConfigMap in the same namespace."""

    name: ObjectName = Field(description="Name of the object.")
    key: str = Field(min_length=1, max_length=253, description="Key within it.")


class EnvSource(Model):
    """Where the value of a variable comes from."""

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
    """One environment variable of your own."""

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
    value: str | None = Field(None, max_length=4096, description="Its value.")
    value_from: EnvSource | None = Field(None, description="Where its value comes from.")


EnvList = Annotated[
    list[EnvVar],
    Field(
        max_length=64,
        json_schema_extra=_keyed("name"),
        description="Variables of your own, see the settings of the service; those that the operator sets are refused.",
    ),
]


class Drain(Model):
    """How a pod gets rid of its sockets before it stops."""

    deadline_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds over which the sockets of a stopping pod are closed, each told before to reconnect.",
    )


class Ingress(Model):
    """An Ingress in front of the API."""

    class_name: str | None = Field(None, max_length=253, description="Ingress class; the cluster's default if absent.")
    host: str = Field(min_length=1, max_length=253, description="Host name that clients use.")
    tls_secret_name: str | None = Field(
        None, max_length=253, description="Secret with the certificate; without it the Ingress speaks plain HTTP."
    )
    annotations: dict[str, str] = Field({}, description="Annotations of the Ingress, for its controller.")


class PodDisruptionBudget(Model):
    """How many API pods a node drain may take at a time."""

    enabled: bool = Field(True, description="Whether there is a budget.")
    max_unavailable: int = Field(1, ge=1, le=1000, description="API pods that may be missing at a time.")


class Api(Model):
    """The API: REST, WebSocket and server-sent events."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (f"self.port != {MANAGEMENT_PORT}", f"{MANAGEMENT_PORT} is the management port: choose another api.port")
        )
    )

    replicas: int = Field(2, ge=0, le=1000, description="API pods, where autoscaling.mode is none.")
    port: int = Field(8000, ge=1024, le=65535, description="Port of the pods and of the Service.")
    resources: ApiResources = Field(ApiResources(), description="What an API container asks for.")
    env: EnvList = []
    drain: Drain = Field(Drain(), description="How a pod gets rid of its sockets before it stops.")
    security_mode: Literal["DRY_RUN", "LIVE"] = Field(
        "LIVE", description="LIVE enforces the limits on requests and handshakes, DRY_RUN only logs."
    )
    allowed_origins: list[Annotated[str, Field(max_length=253)]] = Field(
        [], max_length=100, description="Browser origins that may call; * for all, empty for none other."
    )
    api_keys_secret: KeyReference | None = Field(
        None, description="Key of a Secret that holds hashed API keys, as `livescore keys create --json` prints them."
    )
    ingress: Ingress | None = Field(None, description="An Ingress in front of the API; absent for none.")
    pod_disruption_budget: PodDisruptionBudget = Field(
        PodDisruptionBudget(), description="How many API pods a node drain may take at a time."
    )
    template: PodTemplate = Field(PodTemplate(), description="What is added to the API pods.")


class Worker(Model):
    """RQ workers, which change the status of matches at their moment."""

    replicas: int = Field(1, ge=0, le=100, description="Worker pods.")
    resources: JobResources = Field(JobResources(), description="What a worker container asks for.")
    env: EnvList = []
    template: PodTemplate = Field(PodTemplate(), description="What is added to the worker pods.")


class Scheduler(Model):
    """rq-scheduler, which brings jobs to the workers at their time."""

    replicas: int = Field(1, ge=0, le=1, description="One scheduler, or none: then the workers' sweep works alone.")
    resources: JobResources = Field(JobResources(), description="What a scheduler container asks for.")
    env: EnvList = []
    template: PodTemplate = Field(PodTemplate(), description="What is added to the scheduler pod.")


class ScalingPolicy(Model):
    """How far the number of pods may move within a period."""

    type: Literal["Pods", "Percent"] = Field(description="What value counts: pods, or percent of the pods there were.")
    value: int = Field(ge=1, le=1000, description="Most that may be added, or removed, within the period.")
    period_seconds: int = Field(ge=1, le=1800, description="Length of the period in seconds.")


def _steps(*policies: ScalingPolicy) -> Any:
    """The field of the policies, with its default where there is one."""
    default = list(policies) if policies else ...
    return Field(default, min_length=1, max_length=8, description="Steps that are allowed.")


class ScalingRules(Model):
    """How fast the number of pods follows, as in the `behavior` of a HorizontalPodAutoscaler."""

    stabilization_window_seconds: int = Field(
        ge=0, le=3600, description="Seconds of which the most careful recommendation counts."
    )
    select_policy: Literal["Max", "Min", "Disabled"] = Field(
        "Max", description="Which policy counts where several are given; Disabled never scales in this direction."
    )
    policies: list[ScalingPolicy] = _steps()


class ScaleUp(ScalingRules):
    """How fast pods are added: at once, doubled or four more within 15 seconds, as a HorizontalPodAutoscaler does."""

    stabilization_window_seconds: int = Field(
        0, ge=0, le=3600, description="Seconds of which the lowest recommendation counts."
    )
    policies: list[ScalingPolicy] = _steps(
        ScalingPolicy(type="Percent", value=100, period_seconds=15),
        ScalingPolicy(type="Pods", value=4, period_seconds=15),
    )


class ScaleDown(ScalingRules):
    """How fast pods are removed: each one drops nobody, and still makes its clients reconnect."""

    stabilization_window_seconds: int = Field(
        300, ge=0, le=3600, description="Seconds of which the highest recommendation counts."
    )
    policies: list[ScalingPolicy] = _steps(
        ScalingPolicy(type="Percent", value=10, period_seconds=60),
        ScalingPolicy(type="Pods", value=1, period_seconds=60),
    )


class Rebalance(Model):
    """Sockets stay where they were opened: after a scale-up those above the mean are asked to come in again."""

    enabled: bool = Field(True, description="Whether overfull pods shed their surplus, bit by bit.")
    tolerance: float = Field(
        0.2, ge=0.05, le=1, description="Part of the mean that a pod may hold above it without shedding anything."
    )
    per_second: int = Field(
        20, ge=1, le=10_000, description="Sockets that all pods together ask to reconnect in a second at most."
    )


class Expectation(Model):
    """How many connections a match of a kind brings."""

    model_config = ConfigDict(
        json_schema_extra=_rules(("has(self.sport) || has(self.team)", "give sport, team or both"))
    )

    sport: str | None = Field(
        None, min_length=1, max_length=100, description="Sport of the match, as in its REST body."
    )
    team: str | None = Field(None, min_length=1, max_length=100, description="Name of one of the two teams.")
    connections: int = Field(ge=0, le=100_000_000, description="Connections that such a match brings.")


class MatchDay(Model):
    """Pods before the match instead of after kick-off."""

    enabled: bool = Field(False, description="Whether the fixtures of the service raise the number of pods.")
    lead_minutes: int = Field(
        10, ge=1, le=240, description="Minutes before kick-off in which the pods of a match come up."
    )
    expected_connections: int = Field(
        1000,
        ge=0,
        le=100_000_000,
        description="Connections that a match brings, where no expectation names it and none like it was seen before.",
    )
    expectations: list[Expectation] = Field(
        [], max_length=100, description="What single sports and teams bring; the first that fits a match counts."
    )


class Autoscaling(Model):
    """Who decides how many API pods there are."""

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
            "none: api.replicas, which `kubectl scale` moves. connections: the operator, by open WebSockets. "
            f"hpa: a HorizontalPodAutoscaler on the metric {METRIC}."
        ),
    )
    min_replicas: int = Field(2, ge=1, le=1000, description="Fewest API pods.")
    max_replicas: int = Field(10, ge=1, le=1000, description="Most API pods.")
    target_connections_per_pod: int = Field(
        5000, ge=1, le=1_000_000, description="WebSockets that a pod should hold: 5000 need about 40 MB and little CPU."
    )
    tolerance: float = Field(
        0.1, ge=0, le=1, description="Part of the target by which the mean may miss it and nothing is scaled."
    )
    scale_up: ScaleUp = Field(ScaleUp(), description="How fast pods are added.")
    scale_down: ScaleDown = Field(ScaleDown(), description="How fast pods are removed.")
    rebalance: Rebalance = Field(Rebalance(), description="How new pods get their part of the old sockets.")
    match_day: MatchDay = Field(MatchDay(), description="Pods before the match instead of after kick-off.")


def _volume_rules(server: str, exists: str) -> tuple[tuple[str, str], ...]:
    """Return the rules about a volume that exists, for the whole: only there `status` is in reach.

    What mode external stores of a volume is only a wish: there is none yet.
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
                # Back to what is there, if the class was changed when the volume was bound.
                f"({_is_bound(server)} && {_same_class(f'{new}.storage', volume)})"
            ),
            (
                f"{server}.storage.storageClassName cannot change while the volume exists: make another LiveScore "
                "with the class you want and restore a dump into it"
            ),
        ),
    )


def _same_class(one: str, other: str) -> str:
    """Return the CEL expression for two objects with the same, or no, storage class."""
    mine, theirs = f"{one}.storageClassName", f"{other}.storageClassName"
    return f"(has({mine}) == has({theirs}) && (!has({mine}) || {mine} == {theirs}))"


def _is_bound(server: str) -> str:
    """Return the CEL expression for a claim with a volume."""
    paths = ("status", "status.volumes", f"status.volumes.{server}", f"status.volumes.{server}.volume")
    return " && ".join(f"has(self.{path})" for path in paths)


class Storage(Model):
    """A volume that outlives its pod and the LiveScore itself."""

    size: Size = Field("10Gi", description="Size of the volume; it may grow where its storage class allows that.")
    storage_class_name: str | None = Field(
        None,
        max_length=253,
        description="Storage class; the cluster's default if absent. Cannot change once a volume is bound.",
    )


class RedisStorage(Storage):
    """The volume of Redis."""

    size: Size = Field("1Gi", description="Size of the volume; it may grow where its storage class allows that.")


class ExternalReference(Model):
    """A server that somebody else runs."""

    secret_ref: KeyReference = Field(description="Key of a Secret that holds the URL.")


class Postgres(Model):
    """PostgreSQL: the truth."""

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
        description="standalone: one pod and one volume. cloudnative-pg: a Cluster of that operator. external: yours.",
    )
    image: str = Field(
        "postgres:17", min_length=1, max_length=512, description="Image of standalone, as the official one works."
    )
    run_as_user: int = Field(
        999, ge=1, description="User that the image's PostgreSQL runs as: 999 on Debian, 70 on Alpine."
    )
    instances: int = Field(3, ge=1, le=20, description="Instances of a cloudnative-pg cluster.")
    storage: Storage = Field(Storage(), description="Volume of standalone, or of each cloudnative-pg instance.")
    resources: PostgresResources = Field(PostgresResources(), description="What a PostgreSQL container asks for.")
    external: ExternalReference | None = Field(None, description="Where the URL of an external database is.")


class Redis(Model):
    """Redis or Valkey: hints, never the truth."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            ("self.mode != 'external' || has(self.external)", "redis.mode external needs redis.external.secretRef"),
        )
    )

    mode: Literal["standalone", "external"] = Field(
        "standalone", description="standalone: one pod and one volume. external: yours; Sentinel and Cluster URLs too."
    )
    image: str = Field(
        "valkey/valkey:8", min_length=1, max_length=512, description="Image of standalone: Valkey or Redis."
    )
    run_as_user: int = Field(999, ge=1, description="User that the image's server runs as.")
    storage: RedisStorage = Field(RedisStorage(), description="Volume of standalone.")
    resources: RedisResources = Field(RedisResources(), description="What a Redis container asks for.")
    external: ExternalReference | None = Field(None, description="Where the URL of an external Redis is.")


class NetworkPolicy(Model):
    """Who may talk to whom."""

    enabled: bool = Field(True, description="Whether everything but what is needed is denied.")
    clients: list[PassedThrough] = Field(
        [], max_length=50, description="Who may reach the API, as the peers of a NetworkPolicy; empty for everybody."
    )
    management: list[PassedThrough] = Field(
        [],
        max_length=50,
        description=(
            "Pods that may reach the management ports in addition to the operator's, e.g. those of Prometheus, as "
            "peers. Give a podSelector with each namespaceSelector: the ports accept drain requests without a key."
        ),
    )
    dns: list[PassedThrough] = Field(
        [],
        max_length=50,
        description=(
            "DNS servers that pods may ask, as peers; if empty, the pods labelled k8s-app=kube-dns or node-local-dns "
            "in kube-system, and the usual address of a node-local cache, 169.254.20.10."
        ),
    )


class Monitoring(Model):
    """Metrics for the Prometheus operator."""

    enabled: bool = Field(False, description="Whether there is a PodMonitor, where its CRD is installed.")
    interval: str = Field("30s", pattern="^[0-9]+(ms|s|m)$", description="Time between two scrapes.")
    labels: dict[str, str] = Field({}, description="Labels that the Prometheus object selects its monitors by.")


class LocalReference(Model):
    """An object in the same namespace."""

    name: ObjectName = Field(description="Name of the object.")


class Spec(Model):
    """What is wanted."""

    image: str = Field(
        min_length=1, max_length=512, description="Image of the service; a new one is migrated to before it is rolled."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes pull the image of the service."
    )
    image_pull_secrets: list[LocalReference] = Field(
        [], max_length=10, json_schema_extra=_keyed("name"), description="Secrets to pull images with."
    )
    suspend: bool = Field(False, description="While true nothing is changed or repaired; what runs goes on.")
    reconcile_policy: Literal["Apply", "Plan"] = Field(
        "Apply", description="Plan: change nothing and write to status.plan what Apply would change."
    )
    api: Api = Field(Api(), description="The API: REST, WebSocket and server-sent events.")
    worker: Worker = Field(Worker(), description="RQ workers.")
    scheduler: Scheduler = Field(Scheduler(), description="rq-scheduler.")
    autoscaling: Autoscaling = Field(Autoscaling(), description="Who decides how many API pods there are.")
    postgres: Postgres = Field(Postgres(), description="PostgreSQL: the truth.")
    redis: Redis = Field(Redis(), description="Redis or Valkey: hints, never the truth.")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="Who may talk to whom.")
    monitoring: Monitoring = Field(Monitoring(), description="Metrics for the Prometheus operator.")


ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Model):
    """One thing that is so, or not."""

    type: str = Field(description="What this is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(description="Why, in one word for programs.")
    message: str = Field("", description="Why, for people, and what to do about it.")
    observed_generation: int = Field(description="Generation of the spec that this was said of.")
    last_transition_time: str = Field(
        json_schema_extra={"format": "date-time"}, description="When the status last became what it is."
    )


class Endpoints(Model):
    """Where the service is reached."""

    service: str | None = Field(None, description="URL of the Service within the cluster.")
    websocket: str | None = Field(None, description="URL of the WebSocket within the cluster.")
    ingress: str | None = Field(None, description="URL of the Ingress, if there is one.")


class Plan(Model):
    """What Apply would change."""

    observed_generation: int = Field(description="Generation of the spec that this plan is of.")
    summary: str = Field(description="How many objects would be made, changed and deleted.")
    diff: str = Field("", description="What would change, as a diff; secrets are masked.")


class Readings(Model):
    """The API pods as they were last read."""

    pods: int = Field(description="API pods that serve: ready, and neither draining nor stopping.")
    unread: int = Field(0, description="Pods among them that did not tell their connections.")
    mean: int = Field(0, description="Connections of a serving pod, on the average.")
    highest: int = Field(0, description="Connections of the fullest serving pod.")


class Floor(Model):
    """The least number of pods that the fixtures ask for."""

    replicas: int = Field(description="API pods.")
    until: str | None = Field(
        None, json_schema_extra={"format": "date-time"}, description="When the last of these matches should end."
    )
    message: str = Field(description="Why, for people.")


class Learnt(Model):
    """What matches of a sport brought so far."""

    sport: str = Field(description="The sport.")
    connections: int = Field(description="Most connections of one such match, as far as remembered.")


class Scaling(Model):
    """What was decided about the number of API pods, and why."""

    replicas: int = Field(description="API pods that are wanted.")
    reason: str = Field(description="Why, in one word for programs.")
    message: str = Field("", description="Why, for people.")
    readings: Readings | None = Field(None, description="What was read of the pods.")
    floor: Floor | None = Field(None, description="Least number of pods because of matches.")
    learnt: list[Learnt] = Field(
        [],
        exclude_if=_is_empty,
        json_schema_extra=_keyed("sport"),
        description="What matches brought so far, for the next ones.",
    )
    last_scale_time: str | None = Field(
        None, json_schema_extra={"format": "date-time"}, description="When the number of pods was last changed."
    )


class Draining(Model):
    """A pod that is emptied before it is removed."""

    pod: str = Field(description="Its name.")
    connections: int = Field(description="Sockets that it still holds.")
    deadline: str = Field(
        json_schema_extra={"format": "date-time"}, description="When it is removed with whatever it still holds."
    )
    released: bool = Field(False, description="Whether the number of replicas was lowered for it.")


class Identity(Model):
    """An installation of the operator, named by its Lease: restarts, upgrades and changes of leader leave it alone."""

    model_config = ConfigDict(frozen=True)

    namespace: str = Field(max_length=63, description="Namespace of the Lease.")
    lease: str = Field(max_length=253, description="Name of the Lease.")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.lease}"


class Contender(Identity):
    """An operator that asked whether the owner is still there."""

    asked_at: str = Field(json_schema_extra={"format": "date-time"}, description="When the operator asked.")
    acknowledged: bool = Field(False, description="Whether the owner answered; the contender stands back then.")

    @property
    def identity(self) -> Identity:
        """The installation, without its question."""
        return Identity(namespace=self.namespace, lease=self.lease)

    def __str__(self) -> str:
        return str(self.identity)


class Volume(Model):
    """The volume of a server that the operator runs."""

    claim: str = Field(description="Name of its PersistentVolumeClaim.")
    volume: str | None = Field(
        None,
        max_length=253,
        description="Name of the bound PersistentVolume; absent while the size may still shrink and the class change.",
    )
    storage_class_name: str | None = Field(
        None,
        max_length=253,
        description="Storage class that the StatefulSet asks for; the cluster's default if absent.",
    )


class Volumes(Model):
    """The volumes of the servers that the operator runs."""

    postgres: Volume | None = Field(None, description="Volume of PostgreSQL.")
    redis: Volume | None = Field(None, description="Volume of Redis.")


class Status(Model):
    """What is."""

    observed_generation: int | None = Field(None, description="Generation of the spec that was last worked on.")
    conditions: list[Condition] = Field([], json_schema_extra=_keyed("type"), description="What is so, and why.")
    replicas: int | None = Field(None, description="API pods that there are.")
    ready_replicas: int | None = Field(None, description="API pods that are ready.")
    api: str | None = Field(None, description="Ready and wanted API pods, for people.")
    selector: str | None = Field(None, description="Labels of the API pods, for the scale subresource.")
    connections: int | None = Field(None, description="Open WebSockets of all API pods, as last read.")
    scaling: Scaling | None = Field(None, description="What was decided about the number of API pods, and why.")
    draining: list[Draining] = Field(
        [],
        exclude_if=_is_empty,
        json_schema_extra=_keyed("pod"),
        description="Pods that are emptied before they are removed.",
    )
    settled: dict[str, int] = Field(
        {},
        exclude_if=_is_empty,
        description="Pods of each Deployment that were last available together: fewer are an outage, more a scale-up.",
    )
    image: str | None = Field(None, description="Image that the API was last rolled to.")
    schema_image: str | None = Field(
        None, alias="schema", description="Image whose migrations were last applied to the database."
    )
    volumes: Volumes | None = Field(None, description="Volumes of standalone PostgreSQL and Redis.")
    endpoints: Endpoints | None = Field(None, description="Where the service is reached.")
    plan: Plan | None = Field(None, description="What Apply would change, while reconcilePolicy is Plan.")
    operator: Identity | None = Field(
        None, description="Operator that works on this LiveScore; others that see it stand back while it answers."
    )
    contender: Contender | None = Field(None, description="Another operator that sees this LiveScore.")


class Metadata(Model):
    """The part of an object's metadata that is read here."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    deletion_timestamp: datetime | None = None


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
            # CloudNativePG makes the volumes of its instances at once, and their claims are not read.
            *_volume_rules("postgres", f"oldSelf.spec.postgres.mode == 'cloudnative-pg' || ({_is_bound('postgres')})"),
            *_volume_rules("redis", _is_bound("redis")),
        )
    )

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Self:
        """Read an object as the API server gives it, defaults filled in.

        Raises:
            pydantic.ValidationError: where it was stored past the CRD's checks.
        """
        return cls.model_validate(body)

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.metadata.namespace

    @property
    def api_name(self) -> str:
        """Name of the Deployment of the API, and of the HorizontalPodAutoscaler that scales it."""
        return f"{self.name}-api"

"""Network policies, the Service of the API, and the Ingress."""

from livescore_operator.components import server
from livescore_operator.components.common import COMPONENT, NAME, BuildContext, family, manifest, selector
from livescore_operator.resource import LiveScore, Manifest

# Components that connect to PostgreSQL and Redis.
CLIENTS = ("api", "worker", "scheduler", "migration")

# Ports of the DNS pods, to which NetworkPolicies apply; 5353 is used by OpenShift.
DNS_PORTS = (53, 5353)

# CoreDNS and kube-dns have the first label on almost every distribution, pods of a node-local cache the second. The
# address is the default of that cache on each node.
CLUSTER_DNS: list[Manifest] = [
    {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {
            "matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns", "node-local-dns"]}]
        },
    },
    {"ipBlock": {"cidr": "169.254.20.10/32"}},
]

_ANYWHERE: Manifest = {"ports": [{"protocol": "TCP"}]}

# Labels of the operator's pods, in k8s/operator and in the chart.
OPERATOR_LABELS = {NAME: "livescore-operator"}


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return NetworkPolicies, the Service of the API, and the Ingress."""
    policies = _policies(resource, context) if resource.spec.network_policy.enabled else []
    return [*policies, _service(resource), *_ingress(resource)]


def _service(resource: LiveScore) -> Manifest:
    ports = [{"name": "http", "port": resource.spec.api.port, "protocol": "TCP", "targetPort": "http"}]
    spec = {
        "type": "ClusterIP",
        "ipFamilyPolicy": "PreferDualStack",
        "selector": selector(resource, "api"),
        "ports": ports,
    }
    return manifest(resource, "v1", "Service", resource.name, "network", spec=spec)


def _ingress(resource: LiveScore) -> list[Manifest]:
    wanted = resource.spec.api.ingress
    if not wanted:
        return []
    backend = {"service": {"name": resource.name, "port": {"name": "http"}}}
    rule = {"host": wanted.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    tls = [{"hosts": [wanted.host], "secretName": wanted.tls_secret_name}] if wanted.tls_secret_name else []
    spec = {"ingressClassName": wanted.class_name, "tls": tls, "rules": [rule]}
    annotations = wanted.annotations
    return [
        manifest(
            resource, "networking.k8s.io/v1", "Ingress", resource.name, "network", annotations=annotations, spec=spec
        )
    ]


def _policies(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    management = {"from": _managers(resource, context), "ports": [_port("management")]}
    http = {"from": resource.spec.network_policy.clients, "ports": [_port("http")]}
    egress = _egress(resource)
    return [
        _policy(resource, "default-deny", family(resource), [], []),
        _policy_of(resource, "api", [http, management], egress),
        _policy_of(resource, "worker", [management], _egress_of_worker(resource)),
        _policy_of(resource, "scheduler", [management], egress),
        _policy_of(resource, "migration", [], egress),
        *(
            _policy_of(resource, component, [_from_clients(resource, port)], [])
            for component, port in _servers(resource)
        ),
    ]


def _policy_of(resource: LiveScore, component: str, ingress: list[Manifest], egress: list[Manifest]) -> Manifest:
    return _policy(resource, component, selector(resource, component), ingress, egress)


def _policy(
    resource: LiveScore, suffix: str, pods: dict[str, str], ingress: list[Manifest], egress: list[Manifest]
) -> Manifest:
    spec = {
        "podSelector": {"matchLabels": pods},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    name = f"{resource.name}-{suffix}"
    return manifest(resource, "networking.k8s.io/v1", "NetworkPolicy", name, "network", spec=spec)


def _managers(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": context.operator_namespace}},
        "podSelector": {"matchLabels": OPERATOR_LABELS},
    }
    return [operator, *resource.spec.network_policy.management]


def _servers(resource: LiveScore) -> list[tuple[str, int]]:
    """Return the servers that the operator runs, with their ports."""
    spec = resource.spec
    modes = [
        ("postgres", server.POSTGRES_PORT, spec.postgres.mode),
        ("redis", server.REDIS_PORT, spec.redis.mode),
    ]
    return [(component, port) for component, port, mode in modes if mode == "standalone"]


def _from_clients(resource: LiveScore, port: int) -> Manifest:
    clients = {"key": COMPONENT, "operator": "In", "values": list(CLIENTS)}
    peer = {"podSelector": {"matchLabels": family(resource), "matchExpressions": [clients]}}
    return {"from": [peer], "ports": [_port(port)]}


def _egress_of_worker(resource: LiveScore) -> list[Manifest]:
    """Return the rules of the worker, which delivers webhooks to addresses that only administrators know.

    The worker itself refuses addresses that are not public, unless WEBHOOK_ALLOWED_NETWORKS permits them.
    """
    return [_dns(resource), _ANYWHERE]


def _egress(resource: LiveScore) -> list[Manifest]:
    servers = _servers(resource)
    to_servers = [
        {"to": [{"podSelector": {"matchLabels": selector(resource, component)}}], "ports": [_port(port)]}
        for component, port in servers
    ]
    # The addresses of external servers are unknown.
    return [_dns(resource), *(to_servers if len(servers) == 2 else [_ANYWHERE])]


def _dns(resource: LiveScore) -> Manifest:
    return {
        "to": resource.spec.network_policy.dns or CLUSTER_DNS,
        "ports": [_port(port, protocol) for port in DNS_PORTS for protocol in ("UDP", "TCP")],
    }


def _port(port: int | str, protocol: str = "TCP") -> Manifest:
    return {"protocol": protocol, "port": port}

"""The HorizontalPodAutoscaler of mode hpa, on the number of connections per pod."""

from livescore_operator.components.common import BuildContext, manifest
from livescore_operator.quantities import canonical
from livescore_operator.resource import METRIC, LiveScore, Manifest, ScalingRules

KIND = "HorizontalPodAutoscaler"


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return the HorizontalPodAutoscaler in mode hpa, nothing otherwise."""
    if resource.spec.autoscaling.mode != "hpa":
        return []
    return [manifest(resource, "autoscaling/v2", KIND, resource.api_name, "api", spec=_spec(resource, context))]


def key(resource: LiveScore) -> tuple[str, str]:
    """Return kind and name of the HorizontalPodAutoscaler."""
    return KIND, resource.api_name


def _spec(resource: LiveScore, context: BuildContext) -> Manifest:
    wanted = resource.spec.autoscaling
    target = {"type": "AverageValue", "averageValue": canonical(str(wanted.target_connections_per_pod))}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": resource.api_name},
        # Raised while matches need more pods.
        "minReplicas": context.scale.minimum,
        "maxReplicas": wanted.max_replicas,
        "metrics": [{"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": target}}],
        "behavior": {"scaleUp": _rules(wanted.scale_up), "scaleDown": _rules(wanted.scale_down)},
    }


def _rules(rules: ScalingRules) -> Manifest:
    return rules.model_dump(by_alias=True)

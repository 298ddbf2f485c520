"""The objects that a LiveScore becomes, without any cluster: for people who want to see them first."""

import yaml
from pydantic import ValidationError

from livescore_operator.components import build
from livescore_operator.components.common import BuildContext, Credentials, Scale
from livescore_operator.resource import KIND, LiveScore, Manifest
from livescore_operator.scaling import modes

# What stands where a cluster would hold generated passwords.
PLACEHOLDER = "made-by-the-operator"


class RenderError(Exception):
    """The text holds no LiveScore that could be rendered; says which field is why."""


def render(text: str) -> list[Manifest]:
    """Everything that is applied once the database answers and the schema is that of the image.

    Raises:
        RenderError: naming every field that is wrong.
    """
    resource = _parse(text)
    return build(resource, _context(resource))


def _parse(text: str) -> LiveScore:
    try:
        bodies = [body for body in yaml.safe_load_all(text) if body]
        body = next(body for body in bodies if isinstance(body, dict) and body.get("kind") == KIND)
        return LiveScore.parse(body)
    except yaml.YAMLError as error:
        raise RenderError(f"is no YAML: {error}") from error
    except StopIteration:
        raise RenderError(f"holds no object of kind {KIND}") from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors()]
        raise RenderError("; ".join(problems)) from None


def _context(resource: LiveScore) -> BuildContext:
    return BuildContext(
        operator_namespace="livescore-system",
        credentials=Credentials(PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, PLACEHOLDER),
        checksums={},
        serving_image=resource.spec.image,
        database_ready=True,
        claimed={},
        claims={},
        kinds=frozenset({"Cluster.postgresql.cnpg.io", "PodMonitor.monitoring.coreos.com"}),
        scale=Scale(modes.of(resource).initial_replicas(resource), resource.spec.autoscaling.min_replicas),
    )

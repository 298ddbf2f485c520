"""Rendering of the owned objects of a LiveScore without a cluster, for review."""

import yaml
from pydantic import ValidationError

from livescore_operator.components import build
from livescore_operator.components.common import BuildContext, Credentials, Scale
from livescore_operator.kinds import OPTIONAL
from livescore_operator.resource import KIND, LiveScore, Manifest
from livescore_operator.scaling import modes

# Placeholder for generated passwords.
PLACEHOLDER = "made-by-the-operator"


class RenderError(Exception):
    """The text contains no valid LiveScore. The message names the invalid fields."""


def render(text: str) -> list[Manifest]:
    """Return all objects that are applied once the database is ready and migrated.

    Raises:
        RenderError: Raised if the text contains no valid LiveScore.
    """
    resource = _parse(text)
    return build(resource, _context(resource))


def _parse(text: str) -> LiveScore:
    try:
        bodies = [body for body in yaml.safe_load_all(text) if body]
        body = next(body for body in bodies if isinstance(body, dict) and body.get("kind") == KIND)
        return LiveScore.parse(body)
    except yaml.YAMLError as error:
        raise RenderError(f"is not valid YAML: {error}") from error
    except StopIteration:
        raise RenderError(f"contains no object of kind {KIND}") from None
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
        kinds=frozenset(kind.full_name for kind in OPTIONAL),
        scale=Scale(modes.of(resource).initial_replicas(resource), resource.spec.autoscaling.min_replicas),
    )

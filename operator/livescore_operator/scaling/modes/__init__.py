"""The values of ``autoscaling.mode``, as strategies behind one protocol."""

from livescore_operator.resource import LiveScore
from livescore_operator.scaling.modes.connections import ConnectionsMode
from livescore_operator.scaling.modes.hpa import HpaMode
from livescore_operator.scaling.modes.mode import ScalingMode
from livescore_operator.scaling.modes.none import NoneMode

_MODES: dict[str, ScalingMode] = {"none": NoneMode(), "connections": ConnectionsMode(), "hpa": HpaMode()}


def of(resource: LiveScore) -> ScalingMode:
    """Return the mode of a LiveScore."""
    return _MODES[resource.spec.autoscaling.mode]

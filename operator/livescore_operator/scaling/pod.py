"""One API pod, as the scaling rules see it, and what it reports about itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """The state that one pod reports.

    Attributes:
        connections: Open WebSockets.
        draining: The pod is draining.
    """

    connections: int
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """One API pod as last observed.

    Attributes:
        name: Name of the pod.
        ready: Its Ready condition.
        connections: Open WebSockets; None without a current reading.
        draining: The pod reports that it is draining.
        terminating: The pod has a deletion timestamp.
    """

    name: str
    ready: bool
    connections: int | None
    draining: bool = False
    terminating: bool = False

    @property
    def serving(self) -> bool:
        """True if the pod accepts new connections and will continue to."""
        return self.ready and not self.draining and not self.terminating

    @property
    def unread(self) -> bool:
        """True if the pod is serving, but its connections are unknown."""
        return self.serving and self.connections is None

"""The deployment that a worker or scheduler serves, as its sweep last read it from PostgreSQL."""

from threading import Condition, Event

import structlog

from livescore.deployment import Deployment

log = structlog.get_logger(__name__)


class Term(Event):
    """The time for which a loop serves one deployment. Set when the deployment changes or the process stops."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self.deployment = deployment


class DeploymentWatch:
    """Passes the deployment from the sweep to the threads of RQ. Thread-safe."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._term: Term | None = None
        self._stopped = False

    @property
    def deployment(self) -> Deployment | None:
        """Return the current deployment; None while it is unknown."""
        term = self._term
        return None if term is None else term.deployment

    def update(self, deployment: Deployment) -> None:
        """Let the threads serve this deployment from now on."""
        with self._changed:
            if self._stopped or (self._term is not None and self._term.deployment == deployment):
                return
            log.info("deployment identified", namespace=deployment.namespace)
            if self._term is not None:
                self._term.set()
            self._term = Term(deployment)
            self._changed.notify_all()

    def wait(self) -> Term | None:
        """Block until the deployment is known. Returns None when the process stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._term is not None)
            return None if self._stopped else self._term

    def stop(self) -> None:
        """End the current term and all waits."""
        with self._changed:
            self._stopped = True
            if self._term is not None:
                self._term.set()
            self._changed.notify_all()

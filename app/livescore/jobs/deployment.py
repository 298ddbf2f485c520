"""The deployment that worker and scheduler serve, as their sweeper last read it from PostgreSQL."""

from threading import Condition, Event

import structlog

from livescore.deployment import Deployment

log = structlog.get_logger(__name__)


class Term(Event):
    """Time for which a loop serves one deployment; set when the deployment changes or the process stops."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self.deployment = deployment


class DeploymentWatch:
    """Hands the deployment to the loops of this process. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._term: Term | None = None
        self._stopped = False

    def update(self, deployment: Deployment) -> None:
        """Let the loops serve this deployment from now on."""
        with self._changed:
            if self._stopped or (self._term is not None and self._term.deployment == deployment):
                return
            log.info("deployment identified", namespace=deployment.namespace)
            if self._term is not None:
                self._term.set()
            self._term = Term(deployment)
            self._changed.notify_all()

    def wait(self) -> Term | None:
        """Wait until the deployment is known. Returns None when the process stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._term is not None)
            return None if self._stopped else self._term

    def stop(self) -> None:
        """End every term, and every wait for one."""
        with self._changed:
            self._stopped = True
            if self._term is not None:
                self._term.set()
            self._changed.notify_all()

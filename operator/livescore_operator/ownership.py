"""Agreement between operators that watch the same LiveScore: one of them owns it, the others stand back.

``status.operator`` identifies the owner by the namespace and name of its Lease, which survive restarts, upgrades and
changes of leader. An operator that finds another owner writes ``status.contender``. The owner receives that change and
acknowledges it; then the contender stands back, and repeats the request at intervals. If the owner does not
acknowledge, it was removed, and the contender takes over.

Every write has the ``resourceVersion`` that was read as a precondition, so that one of several operators wins. A single
operator writes nothing. Times are measured by this process's own clock, since clocks of machines differ.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from livescore_operator.cluster import Cluster
from livescore_operator.errors import Terminal
from livescore_operator.resource import Contender, Identity, Manifest, timestamp

log = structlog.get_logger(__name__)

Key = tuple[str, str]
"""Namespace and name of a LiveScore."""

# Seconds in which an owner must acknowledge; a change of leader takes less.
ACKNOWLEDGE_SECONDS = 30.0

# Seconds between two requests of a contender that was acknowledged.
ASK_SECONDS = 60.0

# Seconds after its last request when a contender counts as removed.
GONE_SECONDS = 150.0

# Requeue delay in seconds after a conflicting write.
CONFLICT_SECONDS = 1.0


@dataclass(frozen=True)
class Decision:
    """Decision whether this operator reconciles a LiveScore.

    Attributes:
        owned: Whether this operator owns it.
        problem: Error about another operator, for the owner to report; None if there is no other.
        after: Requeue delay in seconds; None to wait for events.
    """

    owned: bool
    problem: Terminal | None = None
    after: float | None = None


class Ownership:
    """Decides which LiveScores this operator reconciles.

    Args:
        cluster: The API server.
        identity: Identity of this installation.
        now: Returns the wall-clock time, for the status.
        lease_seconds: Time in seconds that a change of leader may take.

    Attributes:
        monotonic: Returns monotonic time in seconds.
    """

    def __init__(
        self, cluster: Cluster, identity: Identity, now: Callable[[], datetime], lease_seconds: float = 15.0
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._now = now
        self._patience = max(ACKNOWLEDGE_SECONDS, 2 * lease_seconds)
        # Owner and last request of each LiveScore, and when this process first saw them in this state.
        self._requests: dict[Key, tuple[tuple[Identity, Contender], float]] = {}
        self.monotonic: Callable[[], float] = time.monotonic

    async def decide(self, body: Manifest) -> Decision:
        """Decide whether to reconcile a LiveScore. Claim it if it has no owner, or if its owner was removed.

        Raises:
            Transient: Raised if a request failed.
            NotLeading: Raised if another process holds the Lease now.
        """
        status = body.get("status") or {}
        owner, contender = _identity(status.get("operator")), _contender(status.get("contender"))
        if owner is None:
            return await self._claim(body)
        if owner == self._identity:
            return await self._acknowledge(body, contender)
        return await self._contend(body, owner, contender)

    def forget(self, key: Key) -> None:
        """Forget a LiveScore that was deleted."""
        self._requests.pop(key, None)

    async def _claim(self, body: Manifest) -> Decision:
        self.forget(_key(body))
        written = await self._write(body, operator=_dumped(self._identity), contender=None)
        return Decision(owned=True) if written else Decision(owned=False, after=CONFLICT_SECONDS)

    # As the owner

    async def _acknowledge(self, body: Manifest, contender: Contender | None) -> Decision:
        if contender is None:
            self.forget(_key(body))
            return Decision(owned=True)
        after = GONE_SECONDS
        if self._age(body, self._identity, contender) >= GONE_SECONDS or contender.identity == self._identity:
            log.info("other operator removed", contender=str(contender))
            self.forget(_key(body))
            await self._write(body, contender=None)
            return Decision(owned=True)
        if not contender.acknowledged:
            log.warning("another operator watches this LiveScore", contender=str(contender))
            acknowledged = contender.model_copy(update={"acknowledged": True})
            if not await self._write(body, contender=_dumped(acknowledged)):
                # Not acknowledged yet: the contender would take over.
                after = CONFLICT_SECONDS
        message = (
            f"operator {self._identity} reconciles this LiveScore; operator {contender} watches it and stands back: "
            "remove one of the two, or give each its own namespaces (watch.namespaces of the chart, --namespace)"
        )
        return Decision(owned=True, problem=Terminal("AnotherOperator", message), after=after)

    # As a contender

    async def _contend(self, body: Manifest, owner: Identity, contender: Contender | None) -> Decision:
        if contender is None:
            return await self._ask(body, owner)
        # The request of a third operator serves as well: its acknowledgement proves that the owner exists.
        age = self._age(body, owner, contender)
        if contender.acknowledged:
            return await self._ask(body, owner) if age >= ASK_SECONDS else _stand_back(ASK_SECONDS - age)
        if age < self._patience:
            return _stand_back(self._patience - age)
        log.warning("took over from an operator that does not acknowledge", owner=str(owner), seconds=self._patience)
        return await self._claim(body)

    async def _ask(self, body: Manifest, owner: Identity) -> Decision:
        log.warning("another operator owns this LiveScore, standing back", owner=str(owner))
        request = Contender(**self._identity.model_dump(), asked_at=timestamp(self._now()))
        written = await self._write(body, contender=_dumped(request))
        if written:
            self._age(body, owner, request)
        return _stand_back(self._patience if written else CONFLICT_SECONDS)

    def _age(self, body: Manifest, owner: Identity, contender: Contender) -> float:
        """Return the seconds for which this process has seen the same request.

        For a contender, the acknowledgement makes it a new request.
        """
        shown = contender if owner != self._identity else contender.model_copy(update={"acknowledged": True})
        now, request = self.monotonic(), (owner, shown)
        before, since = self._requests.get(_key(body), (None, now))
        if before != request:
            since = now
        self._requests[_key(body)] = (request, since)
        return now - since

    async def _write(self, body: Manifest, **status: Any) -> bool:
        """Write fields of the status. Return False if the LiveScore was written since it was read."""
        return await self._cluster.patch_status(body, status)


def _stand_back(after: float) -> Decision:
    return Decision(owned=False, after=max(after, CONFLICT_SECONDS))


def _key(body: Manifest) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _dumped(model: Identity) -> dict[str, Any]:
    return model.model_dump(by_alias=True)


def _identity(member: Any) -> Identity | None:
    try:
        return Identity.model_validate(member)
    except ValidationError:
        return None


def _contender(member: Any) -> Contender | None:
    try:
        return Contender.model_validate(member)
    except ValidationError:
        return None

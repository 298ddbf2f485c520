"""Agreement of operators that see the same LiveScore: one of them owns it, the others stand back.

``status.operator`` names the owner by the namespace and the name of its Lease, so that restarts, upgrades and changes
of leader within one installation change nothing. An operator that finds another owner writes ``status.contender``. The
owner sees that by its watch and acknowledges it; while it does, the contender stands back and asks again from time to
time. An owner that does not acknowledge was removed, and the contender takes over.

All of this is written with the ``resourceVersion`` that was read, so of several operators one wins. Nothing is written
while there is only one operator. Times are measured by this process's own clock: clocks of machines differ.
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

# Seconds in which an owner must acknowledge: more than a change of leader takes.
ACKNOWLEDGE_SECONDS = 30.0

# Seconds between two questions of a contender that was told to stand back.
ASK_SECONDS = 60.0

# Seconds after which a contender that no longer asks counts as gone.
GONE_SECONDS = 150.0

# Seconds until a write that another one preceded is tried again.
CONFLICT_SECONDS = 1.0


@dataclass(frozen=True)
class Decision:
    """Whether this operator may work on a LiveScore.

    Attributes:
        owned: whether this operator owns it.
        problem: what the owner reports about another operator, if there is one.
        after: seconds after which to look again; None if only events matter.
    """

    owned: bool
    problem: Terminal | None = None
    after: float | None = None


class Ownership:
    """Decides which LiveScores this operator works on.

    Args:
        cluster: the API server.
        identity: of this installation.
        now: time of day, for the status.
        lease_seconds: that an owner may need to change its leader.

    Attributes:
        monotonic: seconds of a clock that nothing sets.
    """

    def __init__(
        self, cluster: Cluster, identity: Identity, now: Callable[[], datetime], lease_seconds: float = 15.0
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._now = now
        self._patience = max(ACKNOWLEDGE_SECONDS, 2 * lease_seconds)
        # The last question about each LiveScore, whoever asked, and since when this process knows it in this state.
        self._questions: dict[Key, tuple[tuple[Identity, Contender], float]] = {}
        self.monotonic: Callable[[], float] = time.monotonic

    async def decide(self, body: Manifest) -> Decision:
        """Return whether to work on a LiveScore; claim it if it has no owner, or if its owner is gone.

        Raises:
            Transient: Raised if the API server did not do what it was asked.
            NotLeading: Raised if another process has the Lease now.
        """
        status = body.get("status") or {}
        owner, contender = _identity(status.get("operator")), _contender(status.get("contender"))
        if owner is None:
            return await self._claim(body)
        if owner == self._identity:
            return await self._acknowledge(body, contender)
        return await self._contend(body, owner, contender)

    def forget(self, key: Key) -> None:
        """Forget a LiveScore that is gone."""
        self._questions.pop(key, None)

    async def _claim(self, body: Manifest) -> Decision:
        self.forget(_key(body))
        written = await self._write(body, operator=_dumped(self._identity), contender=None)
        return Decision(owned=True) if written else Decision(owned=False, after=CONFLICT_SECONDS)

    # As the owner

    async def _acknowledge(self, body: Manifest, contender: Contender | None) -> Decision:
        if contender is None:
            self.forget(_key(body))
            return Decision(owned=True)
        if self._age(body, self._identity, contender) >= GONE_SECONDS or contender.identity == self._identity:
            log.info("the other operator is gone", contender=str(contender))
            self.forget(_key(body))
            await self._write(body, contender=None)
            return Decision(owned=True)
        if not contender.acknowledged:
            log.warning("another operator sees this LiveScore", contender=str(contender))
            await self._write(body, contender=_dumped(contender.model_copy(update={"acknowledged": True})))
        message = (
            f"the operator {self._identity} works on this LiveScore; the operator {contender} sees it too and stands "
            "back: remove one of the two, or give each its own namespaces (watch.namespaces of the chart, --namespace)"
        )
        return Decision(owned=True, problem=Terminal("AnotherOperator", message), after=GONE_SECONDS)

    # As a contender

    async def _contend(self, body: Manifest, owner: Identity, contender: Contender | None) -> Decision:
        if contender is None:
            return await self._ask(body, owner)
        # The question of a third operator serves as well: the answer says that the owner is alive.
        age = self._age(body, owner, contender)
        if contender.acknowledged:
            return await self._ask(body, owner) if age >= ASK_SECONDS else _stand_back(ASK_SECONDS - age)
        if age < self._patience:
            return _stand_back(self._patience - age)
        log.warning("took over from an operator that does not answer", owner=str(owner), seconds=self._patience)
        return await self._claim(body)

    async def _ask(self, body: Manifest, owner: Identity) -> Decision:
        log.warning("another operator owns this LiveScore: standing back", owner=str(owner))
        question = Contender(**self._identity.model_dump(), asked_at=timestamp(self._now()))
        written = await self._write(body, contender=_dumped(question))
        if written:
            self._age(body, owner, question)
        return _stand_back(self._patience if written else CONFLICT_SECONDS)

    def _age(self, body: Manifest, owner: Identity, contender: Contender) -> float:
        """Return for how many seconds this process has seen the same question.

        To a contender the acknowledgement makes it a new one.
        """
        shown = contender if owner != self._identity else contender.model_copy(update={"acknowledged": True})
        now, question = self.monotonic(), (owner, shown)
        before, since = self._questions.get(_key(body), (None, now))
        if before != question:
            since = now
        self._questions[_key(body)] = (question, since)
        return now - since

    async def _write(self, body: Manifest, **status: Any) -> bool:
        """Write members of the status if nothing was written since it was read; return whether it was."""
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

"""Authorization by SubjectAccessReviews."""

import json
import time
from collections.abc import Awaitable, Callable

from livescore_operator.metrics_api.authentication import User
from livescore_operator.resource import Manifest

Review = Callable[[Manifest], Awaitable[bool]]
"""Returns True if the spec of a SubjectAccessReview is allowed. Raises ReconcileError if that is unknown."""

# Lifetime of a cached review. API servers cache longer; a short lifetime makes new rights effective sooner.
ALLOWED_SECONDS, DENIED_SECONDS = 10.0, 5.0

# Bound of the cache, far above the number of users that read metrics.
MAX_CACHED = 1000


class SubjectAccessAuthorizer:
    """Rights of users, as reviewed by the API server and cached for a few seconds.

    Args:
        review: Asks the API server.
        clock: Returns monotonic seconds.
    """

    def __init__(self, review: Review, clock: Callable[[], float] = time.monotonic) -> None:
        self._review = review
        self._clock = clock
        self._cache: dict[str, tuple[float, bool]] = {}

    async def allows(self, user: User, attributes: Manifest) -> bool:
        """Return True if a user may perform a request.

        Args:
            user: The user.
            attributes: ``{"resourceAttributes": …}`` or ``{"nonResourceAttributes": …}``.

        Raises:
            ReconcileError: The API server did not answer the review.
        """
        extra = {key: list(values) for key, values in user.extra}
        spec = {"user": user.name, "groups": list(user.groups), "extra": extra, **attributes}
        key = json.dumps(spec, sort_keys=True)
        expires, allowed = self._cache.get(key, (0.0, False))
        if self._clock() >= expires:
            allowed = await self._review(spec)
            self._store(key, allowed)
        return allowed

    def _store(self, key: str, allowed: bool) -> None:
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        lifetime = ALLOWED_SECONDS if allowed else DENIED_SECONDS
        self._cache[key] = (self._clock() + lifetime, allowed)

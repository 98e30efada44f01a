"""Slates that several machines have shown, in the Redis that they share: one of each request id.

value-model:answer:REQUEST_ID    the slate's body, for as long as a request may be repeated to another machine
value-model:shown:REQUEST_ID     what feedback is judged by, for as long as it may come to another machine
"""

from __future__ import annotations

from collections.abc import Sequence

from features.backends.redis_client import RedisClient

HOUR_MS = 3_600_000
REPEATED_MS, FEEDBACK_MS = HOUR_MS, 7 * 24 * HOUR_MS
ANSWER, SHOWN = "value-model:answer:", "value-model:shown:"


class SharedSlates:
    """In the Redis at `url`; methods raise StoreUnavailable."""

    def __init__(self, url: str) -> None:
        self._redis = RedisClient(url)

    def claim(self, name: str, body: bytes, *, shown: bytes) -> bytes | None:
        """Make this the slate of the request id; the body of the one that is, where another was quicker."""
        claims = [(ANSWER + name, body, REPEATED_MS), (SHOWN + name, shown, FEEDBACK_MS)]
        return None if self._redis.set_once(claims)[0] else self.body(name)

    def release(self, name: str) -> None:
        """No slate has the request id: the one that claimed it is on record nowhere."""
        self._redis.delete([ANSWER + name, SHOWN + name])

    def body(self, name: str) -> bytes | None:
        return self._redis.values([ANSWER + name])[0]

    def shown(self, names: Sequence[str]) -> list[bytes]:
        """Of those that are known."""
        values = self._redis.values([SHOWN + name for name in names]) if names else []
        return [value for value in values if value is not None]

"""The Redis client: a few keys, or thousands, and what has changed of the items, in one command each way.

Scripts run inside Redis, alone, and change all or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np

from features.store import StoreUnavailable

TIMEOUT = 10.0  # seconds of one command
WITHOUT = "the feature store in Redis needs the package redis: pip install 'value-model[live]'"
READ = """
local number, items, changed, values = redis.call('GET', KEYS[1]) or '0', KEYS[2], KEYS[3], {}
for first = 4, #KEYS, 4000 do
    local found = redis.call('MGET', unpack(KEYS, first, math.min(first + 3999, #KEYS)))
    for place = 1, #found do values[#values + 1] = found[place] end
end
local rows, records = redis.call('ZRANGEBYSCORE', changed, '(' .. ARGV[1], '+inf'), {}
for first = 1, #rows, 4000 do
    local found = redis.call('HMGET', items, unpack(rows, first, math.min(first + 3999, #rows)))
    for place = 1, #found do records[#records + 1] = found[place] end
end
return {number, values, rows, records}
"""
WRITE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
local key, at = 5, 6
for _, run in ipairs(cjson.decode(ARGV[4])) do
    for _ = 1, run[1] do
        if ARGV[at] == '' then redis.call('DEL', KEYS[key])
        elseif run[2] == 0 then redis.call('SET', KEYS[key], ARGV[at])
        else redis.call('SET', KEYS[key], ARGV[at], 'PX', run[2]) end
        key, at = key + 1, at + 1
    end
end
local number, items = redis.call('INCR', KEYS[2]), at + 2 * ARGV[5]
while at < items do
    local last, numbers = math.min(at + 3999, items - 1), {}
    redis.call('HSET', KEYS[3], unpack(ARGV, at, last))
    for row = at, last, 2 do
        numbers[#numbers + 1] = number
        numbers[#numbers + 1] = ARGV[row]
    end
    redis.call('ZADD', KEYS[4], unpack(numbers))
    at = last + 1
end
for sum = at, #ARGV, 3 do redis.call('HINCRBY', ARGV[sum], ARGV[sum + 1], ARGV[sum + 2]) end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return number
"""

Entry = tuple[str, bytes, int | None]  # key, rows (b"" = none, no key), milliseconds that it lives (None = for good)
More = tuple[str, int, int]  # hash, its field, what is added to it


@dataclass(frozen=True)
class Reading:
    """The values of keys after `number` writes, and the `rows` of the items that changed, with their `records`."""

    number: int
    values: list[bytes | None]
    rows: np.ndarray
    records: list[bytes | None]


class RedisClient:
    """Of the Redis at `url` (redis://HOST:PORT/DATABASE), of keys that begin with `prefix`.

    Methods raise StoreUnavailable where it does not answer.
    """

    def __init__(self, url: str, *, prefix: str = "") -> None:
        try:
            import redis
        except ImportError as missing:
            raise ValueError(WITHOUT) from missing
        parts = urlsplit(url)
        self.place = f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"
        try:
            self._redis = redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        except ValueError as error:
            raise ValueError(f"{self.place}: {error}") from error
        self._refuse_eviction()
        self._read, self._write = self._redis.register_script(READ), self._redis.register_script(WRITE)
        self._of_items = [f"{prefix}writes", f"{prefix}items", f"{prefix}changed"]

    def _refuse_eviction(self) -> None:
        """Raise ValueError where Redis forgets keys as it likes: a missing key means that nothing happened."""
        import redis

        with self._answering():
            try:
                settings = self._redis.config_get("maxmemory*")
            except redis.ResponseError:  # not shown by who runs it
                return
        policy, most = settings.get("maxmemory-policy", "noeviction"), settings.get("maxmemory", "0")
        if policy != "noeviction" and most != "0":
            raise ValueError(
                f"{self.place} evicts keys when {most} bytes are used (maxmemory-policy {policy}): features would be "
                "wrong without a word. Set maxmemory-policy noeviction, or use another Redis."
            )

    def get(self, key: str) -> bytes | None:
        with self._answering():
            return cast("bytes | None", self._redis.get(key))

    def read(self, keys: Sequence[str], *, after: int) -> Reading:
        """The values of some keys, and the items that changed in writes after number `after`."""
        with self._answering():
            answer = cast("list[Any]", self._read(keys=[*self._of_items, *keys], args=[after]))
        number, values, rows, records = answer
        return Reading(int(number), values, np.fromiter(map(int, rows), np.int64, len(rows)), records)

    def number(self) -> int:
        """How many writes there were."""
        return int(self.get(self._of_items[0]) or 0)

    def records(self, rows: Sequence[int]) -> list[bytes | None]:
        """Of some items."""
        with self._answering():
            return cast("list[bytes | None]", self._redis.hmget(self._of_items[1], cast("list[str]", rows)))

    def write(
        self,
        entries: Iterable[Entry],
        items: Sequence[tuple[int, bytes]] = (),
        more: Iterable[More] = (),
        *,
        guard: str,
        now: bytes,
        then: bytes,
        milliseconds: int = 0,
    ) -> int:
        """Write all where the key `guard` holds `now` (b"" = nothing), which becomes `then` for so long (0 = always).

        The number of the write; 0, and nothing is written, where it does not.
        """
        entries = list(entries)
        runs = [(len(list(run)), lives or 0) for lives, run in groupby(entries, lambda entry: entry[2])]
        args: list[Any] = [now, then, milliseconds, json.dumps(runs), len(items)]
        args += (rows for _, rows, _ in entries)
        args += (cell for item in items for cell in item)
        args += (cell for one in more for cell in one)
        with self._answering():
            return int(self._write(keys=[guard, *self._of_items, *(key for key, _, _ in entries)], args=args))

    def counts(self, keys: Sequence[str], fields: Sequence[int]) -> list[list[int]]:
        """Of some fields of each hash; 0 where there is none."""
        with self._answering():
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.hmget(key, cast("list[str]", fields))
            return [[int(count or 0) for count in counts] for counts in pipe.execute()]

    def locked(self, key: str, token: bytes, *, milliseconds: int) -> bool:
        """Whether the lock is now `token`'s, where it was nobody's."""
        with self._answering():
            return bool(self._redis.set(key, token, nx=True, px=milliseconds))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise StoreUnavailable(f"the features in {self.place} cannot be read or written now: {error}") from error

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
local at = 7 + ARGV[6]
for key = 7, at - 1 do redis.call('DEL', ARGV[key]) end
for _, run in ipairs(cjson.decode(ARGV[4])) do
    local last = at + 2 * run[1] - 1
    if run[2] == 0 then
        for first = at, last, 4000 do redis.call('MSET', unpack(ARGV, first, math.min(first + 3999, last))) end
    else
        for key = at, last, 2 do redis.call('SET', ARGV[key], ARGV[key + 1], 'PX', run[2]) end
    end
    at = last + 1
end
local number, last = redis.call('INCR', KEYS[2]), at + 2 * ARGV[5] - 1
for first = at, last, 4000 do
    local some, numbers = math.min(first + 3999, last), {}
    redis.call('HSET', KEYS[3], unpack(ARGV, first, some))
    for row = first, some, 2 do
        numbers[#numbers + 1] = number
        numbers[#numbers + 1] = ARGV[row]
    end
    redis.call('ZADD', KEYS[4], unpack(numbers))
end
at = last + 1
for place = at, #ARGV, 2 do
    local prefix, cells = ARGV[place], ARGV[place + 1]
    for cell = 1, #cells, 12 do
        local one, other, count = struct.unpack('<i4i4i4', cells, cell)
        redis.call('HINCRBY', prefix .. one, other, count)
        redis.call('HINCRBY', prefix .. other, one, count)
    end
end
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return number
"""

NUMBER = """
local numbers = {}
for place, name in ipairs(ARGV) do
    redis.call('HSETNX', KEYS[1], name, redis.call('HLEN', KEYS[1]))
    numbers[place] = redis.call('HGET', KEYS[1], name)
end
return numbers
"""

Entry = tuple[str, bytes, int | None]  # key, rows (b"" = none, no key), milliseconds that it lives (None = for good)
More = tuple[str, np.ndarray]  # prefix of hashes; int32 [m, 3] pairs of items, and what is added to the pair's count


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
        self._number = self._redis.register_script(NUMBER)
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
        gone, runs = list[str](), list[tuple[int, int]]()
        args: list[Any] = []
        for lives, run in groupby(entries, lambda entry: entry[2]):
            some = list(run)
            gone += [key for key, rows, _ in some if not rows]
            cells = [cell for key, rows, _ in some if rows for cell in (key, rows)]
            runs.append((len(cells) // 2, lives or 0))
            args += cells
        args += (cell for item in items for cell in item)
        counts: list[Any] = [cell for prefix, pairs in more for cell in (prefix, pairs.astype("<i4").tobytes())]
        head: list[Any] = [now, then, milliseconds, json.dumps(runs), len(items), len(gone)]
        with self._answering():
            return int(self._write(keys=[guard, *self._of_items], args=[*head, *gone, *args, *counts]))

    def counts(self, keys: Sequence[str], fields: Sequence[int]) -> list[list[int]]:
        """Of some fields of each hash; 0 where there is none."""
        with self._answering():
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.hmget(key, cast("list[str]", fields))
            return [[int(count or 0) for count in counts] for counts in pipe.execute()]

    def values(self, keys: Sequence[str]) -> list[bytes | None]:
        """Of some keys."""
        with self._answering():
            return cast("list[bytes | None]", self._redis.mget(list(keys)))

    def set_once(self, entries: Sequence[tuple[str, bytes, int]]) -> list[bool]:
        """Give each key, which lives so many milliseconds, its value where it has none; whether it had none."""
        with self._answering():
            pipe = self._redis.pipeline()
            for key, value, milliseconds in entries:
                pipe.set(key, value, nx=True, px=milliseconds)
            return list(map(bool, pipe.execute()))

    def delete(self, keys: Sequence[str]) -> None:
        with self._answering():
            self._redis.delete(*keys)

    def numbers(self, key: str, names: Sequence[str]) -> list[int]:
        """The names' numbers in a hash; those that have none get the next, in their order."""
        with self._answering():
            return [int(number) for number in cast("list[int]", self._number(keys=[key], args=list(names)))]

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

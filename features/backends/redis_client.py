"""The Redis client: a few keys, or thousands, and what has changed of the items, as of one moment; written together.

Scripts and transactions run inside Redis, alone, and change all or nothing. What is much goes round scripts, which copy
each value twice.
"""

from __future__ import annotations

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
FEW = 100  # keys that a script reads
READ = """
local number, items, changed, values = redis.call('GET', KEYS[1]) or '0', KEYS[2], KEYS[3], {}
if #KEYS > 3 then values = redis.call('MGET', unpack(KEYS, 4)) end
local rows, records = redis.call('ZRANGEBYSCORE', changed, '(' .. ARGV[1], '+inf'), {}
for first = 1, #rows, 4000 do
    local found = redis.call('HMGET', items, unpack(rows, first, math.min(first + 3999, #rows)))
    for place = 1, #found do records[#records + 1] = found[place] end
end
return {number, values, rows, records}
"""
EXPIRE = "for place = 2, #ARGV do redis.call('PEXPIRE', ARGV[place], ARGV[1]) end"
COUNT = """
local prefix, cells = ARGV[1], ARGV[2]
for cell = 1, #cells, 12 do
    local one, other, count = struct.unpack('<i4i4i4', cells, cell)
    redis.call('HINCRBY', prefix .. one, other, count)
    redis.call('HINCRBY', prefix .. other, one, count)
end
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
        self._read, self._expire = self._redis.register_script(READ), self._redis.register_script(EXPIRE)
        self._count = self._redis.register_script(COUNT)
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
            if len(keys) <= FEW:
                number, values, rows, records = cast("list[Any]", self._read([*self._of_items, *keys], [after]))
            else:
                pipe = self._redis.pipeline()
                self._read(self._of_items, [after], client=pipe)
                pipe.mget(list(keys))
                (number, _, rows, records), values = pipe.execute()
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
        import redis

        writes, records, changed = self._of_items
        with self._answering(), self._redis.pipeline() as pipe:
            pipe.watch(guard, writes)
            guarded, written = cast("list[bytes | None]", pipe.mget(guard, writes))
            if (guarded or b"") != now:
                return 0
            number = int(written or 0) + 1
            pipe.multi()
            for lives, run in groupby(entries, lambda entry: entry[2]):
                some = list(run)
                if gone := [key for key, rows, _ in some if not rows]:
                    pipe.delete(*gone)
                if kept := {key: rows for key, rows, _ in some if rows}:
                    pipe.mset(cast("dict[Any, Any]", kept))
                    if lives is not None:
                        self._expire(args=[lives, *kept], client=pipe)
            pipe.set(writes, number)
            if items:
                pipe.hset(records, items=[cell for item in items for cell in item])
                pipe.zadd(changed, {str(row): number for row, _ in items})
            for prefix, pairs in more:
                self._count(args=[prefix, pairs.astype("<i4").tobytes()], client=pipe)
            pipe.set(guard, then, px=milliseconds or None)
            try:
                pipe.execute()
            except redis.WatchError:  # another process wrote meanwhile
                return 0
        return number

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

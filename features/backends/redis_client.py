"""The Redis client: a few keys, or thousands, in one command whose arguments and answer are one text each.

Scripts run inside Redis, alone, and change all or nothing. Texts within are length-prefixed: uint32, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

import numpy as np

from features.store import StoreUnavailable

TIMEOUT = 10.0  # seconds of one command
WITHOUT = "the feature store in Redis needs the package redis: pip install 'value-model[live]'"
READ = """
local keys, lengths, values, at = {}, {}, {}, 1
while at <= #ARGV[1] do
    local size = struct.unpack('<I4', ARGV[1], at)
    keys[#keys + 1] = string.sub(ARGV[1], at + 4, at + 3 + size)
    at = at + 4 + size
end
local named = #keys
for at = 1, #ARGV[3], 4 do
    keys[#keys + 1] = ARGV[2] .. string.format('%d', struct.unpack('<I4', ARGV[3], at))
end
for first = 1, #keys, 4000 do
    local found = redis.call('MGET', unpack(keys, first, math.min(first + 3999, #keys)))
    for place = 1, #found do
        local value = found[place]
        if first + place - 1 <= named then
            lengths[#lengths + 1] = struct.pack('<I4', value and #value + 1 or 0)
            values[#values + 1] = value or ''
        else
            values[#values + 1] = value or ARGV[4]
        end
    end
end
return table.concat(lengths) .. table.concat(values)
"""
WRITE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
local at = 1
while at <= #ARGV[2] do
    local named, size, lives = struct.unpack('<I4I4I8', ARGV[2], at)
    local key = string.sub(ARGV[2], at + 16, at + 15 + named)
    at = at + 16 + named + size
    if size == 0 then redis.call('DEL', key)
    elseif lives == 0 then redis.call('SET', key, string.sub(ARGV[2], at - size, at - 1))
    else redis.call('SET', key, string.sub(ARGV[2], at - size, at - 1), 'PX', string.format('%.0f', lives)) end
end
at = 1
while at <= #ARGV[3] do
    local named, field, more = struct.unpack('<I4I4I4', ARGV[3], at)
    redis.call('HINCRBY', string.sub(ARGV[3], at + 12, at + 11 + named), field, more)
    at = at + 12 + named
end
redis.call('SET', KEYS[1], ARGV[4])
if ARGV[5] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return 1
"""

Entry = tuple[str, bytes, int | None]  # key, rows (b"" = none, no key), milliseconds that it lives (None = for good)
More = tuple[str, int, int]  # hash, its field, what is added to it


class RedisClient:
    """Of the Redis at `url` (redis://HOST:PORT/DATABASE): methods raise StoreUnavailable where it does not answer."""

    def __init__(self, url: str) -> None:
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

    def read(
        self, keys: Sequence[str], numbered: str, numbers: np.ndarray, *, absent: bytes
    ) -> tuple[list[bytes | None], bytes]:
        """The values of some keys, and those of keys `numbered` + a number, one after the other, at one moment.

        The latter are of one length, `absent` where there is no key; `numbers` >= 0.
        """
        names = [key.encode() for key in keys]
        named = b"".join(struct.pack("<I", len(name)) + name for name in names)
        with self._answering():
            answer = cast(bytes, self._read(args=[named, numbered, numbers.astype("<u4").tobytes(), absent]))
        lengths = np.frombuffer(answer, "<u4", len(names)).astype(np.int64)
        ends = 4 * len(names) + np.cumsum(np.maximum(lengths - 1, 0))
        starts = ends - np.maximum(lengths - 1, 0)
        spans = zip(lengths.tolist(), starts.tolist(), ends.tolist(), strict=True)
        values = [answer[start:end] if length else None for length, start, end in spans]
        return values, answer[len(answer) - len(numbers) * len(absent) :]

    def write(
        self,
        entries: Iterable[Entry],
        more: Iterable[More] = (),
        *,
        guard: str,
        now: bytes,
        then: bytes,
        milliseconds: int = 0,
    ) -> bool:
        """Write all where the key `guard` holds `now` (b"" = nothing), which becomes `then` for so long (0 = always).

        False, and nothing is written, where it does not.
        """
        parts, sums = [], []
        for key, rows, lives in entries:
            name = key.encode()
            parts += [struct.pack("<IIQ", len(name), len(rows), lives or 0), name, rows]
        for key, field, count in more:
            name = key.encode()
            sums += [struct.pack("<III", len(name), field, count), name]
        with self._answering():
            done = self._write(keys=[guard], args=[now, b"".join(parts), b"".join(sums), then, milliseconds])
        return bool(done)

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

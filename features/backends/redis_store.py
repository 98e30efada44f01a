"""Feature store in Redis: users', visits' and items' memories live there, so that the services of a log share them.

A request's keys are read by one command into the statistics of a `MemoryStore`, which compute from them as from their
own: a read costs its keys, however many users there are. What the log says is learned by reading, updating and writing
the keys that it touches; the write moves the position in the log, and is refused where that has moved since the read:
of several processes that learn the same rows one succeeds, and a row counts once whoever died between
(docs/decisions/redis-features.md).

    NS:position                    8 bytes of the last write's own, and how far the log was read; none = not seeded
    NS:STATISTIC.MEMORY:NAME       packed rows of a user, visit, segment ("" = the market); ends with the memory's span
    NS:item:ROW                    packed row of an item, of all statistics
    NS:STATISTIC.MEMORY:pair:ROW   hash: the count with each other item
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from features.backends.packing import ItemLayout, RowLayout
from features.backends.redis_client import Entry, More, RedisClient
from features.snapshot import FeatureSnapshot
from features.statistics.keyed_memory import MARKET_KEY, Entity, ItemRows, Memory, NamedRows, PairCounts
from features.statistics.statistic import EventLog, Visitor
from features.store import MemoryStore, RequestContext, StoreUnavailable

CHUNK = 2_000  # keys of one write while a store is seeded
LOCK_MS = 60_000  # after which a process that seeds and is heard of no more may be replaced
SEED_SECONDS = 1_800  # that others wait for it
POLL_SECONDS = 0.1
MARK = 8  # bytes, drawn anew by each write, so that a position never comes again
NO_ROWS = np.zeros(0, np.int32)
Names = Mapping[Entity, Sequence[str]]
NO_PAIRS = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Line:
    """A line of the plan by which requests are read: one memory, its statistic by number, and what its keys begin with.

    `milliseconds` that a key lives after it was written last, None = for good.
    """

    statistic: int
    memory: str
    field: str
    entity: Entity
    layout: RowLayout
    milliseconds: int | None


class RedisStore:
    """A `SharedStore` in the Redis at `url`, under the names of `version`; `seed` is a saved store that it begins with.

    `local` gives the statistics that compute; what it remembered itself is of no account. One thread may use a store.
    """

    def __init__(self, url: str, local: MemoryStore, *, version: str, seed: Path) -> None:
        self.catalogue, self._local, self._seed = local.catalogue, local, seed
        self._redis, self._prefix = RedisClient(url), f"value-model:{version}:"
        plan = [
            (memory, Line(number, name, f"{statistic.name}.{name}", memory.entity, layout_of(memory), lives(memory)))
            for number, statistic in enumerate(local.statistics)
            for name, memory in statistic.memories.items()
        ]
        self._named = [line for memory, line in plan if isinstance(memory, NamedRows)]
        self._pairs = [line for memory, line in plan if isinstance(memory, PairCounts)]
        self._items = [line for memory, line in plan if isinstance(memory, ItemRows)]
        self._layout = ItemLayout(self._item_rows())
        self._held: Visitor | None = None  # whose memories `local` holds
        self.position()

    def position(self) -> str:
        """How far the log was read, "" = from its beginning; seeds the store where there is nothing."""
        deadline = time.monotonic() + SEED_SECONDS
        while (position := self._redis.get(self._key("position"))) is None:
            if not self._seeded():
                time.sleep(POLL_SECONDS)  # another process does it
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self._redis.place} was not seeded in {SEED_SECONDS} s by the process that began."
                )
        return position[MARK:].decode()

    def learn(self, feedback: pa.Table | None, slates: pa.Table | None, *, after: str, upto: str) -> bool:
        """Remember rows of the log that lie between two positions.

        False, and nothing is changed, where the store is not at `after`: another process was quicker.
        """
        self._held = None
        log = EventLog.of(self.catalogue, feedback=feedback, slates=slates, segments=self._local.segments)
        names, rows = touched(log)
        position, packed, items = self._read(names, rows)
        if position is None or position[MARK:] != after.encode():
            return False
        self._put(names, rows, packed, items)
        for line in self._pairs:
            self._pair_counts(line).put(*NO_PAIRS)  # what they hold afterwards is what is to be added
        for statistic in self._local.statistics:
            statistic.update(log)
        entries, pairs = self._entries(names, rows), self._pair_cells()
        return self._redis.write(entries, pairs, guard=self._key("position"), now=position, then=marked(upto))

    def update(self, feedback: pa.Table) -> None:
        """See `FeatureStore`; the position stays."""
        while not self.learn(feedback, None, after=(position := self.position()), upto=position):
            pass

    def show(self, slates: pa.Table) -> None:
        """See `FeatureStore`; the position stays."""
        while not self.learn(None, slates, after=(position := self.position()), upto=position):
            pass

    def lookup(
        self,
        request: RequestContext,
        rows: np.ndarray,
        *,
        price: np.ndarray | None = None,
        snapshot: FeatureSnapshot | None = None,
    ) -> FeatureSnapshot:
        """See `FeatureStore`: one read, a request's second of its candidates alone. Raises StoreUnavailable."""
        visitor = self._local.visitor(request)
        known = snapshot is not None and visitor == self._held
        visits = [] if visitor.session_id is None else [visitor.session_id]
        names = {} if known else names_of([visitor.user_id], visits, [str(visitor.segment)])
        distinct = np.unique(rows[rows >= 0])
        position, packed, items = self._read(names, distinct)
        if position is None:
            raise StoreUnavailable(f"{self._redis.place} holds no features any more; they are seeded anew.")
        self._put(names, distinct, packed, items)
        self._held = visitor
        if visitor.page_item >= 0 and len(distinct):
            self._read_pairs(visitor.page_item, distinct)
        return self._local.lookup(request, rows, price=price, snapshot=snapshot)

    def _key(self, *parts: object) -> str:
        return self._prefix + ":".join(map(str, parts))

    def _read(self, names: Names, rows: np.ndarray) -> tuple[bytes | None, list[bytes | None], bytes]:
        """The position, the named memories in the plan's order, and the items, at one moment."""
        named = [self._key(line.field, name) for line in self._named for name in names.get(line.entity, ())]
        keys, absent = [self._key("position"), *named], self._layout.nothing
        (position, *packed), items = self._redis.read(keys, self._key("item", ""), rows, absent=absent)
        return position, packed, items

    def _put(self, names: Names, rows: np.ndarray, packed: Sequence[bytes | None], items: bytes) -> None:
        """Make `local` hold what was read, and of named memories nothing else."""
        at = 0
        for line in self._named:
            if line.entity in names:
                keys = names[line.entity]
                cells = line.layout.unpack(packed[at : at + len(keys)])
                self._named_rows(line).put(dict(zip(keys, cells, strict=True)))
                at += len(keys)
        self._layout.write(items, self._item_rows(), rows)

    def _entries(self, names: Names, rows: np.ndarray) -> Iterator[Entry]:
        """What `local` holds of these keys."""
        for line in self._named:
            if line.entity in names:
                keys = names[line.entity]
                for name, packed in zip(keys, line.layout.pack(self._named_rows(line).take(keys)), strict=True):
                    yield self._key(line.field, name), packed, line.milliseconds
        for row, packed in zip(rows.tolist(), self._layout.read(self._item_rows(), rows), strict=True):
            yield self._key("item", row), packed, None

    def _memory(self, line: Line) -> Memory:
        return self._local.statistics[line.statistic].memories[line.memory]

    def _named_rows(self, line: Line) -> NamedRows:
        return cast(NamedRows, self._memory(line))

    def _pair_counts(self, line: Line) -> PairCounts:
        return cast(PairCounts, self._memory(line))

    def _item_rows(self) -> list[ItemRows]:
        return [cast(ItemRows, self._memory(line)) for line in self._items]

    def _pair_cells(self) -> Iterator[More]:
        """(key, other item, count) of every pair that `local` holds, from either of the two."""
        for line in self._pairs:
            for lower, upper, count in zip(*(c.tolist() for c in self._pair_counts(line).take()), strict=True):
                yield self._key(line.field, lower), upper, count
                yield self._key(line.field, upper), lower, count

    def _read_pairs(self, page: int, rows: np.ndarray) -> None:
        """Make `local` hold the counts of the page's item with `rows`, and no others."""
        counted = self._redis.counts([self._key(line.field, page) for line in self._pairs], rows.tolist())
        for line, counts in zip(self._pairs, counted, strict=True):
            self._pair_counts(line).put(np.minimum(rows, page), np.maximum(rows, page), np.array(counts, np.int64))

    def _seeded(self) -> bool:
        """Write all of the saved store, unless another process is at it; whether it was done.

        A process that is heard of no more for LOCK_MS is replaced, and writes nothing afterwards.
        """
        lock, token = self._key("seeding"), secrets.token_bytes(8)
        if not self._redis.locked(lock, token, milliseconds=LOCK_MS):
            return False
        self._local.restore(self._seed)
        write = partial(self._redis.write, guard=lock, now=token, then=token, milliseconds=LOCK_MS)
        for names, rows in self._seed_parts():
            if not write(self._entries(names, rows)):
                return False
        pairs = list(self._pair_cells())
        hashes = dict.fromkeys(key for key, _, _ in pairs)  # those of one who did not come to the end
        return write(((key, b"", None) for key in hashes), pairs) and write([(self._key("position"), marked(""), None)])

    def _seed_parts(self) -> Iterator[tuple[Names, np.ndarray]]:
        """Every key of the named memories and every item that `local` holds, CHUNK at a time."""
        for entity in {line.entity for line in self._named}:
            of_entity = [self._named_rows(line) for line in self._named if line.entity is entity]
            names = sorted({name for memory in of_entity for name in memory.names()})
            for start in range(0, len(names), CHUNK):
                yield {entity: names[start : start + CHUNK]}, NO_ROWS
        for start in range(0, len(self.catalogue), CHUNK):
            yield {}, np.arange(start, min(start + CHUNK, len(self.catalogue)))


def layout_of(memory: Memory) -> RowLayout:
    return RowLayout(memory.dtypes if isinstance(memory, NamedRows) else {})


def lives(memory: Memory) -> int | None:
    """Milliseconds that a key lives after it was written last: none of its rows is read then any more."""
    return None if memory.span is None else memory.span // 1000


def marked(position: str) -> bytes:
    return secrets.token_bytes(MARK) + position.encode()


def touched(log: EventLog) -> tuple[Names, np.ndarray]:
    """The names and the items (catalogue rows) of whom memories may change by the events of `log`."""
    events, shown = log.interactions, log.impressions
    users = used(events.user.dictionary, events.users) | used(shown.users, shown.user)
    visits = used(events.session.dictionary, events.sessions) | used(shown.sessions, shown.session)
    rows = np.unique(np.append(events.item, shown.item))
    return names_of(users, visits, {str(log.segments[user]) for user in users}), rows[rows >= 0]


def used(names: pa.Array, codes: np.ndarray) -> set[str]:
    """The names that codes [m] have in `names`; -1 = none."""
    return set(names.take(pa.array(np.unique(codes[codes >= 0]))).to_pylist())


def names_of(users: Collection[str], visits: Collection[str], segments: Collection[str]) -> Names:
    return {
        Entity.MARKET: [MARKET_KEY],
        Entity.USER: sorted(users),
        Entity.VISIT: sorted(visits),
        Entity.SEGMENT: sorted(segments),
    }

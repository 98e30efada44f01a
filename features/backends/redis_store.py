"""Feature store in Redis: users', visits' and items' memories live there, so that the services of a log share them.

A request's keys are read by one command into the statistics of a `MemoryStore`, which compute from them as from their
own: a read costs its keys, however many users there are. Items' rows, which all requests read, are kept in each process
as well, and each command brings those that were written since the one before. What the log says is learned by reading,
updating and writing the keys that it touches; the write moves the position in the log, and is refused where that has
moved since the read: of several processes that learn the same rows one succeeds, and a row counts once whoever died
between (docs/decisions/redis-features.md).

    NS:position                    8 bytes of the seed, 8 of the last write, how far the log was read; none = not seeded
    NS:ENTITY:SPAN:NAME            packed rows of a user, visit, segment ("" = the market), of all memories of a span
    NS:items                       hash: packed row of an item, of all statistics, by catalogue row
    NS:begun:KIND                  hash: the number of each item or category that began after the bundle's
    NS:changed                     sorted set: items by the number of the write that changed them last; NS:writes counts
    NS:STATISTIC.MEMORY:pair:ROW   hash: the count with each other item
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.backends.packing import GroupLayout, ItemLayout, Packed
from features.backends.redis_client import Entry, More, RedisClient
from features.snapshot import FeatureSnapshot
from features.statistics.keyed_memory import MARKET_KEY, Entity, ItemRows, NamedRows, PairCounts
from features.statistics.statistic import EventLog, Visitor
from features.store import MemoryStore, RequestContext, StoreUnavailable
from marketplace.splits import DAY_US

LAYOUT = 4  # of keys and rows; what a program of another layout left is not read, and the store seeded anew
CHUNK = 2_000  # keys of one write while a store is seeded, and items of one read
LOCK_MS = 60_000  # after which a process that seeds and is heard of no more may be replaced
SEED_SECONDS = 1_800  # that others wait for it
POLL_SECONDS = 0.1
MARK = 8  # bytes, drawn anew by each seed and each write, so that a position never comes again
NO_ROWS = np.zeros(0, np.int32)
NO_PAIRS = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
Names = Mapping[Entity, Sequence[str]]


@dataclass(frozen=True)
class KeyGroup:
    """Memories of one entity and span, whose rows of a name lie under one key: `prefix` and the name.

    `milliseconds` that a key lives after it was written last, None = for good.
    """

    entity: Entity
    prefix: str
    memories: tuple[NamedRows, ...]
    layout: GroupLayout
    milliseconds: int | None


class ReadPlan:
    """Read plan: keys, layouts and memories of what is read and written, compiled once from a store's statistics."""

    def __init__(self, local: MemoryStore, *, prefix: str) -> None:
        memories = [
            (f"{statistic.name}.{name}", memory)
            for statistic in local.statistics
            for name, memory in statistic.memories.items()
        ]
        spans: dict[tuple[Entity, int | None], list[NamedRows]] = {}
        for _, memory in memories:
            if isinstance(memory, NamedRows):
                spans.setdefault((memory.entity, memory.span), []).append(memory)
        self.groups = [_group(some, entity, span, prefix) for (entity, span), some in spans.items()]
        self.pairs = [(f"{prefix}{name}:pair:", one) for name, one in memories if isinstance(one, PairCounts)]
        self.items = ItemLayout([memory for _, memory in memories if isinstance(memory, ItemRows)])

    def keys(self, names: Names) -> list[str]:
        return [group.prefix + name for group in self.groups for name in names.get(group.entity, ())]

    def put(self, names: Names, packed: Sequence[Packed]) -> None:
        """Make the memories hold what lies under `keys(names)`, and nothing else; those of no name are left alone."""
        at = 0
        for group in self.groups:
            if group.entity not in names:
                continue
            some = names[group.entity]
            rows = group.layout.unpack(packed[at : at + len(some)])
            at += len(some)
            for memory, one in zip(group.memories, rows, strict=True):
                memory.put(some, one)

    def take(self, names: Names) -> Iterator[Entry]:
        """What the memories hold, an entry for each of `keys(names)`."""
        for group in self.groups:
            some = names.get(group.entity, ())
            if some:
                texts = group.layout.pack([memory.take(some) for memory in group.memories])
                for name, text in zip(some, texts, strict=True):
                    yield group.prefix + name, text, group.milliseconds


def _group(memories: Sequence[NamedRows], entity: Entity, span: int | None, prefix: str) -> KeyGroup:
    lives = "kept" if span is None else f"{span // DAY_US}d"
    milliseconds = None if span is None else span // 1000
    return KeyGroup(entity, f"{prefix}{entity}:{lives}:", tuple(memories), GroupLayout(memories), milliseconds)


class RedisStore:
    """A `SharedStore` in the Redis at `url`, under the names of `version`; `seed` is a saved store that it begins with.

    `local` gives the statistics that compute; what it remembered itself is of no account. One thread may use a store.
    """

    def __init__(self, url: str, local: MemoryStore, *, version: str, seed: Path) -> None:
        self.catalogue, self._local, self._seed = local.catalogue, local, seed
        self._prefix = f"value-model:{version}:{LAYOUT}:"
        self._redis = RedisClient(url, prefix=self._prefix)
        self._plan = ReadPlan(local, prefix=self._prefix)
        self._held: Visitor | None = None  # whose memories `local` holds
        self._seeded_as, self._number = b"", 0  # of which seed, and up to which write, its items are
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
        return log_position(position)

    def learn(self, feedback: pa.Table | None, slates: pa.Table | None, *, after: str, upto: str) -> bool:
        """Remember rows of the log that lie between two positions.

        False, and nothing is changed, where the store is not at `after`: another process was quicker.
        """
        self._held = None
        log = EventLog.of(self.catalogue, feedback=feedback, slates=slates, segments=self._local.segments)
        names, rows = touched(log)
        position, packed = self._read(names)
        if position is None or log_position(position) != after:
            return False
        before, number = self._plan.items.read(rows), 0
        try:
            for _, memory in self._plan.pairs:
                memory.put(*NO_PAIRS)  # what they hold afterwards is what is to be added
            for statistic in self._local.statistics:
                statistic.update(log)
            entries = self._plan.take(names)
            changed = [entry for entry, known in zip(entries, packed, strict=True) if entry[1] != (known or b"")]
            items, then = self._plan.items.changed(rows, before=before), marked(position[:MARK], upto)
            guard, pairs = self._key("position"), self._pair_cells()
            number = self._redis.write(changed, items, pairs, guard=guard, now=position, then=then)
        finally:
            if number:
                self._number = number  # nobody wrote between, or this had been refused
            else:
                self._plan.items.write(before, rows)
        return number > 0

    def begun(self, kind: str, names: Sequence[str]) -> list[int]:
        """See `SharedStore`."""
        return self._redis.numbers(self._key("begun", kind), names)

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
        """See `FeatureStore`: one read a request, on a product page another. Raises StoreUnavailable."""
        visitor = self._local.visitor(request)
        if snapshot is None or visitor != self._held:
            visits = [] if visitor.session_id is None else [visitor.session_id]
            names = names_of([visitor.user_id], visits, [str(visitor.segment)])
            self._held, (position, _) = None, self._read(names)
            if position is None:
                raise StoreUnavailable(f"{self._redis.place} holds no features any more; they are seeded anew.")
            self._held = visitor
        if visitor.page_item >= 0 and len(rows):
            self._read_pairs(visitor.page_item, np.unique(rows[rows >= 0]))
        return self._local.lookup(request, rows, price=price, snapshot=snapshot)

    def _key(self, *parts: object) -> str:
        return self._prefix + ":".join(map(str, parts))

    def _read(self, names: Names) -> tuple[bytes | None, Sequence[Packed]]:
        """Make `local` hold the items and these named memories, as of one moment; the position and what was read."""
        keys = [self._key("position"), *self._plan.keys(names)]
        while True:
            reading = self._redis.read(keys, after=self._number)
            position, *packed = reading.values
            if position is None:
                return None, packed
            if position[:MARK] == self._seeded_as:
                break
            self._read_items(position[:MARK])
        here = np.flatnonzero(reading.rows < len(self.catalogue))  # another process may have more room for new ones
        if len(here):
            records = self._plan.items.records([reading.records[place] for place in here.tolist()])
            self._plan.items.write(records, reading.rows[here])
        self._number = reading.number
        self._plan.put(names, packed)
        return position, packed

    def _read_items(self, seed: bytes) -> None:
        """Make `local` hold every item as it is now, or was a moment ago."""
        number = self._redis.number()
        for start in range(0, len(self.catalogue), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(self.catalogue)))
            self._plan.items.write(self._plan.items.records(self._redis.records(rows.tolist())), rows)
        self._seeded_as, self._number = seed, number

    def _pair_cells(self) -> list[More]:
        """Every pair that `local` holds, and its count."""
        return [(prefix, np.stack(memory.take(), axis=1)) for prefix, memory in self._plan.pairs]

    def _read_pairs(self, page: int, rows: np.ndarray) -> None:
        """Make `local` hold the counts of the page's item with `rows`, and no others."""
        if not len(rows):
            return
        counted = self._redis.counts([f"{prefix}{page}" for prefix, _ in self._plan.pairs], rows.tolist())
        for (_, memory), counts in zip(self._plan.pairs, counted, strict=True):
            memory.put(np.minimum(rows, page), np.maximum(rows, page), np.array(counts, np.int64))

    def _seeded(self) -> bool:
        """Write all of the saved store, unless another process is at it; whether it was done.

        A process that is heard of no more for LOCK_MS is replaced, and writes nothing afterwards.
        """
        lock, token = self._key("seeding"), secrets.token_bytes(MARK)
        if not self._redis.locked(lock, token, milliseconds=LOCK_MS):
            return False
        self._local.restore(self._seed)
        self._plan = ReadPlan(self._local, prefix=self._prefix)
        write = partial(self._redis.write, guard=lock, now=token, then=token, milliseconds=LOCK_MS)
        for names in self._seed_names():
            if not write(self._plan.take(names)):
                return False
        for start in range(0, len(self.catalogue), CHUNK):
            if not write((), self._plan.items.changed(np.arange(start, min(start + CHUNK, len(self.catalogue))))):
                return False
        pairs = self._pair_cells()
        hashes = [f"{prefix}{row}" for prefix, cells in pairs for row in np.unique(cells[:, :2]).tolist()]
        begun = [(self._key("position"), marked(secrets.token_bytes(MARK), ""), None)]
        gone = [(key, b"", None) for key in hashes]  # those of one who did not come to the end
        return bool(write(gone, (), pairs) and write(begun))

    def _seed_names(self) -> Iterator[Names]:
        """Every key of the named memories that `local` holds, CHUNK at a time."""
        for entity in {group.entity for group in self._plan.groups}:
            memories = chain.from_iterable(group.memories for group in self._plan.groups if group.entity is entity)
            names = sorted({name for memory in memories for name in memory.names()})
            for start in range(0, len(names), CHUNK):
                yield {entity: names[start : start + CHUNK]}


def log_position(position: bytes) -> str:
    return position[2 * MARK :].decode()


def marked(seed: bytes, position: str) -> bytes:
    """A position in the log, as a write of its own."""
    return seed + secrets.token_bytes(MARK) + position.encode()


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

"""Keyed memory: what a statistic remembers, by the key that it is read under, declared once by the statistic.

A store that keeps memories elsewhere reads the few keys of a request into a statistic, which then computes from them
as from its own; and writes back the keys that events have touched. No formula is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from features.statistics.keyed_rows import KeyedRows, NamedTable
from marketplace.splits import DAY_US

MARKET_KEY = ""  # of what is remembered of the whole market


class Entity(StrEnum):
    """What a memory's key names."""

    MARKET = "market"
    SEGMENT = "segment"  # by code (`UserSegments`), as text
    ITEM = "item"  # by catalogue row
    USER = "user"
    VISIT = "visit"
    PAIR = "pair"  # two items, by catalogue rows


@dataclass(frozen=True)
class NamedRows:
    """Rows of columns by name: as many as the key has events or items.

    `dtypes` of the columns, with the shape of a row's cell where it is more than a number. `put` remembers its keys
    alone and forgets all others. `span`: microseconds after which a row is forgotten, None = never; `bound` says what
    limits a key's rows.
    """

    entity: Entity
    dtypes: Mapping[str, np.dtype]
    names: Callable[[], Sequence[str]]
    take: Callable[[Sequence[str]], KeyedRows]
    put: Callable[[Sequence[str], KeyedRows], None]
    bound: str
    span: int | None = None

    @classmethod
    def of(cls, entity: Entity, table: Callable[[], NamedTable], *, bound: str, span: int | None = None) -> NamedRows:
        """Of the table that a statistic has at the time."""
        dtypes = {name: cells_of(empty) for name, empty in table().nothing.items()}
        return cls(
            entity,
            dtypes,
            lambda: table().names(),
            lambda names: table().take(names),
            lambda names, rows: table().put(names, rows),
            bound,
            span,
        )


@dataclass(frozen=True)
class ItemRows:
    """One row a catalogue row: `arrays` [catalogue, ...], which are written in place."""

    arrays: Mapping[str, np.ndarray]
    entity: Entity = Entity.ITEM
    bound: str = "one row"
    span: None = None


@dataclass(frozen=True)
class PairCounts:
    """A count by pair of items, (int32 lower row, upper row, int64 count) [m] each: `put` forgets all others."""

    take: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]
    put: Callable[[np.ndarray, np.ndarray, np.ndarray], None]
    entity: Entity = Entity.PAIR
    bound: str = "one count"
    span: None = None


def market_rows(arrays: Mapping[str, np.ndarray]) -> NamedRows:
    """One row of the whole market: `arrays` [1, ...], which are written in place; nothing known is 0."""

    def put(names: Sequence[str], rows: KeyedRows) -> None:
        for name, array in arrays.items():
            array[:] = rows.columns[name] if rows.lengths.any() else 0

    def take(names: Sequence[str]) -> KeyedRows:
        return KeyedRows(np.ones(len(names), np.int64), arrays)

    dtypes = {name: cells_of(array) for name, array in arrays.items()}
    return NamedRows(Entity.MARKET, dtypes, lambda: [MARKET_KEY], take, put, "one row")


def cells_of(array: np.ndarray) -> np.dtype:
    """The type of a row of `array` [m, ...]."""
    return np.dtype((array.dtype, array.shape[1:]))


Memory = NamedRows | ItemRows | PairCounts
Memories = Mapping[str, Memory]


@dataclass(frozen=True)
class MemorySize:
    """`keys` that hold something, their `rows`, and the `bytes` of their columns, Python's own not counted."""

    statistic: str
    memory: str
    entity: Entity
    keys: int
    rows: int
    bytes: int
    bound: str
    expiry: str


def memory_size(memory: Memory, *, statistic: str, name: str) -> MemorySize:
    expiry = "never" if memory.span is None else f"{memory.span // DAY_US} d"
    keys, rows, size = _measured(memory)
    return MemorySize(statistic, name, memory.entity, keys, rows, size, memory.bound, expiry)


def _measured(memory: Memory) -> tuple[int, int, int]:
    """Keys, rows and bytes."""
    if isinstance(memory, ItemRows):
        rows = len(next(iter(memory.arrays.values())))
        return rows, rows, sum(array.nbytes for array in memory.arrays.values())
    if isinstance(memory, PairCounts):
        columns = memory.take()
        return len(columns[0]), len(columns[0]), sum(column.nbytes for column in columns)
    everyone = memory.take(memory.names())
    keys, rows = len(everyone.lengths), int(everyone.lengths.sum())
    return keys, rows, sum(column.nbytes for column in everyone.columns.values())

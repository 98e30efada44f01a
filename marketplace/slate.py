"""One answered request in memory: scalars, dicts of its context, and NumPy arrays over its n items.

The engine makes a `Slate`, the log keeps it, a replay reads it back; everything that works on many requests uses
the columnar table of `marketplace.schema.SLATE` and `marketplace.slate_columns` instead.

Conventions: text arrays are object arrays of str (None = missing, in `categorical` alone); a missing number is
NaN, never None; arrays read back from a table are read-only views of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from marketplace import slate_columns
from marketplace.record_batch import ITEM_LISTS, LIST_MAPS, SCALAR_MAPS, SCALARS, slates_to_batch
from marketplace.schema import (
    ABOVE_KEY,
    COLUMN_PARTS,
    CONSIDERED_KEY,
    MATCH_KEY,
    PLACES_KEY,
    SEED_KEY,
    SEGMENT_KEY,
    SLATE,
    SURFACES_KEY,
    SchemaError,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slate:
    """One request and its answer; the fields mean what `marketplace.schema.SLATE` says.

    Raises SchemaError for a time without zone and for arrays of different lengths. Two slates are equal when every
    field is, NaN being equal to NaN.
    """

    request_id: str
    time: datetime
    surface: str
    user_id: str
    currency: str
    retriever_version: str
    index_version: str
    ranker_version: str
    calibrator_version: str
    policy_version: str
    feature_spec_version: str
    item_id: np.ndarray  # str [n]
    merchant_id: np.ndarray  # str [n]
    price: np.ndarray  # float64 [n], currency
    source: np.ndarray  # str [n]
    retrieval_score: np.ndarray  # float32 [n]
    merchant_value: np.ndarray  # float64 [n], currency per impression
    value: np.ndarray  # float64 [n], the formula's unit
    position: np.ndarray  # int32 [n], 1-based, of the list with its earlier pages; 0 = not shown
    propensity: np.ndarray  # float64 [n], NaN where not shown
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)  # head -> float64 [n]
    session_id: str | None = None
    query: str | None = None
    page_merchant_id: str | None = None
    page_item_id: str | None = None
    experiment: str | None = None
    variant: str | None = None
    context: Mapping[str, str | None] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    numeric: Mapping[str, np.ndarray] = field(default_factory=dict)  # float32 [1 or n]
    categorical: Mapping[str, np.ndarray] = field(default_factory=dict)  # str [1, n or a history's length]

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise SchemaError(f"slate {self.request_id!r}: time {self.time} has no time zone; use UTC.")
        n = len(self.item_id)
        of_items = {len(getattr(self, name)) for name in ITEM_LISTS} | set(map(len, self.predictions.values()))
        if of_items != {n} or not {1, n}.issuperset(map(len, self.numeric.values())):
            raise SchemaError(f"slate {self.request_id!r}: {n} items, but these have other lengths: {self._uneven()}")

    def _uneven(self) -> dict[str, int]:
        """Lengths that are not as many as the items, by column."""
        n = len(self.item_id)
        lengths = {name: len(getattr(self, name)) for name in ITEM_LISTS}
        lengths |= {f"predictions[{head}]": len(values) for head, values in self.predictions.items()}
        numeric = {f"numeric[{name}]": len(values) for name, values in self.numeric.items() if len(values) != 1}
        return {name: length for name, length in (lengths | numeric).items() if length != n}

    @property
    def versions(self) -> dict[str, str]:
        """Content hash of each part that answered the request, by `schema.VERSION_PARTS`.

        A slate that is older than the surfaces' recipes has none of them.
        """
        surfaces = self.context.get(SURFACES_KEY)
        columns = {part: getattr(self, f"{part}_version") for part in COLUMN_PARTS}
        return columns if surfaces is None else columns | {"surfaces": surfaces}

    @property
    def seed(self) -> int:
        """Of the answer's random draws; 0 where the slate does not name it."""
        return int(self.context.get(SEED_KEY) or 0)

    @property
    def places(self) -> int:
        """How many items were to be shown; 0 where the slate does not name it."""
        return int(self.context.get(PLACES_KEY) or 0)

    @property
    def places_above(self) -> int:
        """How many places of its list the pages before it filled; 0 on a first page."""
        return int(self.context.get(ABOVE_KEY) or 0)

    @property
    def considered(self) -> int:
        """How many candidates were scored; all that the slate holds, where it does not name it."""
        return int(self.context.get(CONSIDERED_KEY) or len(self))

    @property
    def segment(self) -> str | None:
        """The group whose weights applied."""
        return self.context.get(SEGMENT_KEY)

    @property
    def match(self) -> str | None:
        """How well the best item shown answers a search (`schema.MATCHES`); None where nothing is searched."""
        return None if self.query is None else self.context.get(MATCH_KEY)

    def __len__(self) -> int:
        return len(self.item_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Slate):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    return bool(a == b) or (isinstance(a, float) and a != a and b != b)


def slates_to_table(slates: Sequence[Slate]) -> pa.Table:
    """The slates as rows of SLATE, in the order given."""
    return pa.Table.from_batches([slates_to_batch(slates)]).cast(SLATE)


def table_to_slates(table: pa.Table) -> list[Slate]:
    """The rows of a SLATE table as `Slate`s, in row order."""
    cells = {name: table[name].to_pylist() for name in SCALARS}
    cells |= {name: [dict(cell) for cell in table[name].to_pylist()] for name in SCALAR_MAPS}
    offsets = slate_columns.item_offsets(table)
    cells |= {name: _slices(slate_columns.to_numpy(slate_columns.flat(table, name)), offsets) for name in ITEM_LISTS}
    cells |= {name: _dicts(slate_columns.entries(table, name)) for name in LIST_MAPS}
    return [Slate(**dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]


def _slices(values: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    bounds = offsets.tolist()
    return [values[start:stop] for start, stop in pairwise(bounds)]


def _dicts(entries: slate_columns.MapEntries) -> list[dict[str, np.ndarray]]:
    names = entries.keys.to_pylist()
    arrays = _slices(slate_columns.to_numpy(entries.values), entries.value_offsets)
    bounds = entries.offsets.tolist()
    return [dict(zip(names[start:stop], arrays[start:stop], strict=True)) for start, stop in pairwise(bounds)]

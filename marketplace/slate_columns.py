"""Columnar access to a SLATE table, without Python loops over items or requests.

Conventions: R requests own N items; request r owns items offsets[r]:offsets[r+1] of every flat column. A map
column (context, weights, numeric, categorical, predictions) holds named entries per request; where a name occurs
twice in one request the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.schema import SLATE

LARGEST = 2**31 - 1  # values in one column of lists


def plain(kind: pa.DataType) -> pa.DataType:
    """`kind` with every dictionary replaced by its values' type."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(plain(kind.value_type)) if pa.types.is_list(kind) else kind


PLAIN_SLATE = pa.schema([f.with_type(plain(f.type)) for f in SLATE], metadata=SLATE.metadata)


class RequestLists(NamedTuple):
    """One list per request: request r holds values[offsets[r]:offsets[r+1]]."""

    offsets: np.ndarray  # int64 [R + 1]
    values: pa.Array

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


@dataclass(frozen=True)
class MapEntries:
    """A map of lists, unpacked: request r owns entries offsets[r]:offsets[r+1]; entry e is keys[e] with its values."""

    offsets: np.ndarray  # int64 [R + 1]
    keys: pa.Array  # string [E]
    value_offsets: np.ndarray  # int64 [E + 1]
    values: pa.Array


def item_offsets(slates: pa.Table) -> np.ndarray:
    """int64 [R + 1]: where each request's items begin and end in the flat columns."""
    return _offsets(slates["item_id"])


def flat(slates: pa.Table, name: str) -> pa.Array:
    """[N]: a list column over items, all requests one after another."""
    return _one(slates[name]).flatten()


def slate_mask(offsets: np.ndarray) -> np.ndarray:
    """bool [R, longest]: where flat rows lie once they are padded."""
    counts = np.diff(offsets)
    return np.arange(counts.max(initial=0)) < counts[:, None]


def pad(rows: np.ndarray, mask: np.ndarray, *, absent: float = 0.0) -> np.ndarray:
    """Flat rows [N] as [R, longest]; `padded[mask]` gives them back."""
    padded = np.full(mask.shape, absent, rows.dtype)
    padded[mask] = rows
    return padded


def request_of_rows(slates: pa.Table) -> np.ndarray:
    """int64 [N]: the request that each flat item belongs to."""
    offsets = item_offsets(slates)
    return np.repeat(np.arange(len(slates)), np.diff(offsets))


def shown(slates: pa.Table) -> np.ndarray:
    """bool [N]: which of the considered items were on the page."""
    return to_numpy(flat(slates, "position")) > 0


def page_places(slates: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N]: each item's place on its own page, 1 = its first, 0 = not shown; int64 [R]: places on the pages above.

    A position is the sum of both. Whoever asks how a slate was filled reads the first, how far down it was looked at
    the position.
    """
    position, request = to_numpy(flat(slates, "position")).astype(np.int64), request_of_rows(slates)
    first = np.full(len(slates), LARGEST)
    np.minimum.at(first, request[position > 0], position[position > 0])
    above = np.where(first == LARGEST, 0, first - 1)
    return np.where(position > 0, position - above[request], 0), above


def names(slates: pa.Table, column: str) -> list[str]:
    """The names that occur in a map column, in order of first appearance."""
    return pc.unique(_map(slates, column)[1]).to_pylist()


def numeric_features(slates: pa.Table, name: str) -> RequestLists:
    """float32 lists of length 1 (request) or n (items); empty where the request did not log `name`."""
    return lists(slates, "numeric", name)


def categorical_features(slates: pa.Table, name: str) -> RequestLists:
    """Text lists of length 1, n or a history's length; empty where the request did not log `name`."""
    return lists(slates, "categorical", name)


def predictions(slates: pa.Table, head: str) -> np.ndarray:
    """float64 [N]: a head's predictions; NaN where the request did not log `head`."""
    logged = lists(slates, "predictions", head)
    result = np.full(item_offsets(slates)[-1], np.nan)
    result[np.repeat(logged.lengths > 0, np.diff(item_offsets(slates)))] = to_numpy(logged.values)
    return result


def context(slates: pa.Table, name: str) -> pa.Array:
    """string [R]: a context entry; null where the request has none of that name."""
    return _scalars(slates, "context", name)


def weights(slates: pa.Table, name: str) -> np.ndarray:
    """float64 [R]: a weight of the value formula as applied; NaN where absent."""
    return to_numpy(_scalars(slates, "weights", name).fill_null(np.nan))


def lists(slates: pa.Table, column: str, name: str) -> RequestLists:
    """The entry `name` of a map-of-lists column: one list per request, empty where absent."""
    offsets, keys, items = _map(slates, column)
    picked = items.take(_entry(offsets, keys, name))
    return RequestLists(_offsets(picked), picked.flatten())


def all_lists(slates: pa.Table, column: str) -> dict[str, RequestLists]:
    """Every entry of a map-of-lists column by name; quicker than asking for each."""
    return dict(each_list(slates, column))


def each_list(slates: pa.Table, column: str) -> Iterator[tuple[str, RequestLists]]:
    """The same, one after another, so that no more than one stands in memory beside the table."""
    offsets, keys, items = _map(slates, column)
    for name, entry in _all_entries(offsets, keys).items():
        picked = items.take(entry)
        yield name, RequestLists(_offsets(picked), picked.flatten())


def all_scalars(table: pa.Table, column: str) -> dict[str, pa.Array]:
    """Every entry of a map-of-scalars column by name, [rows] each; null where a row has none of that name."""
    offsets, keys, items = _map(table, column)
    return {name: items.take(entry) for name, entry in _all_entries(offsets, keys).items()}


def entries(slates: pa.Table, column: str) -> MapEntries:
    """A map-of-lists column, unpacked."""
    offsets, keys, items = _map(slates, column)
    return MapEntries(offsets, keys, _offsets(items), items.flatten())


def map_of_lists(columns: Mapping[str, RequestLists], *, requests: int, values: pa.DataType) -> pa.MapArray:
    """The inverse of `all_lists`: R map cells, each with the entries `columns` in their order."""
    width = len(columns)
    lengths = np.stack([np.zeros(requests, np.int64), *(cells.lengths for cells in columns.values())], axis=1)[:, 1:]
    ends = np.append(0, np.cumsum(lengths.ravel()))
    if ends[-1] > LARGEST:
        raise ValueError(f"the lists hold {ends[-1]:,} values of {width} columns; Arrow's limit is {LARGEST:,}.")
    starts = ends[:-1].reshape(requests, width)
    laid_out = _words_laid_out if pa.types.is_string(values) else _numbers_laid_out
    cells = laid_out(columns.values(), starts.T, values, total=int(ends[-1]))
    items = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), cells)
    keys = pa.array(list(columns), pa.string()).take(pa.array(np.tile(np.arange(width), requests)))
    offsets = pa.array(np.arange(requests + 1, dtype=np.int32) * width)
    return pa.MapArray.from_arrays(offsets, keys, items).cast(pa.map_(pa.string(), pa.list_(values)))


def _numbers_laid_out(
    columns: Iterable[RequestLists], starts: np.ndarray, kind: pa.DataType, *, total: int
) -> pa.Array:
    """[total]: each column's lists at `starts` [column, request]."""
    values, missing = np.empty(total, dtype_of(kind)), None
    for cells, start in zip(columns, starts, strict=True):
        places, numbers = _places(cells, start), cells.values.cast(kind)
        values[places] = to_numpy(numbers)
        if numbers.null_count:
            missing = np.zeros(total, bool) if missing is None else missing
            missing[places] = to_numpy(numbers.is_null())
    return pa.array(values, kind, mask=missing)


def _words_laid_out(columns: Iterable[RequestLists], starts: np.ndarray, kind: pa.DataType, *, total: int) -> pa.Array:
    """The same of words, each of a column's kept once until the end."""
    code, words = np.full(total, -1, np.int32), [pa.array([], kind)]
    for cells, start in zip(columns, starts, strict=True):
        coded = cells.values.cast(kind).dictionary_encode()
        known = sum(map(len, words))
        code[_places(cells, start)] = to_numpy(pc.add(coded.indices, known).fill_null(-1))
        words.append(coded.dictionary)
    return pa.concat_arrays(words).take(pa.array(code, mask=code < 0))


def _places(cells: RequestLists, start: np.ndarray) -> np.ndarray:
    """int64 [values]: where each value stands once each request's list begins at its `start`."""
    return np.repeat(start - cells.offsets[:-1], cells.lengths) + np.arange(len(cells.values))


def to_numpy(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """NumPy values of an Arrow column: text as object, numbers without a copy where they hold no null."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return array.to_numpy(zero_copy_only=False)


def dtype_of(kind: pa.DataType) -> np.dtype[Any]:
    """What `to_numpy` makes of values of this type; Arrow's own `to_pandas_dtype` needs pandas, which services lack."""
    return to_numpy(pa.array([], kind)).dtype


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _offsets(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    lengths = to_numpy(pc.list_value_length(column).fill_null(0))
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _map(slates: pa.Table, column: str) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """Offsets, keys and items of a map column; the offsets start at 0 even for a slice of a table."""
    cells = _one(slates[column])
    raw = np.asarray(cells.offsets, np.int64)
    start, stop = int(raw[0]), int(raw[-1])
    return raw - start, cells.keys.slice(start, stop - start), cells.items.slice(start, stop - start)


def _scalars(slates: pa.Table, column: str, name: str) -> pa.Array:
    offsets, keys, items = _map(slates, column)
    return items.take(_entry(offsets, keys, name))


def _entry(offsets: np.ndarray, keys: pa.Array, name: str) -> pa.Array:
    """int64 [R]: the first entry called `name` of each request; null where there is none."""
    width = _regular(offsets, keys)
    if width is not None:
        head = keys.slice(0, width).to_pylist()
        where = np.arange(len(offsets) - 1) * width + head.index(name) if name in head else None
        return pa.array(where) if where is not None else pa.nulls(len(offsets) - 1, pa.int64())
    return _first(offsets, np.flatnonzero(to_numpy(pc.equal(keys, name))))


def _all_entries(offsets: np.ndarray, keys: pa.Array) -> dict[str, pa.Array]:
    width = _regular(offsets, keys)
    if width is not None:
        rows = np.arange(len(offsets) - 1) * width
        return {name: pa.array(rows + j) for j, name in enumerate(keys.slice(0, width).to_pylist())}
    coded = keys.dictionary_encode()
    codes = to_numpy(coded.indices)
    return {name: _first(offsets, np.flatnonzero(codes == j)) for j, name in enumerate(coded.dictionary.to_pylist())}


def _regular(offsets: np.ndarray, keys: pa.Array) -> int | None:
    """Number of entries per request if all requests have the same distinct keys in the same order, else None."""
    requests = len(offsets) - 1
    width = int(offsets[1]) if requests else 0
    if width == 0 or not np.array_equal(offsets, np.arange(requests + 1) * width):
        return None
    codes = to_numpy(keys.dictionary_encode().indices).reshape(requests, width)
    return width if (codes == np.arange(width)).all() else None


def _first(offsets: np.ndarray, matches: np.ndarray) -> pa.Array:
    rows, first = np.unique(np.searchsorted(offsets, matches, side="right") - 1, return_index=True)
    entry = np.zeros(len(offsets) - 1, np.int64)
    missing = np.ones(len(offsets) - 1, bool)
    entry[rows], missing[rows] = matches[first], False
    return pa.array(entry, mask=missing)

"""What readers write alike: tables with constant columns, what the data does not have, merchants without rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from marketplace.schema import MERCHANTS, SchemaError, conform

Lines = TypeVar("Lines", bound=Sized)
RATES = ("commission_rate", "quality", "return_rate", "refusal_rate")


def table(schema: pa.Schema, columns: Mapping[str, object], *, rows: int, where: str) -> pa.Table:
    """A table of `schema`; a text, number or bool stands in every row, an absent column is null, empty or ""."""
    arrays = {field.name: _column(columns.get(field.name), field, rows) for field in schema}
    unknown = {name: pa.nulls(rows) for name in columns if name not in schema.names}
    return conform(pa.table(arrays | unknown), schema, where=where)


def merchants(names: Sequence[str] | pa.Array | pa.ChunkedArray, *, country: str | None = None, where: str) -> pa.Table:
    """MERCHANTS of data that records nothing of them: commission and all rates are 0."""
    unknown = dict.fromkeys(RATES, 0.0)
    return table(MERCHANTS, {"merchant_id": names, "country": country} | unknown, rows=len(names), where=where)


def with_rows(lines: Lines, path: Path) -> Lines:
    """The lines themselves; raises SchemaError where the file holds none."""
    if len(lines) == 0:
        raise SchemaError(f"{path} has no rows: export or fetch it again.")
    return lines


def identifiers(numbers: pa.ChunkedArray) -> pa.DictionaryArray:
    """Numbers as names, cast once each."""
    coded = numbers.combine_chunks().dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.cast(pa.string()))


def _column(values: object, field: pa.Field, rows: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, float | bool):
        return pa.array(np.full(rows, values))
    if values is not None and not isinstance(values, str):
        return pa.array(np.asarray(values), from_pandas=True)
    if values is None and field.nullable:
        return pa.nulls(rows, field.type)
    if pa.types.is_map(field.type):
        return pa.array([{}] * rows, field.type)
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([values or ""]))

"""Further columns of an export under names of one's own: numbers, dates, categories and text that models may read.

Yes and no are the numbers 1 and 0. A date of an item or a shopper is its days since 1970-01-01 in UTC; one of a request
or of its candidates the days from the request until it: a check-in in two weeks is 14, a launch last month -30.
A missing number is NaN, a missing text null.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.datasets.cells import is_yes_or_no
from marketplace.datasets.fields import Loading, read_column
from marketplace.datasets.mapping import FURTHER
from marketplace.finding import Finding, Where, count_of_rows
from marketplace.schema import LARGEST_FLOAT32, TIME
from marketplace.splits import DAY_US

DESTINATION = {"dates": "numeric", "request_dates": "request_numeric"}  # of a section, where that is not its name
DESTINATION_OF_ENTITIES = DESTINATION | {"categorical": "attributes"}  # items and shoppers


def read_further(loading: Loading, table: str, raw: pa.Table, fields: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The columns under FURTHER: of items and shoppers as maps, of impressions one by one as "numeric.x"."""
    renamed = DESTINATION if table == "slates" else DESTINATION_OF_ENTITIES
    named: dict[str, dict[str, pa.Array]] = {}
    for section in FURTHER.get(table, ()):
        for name, column in loading.mapping.further(table, section).items():
            values = _read(loading, (table, section, name), column, raw, fields)
            if table == "slates" and pa.types.is_floating(values.type):
                values = values.cast(pa.float32())  # as SLATE has it: of many rows, half the memory
            named.setdefault(renamed.get(section, section), {})[name] = values
    if table == "slates":
        return {f"{section}.{name}": values for section, columns in named.items() for name, values in columns.items()}
    return {section: map_of(columns) for section, columns in named.items()}


def _read(
    loading: Loading, keys: tuple[str, str, str], column: str, raw: pa.Table, fields: Mapping[str, pa.Array]
) -> pa.Array:
    """One column: float64 of numbers and dates, else text."""
    table, section, _ = keys
    written = raw[column] if column in raw.column_names else None
    dated = section.endswith("dates") or (written is not None and pa.types.is_temporal(written.type))
    if not section.endswith(("numeric", "dates")):
        return read_column(loading, keys, column, pa.string(), raw)
    if dated:
        moments = read_column(loading, keys, column, TIME, raw).cast(pa.int64())
        since = fields["time"].cast(pa.int64()) if table == "slates" else pa.scalar(0, pa.int64())
        return pc.divide(pc.subtract(moments, since).cast(pa.float64()), float(DAY_US)).fill_null(np.nan)
    kind = pa.bool_() if written is not None and is_yes_or_no(written) else pa.float64()
    numbers = read_column(loading, keys, column, kind, raw).cast(pa.float64()).fill_null(np.nan)
    if len(beyond := np.flatnonzero(np.abs(numbers.to_numpy()) > LARGEST_FLOAT32)):
        where = Where(loading.origins[table].file, part=f"column {column}", row=int(beyond[0]) + 1)
        reason = f"{numbers[int(beyond[0])].as_py():g} is too large for a feature{count_of_rows(len(beyond))}."
        fix = f"Give at most {LARGEST_FLOAT32:g} in size, or leave it empty."
        loading.findings.append(Finding("values", where, reason, fix))
    return numbers


def map_of(columns: Mapping[str, pa.Array]) -> pa.MapArray:
    """map<string, values> [rows] of columns by name, one at least."""
    width, rows = len(columns), len(next(iter(columns.values())))
    order = np.arange(rows * width).reshape(width, rows).T.ravel()
    values = pa.concat_arrays(list(columns.values())).take(pa.array(order))
    keys = pa.array(list(columns), pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    return pa.MapArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * width), keys, values)

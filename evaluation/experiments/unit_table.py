"""Units: what came of each user, session, store page or city window, from slates and feedback.

A unit belongs to the variant of its first slate in the experiment, whatever it met later (intention to treat). What
came of its slates in the experiment are its columns; what came of its slates in the weeks before the start are the
columns with `_before`, which no variant can have moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.experiments.experiment_file import AssignmentUnit, Experiment
from evaluation.experiments.exposure import variant_column
from marketplace.attribution import Attribution
from marketplace.keys import one_array
from marketplace.schema import MICROSECOND, SEGMENT_KEY
from marketplace.slate_columns import context, item_offsets, numeric_features, request_of_rows, to_numpy

NEWCOMER = 0.125  # newness from which a merchant counts as a newcomer: 90 days at a half-life of 30
BEFORE, SUFFIX = timedelta(days=28), "_before"
DIMENSIONS = ("country", "city", "device", SEGMENT_KEY)  # of a slate's context, beside its surface
UNKNOWN = "unknown"
MONEY = ("gmv", "net_gmv")


@dataclass(frozen=True)
class UnitTable:
    """U units of an experiment: `variant` [U] as the file numbers them, `first` int64 [U] us of their first slate.

    `columns`: name -> float64 [U]. `segments`: dimension -> text [U], as the unit's first slate had it. `crossed`
    bool [U]: units that met more than one variant. `slate` int64 [S] and `unit` int64 [S]: the slates in the
    experiment, as rows of the log, and whose they are.
    """

    variants: tuple[str, ...]
    variant: np.ndarray
    first: np.ndarray
    columns: Mapping[str, np.ndarray]
    segments: Mapping[str, np.ndarray]
    crossed: np.ndarray
    slate: np.ndarray
    unit: np.ndarray

    def __len__(self) -> int:
        return len(self.variant)

    def counts(self, part: np.ndarray | None = None) -> np.ndarray:
        """int64 [variants]: units, all of them or those of a mask [U]."""
        return np.bincount(self.variant if part is None else self.variant[part], minlength=len(self.variants))


def unit_table(joined: Attribution, experiment: Experiment, *, until: datetime | None = None) -> UnitTable:
    """The units of `experiment` in a log whose feedback is joined, by its slates before `until`; may be empty."""
    slates, time = joined.slates, microseconds(joined.slates)
    names = tuple(variant.name for variant in experiment.variants)
    variant = _codes(variant_column(slates, experiment.name), names)
    key = unit_keys(slates, experiment)
    inside = (variant >= 0) & (key >= 0)
    if until is not None:
        inside &= time < until.timestamp() * 1e6
    rows = np.flatnonzero(inside)[np.argsort(time[inside], kind="stable")]
    known, first, unit = np.unique(key[rows], return_index=True, return_inverse=True)
    first_row, of_requests = rows[first], request_columns(joined)
    columns = columns_of_units(slates, of_requests, rows, unit, units=len(known))
    columns |= _before(of_requests, time, key, known, experiment)
    crossed = np.zeros(len(known), bool)
    crossed[unit[variant[rows] != variant[first_row][unit]]] = True
    segments = {name: column[first_row] for name, column in _dimensions(slates).items()}
    return UnitTable(names, variant[first_row], time[first_row], columns, segments, crossed, rows, unit)


def columns_of_units(
    slates: pa.Table, of_requests: Mapping[str, np.ndarray], rows: np.ndarray, unit: np.ndarray, *, units: int
) -> dict[str, np.ndarray]:
    """float64 [units] by name: what came of the requests in `rows`, whose unit is `unit`; and `units` = 1."""
    columns = _by_unit(of_requests, rows, unit, units)
    return columns | {"sessions": _sessions(slates, rows, unit, units), "units": np.ones(units)}


def request_columns(joined: Attribution) -> dict[str, np.ndarray]:
    """float64 [R] by name: requests, impressions, clicks, orders, and what the log tells of newcomers and amounts.

    gmv and net_gmv are in the log's currency: of several currencies there are none.
    """
    request, size = request_of_rows(joined.slates), len(joined.slates)
    labels = {
        "impressions": "seen", "clicks": "click", "orders": "order", "gmv": "order_value", "net_gmv": "net_value"
    }  # fmt: skip
    flat = {name: to_numpy(joined.labels[label]).astype(float) for name, label in labels.items()}
    if len(pc.unique(joined.slates["currency"].cast(pa.string()))) > 1:
        flat = {name: column for name, column in flat.items() if name not in MONEY}  # unlike amounts do not add up
    newness = _newness(joined.slates)
    if newness is not None:
        flat["newcomer_impressions"] = flat["impressions"] * (newness >= NEWCOMER)
    columns = {name: np.bincount(request, column, minlength=size) for name, column in flat.items()}
    return columns | {"requests": np.ones(size)}


def unrecorded(column: str) -> str:
    """Why there is no such column."""
    words = column.replace("_", " ")
    return f"the log does not record {words}{' in one currency' if column in MONEY else ''}"


def unit_keys(slates: pa.Table, experiment: Experiment) -> np.ndarray:
    """int64 [R]: a number for the unit of each slate; -1 = it has none."""
    columns = {
        AssignmentUnit.USER: "user_id",
        AssignmentUnit.SESSION: "session_id",
        AssignmentUnit.MERCHANT: "page_merchant_id",
    }
    if experiment.unit in columns:
        return _dictionary_codes(slates[columns[experiment.unit]])
    city = _dictionary_codes(context(slates, "city"))
    window = microseconds(slates) // (timedelta(hours=experiment.window_hours) // MICROSECOND)
    return np.where(city >= 0, window * (city.max(initial=0) + 1) + city, -1)


def _before(
    of_requests: Mapping[str, np.ndarray], time: np.ndarray, key: np.ndarray, known: np.ndarray, experiment: Experiment
) -> dict[str, np.ndarray]:
    """Columns of the slates in BEFORE ahead of the start; nothing for units that begin with the experiment."""
    if experiment.unit in (AssignmentUnit.SESSION, AssignmentUnit.CITY_TIME) or not len(known):
        return {}
    start = int(experiment.start.timestamp() * 1e6)
    earlier = (time < start) & (time >= start - BEFORE // MICROSECOND) & (key >= 0)
    place = np.searchsorted(known, key).clip(0, len(known) - 1)
    rows = np.flatnonzero(earlier & (known[place] == key))
    columns = _by_unit(of_requests, rows, place[rows], len(known))
    return {f"{name}{SUFFIX}": column for name, column in columns.items()}


def _by_unit(
    of_requests: Mapping[str, np.ndarray], rows: np.ndarray, unit: np.ndarray, units: int
) -> dict[str, np.ndarray]:
    return {name: np.bincount(unit, column[rows], minlength=units) for name, column in of_requests.items()}


def _sessions(slates: pa.Table, rows: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
    """float64 [units]: distinct sessions; a slate without one is a session of its own."""
    session = _dictionary_codes(slates["session_id"])[rows]
    session = np.where(session < 0, session.max(initial=0) + 1 + np.arange(len(rows)), session)
    pairs = np.unique(np.column_stack([unit, session]), axis=0)
    return np.bincount(pairs[:, 0], minlength=units).astype(float)


def _dimensions(slates: pa.Table) -> dict[str, np.ndarray]:
    columns = {"surface": slates["surface"]} | {name: context(slates, name) for name in DIMENSIONS}
    texts = {
        name: pc.fill_null(column.cast(pa.string()), UNKNOWN).to_numpy(zero_copy_only=False)
        for name, column in ((name, one_array(column)) for name, column in columns.items())
    }
    return {name: text for name, text in texts.items() if (text != UNKNOWN).any()}


def _newness(slates: pa.Table) -> np.ndarray | None:
    """float64 [N]: of each item's merchant; NaN where a slate does not log it, None where none does."""
    logged, lengths = numeric_features(slates, "newness"), np.diff(item_offsets(slates))
    whole = logged.lengths == lengths
    if not (whole & (lengths > 0)).any():
        return None
    result = np.full(lengths.sum(), np.nan)
    result[np.repeat(whole, lengths)] = to_numpy(logged.values)[np.repeat(whole, logged.lengths)]
    return result


def _codes(texts: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    codes = np.full(len(texts), -1)
    for code, name in enumerate(names):
        codes[texts == name] = code
    return codes


def _dictionary_codes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    encoded = one_array(one_array(column).cast(pa.string())).dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def microseconds(slates: pa.Table) -> np.ndarray:
    return to_numpy(slates["time"].cast(pa.int64()))

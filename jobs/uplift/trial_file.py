"""A trial from a CSV file: which column says who was treated, which what came of it, which what was known before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from evaluation.uplift.trial import Trial


@dataclass(frozen=True)
class TrialColumns:
    """Names of the file's columns; `control`: the value of `treatment` for who was not treated.

    `features`: what was known before the treatment. `unit`: rows with one value stand or fall together. `propensity`:
    P(treated | x), of a single treatment. `randomised`: every row had the same chances.
    """

    treatment: str
    control: str
    outcome: str
    features: tuple[str, ...]
    unit: str | None = None
    propensity: str | None = None
    randomised: bool = False


def read_trial(file: Path, columns: TrialColumns) -> tuple[Trial, frozenset[int]]:
    """The trial of a CSV file (also .gz), and which columns of its table hold codes of texts.

    Raises ValueError for a column that is not there, empty cells of what must be known, and texts in place of numbers.
    """
    table = pacsv.read_csv(file, convert_options=pacsv.ConvertOptions(strings_can_be_null=True))
    for name in _named(columns):
        if name not in table.column_names:
            raise ValueError(f"{file.name}: there is no column {name!r}; it has {', '.join(table.column_names)}.")
    if not columns.features:
        raise ValueError(f"{file.name}: name the features, what was known before: of {', '.join(table.column_names)}.")
    given_away = {columns.treatment, columns.outcome} & set(columns.features)
    if given_away:
        raise ValueError(f"{file.name}: {sorted(given_away)} among the features; give what was known before.")
    arm, arms = _arms(table, columns, file)
    outcome = _numbers(table, columns.outcome, file)
    features = [_feature(table[name]) for name in columns.features]
    unit = None if columns.unit is None else _codes(_known(table, columns.unit, file))
    matrix = np.column_stack([values for values, _ in features]).astype(np.float32)
    propensity = _propensity(table, columns, arm, arms, file)
    return (
        Trial(matrix, arm, outcome, arms, unit, propensity),
        frozenset(place for place, (_, coded) in enumerate(features) if coded),
    )


def _named(columns: TrialColumns) -> list[str]:
    further = [name for name in (columns.unit, columns.propensity) if name is not None]
    return [columns.treatment, columns.outcome, *columns.features, *further]


def _arms(table: pa.Table, columns: TrialColumns, file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    received = _known(table, columns.treatment, file).cast(pa.string())
    names = sorted(pc.unique(received).to_pylist())
    if columns.control not in names or len(names) < 2:
        raise ValueError(
            f"{file.name}: {columns.treatment!r} holds {', '.join(map(repr, names[:8]))}; one of several must be the "
            f"control, {columns.control!r}."
        )
    arms = (columns.control, *(name for name in names if name != columns.control))
    return pc.index_in(received, pa.array(arms)).to_numpy(zero_copy_only=False).astype(np.int64), arms


def _propensity(
    table: pa.Table, columns: TrialColumns, arm: np.ndarray, arms: tuple[str, ...], file: Path
) -> np.ndarray | None:
    if columns.randomised:
        return np.tile(np.bincount(arm) / len(arm), (len(arm), 1))
    if columns.propensity is None:
        return None
    if len(arms) != 2:
        raise ValueError(f"{file.name}: a propensity column is of one treatment; there are {', '.join(arms[1:])}.")
    treated = _numbers(table, columns.propensity, file)
    return np.column_stack([1 - treated, treated])


def _known(table: pa.Table, name: str, file: Path) -> pa.Array:
    column = table[name].combine_chunks()
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(
            f"{file.name}: {name!r} is empty in {column.null_count} rows, the first {row + 2} of the file."
        )
    return column


def _numbers(table: pa.Table, name: str, file: Path) -> np.ndarray:
    column = _known(table, name, file)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise ValueError(f"{file.name}: {name!r} holds {column.type}, such as {column[0].as_py()!r}; give numbers.")
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _feature(column: pa.ChunkedArray) -> tuple[np.ndarray, bool]:
    """Numbers, empty = NaN; or the codes of texts and dates, in their order, empty = -1."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.float64()).to_numpy(), False
    return _codes(column.combine_chunks()), True


def _codes(column: pa.Array) -> np.ndarray:
    names = pc.unique(column).drop_null()
    names = names.take(pc.array_sort_indices(names))
    return pc.fill_null(pc.index_in(column, names), -1).to_numpy(zero_copy_only=False).astype(np.int64)

"""What an off-policy estimator cannot read: logs are refused where they enter, with what was received and the fix.

Every check raises ValueError: "<argument>: <where> is <what was received>; <what is expected and what to do>".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SUM_TOLERANCE = 1e-6  # how far a row of probabilities may be from 1


def refuse_where(bad: np.ndarray, values: np.ndarray, *, name: str, remedy: str) -> None:
    """Name the first row of `bad` [N] and its value."""
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name}: row {row} is {values[row]}; {remedy}")


def refuse_lengths(columns: Mapping[str, np.ndarray]) -> None:
    """Columns of one log have a length, and a row at least."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or not max(lengths.values()):
        raise ValueError(f"columns: {lengths} rows; every column has one row a logged decision, and a log has some.")


def refuse_shape(table: np.ndarray, like: np.ndarray, *, name: str) -> None:
    """A table of another shape than the policy's."""
    if table.shape != like.shape:
        raise ValueError(f"{name}: shape is {table.shape}; expected is {like.shape}, as the policy's actions.")


def refuse_infinite(values: np.ndarray, *, name: str) -> None:
    """NaN and infinity in [N]."""
    refuse_where(~np.isfinite(values), values, name=name, remedy="leave rows out whose value is not known.")


def refuse_propensity(propensity: np.ndarray, shown: np.ndarray, *, name: str = "propensity") -> None:
    """Outside (0, 1] where `shown` [N]: without support no estimator can answer."""
    bad = shown & ~((propensity > 0) & (propensity <= 1))
    refuse_where(bad, propensity, name=name, remedy="what was shown has a probability in (0, 1].")


def refuse_numbers(number: np.ndarray, *, name: str, count: int, columns: str) -> None:
    """Numbers [N] that are no columns 0..count - 1 of a table."""
    if not np.issubdtype(number.dtype, np.integer):
        raise ValueError(f"{name}: dtype is {number.dtype}; it numbers the columns of {columns}, 0 to {count - 1}.")
    bad = (number < 0) | (number >= count)
    refuse_where(bad, number, name=name, remedy=f"numbers go from 0 to {count - 1}, as the columns of {columns}.")


def refuse_probabilities(table: np.ndarray, *, name: str, rows: int) -> None:
    """Rows of [N, A] that are no distribution over the actions."""
    if table.ndim != 2 or len(table) != rows or not table.shape[1]:
        raise ValueError(f"{name}: shape is {table.shape}; expected are {rows} rows and a column an action.")
    total = table @ np.ones(table.shape[1])
    if table.min() < 0:
        negative = np.asarray((table < 0).any(axis=1))
        refuse_where(negative, table.min(axis=1), name=name, remedy="a probability is at least 0.")
    remedy = "the probabilities of all actions of a row sum to 1: divide each row by its sum."
    refuse_where(~(np.abs(total - 1) <= SUM_TOLERANCE), total, name=f"sum of {name}", remedy=remedy)


def refuse_positions(position: np.ndarray, propensity: np.ndarray, offsets: np.ndarray) -> None:
    """Positions [N] of requests that do not count the shown rows 1, 2, 3 ... without gaps; 0 = not shown."""
    if not np.issubdtype(position.dtype, np.integer):
        raise ValueError(f"position: dtype is {position.dtype}; positions are integers from 1, 0 = not shown.")
    refuse_where(position < 0, position, name="position", remedy="positions count from 1; 0 = not shown.")
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    _refuse_zero_based(position, propensity, request, len(offsets) - 1)
    order = np.lexsort((position, request))
    order = order[position[order] > 0]
    place, of = position[order], request[order]
    first = np.append(True, of[1:] != of[:-1])
    start = np.maximum.accumulate(np.where(first, np.arange(len(of)), 0))
    expected = np.arange(len(of)) - start + 1
    bad = place != expected
    if bad.any():
        at = int(bad.argmax())
        fault = "is repeated" if place[at] < expected[at] else f"follows {expected[at] - 1}"
        raise ValueError(
            f"position: row {order[at]} of request {of[at]} is {place[at]}, which {fault}; the shown rows of a request "
            "stand at 1, 2, 3 ..., each once. Log every shown row, with the position at which it stood."
        )


def _refuse_zero_based(position: np.ndarray, propensity: np.ndarray, request: np.ndarray, requests: int) -> None:
    """One shown row (it has a propensity) at 0 in every request: the log counts from 0."""
    shown_at_0 = (position == 0) & (propensity > 0) & (propensity <= 1)
    if requests and (np.bincount(request[shown_at_0], minlength=requests) == 1).all():
        row = int(shown_at_0.argmax())
        raise ValueError(
            f"position: row {row} is 0 and has propensity {propensity[row]}, as one row of every request; positions "
            "count from 1, 0 = not shown. Add 1 to each position of this log."
        )

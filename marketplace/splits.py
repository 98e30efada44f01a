"""Splitting what happened into earlier (training) and later (test) requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SECOND = 1_000_000  # microseconds
HOUR_US = 3_600 * SECOND
DAY_US = 24 * HOUR_US


@dataclass(frozen=True)
class TimeSplit:
    """Requests before `cut` (UTC microseconds) train, the rest test; `train` and `test` are bool [R]."""

    cut: int
    train: np.ndarray
    test: np.ndarray


def split(
    slates: pa.Table, *, test_share: float = 0.2, of: Literal["requests", "impressions"] = "requests"
) -> TimeSplit:
    """The last `test_share` of requests (or of their impressions) by time are test; one second stays on one side.

    Raises ValueError where a side would be empty.
    """
    time = microseconds(slates["time"])
    if len(time) < 2 or not 0 < test_share < 1:
        raise ValueError(
            f"cannot split {len(time)} requests at test_share={test_share}; give 2 or more and 0 < share < 1."
        )
    order = np.argsort(time, kind="stable")
    weight = np.ones(len(time), np.int64) if of == "requests" else _lengths(slates)
    reached = np.cumsum(weight[order])
    first_test = np.searchsorted(reached, int(reached[-1] * (1 - test_share)), side="right")
    cut = int(time[order[first_test]] // SECOND * SECOND)
    train = time < cut
    if not train.any():
        raise ValueError("every request falls into the second of the cut: nothing is left to train on.")
    return TimeSplit(cut, train, ~train)


def _lengths(slates: pa.Table) -> np.ndarray:
    return pc.list_value_length(slates["item_id"]).to_numpy().astype(np.int64)


def microseconds(times: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 UTC microseconds of a TIME column; nulls become the smallest int64."""
    values = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
    return values.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy(zero_copy_only=False)

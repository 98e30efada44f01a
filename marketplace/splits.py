"""Splits of requests by time, into training, validation and test periods, and the unit of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SECOND = 1_000_000  # microseconds
TEST_SHARE = 0.2  # last share of the slates: never trained on, never tuned on
VALIDATION_SHARE = 0.15  # last share of the rest: early stopping and calibration
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


@dataclass(frozen=True)
class Periods:
    """The requests of each period, bool [R] each, and when the later two begin (UTC microseconds)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_from: int
    test_from: int

    def take(self, requests: np.ndarray) -> Periods:
        """The same for some of the requests (positions)."""
        parts = (self.train[requests], self.validation[requests], self.test[requests])
        return Periods(*parts, self.validation_from, self.test_from)


def periods(
    slates: pa.Table, *, test_share: float, validation_share: float, counted: np.ndarray | None = None
) -> Periods:
    """By time: the last `test_share` of the requests, and before them the last `validation_share` of the rest.

    `counted` bool [R]: the requests of which the shares are taken; None = all.
    """
    of = slates if counted is None else slates.filter(pa.array(counted))
    outer = split(of, test_share=test_share)
    inner = split(of.filter(pa.array(outer.train)), test_share=validation_share)
    time = microseconds(slates["time"])
    early, test = time < inner.cut, time >= outer.cut
    return Periods(early, ~early & ~test, test, inner.cut, outer.cut)


def _lengths(slates: pa.Table) -> np.ndarray:
    return pc.list_value_length(slates["item_id"]).to_numpy().astype(np.int64)


def microseconds(times: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 UTC microseconds of a TIME column; nulls become the smallest int64."""
    values = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
    return values.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy(zero_copy_only=False)
